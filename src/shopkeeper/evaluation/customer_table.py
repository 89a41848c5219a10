"""The table of a customer model: one row per (customer, cutoff). Every number, interval and comparison comes from it.

Columns: request int64, user int32, user_id str, instant timestamp[us, UTC], n_history int32, label float64,
probability float64 (null where blank), blank_reason str ("" where scored), log_loss and brier float64 (null where
blank), slice columns `slice:…`. The schema's metadata (JSON under b"shopkeeper") says which dataset, model and
target it belongs to.

Intervals are percentile bootstrap over customers: a customer who stands at several cutoffs is drawn with all rows.

Shapes: n rows, C customers, R resamples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.profit import Profit
from shopkeeper.evaluation.resampling import drawn
from shopkeeper.evaluation.slices import user_attributes
from shopkeeper.evaluation.table import KEY
from shopkeeper.metrics.classification import (
    BrierParts,
    auroc,
    average_precision,
    brier,
    brier_decomposition,
    brier_rows,
    log_loss,
    log_loss_rows,
)
from shopkeeper.metrics.classification_gains import lift_quality
from shopkeeper.metrics.classification_reliability import ece, ece_if_calibrated
from shopkeeper.timeline import iso

RESAMPLES = 1000
CELLS = 200_000  # rows x resamples worked on at once: stays in the cache

Aggregate = Callable[[np.ndarray, np.ndarray, "np.ndarray | None"], np.ndarray]
AGGREGATES: dict[str, Aggregate] = {
    "auroc": auroc,
    "average_precision": average_precision,
    "log_loss": log_loss,
    "brier": brier,
    "ece": ece,
    "lift_quality": lift_quality,
}


def cohort_hash(cohort: Cohort, user_ids: Sequence[str]) -> str:
    """SHA-256 over the sorted (external user, instant, label): two tables with the same hash answer the same task."""
    assert cohort.label is not None
    rows = zip(cohort.customer.tolist(), cohort.cutoff.tolist(), cohort.label.tolist(), strict=True)
    lines = sorted(f"{user_ids[u - 1]}\t{iso(t)}\t{y:g}" for u, t, y in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def customer_table(
    prepared: Prepared, cohort: Cohort, predictions: Predictions, metadata: Mapping[str, Any]
) -> pa.Table:
    """The table of one model on one labelled cohort.

    Args:
        prepared: the dataset, for the external user ids.
        cohort: n rows with labels.
        predictions: of the same n rows.
        metadata: dataset, split, protocol, part, model, task, seed. `horizon_days` is added, and `target_hash`
            where it is absent.

    Raises:
        UserError: a probability outside [0, 1] or infinite, or NaN without a reason.
    """
    assert cohort.label is not None, "a cohort without labels cannot be evaluated"
    n, p = len(cohort), np.asarray(predictions.probability, np.float64)
    assert len(p) == n
    user_ids = prepared.users["user_id"].to_pylist()
    reason = np.full(n, "") if predictions.blank_reason is None else predictions.blank_reason
    scored = ~np.isnan(p)
    if np.any(~scored & (reason == "")):
        n_bare = int(np.sum(~scored & (reason == "")))
        raise UserError(f"{n_bare} scores are NaN without a reason; set the model's blank_reason for these")
    if np.any((p[scored] < 0) | (p[scored] > 1)):
        raise UserError("probabilities must lie in [0, 1]; calibrate the model's scores")

    def where_scored(rows: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> pa.Array:
        values = np.zeros(n)
        values[scored] = rows(cohort.label[scored], p[scored])  # type: ignore[index]
        return pa.array(values, mask=~scored)

    slices = customer_slices(cohort) | user_attributes(prepared, cohort.customer, cohort.cutoff)
    columns: dict[str, Any] = {
        "request": np.arange(n, dtype=np.int64),
        "user": cohort.customer.astype(np.int32),
        "user_id": pa.array([user_ids[u - 1] for u in cohort.customer.tolist()], pa.string()),
        "instant": pa.array(cohort.cutoff, pa.timestamp("us", tz="UTC")),
        "n_history": (cohort.end - cohort.start).astype(np.int32),
        "label": cohort.label.astype(np.float64),
        "probability": pa.array(np.where(scored, p, 0.0), mask=~scored),
        "blank_reason": pa.array(reason.tolist(), pa.string()),
        "log_loss": where_scored(log_loss_rows),
        "brier": where_scored(brier_rows),
        **{f"slice:{name}": pa.array(values.tolist(), pa.string()) for name, values in slices.items()},
    }
    meta = {"target_hash": cohort_hash(cohort, user_ids), **metadata, "horizon_days": cohort.horizon_days}
    return pa.table(columns).replace_schema_metadata({KEY: json.dumps(meta, sort_keys=True)})


def customer_slices(cohort: Cohort) -> dict[str, np.ndarray]:
    """Kinds of customers, from what was known at the cutoff: number of orders, and days since the last one."""
    column = dict(zip(cohort.feature_names, cohort.features.T, strict=True))
    slices = {}
    if "orders" in column:
        slices["orders"] = _band(column["orders"], (2, 4, 10), ("1", "2-3", "4-9", "10+"))
    if "days_since_order" in column:
        recency = np.nan_to_num(column["days_since_order"], nan=np.inf)
        slices["recency"] = _band(recency, (30, 60, 90), ("under 30 days", "30-59 days", "60-89 days", "90+ days"))
    return slices


def _band(values: np.ndarray, edges: tuple[float, ...], names: tuple[str, ...]) -> np.ndarray:
    return np.array(names)[np.digitize(values, edges)]


def summarise_customers(
    table: pa.Table, resamples: int = RESAMPLES, confidence: float = 0.95, seed: int = 0, profit: Profit | None = None
) -> dict[str, dict[str, float | int | None]]:
    """Metrics with intervals (`confidence`) by customer, over the rows that have a score.

    Gives auroc, average_precision, base_rate (what average precision is for random scores), log_loss, brier and its
    parts `brier_miscalibration - brier_discrimination + brier_uncertainty` (no interval: they are fitted), ece,
    lift_quality, `emp` (expected maximum profit per customer; only with the shop's own `profit`), `ece_if_calibrated`
    (what a perfectly calibrated model would show at this n, with the interval of that simulation), `scored` (share of
    rows with a score). Each is {"value", "low", "high", "n"}; a metric that is undefined (one class only) has nulls. A
    resample adds noise to the noise of the sample, and calibration error only grows by it: its interval is moved back
    by the mean excess.
    """
    label, p, customer, n_blank = _scored(table)
    n, money = len(label), ["emp"] if profit else []
    if n == 0:
        nothing = {name: _entry(np.nan, None, 0) for name in (*AGGREGATES, "base_rate", *money, "ece_if_calibrated")}
        nothing |= {f"brier_{name}": _entry(np.nan, None, 0) for name in BrierParts._fields}
        return nothing | {"scored": _entry(0.0, None, n_blank)}
    resampled: dict[str, list[np.ndarray]] = {name: [] for name in [*AGGREGATES, "base_rate", *money]}
    for w_Rn in customer_weights(customer, resamples, seed):
        for name, metric in AGGREGATES.items():
            if name != "lift_quality":
                resampled[name].append(metric(label, p, w_Rn))
        resampled["lift_quality"].append(2 * resampled["auroc"][-1] - 1)
        resampled["base_rate"].append((w_Rn @ label) / w_Rn.sum(axis=1))
        if profit:
            resampled["emp"].append(np.array([profit.per_customer(label, p, w_n) for w_n in w_Rn]))
    values = {name: float(metric(label, p, None)) for name, metric in AGGREGATES.items()}
    values["base_rate"] = float(label.mean())
    if profit:
        values["emp"] = profit.per_customer(label, p)
    draws = {name: np.concatenate(resampled[name]) for name in values}
    draws["ece"] = np.maximum(draws["ece"] + (values["ece"] - draws["ece"].mean()), 0.0)
    several = bool(customer.max() > 0)  # one customer says nothing of others
    summary = {name: _entry(values[name], draws[name] if several else None, n, confidence) for name in values}
    parts = brier_decomposition(label, p)._asdict()
    summary |= {f"brier_{name}": _entry(value, None, n) for name, value in parts.items()}
    calibrated = ece_if_calibrated(p, seed=seed)
    summary["ece_if_calibrated"] = {"value": calibrated.value, "low": calibrated.low, "high": calibrated.high, "n": n}
    summary["scored"] = _entry(n / (n + n_blank), None, n + n_blank)
    return summary


def _scored(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Label, probability and customer number (0..C-1) of the rows with a score, highest first; how many have none."""
    p = float_column(table, "probability")
    rows = np.argsort(-p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN comes last
    customer = np.unique(table["user_id"].to_numpy(zero_copy_only=False)[rows], return_inverse=True)[1]
    return float_column(table, "label")[rows], p[rows], customer, len(p) - len(rows)


def float_column(table: pa.Table, column: str) -> np.ndarray:
    """A column as float64, null as NaN."""
    return np.asarray(table[column].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def customer_weights(customer: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row is drawn when customers are drawn with replacement: float64 (R, n), in chunks."""
    n_customers = int(customer.max()) + 1
    chunk = max(1, CELLS // max(len(customer), n_customers))
    for weight in drawn(n_customers, resamples, seed, chunk):
        yield weight[:, customer]


def _entry(
    value: float, resampled_R: np.ndarray | None, n: int, confidence: float = 0.95
) -> dict[str, float | int | None]:
    """{"value", "low", "high", "n"}, with None for what is not a number (JSON has no NaN)."""
    usable = np.zeros(0) if resampled_R is None else resampled_R[~np.isnan(resampled_R)]
    tails = (0.5 - confidence / 2, 0.5 + confidence / 2)
    low, high = (float(x) for x in np.quantile(usable, tails)) if len(usable) else (None, None)
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "n": n}
    return {"value": value, "low": low, "high": high, "n": n}
