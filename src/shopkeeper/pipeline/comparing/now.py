"""What the leading model of a task about customers says today, whether today is like what it learned from, and why.

For the report's first screen and its pages about customers. As of the end of the log: nobody knows what comes after.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.customers.base import Cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.drift import shifts, told_apart
from shopkeeper.evaluation.drivers import drivers
from shopkeeper.evaluation.profit import Profit
from shopkeeper.evaluation.profit_curve import expected_profit
from shopkeeper.evaluation.rows.kinds import floats, kind_of
from shopkeeper.metrics.classification_reliability import wilson
from shopkeeper.models.about import DAYS, PROBABILITIES
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms.cohorts import cohort_at, windows_of
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.pipeline.score import Said, said_as_of
from shopkeeper.timeline import DAY, iso

log = logging.getLogger(__name__)
SHOWN = 12  # drivers, and features that moved
MOST = 20_000  # customers whose reasons are asked for


def said_now(run: RunFolder, test: pa.Table, confidence: float) -> dict[str, Any] | None:
    """Everything as JSON; None where the task is not asked of customers alone, or nobody has a score now.

    Args:
        run: of the leading model.
        test: its rows on test.
        confidence: of the intervals.
    """
    truth = run.about.truth
    if truth is None or truth.by or truth.answers == DAYS:
        return None
    tables = {**({"validation": run.table("validation")} if "validation" in run.metrics else {}), "test": test}
    try:
        said = said_as_of(run)
    except UserError as e:
        log.info("nothing is said as of now: %s", e)
        return None
    there = np.isfinite(said.value)
    if not there.any():
        return None
    cohort, found = said.cohort, {"model": run.metrics["model"], "answers": said.cohort.answers}
    found |= {"drivers": _drivers(said), "asked": len(cohort), "scored": int(there.sum())}
    found["of_all"] = said.prepared.n_users
    if said.as_of is None:  # a table of customers knows no time
        return found
    found |= {
        "as_of": iso(said.as_of),
        "until": iso(said.as_of + round(cohort.horizon_days * DAY)),
        "horizon_days": cohort.horizon_days,
        "active_days": cohort.active_days,
        "leaving": cohort.of_nothing == 1,
        **_expected(said.value[there], cohort.answers, confidence),
        **_against_training(run, said, tables, confidence),
    }
    profit = Profit.of(run.metrics.get("profit"), said.prepared.name)
    if profit is not None and cohort.answers == PROBABILITIES:
        found["profit"] = expected_profit(said.value[there], profit, confidence)
    return found


def _expected(value: np.ndarray, answers: str, confidence: float) -> dict[str, Any]:
    """How many of all, or how much in all; of probabilities with the interval that comes of who it will be."""
    from scipy.special import ndtri

    total, top = float(value.sum()), np.sort(value)[::-1][: max(1, len(value) // 10)]
    if answers != PROBABILITIES:
        return {"expected": total, "top_tenth": {"customers": len(top), "expected": float(top.sum())}}
    spread = float(ndtri((1 + confidence) / 2)) * float(np.sqrt(np.sum(value * (1 - value))))
    return {"expected": total, "low": max(total - spread, 0.0), "high": min(total + spread, float(len(value))),
            "top_tenth": {"customers": len(top), "expected": float(top.sum()), "from": float(top.min())}}  # fmt: skip


def _drivers(said: Said) -> dict[str, Any] | None:
    """What moves the scores of customers who have one."""
    cohort, model = said.cohort, said.model
    if not model.about.explains or model.untrainable or not len(cohort):
        return None
    from shopkeeper.customers.folds import rows_of

    rows = np.arange(len(cohort))
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
    some = rows_of(cohort, rows)
    found = model.contributions(some)
    told = drivers(found, some.features, some.feature_names)
    return {"unit": found.unit, "customers": len(rows), "features": [asdict(d) for d in told[:SHOWN]]}


def _against_training(run: RunFolder, said: Said, tables: Mapping[str, pa.Table], confidence: float) -> dict[str, Any]:
    """`rates` at each cutoff whose window is over, and `drift`, from what the model learned from to now."""
    told = run.told
    if context.known_per_cutoff(told):  # customers of then are others than those of now
        return {"rates": _rates(tables, None), "drift": None}
    trained_on = context.prepared_of(run.manifest)
    windows = windows_of(told, trained_on)
    learned = windows.every["rolling" if run.manifest.get("refit") else "train"]
    then = cohort_at(told, [trained_on], windows, learned)
    return {"rates": _rates(tables, then), "drift": _drift(then, said, trained_on, confidence)}


def _drift(then: Cohort, said: Said, prepared: Prepared, confidence: float) -> dict[str, Any] | None:
    now = said.cohort
    if then.feature_names != now.feature_names or not len(then):
        return None
    moved = shifts(then.features, now.features, now.feature_names)
    apart = told_apart(
        then.features, now.features, then.customer, now.customer, now.feature_names, confidence=confidence
    )
    cutoffs = np.unique(then.cutoff)
    return {
        "from": iso(int(cutoffs[0])), "to": iso(int(cutoffs[-1])), "rows": len(then), "now": len(now),
        "features": [asdict(s) | {"moved": s.moved} for s in moved[:SHOWN]],
        "of": len(moved), "moved": sum(s.moved for s in moved),
        "told_apart": None if apart is None else asdict(apart),
    }  # fmt: skip


def _rates(tables: Mapping[str, pa.Table], then: Cohort | None) -> list[dict[str, Any]]:
    """Mean label at each cutoff, oldest first, and whether a model was judged there or learned from it.

    Shares come with their 95 % interval.
    """
    of: dict[int, tuple[str, np.ndarray]] = {}
    if then is not None and then.label is not None:
        of |= {int(t): ("learned from", then.label[then.cutoff == t]) for t in np.unique(then.cutoff)}
    for part, table in tables.items():
        time, label = table["instant"].cast(pa.int64()).to_numpy(), floats(table, kind_of(table).truth[0])
        of |= {int(t): (part, label[time == t]) for t in np.unique(time)}
    rows = []
    for t in sorted(of):
        part, label = of[t]
        row = {"cutoff": iso(t), "part": part, "n": len(label), "rate": float(label.mean()), "low": None, "high": None}
        if set(np.unique(label).tolist()) <= {0.0, 1.0}:
            bounds = wilson(np.array([label.mean()]), np.array([len(label)]))
            row |= {name: float(bound[0]) for name, bound in zip(("low", "high"), bounds, strict=True)}
        rows.append(row)
    return rows
