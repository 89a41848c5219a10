"""A step that takes columns from a second file."""

from __future__ import annotations

import polars as pl

from shopkeeper.errors import UserError
from shopkeeper.ids.columns import normal_ids
from shopkeeper.ingest.steps.settings import Join
from shopkeeper.ingest.steps.step import AT, FILE, Shaped, Spoiled, Tools, texts

_KEY, _THERE = "\0key", "\0there"


def join(frame: pl.DataFrame, told: Join, tools: Tools) -> Shaped:
    """The rows with the columns of the second file that have their key; keys are compared as ids are spelled.

    Raises:
        UserError: a column that the second file lacks, or a key that stands twice in one file. Of several files that a
            pattern means (exports may overlap) the last one with a key counts.
    """
    assert tools.table is not None
    key = told.equals or told.key
    other = tools.table(told.file, told.reader, (key, *told.columns.values()))
    there = pl.DataFrame(
        {_KEY: _ids(other, key), **{ours: other[theirs] for ours, theirs in told.columns.items()}, _THERE: other[FILE]}
    ).filter(pl.col(_KEY).is_not_null())
    there = there.filter(pl.col(_THERE) == pl.col(_THERE).max().over(_KEY))
    again = there[_KEY].filter(there[_KEY].is_duplicated())
    if len(again):
        raise UserError(
            f"{told.file}: {key} '{again[0]}' stands there more than once, and a row of the log has one; keep one, or "
            f"join the other way round"
        )
    rest = frame.drop([c for c in told.columns if c in frame.columns]).with_columns(_ids(frame, told.key).alias(_KEY))
    found = rest.join(there, on=_KEY, how="left", maintain_order="left")
    spoiled = []
    if told.missing == "reject":
        lost = found.filter(pl.col(_THERE).is_null())
        spoiled = [
            Spoiled(at, told.key, f"not in {told.file}", value or "")
            for at, value in zip(lost[AT], texts(lost, told.key), strict=True)
        ]
        found = found.filter(pl.col(_THERE).is_not_null())
    return Shaped(found.drop(_KEY, _THERE), spoiled)


def _ids(frame: pl.DataFrame, column: str) -> pl.Series:
    return pl.Series(column, pl.from_arrow(normal_ids(texts(frame, column).to_arrow())))
