"""Better than the oracle is an alarm: on a simulated shop nobody can know more than the exact probabilities.

Shapes: n rows (requests, or customers) that both answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.customers.base import Cohort
from shopkeeper.customers.folds import rows_of
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.compare import LOWER_IS_BETTER
from shopkeeper.evaluation.family import least_p
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import oracle_of, users_of, values_of
from shopkeeper.metrics.clusters import clustered_error

SIZE = 256  # requests that the oracle is asked when a model was trained
CHANCE = 1 / 4000  # that an honest model is suspected that is as good as the oracle


def oracle_alarms(tables: Mapping[str, pa.Table], metric: str) -> list[str]:
    """A line for each model that is better than the oracle of what is observable, where that is among the tables."""
    told = {name: oracle_of(table) for name, table in tables.items()}
    oracle = next((name for name, of in told.items() if of == "observable"), None)
    if oracle is None:
        return []
    found = [
        better_than_oracle(name, table, tables[oracle], metric) for name, table in tables.items() if not told[name]
    ]
    return [line for line in found if line]


def better_than_oracle(name: str, table: pa.Table, oracle: pa.Table, metric: str) -> str | None:
    """The alarm of one model, None where it is not better beyond chance. Both tables hold the same rows."""
    if metric not in table.column_names or metric not in oracle.column_names or table.num_rows != oracle.num_rows:
        return None
    own, best = values_of(table, metric), values_of(oracle, metric)
    ahead = (best - own) if metric.partition("@")[0] in LOWER_IS_BETTER else (own - best)
    known = np.isfinite(ahead)
    if known.sum() < 2:
        return None
    _, person = np.unique(users_of(table)[known], return_inverse=True)
    size = np.bincount(person)
    error = clustered_error(ahead[known], person)
    differing = int((np.bincount(person, np.abs(ahead[known])) > 1e-9).sum())
    if len(size) < 2 or least_p(differing) / 2 > CHANCE:
        return None
    if ahead[known].mean() <= NormalDist().inv_cdf(1 - CHANCE) * error + 1e-9:
        return None  # nearly always: without the limit of Student's t, which is higher, and SciPy, which knows it
    from scipy.special import stdtrit

    if ahead[known].mean() <= stdtrit(len(size) - 1, 1 - CHANCE) * error + 1e-9:
        return None
    return (
        f"{name} is better than the oracle ({metric} {own[known].mean():.4f} against {best[known].mean():.4f} on the "
        f"same {known.sum()} questions), which nobody can be: it knows what it is asked; look for a leak"
    )


@dataclass(frozen=True)
class _Some(Split):
    """Some requests of a part of a split."""

    asked: tuple[Requests, Targets] | None = None

    def part(self, name: str) -> tuple[Requests, Targets]:
        """The chosen ones, whatever the name."""
        assert self.asked is not None
        return self.asked


def alarm_of_recommender(name: str, table: pa.Table, split: Split, metric: str, **options: Any) -> str | None:
    """The alarm of a trained recommender: the oracle of its simulated shop answers some of the test requests.

    None where the shop is not simulated, or where the split asks something else than the customer's next order.
    """
    from shopkeeper.models.fit import Fit
    from shopkeeper.recommenders.oracle import Oracle

    spec = split.timeline.get("spec") or {}
    first_purchase = list(spec.get("target_events") or []) == ["purchase"] and spec.get("targets", "first") != "all"
    first_purchase &= spec.get("asks", "next") == "next"
    if not split.prepared.manifest.get("simulation") or not first_purchase or oracle_of(table):
        return None
    if metric not in table.column_names:
        return None
    rows = np.sort(np.random.default_rng(1).permutation(table.num_rows)[:SIZE])
    requests, targets = split.part("test")
    counts = np.diff(targets.offsets)[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    at = np.arange(offsets[-1]) + np.repeat(targets.offsets[rows] - offsets[:-1], counts)
    some = _Some(
        split.path,
        split.prepared,
        split.timeline,
        split.train_end,
        split.catalogue,
        asked=(
            requests.take(rows),
            replace(targets, offsets=offsets, item=targets.item[at], row=targets.row[at]),
        ),
    )
    oracle = Oracle()
    try:
        oracle.fit(split.prepared, split, Fit())
    except UserError:  # foreign rows or pseudonymous items: this world's truth does not fit
        return None
    answers = evaluate_requests(oracle, some, "test", beyond=False, **options)
    return better_than_oracle(name, table.take(rows), answers, metric)


def alarm_of_customer_model(
    name: str, table: pa.Table, prepared: Prepared, cohort: Cohort, metric: str, oracle: Any
) -> str | None:
    """The same of a customer model: the task's oracle says of some of the cohort how probable the label is."""
    from shopkeeper.evaluation.rows.labels import customer_table

    if not prepared.manifest.get("simulation") or oracle_of(table) or metric not in table.column_names:
        return None
    rows = np.sort(np.random.default_rng(1).permutation(table.num_rows)[:SIZE])
    some = rows_of(cohort, rows)
    try:
        oracle.bind(prepared)
        answers = customer_table(prepared, some, oracle.predict(some), {})
    except UserError:  # foreign rows, pseudonymous items, cutoffs that are not midnight in the world
        return None
    return better_than_oracle(name, table.take(rows), answers, metric)
