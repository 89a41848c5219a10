"""Names of what lies inside of a file's columns, and how it is taken out.

    a              a column, whatever its name is made of
    a.b            field b of column a; a.b.c a field of that
    a[b]           the value that b has in a list of keys and values: `event_params[ga_session_id]`
    items.id       where `rows.explode` names the list `items`: the field of each entry

Keys and values are entries with a field `key` or `name` and a field `value`, or a map. A value that is a record of
which one field is filled (`{string_value, int_value, …}`) is that field. A column whose name is the whole text comes
first, so that flat files keep names with points.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

_ENTRY = re.compile(r"^(.+)\[([^\[\]]+)\]$")
KEYS = ("key", "name")
VALUE = "value"
TYPED = ("string_value", "int_value", "float_value", "double_value")  # fields of a value of Google Analytics
# The first field of a record in JSON that holds anything.
_FILLED = r':\s*(?:"((?:[^"\\]|\\.)+)"|(-?[0-9][0-9.eE+-]*|true|false))'


@dataclass(frozen=True)
class Place:
    """Where a name leads: a column of the file, fields inside of it, and the key of an entry there."""

    column: str
    inside: tuple[str, ...] = ()
    key: str | None = None


def place(name: str, have: Collection[str]) -> Place:
    """Where a name leads in a file with the columns `have`; the longest of them that it begins with.

    >>> place("items.item_id", ["items"])
    Place(column='items', inside=('item_id',), key=None)
    >>> place("event_params[page]", ["event_params"]).key
    'page'
    >>> place("a.b", ["a.b"])
    Place(column='a.b', inside=(), key=None)
    """
    if name in have:
        return Place(name)
    entry = _ENTRY.match(name)
    path, key = (entry[1], entry[2]) if entry else (name, None)
    parts = path.split(".")
    for n in range(len(parts), 0, -1):
        if (column := ".".join(parts[:n])) in have:
            return Place(column, tuple(parts[n:]), key)
    return Place(parts[0], tuple(parts[1:]), key)


@dataclass
class _Tree:
    """What is wanted of a value: its fields, and whether it is a list of such values."""

    fields: dict[str, _Tree] = field(default_factory=dict)
    many: bool = False

    def down(self, inside: Iterable[str]) -> _Tree:
        tree = self
        for name in inside:
            tree = tree.fields.setdefault(name, _Tree())
        return tree

    def kind(self) -> pa.DataType:
        one = pa.struct({k: v.kind() for k, v in self.fields.items()}) if self.fields else pa.string()
        return pa.list_(one) if self.many else one


def kinds(names: Iterable[str], lists: Iterable[str], have: Collection[str]) -> dict[str, pa.DataType]:
    """The columns in which names lie, each as the smallest type that holds all that is wanted of it, leaves as text.

    >>> kinds(["t", "items.id"], ["items"], ["t", "items"])["items"]
    ListType(list<item: struct<id: string>>)
    """
    root = _Tree()
    for name in names:
        at = place(name, have)
        tree = root.down((at.column, *at.inside))
        if at.key is not None:
            tree.many = True
            tree.down(KEYS[:1]), tree.down(KEYS[1:]), tree.down((VALUE,))
    for name in lists:
        at = place(name, have)
        root.down((at.column, *at.inside)).many = True
    return {name: tree.kind() for name, tree in root.fields.items()}


def with_records(kind: pa.DataType, examples: Collection[Any]) -> pa.DataType:
    """A type in which values of keys are the records that they are in some examples of JSON, each field as text.

    A value that is no record in every example stays text: Polars writes a record that is read as text without
    escaping what is inside of it, so that it is read as one where that is known.
    """
    some = [value for value in examples if value is not None]
    if pa.types.is_list(kind):
        return pa.list_(with_records(kind.value_type, [v for value in some if isinstance(value, list) for v in value]))
    if not pa.types.is_struct(kind):
        return kind
    inside = [value for value in some if isinstance(value, dict)]
    fields = {field.name: with_records(field.type, [value.get(field.name) for value in inside]) for field in kind}
    values = [value[VALUE] for value in inside if value.get(VALUE) is not None]
    if fields.get(VALUE) == pa.string() and set(KEYS) <= set(fields) and all(isinstance(v, dict) for v in values):
        names = dict.fromkeys(name for value in values for name in value)
        names |= dict.fromkeys(TYPED if names.keys() & set(TYPED) else ())
        fields[VALUE] = pa.struct(dict.fromkeys(names, pa.string())) if names else pa.string()
    return pa.struct(fields)


def inner(column: pa.Array, inside: Iterable[str]) -> pa.Array | None:
    """Fields inside of records, null where a record is; None where there is no such field."""
    for name in inside:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(name) < 0:
            return None
        column = pc.struct_field(column, name)
    return column


def entry(column: pa.Array, key: str) -> pa.Array:
    """The value that a key has in each list of keys and values, as text; the first where it stands there twice."""
    n = len(column)
    keys, values, first = _pairs(column)
    hit = np.flatnonzero(pc.fill_null(pc.equal(keys, key), False).to_numpy(zero_copy_only=False))
    row = np.searchsorted(first, hit, side="right") - 1
    row, at = np.unique(row, return_index=True)
    where = np.full(n, -1, np.int64)
    where[row] = np.arange(len(row))
    found = _as_text(values.take(pa.array(hit[at])))
    return found.take(pa.array(where, mask=where < 0))


def _pairs(column: pa.Array) -> tuple[pa.Array, pa.Array, np.ndarray]:
    """Keys and values of all rows, one behind the other, and where each row's begin."""
    if pa.types.is_map(column.type):
        pairs = pa.StructArray.from_arrays([column.keys, column.items], [KEYS[0], VALUE])
        column = pa.ListArray.from_arrays(column.offsets, pairs)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    first = np.cumsum(lengths) - lengths
    flat = column.flatten()
    named = [pc.struct_field(flat, k).cast(pa.string()) for k in KEYS if flat.type.get_field_index(k) >= 0]
    keys = named[0] if len(named) == 1 else pc.coalesce(*named)
    return keys, pc.struct_field(flat, VALUE), first


def _as_text(values: pa.Array) -> pa.Array:
    if pa.types.is_struct(values.type):
        parts = [pc.struct_field(values, i).cast(pa.string()) for i in range(values.type.num_fields)]
        return pc.coalesce(*(pc.if_else(pc.equal(part, ""), None, part) for part in parts))
    text = values.cast(pa.string())
    records = pc.fill_null(pc.starts_with(text, "{"), False)
    if not pc.any(records).as_py():
        return text
    groups = pl.Series(pl.from_arrow(text)).str.extract_groups(_FILLED).struct.unnest()
    filled = pa.array(groups.to_series(0).fill_null(groups.to_series(1)).to_arrow(), pa.string())
    return pc.if_else(records, _unescaped(filled), text)


def _unescaped(text: pa.Array) -> pa.Array:
    """JSON's text without its escapes, which few values have."""
    escaped = np.flatnonzero(pc.fill_null(pc.match_substring(text, "\\"), False).to_numpy(zero_copy_only=False))
    if not len(escaped):
        return text
    values = text.to_pylist()
    for i in escaped.tolist():
        try:
            values[i] = json.loads(f'"{values[i]}"')
        except ValueError:  # of a record that Polars wrote as text, in which quotes alone are escaped
            values[i] = values[i].replace('\\"', '"')
    return pa.array(values, pa.string())
