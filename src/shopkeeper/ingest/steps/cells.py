"""Steps over cells in which a shop packs lines of an order: all of them into one, or each into one of its own."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pyarrow as pa

from shopkeeper.ingest.cells import lists
from shopkeeper.ingest.steps.settings import Split, Stack
from shopkeeper.ingest.steps.step import AT, Shaped, Spoiled, Tools, texts

LINE, KEY = "\x1e", "\x1f"  # no export holds them: separators of records and of units


def split(frame: pl.DataFrame, told: Split, tools: Tools) -> Shaped:
    """A row per line of the cell; one that does not begin as a line does is spoiled, a blank one is a blank line."""
    as_json = texts(frame, told.column).str.contains(r"^\[\s*[{\]]").fill_null(False)
    if not as_json.any():
        return _packed(frame, told)
    packed, listed = _packed(frame.filter(~as_json), told), _listed(frame.filter(as_json), told)
    both = pl.concat([packed.frame, listed.frame]).sort(AT, maintain_order=True)
    return Shaped(both, sorted([*packed.spoiled, *listed.spoiled]))


def _listed(frame: pl.DataFrame, told: Split) -> Shaped:
    """The rows whose cell is a list of JSON, each value as text."""
    keys = list(dict.fromkeys(told.columns.values()))
    kind = pa.list_(pa.struct(dict.fromkeys(keys, pa.string())))
    found, bad = lists(texts(frame, told.column).to_arrow(), kind)
    cells = frame[told.column]
    spoiled = [
        Spoiled(frame[AT][i], told.column, "not a list of JSON", str(cells[i])) for i in np.flatnonzero(bad).tolist()
    ]
    made = frame.with_columns(pl.Series(LINE, pl.from_arrow(found))).filter(~pl.Series(bad))
    made = made.explode(LINE, empty_as_null=True)
    values = [
        pl.col(LINE).struct.field(key).str.strip_chars().replace("", None).alias(column)
        for column, key in told.columns.items()
    ]
    return Shaped(made.with_columns(values).drop(LINE), spoiled)


def _packed(frame: pl.DataFrame, told: Split) -> Shaped:
    cell = texts(frame, told.column)
    marked = cell.str.replace_all(rf"\s*{re.escape(told.between)}\s*({told.begins})", f"{LINE}${{1}}")
    odd = cell.is_not_null() & ~marked.str.contains(f"^(?:{told.begins})")
    spoiled = [
        Spoiled(at, told.column, f"does not begin with {told.begins}", value)
        for at, value in zip(frame[AT].filter(odd), cell.filter(odd), strict=True)
    ]
    frame = frame.with_columns(marked.str.split(LINE).alias(told.column)).filter(~odd).explode(told.column)
    return Shaped(frame.with_columns(_values(frame[told.column], told)), spoiled)


def stack(frame: pl.DataFrame, told: Stack, tools: Tools) -> Shaped:
    """A row per filled column; a row of which all are blank stays."""
    lines = [texts(frame, name) for name in told.columns if name in frame.columns]
    cells = frame.select(pl.concat_list(lines).list.drop_nulls().alias(told.into))[told.into]
    return Shaped(frame.with_columns(cells).explode(told.into, empty_as_null=True))


def _values(lines: pl.Series, told: Split) -> list[pl.Series]:
    """The columns that are made: what stands behind it, up to the next known one."""
    fields = re.escape(told.fields or "")
    if told.until:
        lines = lines.str.replace(rf"(?s){fields}{re.escape(told.until + told.sign)}.*$", "")
    known = "|".join(re.escape(key) for key in sorted((*told.columns.values(), *told.others), key=len, reverse=True))
    marked = lines.str.replace_all(rf"(?:^|{fields})({known}){re.escape(told.sign)}", f"{KEY}${{1}}{KEY}")
    found = []
    for column, key in told.columns.items():  # the last of several: a name with a key in it stands in front
        value = marked.str.extract(f"(?s)^.*{KEY}{re.escape(key)}{KEY}([^{KEY}]*)").str.strip_chars()
        found.append(value.set(value == "", None).alias(column))
    return found
