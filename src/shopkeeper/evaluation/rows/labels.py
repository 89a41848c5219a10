"""Rows about labels: what a model says of each customer at a cutoff, and what then happened.

Beside who was asked: `label` float64, `probability` float64 (null where blank), `blank_reason` str ("" where scored),
`log_loss` and `brier` float64 (null where blank).

Shapes: n rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.slices import banded, user_attributes
from shopkeeper.evaluation.table import SLICE, batch_of, who
from shopkeeper.metrics.classification import brier_rows, log_loss_rows
from shopkeeper.tasks.base import CUSTOMER_SLICES, Bands
from shopkeeper.timeline import iso


def cohort_hash(cohort: Cohort, user_ids: Sequence[str]) -> str:
    """SHA-256 over the sorted (external user, instant, label): two tables with the same hash answer the same task."""
    assert cohort.label is not None
    rows = zip(cohort.customer.tolist(), cohort.cutoff.tolist(), cohort.label.tolist(), strict=True)
    lines = sorted(f"{user_ids[u - 1]}\t{iso(t)}\t{y:g}" for u, t, y in rows)
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
        UserError: a probability outside [0, 1] or infinite, or NaN without a reason.
    """
    assert cohort.label is not None, "a cohort without labels cannot be evaluated"
    n, p = len(cohort), np.asarray(predictions.probability, np.float64)
    assert len(p) == n
    user_ids = prepared.users["user_id"].combine_chunks()
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

    kinds = banded(cohort, slices) | user_attributes(prepared, cohort.customer, cohort.cutoff)
    columns: dict[str, pa.Array] = {
        **who(user_ids, 0, cohort.customer, cohort.cutoff, cohort.end - cohort.start),
        "label": pa.array(cohort.label.astype(np.float64)),
        "probability": pa.array(np.where(scored, p, 0.0), mask=~scored),
        "blank_reason": pa.array(reason.tolist(), pa.string()),
        "log_loss": where_scored(log_loss_rows),
        "brier": where_scored(brier_rows),
        **{f"{SLICE}{name}": pa.array(values.tolist(), pa.string()) for name, values in kinds.items()},
    }
    known = {} if "target_hash" in metadata else {"target_hash": cohort_hash(cohort, user_ids.to_pylist())}
    return pa.Table.from_batches([batch_of(columns, {**known, **metadata, "horizon_days": cohort.horizon_days})])
