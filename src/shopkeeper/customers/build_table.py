"""Cohorts from a table of customers: who is asked, what the table says of them, and what is true.

Shapes: n customers, U customers of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.customers.base import Cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.features.table import OTHERS, UNKNOWN, Columns, Encoding
from shopkeeper.metrics.classification import auroc

TELLS = 0.98  # AUROC of a column alone above which it may be the label in disguise


def columns_of(users: pa.Table) -> Columns:
    """The columns of a prepared table of customers: numbers float64 with NaN, categories objects with None."""
    found: dict[str, Any] = {}
    for name in users.column_names:
        if name in ("user", "user_id"):
            continue
        column = users[name].combine_chunks()
        if pa.types.is_floating(column.type):
            found[name] = column.fill_null(np.nan).to_numpy(zero_copy_only=False)
        else:
            found[name] = np.array(column.to_pylist(), object)
    return found


def encoding_of(columns: Columns, rows: np.ndarray) -> Encoding:
    """How columns become features, as the training rows (positions) say."""
    numbers = [name for name, values in columns.items() if values.dtype != object]
    return Encoding.of(columns, numbers, [name for name in columns if name not in numbers], rows)


def label_of(prepared: Prepared, task: str) -> np.ndarray:
    """What is true of every customer, float64 (U,); NaN where it is not known."""
    return np.asarray(prepared.labels[task].combine_chunks().fill_null(np.nan).to_numpy(zero_copy_only=False))


def times_of(prepared: Prepared) -> np.ndarray | None:
    """When each customer's row was written, int64 (U,) µs; None where the table does not say."""
    time = prepared.events.timestamp
    return None if time is None else np.asarray(time[prepared.offsets[:-1]])


def table_cohort(
    prepared: Prepared, columns: Columns, encoding: Encoding, rows: np.ndarray, label: np.ndarray | None, answers: str
) -> Cohort:
    """The customers at some positions; `label` (U,): of all customers, None where nobody asks what is true."""
    time = times_of(prepared)
    at = np.zeros(len(rows), np.int64) if time is None else time[rows]
    return Cohort(
        customer=(rows + 1).astype(np.int32),
        cutoff=at,
        features=encoding.features({name: values[rows] for name, values in columns.items()}),
        feature_names=encoding.names,
        events=prepared.events,
        start=prepared.offsets[rows],
        end=prepared.offsets[rows + 1],
        observed_until=at,
        label=None if label is None else label[rows],
        answers=answers,
        encoding=encoding,
    )


def unknown_everywhere(columns: Columns) -> list[str]:
    """Columns of which nothing is known of anybody."""
    empty = {
        name: np.array([v is None for v in values]) if values.dtype == object else np.isnan(values)
        for name, values in columns.items()
    }
    return [name for name, mask in empty.items() if mask.all()]


def in_disguise(columns: Columns, encoding: Encoding, rows: np.ndarray, label: np.ndarray) -> list[tuple[str, float]]:
    """Columns that alone tell label 1 from label 0 (AUROC of at least `TELLS` over some rows), and how well.

    A category counts by the share of label 1 among the other half of the rows, so that rare values tell nothing.
    """
    y = label[rows]
    if not 0 < (y > 0.5).sum() < len(y):
        return []
    x_nF = encoding.features({name: values[rows] for name, values in columns.items()})
    place = {name: number for number, name in enumerate(encoding.names)}
    found = []
    for name, _ in encoding.numbers:
        x = x_nF[:, place[name]]
        gone = np.isnan(x)
        by_value = [np.where(gone, side, x) for side in (-np.inf, np.inf)]  # what is unknown may itself tell
        told = max(_either(y, by) for by in by_value)
        found.append((name, told))
    half = np.random.default_rng(0).random(len(y)) < 0.5  # by chance: rows may alternate
    for name, values in encoding.categories:
        own = x_nF[:, [place[f"{name}={value}"] for value in (*values, OTHERS, UNKNOWN)]]
        n, ones = own[half].sum(axis=0), (own[half] * y[half, None]).sum(axis=0)
        share = (ones + y[half].mean()) / (n + 1)
        if 0 < (y[~half] > 0.5).sum() < (~half).sum():
            found.append((name, float(auroc(y[~half], (own[~half] * share).sum(axis=1)))))
    return sorted(((name, told) for name, told in found if told >= TELLS), key=lambda one: -one[1])


def _either(label: np.ndarray, value: np.ndarray) -> float:
    """AUROC of a value, whichever way round it tells."""
    kinds, place = np.unique(value, return_inverse=True)
    told = float(auroc(label, place / max(len(kinds) - 1, 1)))
    return max(told, 1 - told)


def alarm_of(found: Sequence[tuple[str, float]], dataset: str) -> str | None:
    """What is said of columns that may be the label in disguise; None without any."""
    if not found:
        return None
    names = ", ".join(f"{name} (AUROC {told:.3f})" for name, told in found[:5])
    return (
        f"of dataset={dataset} one column alone tells the label: {names}; if it is known only once the label is, take "
        f"it out of the dataset's table"
    )


def as_row(columns: Mapping[str, Any], row: int) -> dict[str, Any]:
    """One customer as a client writes it: what is known, by column."""
    said = {name: values[row] for name, values in columns.items()}
    return {name: float(value) if isinstance(value, float) else str(value) for name, value in said.items()
            if value is not None and not (isinstance(value, float) and np.isnan(value))}  # fmt: skip
