"""Rows about customers: what a model says of each at a cutoff, and what then happened.

Beside who was asked, of probabilities: `label` float64, `probability` float64 (null where blank), `blank_reason` str
("" where scored), `log_loss` and `brier` float64 (null where blank). Of counts and amounts: `actual`, `expected`,
`blank_reason`, `absolute_error`, `squared_error` and `poisson_deviance`. Of days: `waited`, `days`,
`quantiles`, `blank_reason`, `pinball`, `absolute_error` (of the median) and `in_interval`.

Shapes: n rows, Q quantiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.waits.days import LEVELS, MEDIAN
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.slices import MOST_VALUES, banded, last_channel, user_attributes
from shopkeeper.evaluation.table import SLICE, batch_of, who
from shopkeeper.metrics.classification import brier_rows, log_loss_rows
from shopkeeper.metrics.value import poisson_deviance_rows
from shopkeeper.metrics.waiting import pinball_rows
from shopkeeper.models.about import AMOUNTS, COUNTS, DAYS, PROBABILITIES
from shopkeeper.tasks.base import CUSTOMER_SLICES, Bands
from shopkeeper.timeline import iso

Rows = Callable[[np.ndarray, np.ndarray], np.ndarray]
OF_TOTALS: Mapping[str, Rows] = {
    "absolute_error": lambda actual, expected: np.abs(expected - actual),
    "squared_error": lambda actual, expected: (expected - actual) ** 2,
    "poisson_deviance": poisson_deviance_rows,
}
# By what is answered: the columns of truth and answer, and the metrics of a row.
COLUMNS: Mapping[str, tuple[str, str, Mapping[str, Rows]]] = {
    PROBABILITIES: ("label", "probability", {"log_loss": log_loss_rows, "brier": brier_rows}),
    COUNTS: ("actual", "expected", OF_TOTALS),
    AMOUNTS: ("actual", "expected", OF_TOTALS),
    DAYS: (
        "waited",
        "days",
        {  # of quantiles (n, Q)
            "pinball": lambda waited, said: pinball_rows(waited, said, LEVELS),
            "absolute_error": lambda waited, said: np.abs(said[:, MEDIAN] - waited),
            "in_interval": lambda waited, said: ((said[:, 0] <= waited) & (waited <= said[:, -1])).astype(np.float64),
        },
    ),
}


def cohort_hash(cohort: Cohort, user_ids: Sequence[str]) -> str:
    """SHA-256 over the sorted (external user, instant, label): two tables with the same hash answer the same task."""
    assert cohort.label is not None
    about = [""] * len(cohort) if cohort.subject is None else [f"\t{name}" for name in subjects_of(cohort)]
    rows = zip(cohort.customer.tolist(), cohort.cutoff.tolist(), cohort.label.tolist(), about, strict=True)
    lines = sorted(f"{user_ids[u - 1]}\t{iso(t)}\t{y:.12g}{subject}" for u, t, y, subject in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def customer_table(
    prepared: Prepared,
    cohort: Cohort,
    predictions: Predictions,
    metadata: Mapping[str, Any],
    slices: Mapping[str, Bands] = CUSTOMER_SLICES,
) -> pa.Table:
    """The table of one model on one labelled cohort.

    Args:
        prepared: the dataset, for the external user ids.
        cohort: n rows with labels.
        predictions: of the same n rows.
        metadata: dataset, split, protocol, part, model, task, seed. `horizon_days` is added, and `target_hash`
            where it is absent.
        slices: the task's, beside the attributes of users.

    Raises:
        UserError: a probability outside [0, 1], a total that is negative or infinite, or NaN without a reason.
    """
    assert cohort.label is not None, "a cohort without labels cannot be evaluated"
    n, p = len(cohort), np.asarray(predictions.value, np.float64)
    assert len(p) == n
    user_ids = prepared.users["user_id"].combine_chunks()
    reason = np.full(n, "") if predictions.blank_reason is None else predictions.blank_reason
    scored = ~np.isnan(p)
    if np.any(~scored & (reason == "")):
        n_bare = int(np.sum(~scored & (reason == "")))
        raise UserError(f"{n_bare} scores are NaN without a reason; set the model's blank_reason for these")
    truth, answer, rows_of = COLUMNS[cohort.answers]
    if cohort.answers == PROBABILITIES and np.any((p[scored] < 0) | (p[scored] > 1)):
        raise UserError("probabilities must lie in [0, 1]; calibrate the model's scores")
    if np.any((p[scored] < 0) | np.isinf(p[scored])):
        raise UserError(f"{cohort.answers} must be finite and not below 0; mend the model's scores")

    said = p if cohort.answers != DAYS else predictions.quantile
    assert said is not None, "a model that answers with days says quantiles"

    def where_scored(rows: Rows) -> pa.Array:
        values = np.zeros(n)
        values[scored] = rows(cohort.label[scored], said[scored])  # type: ignore[index]
        return pa.array(values, mask=~scored)

    kinds = banded(cohort, slices) | last_channel(prepared, cohort)
    kinds |= user_attributes(prepared, cohort.customer, cohort.cutoff)
    if 0 < len(cohort.subjects) <= MOST_VALUES:
        kinds["subject"] = np.array(subjects_of(cohort), object)
    columns: dict[str, pa.Array] = {
        **who(user_ids, 0, cohort.customer, cohort.cutoff, cohort.end - cohort.start),
        truth: pa.array(cohort.label.astype(np.float64)),
        answer: pa.array(np.where(scored, p, 0.0), mask=~scored),
        **({} if cohort.subject is None else {"subject": pa.array(subjects_of(cohort), pa.string())}),
        **({"quantiles": _listed(said, scored)} if said.ndim == 2 else {}),
        "blank_reason": pa.array(reason.tolist(), pa.string()),
        **{name: where_scored(rows) for name, rows in rows_of.items()},
        **{f"{SLICE}{name}": pa.array(values.tolist(), pa.string()) for name, values in kinds.items()},
    }
    known = {} if "target_hash" in metadata else {"target_hash": cohort_hash(cohort, user_ids.to_pylist())}
    return pa.Table.from_batches([batch_of(columns, {**known, **metadata, "horizon_days": cohort.horizon_days})])


def subjects_of(cohort: Cohort) -> list[str]:
    """The category or item that each row of a cohort of pairs asks about."""
    assert cohort.subject is not None
    return [cohort.subjects[one - 1] for one in cohort.subject.tolist()]


def _listed(values_nQ: np.ndarray, known: np.ndarray) -> pa.Array:
    """A list for each row, null where it is not known."""
    end = np.arange(len(known) + 1, dtype=np.int32) * values_nQ.shape[1]
    return pa.ListArray.from_arrays(end, pa.array(values_nQ.ravel()), mask=pa.array(~known))
