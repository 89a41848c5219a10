"""Steps over single rows: a column of several, a text in one spelling, a further event of a row."""

from __future__ import annotations

import polars as pl

from shopkeeper.ingest.steps.settings import Also, FirstOf, Text
from shopkeeper.ingest.steps.step import AT, Shaped, Tools, texts


def first_of(frame: pl.DataFrame, told: FirstOf, tools: Tools) -> Shaped:
    """The first of several columns in which something stands, in `into`."""
    return Shaped(frame.with_columns(pl.coalesce([texts(frame, c) for c in told.columns]).alias(told.into)))


def text(frame: pl.DataFrame, told: Text, tools: Tools) -> Shaped:
    """A column in one spelling."""
    column = texts(frame, told.column)
    column = column if told.remove is None else column.str.replace_all(told.remove, "")
    column = column.str.to_lowercase() if told.lower else column
    return Shaped(frame.with_columns(column.alias(told.into or told.column)))


def also(frame: pl.DataFrame, told: Also, tools: Tools) -> Shaped:
    """Rows that match once more, behind themselves, as a further event."""
    if told.into not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.String).alias(told.into))
    own = frame.filter(pl.col(told.into).is_null())  # of several such steps each looks at the row itself
    hit = own.filter(texts(own, told.column).str.contains(told.matches).fill_null(False))
    taken = {ours: pl.col(theirs) for ours, theirs in told.taking.items()}
    more = hit.with_columns(**taken, **{told.into: pl.lit(told.event)})
    return Shaped(pl.concat([frame, more]).sort(AT, maintain_order=True))
