"""A plain table of customers in place of a log: one row each, with attributes and what is to be foretold.

    table:
      labels: {<task>: {column: Left, one: "Yes", zero: "No"}, <another task>: {column: Spent}}
      numbers: [tenure, MonthlyCharges]
      categories: [Contract, PaymentMethod]
      missing: ["?"]
      repeated: refuse

labels      task: the column that answers it. Of a probability: which value (or values) is label 1; `zero` may be left
            out where the column holds one other value. Of counts and amounts: numbers. Blank: not known, such a row is
            never trained or judged on, and scored
numbers     columns that are numbers; categories: that are names
missing     texts beside the blank that stand for what is not known
repeated    what is done where a customer has several rows: refuse (default), or keep the first or the last of them

`columns.user_id` names the column of ids; without it rows are numbered. `columns.timestamp` says when a row was
written, where a division by time shall go by it. To the rest of the house such a table is a log in which every
customer has one event, so that ids, erasure, pseudonyms, rejected rows and hashes are those of logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError
from shopkeeper.ids.spelling import normal_id
from shopkeeper.ingest.block import Block
from shopkeeper.ingest.dataset_parts import Label, Table
from shopkeeper.shapes import Yaml

if TYPE_CHECKING:
    from shopkeeper.ingest.log import Log

ROW = "row number"  # the column of ids of a table that has none
SHOWN = 6  # values in a message


def as_log(plain: Yaml) -> dict[str, Any]:
    """A dataset's config with `table` written as that of a log in which each customer has one event."""
    table = plain["table"]
    where = f"conf/dataset/{plain['name']}.yaml"
    labels, features = [str(spec["column"]) for spec in table["labels"].values()], list(_features(table))
    for name in features:
        if features.count(name) > 1:
            raise UserError(f"{where}: table names the column '{name}' twice; keep it once, in numbers or categories")
        if name in labels:
            raise UserError(f"{where}: table.labels and the features both name '{name}'; drop it from the features")
    if not features:
        raise UserError(f"{where}: table names no column that tells of a customer; fill table.numbers or categories")
    columns = {"user_id": ROW, **(plain.get("columns") or {})}
    if columns["user_id"] in features:
        raise UserError(f"{where}: '{columns['user_id']}' is the id of customers and among the features; take it out")
    carried = {name: name for name in dict.fromkeys([*features, *labels])}
    return {
        **plain,
        "columns": columns,
        "constants": {"item_id": "row", **(plain.get("constants") or {})},
        "event_type": "view",
        "users": {"from_events": carried},
    }


def _features(table: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("numbers", "categories"):
        yield from map(str, table.get(kind) or ())


def with_rows(block: Block, prefix: str) -> Block:
    """The block with the number of each row in its file as a column; read as text, whose rows are always known."""
    block = block if block.reread is None else block.reread()
    numbers = block.row_of(np.arange(len(block.table)))
    ids = pa.array([f"{prefix}{n}" for n in numbers.tolist()], pa.string()).dictionary_encode()
    return replace(block, table=block.table.append_column(ROW, ids), reread=None)


def one_row_each(log: Log, table: Table, name: str) -> dict[str, Any]:
    """Keep one row of each customer in place; what was done, for the manifest.

    Raises:
        UserError: a customer has several rows, and nobody said which one counts.
    """
    users, how = log.user, table.repeated
    order = np.arange(len(users))
    kept = np.zeros(len(users), bool)
    turned = order[::-1] if how == "last" else order
    kept[turned[np.unique(users[turned], return_index=True)[1]]] = True
    again = int((~kept).sum())
    if again and how == "refuse":
        first = log.ids["user_id"].values[int(users[~kept][0])].as_py()
        raise UserError(
            f"dataset '{name}': {again:,} of {len(users):,} rows are of a customer who has a row already, e.g. "
            f"'{first}'; leave one row for each, or say which one counts: table.repeated: first (or last)"
        )
    log.keep(kept)
    return {"repeated": {"kept": how, "rows_left_out": again}} if again else {}


def divided(users: pa.Table, table: Table, name: str, decimal: str | None) -> tuple[pa.Table, pa.Table]:
    """The table of customers with its columns as declared, and a table of labels: `user`, then a column per task.

    Raises:
        UserError: a number that is none, contact keys among the features, or a label column that does not hold two
            values.
    """
    from shopkeeper.ingest.values import check_no_contact_keys

    missing = {normal_id(x) for x in table.missing}
    label = {"user": users["user"]}
    for task, spec in table.labels.items():
        texts = _known(users[spec.column], missing)
        found = _numbers(texts, spec.column, name, decimal) if spec.one is None else _two(texts, spec, task, name)
        label[task] = pa.array(found, mask=np.isnan(found))
    kept = {key: users[key] for key in ("user", "user_id")}
    for column in table.numbers:
        value = _numbers(_known(users[column], missing), column, name, decimal)
        kept[column] = pa.array(value, mask=np.isnan(value))
    for column in table.categories:
        texts = pa.array(_known(users[column], missing), pa.string())
        check_no_contact_keys(column, texts, f"dataset '{name}'", "take it out of table.categories")
        kept[column] = texts
    return pa.table(kept), pa.table(label)


def _known(column: pa.ChunkedArray, missing: set[str]) -> list[str | None]:
    return [None if text is None or normal_id(text) in missing else text for text in column.to_pylist()]


def _numbers(texts: list[str | None], column: str, name: str, decimal: str | None) -> np.ndarray:
    from shopkeeper.ingest.values import as_floats

    value, bad = as_floats(pa.array(texts, pa.string()), decimal)
    if bad.any():
        first = texts[int(np.flatnonzero(bad)[0])]
        raise UserError(
            f"dataset '{name}': column '{column}' shall be numbers and holds {first!r:.60} ({int(bad.sum()):,} rows "
            f"are no numbers); move it to table.categories, or name the text in table.missing"
        )
    return value


def _two(texts: list[str | None], spec: Label, task: str, name: str) -> np.ndarray:
    """1 where a text is one of `one`, 0 where of `zero` (or the only other), NaN where nothing is known."""
    column, said = spec.column, np.array(["" if text is None else normal_id(text) for text in texts], object)
    held = {str(kind): int((said == kind).sum()) for kind in sorted(set(said.tolist())) if kind}
    one, zero = (
        {normal_id(x) for x in (value if isinstance(value, list) else [value])} if value is not None else set()
        for value in (spec.one, spec.zero)
    )
    if both := sorted(one & zero):
        raise UserError(f"dataset '{name}': table.labels.{task} has '{both[0]}' as one and as zero; keep it in one")
    others = set(held) - one
    shown = ", ".join(f"{kind!r:.40} ({n:,})" for kind, n in list(held.items())[:SHOWN])
    shown += " …" if len(held) > SHOWN else ""
    where = f"dataset '{name}': the label column '{column}' of {task} holds {shown or 'nothing'}"
    if not one & set(held):
        raise UserError(f"{where} and never {', '.join(sorted(one))}; correct table.labels.{task}.one")
    if not zero and len(others) > 1:
        raise UserError(
            f"{where}: more than two values; say which are label 0: table.labels.{task}.zero: "
            f"[{', '.join(sorted(others))}], or name in table.missing what means that nothing is known"
        )
    if zero and (strange := sorted(others - zero)):
        raise UserError(
            f"{where}; '{strange[0]}' is neither label 1 nor 0: add it to table.labels.{task}.one or zero, or to "
            f"table.missing, where it means that nothing is known"
        )
    label = np.where(np.isin(said.astype(str), sorted(one)), 1.0, 0.0)
    label[said == ""] = np.nan
    return label
