"""What a step between reading and checking does: rows of a file in, rows as the log wants them out.

A step is a function of a frame, its settings (`settings.py`) and `Tools`. Frames hold the columns of the file under
their names and `AT`, the position of each row in the block that was read, so that what is rejected later still names
its row; a step that makes several rows of one keeps the number in each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.ingest.values import as_floats

AT = "\0at"  # no file has a column of this name
FILE = "\0file"  # nor of this: the number of the file, of those that a pattern means, int32


class Spoiled(NamedTuple):
    """A row that a step cannot use: its position in the block, the column at fault, why, and its value."""

    at: int
    column: str
    reason: str
    value: str


@dataclass(frozen=True)
class Tools:
    """What a step may need beside its rows."""

    decimal: str | None = None  # the decimal sign of the file, None: nobody said
    # Columns of another file, or of those that a pattern means, and FILE.
    table: Callable[[str, ReaderSettings | None, Sequence[str]], pl.DataFrame] | None = None


@dataclass(frozen=True)
class Shaped:
    """What a step leaves."""

    frame: pl.DataFrame
    spoiled: list[Spoiled] = field(default_factory=list)


def texts(frame: pl.DataFrame, column: str) -> pl.Series:
    """A column as text without blanks at its ends, null where nothing stands."""
    text = frame[column].cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def floats(frame: pl.DataFrame, column: str, decimal: str | None) -> tuple[np.ndarray, np.ndarray]:
    """A column as float64 (n,), NaN where nothing stands, and which values are no numbers, bool (n,)."""
    return as_floats(frame[column].to_arrow(), decimal)


class Group(NamedTuple):
    """What a dataset's steps look at together: neighbouring rows that agree in a column."""

    by: str
    follow: bool = False  # whether a blank goes with the row above it, else it stands for itself


def runs(frame: pl.DataFrame, group: Group) -> np.ndarray:
    """The number of each row's run of neighbouring equal values, int64 (n,) from 0."""
    text = texts(frame, group.by)
    text = text.fill_null(strategy="forward") if group.follow else text
    new = (text != text.shift(1)).fill_null(True).to_numpy().copy()
    new[:1] = True
    return np.cumsum(new) - 1
