"""From a frame of customers with a label to what a `conf/dataset/*.yaml` says of it: one row each, no log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.api.frames import as_arrow, as_ids
from shopkeeper.errors import UserError, nearest
from shopkeeper.models.about import PROBABILITIES
from shopkeeper.tasks.base import CUSTOMERS
from shopkeeper.tasks.find import find_task

log = logging.getLogger(__name__)
POSITIVE = ("1", "true", "yes", "y")  # of two values of a label, what is taken for 1 where nobody says
SPLIT = "customers"


def describe_customers(
    frame: Any,
    *,
    label: str,
    customer: str | None,
    positive: Any,
    task: str,
    features: Sequence[str] | None,
    name: str,
    settings: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """The settings of a dataset and the table that they speak of; arguments as of `Dataset.from_customers`."""
    named = [label] if customer is None else [customer, label]
    whole = as_arrow(frame, None if features is None else list(dict.fromkeys([*named, *features])))
    if customer is not None and customer not in whole.column_names:  # a level of the index
        ids = as_arrow(frame, [customer])
        whole = whole.append_column(customer, ids[customer])
    if label not in whole.column_names:
        raise UserError(f"there is no column '{label}'.{nearest(label, whole.column_names)}")
    if not len(whole):
        raise UserError("the frame has no rows; give some")
    if label == customer:
        raise UserError(f"customer and label are both column '{label}'; say which column is whose")
    if customer is not None:
        at = whole.column_names.index(customer)
        whole = whole.set_column(at, customer, as_ids(whole[customer], customer))
    numbers, categories = _kinds(whole, [c for c in whole.column_names if c not in (label, customer)])
    if not numbers and not categories:
        raise UserError("no column tells of a customer; give some beside the label")
    spec: dict[str, Any] = {
        "name": name,
        "raw": {"folder": name, "files": ["customers.parquet"]},
        "reader": {"format": "parquet"},
        "columns": {} if customer is None else {"user_id": customer},
        "table": {"labels": {task: _label(whole[label], label, positive, task)},
                  "numbers": numbers, "categories": categories},
        "filters": {},
    }  # fmt: skip
    kept = [*named, *numbers, *categories]
    for key, value in settings.items():
        base = spec.get(key)
        spec[key] = {**base, **value} if isinstance(base, Mapping) and isinstance(value, Mapping) else value
    return spec, {"customers": whole.select(kept)}


def _kinds(table: pa.Table, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Columns that are numbers, and those that are names; times say nothing by themselves and are left out."""
    numbers, categories = list[str](), list[str]()
    for name in names:
        kind = table[name].type
        if pa.types.is_temporal(kind):
            log.warning("column '%s' holds times and is left out; give the days until a moment instead", name)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            numbers.append(name)
        elif not pa.types.is_null(kind):
            categories.append(name)
    return numbers, categories


def _label(column: pa.ChunkedArray, name: str, positive: Any, task: str) -> dict[str, Any]:
    """What of the label's column is 1, where the task says probabilities; its numbers else."""
    found = find_task({"name": task}, ())
    if found.asks != CUSTOMERS or found.truth is None:
        raise UserError(f"task={task} is not asked about customers; choose one that is, such as churn or spend")
    if found.truth.answers != PROBABILITIES:
        if positive is not None:
            raise UserError(f"task={task} takes numbers, and positive={positive!r} names one value; leave it out")
        return {"column": name}
    if pa.types.is_floating(column.type):  # whole numbers that a missing one has made floats
        try:
            column = as_ids(column, name)
        except UserError:
            raise UserError(
                f"column '{name}' holds numbers with fractions, and task={task} is of two values, yes and no; name "
                f"another label, or a task of amounts: task='spend'"
            ) from None
    values = [v for v in pc.unique(column.cast(pa.string())).to_pylist() if v is not None]
    if not values:
        raise UserError(f"column '{name}' holds no value at all; name the column that has the label")
    if positive is None:
        one = [value for value in values if value.strip().lower() in POSITIVE]
        if len(one) != 1 or len(values) != 2:
            shown = ", ".join(map(repr, sorted(values)[:6]))
            raise UserError(f"column '{name}' holds {shown}; say which of them is the label: positive=…")
        return {"column": name, "one": one[0]}
    text = str(pa.array([positive]).cast(pa.string())[0])
    if text not in values:
        raise UserError(f"column '{name}' holds no {positive!r}.{nearest(text, values)}")
    return {"column": name, "one": text}
