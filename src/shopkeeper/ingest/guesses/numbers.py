"""How a file writes its numbers, and which columns are called like an amount and hold none that can be read."""

from __future__ import annotations

import re
from collections.abc import Iterable

import polars as pl

from shopkeeper.ingest.readers.delimited import NO_NUMBER
from shopkeeper.ingest.values import plain_numbers

READABLE = 0.95  # share of a column that must be read
COMMAS = "numbers have a comma before their decimals: reader.decimal says so"


def numbers(column: pl.Series, decimal: str | None = None) -> pl.Series | None:
    """A column as Float64 without its blanks, None where it holds other things; `decimal`: None where nobody said.

    Where nobody said, a decimal point is tried before a comma.
    """
    text = _written(column)
    for sign in (decimal,) if decimal else (None, ","):
        found = plain_numbers(text, sign)
        if len(text) and 1 - found.null_count() / len(text) > READABLE:
            return found
    return None


def row_numbers(column: pl.Series, decimal: str | None = None) -> pl.Series:
    """A number for each row as the readers will have it, Float64; null where there is none or it cannot be read."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64)
    text = column.cast(pl.String).str.strip_chars()
    return plain_numbers(text.set(text.is_in(NO_NUMBER), None), decimal)


def has_decimal_comma(column: pl.Series) -> bool:
    """Whether numbers are plainly written with one: they are none with a point, and not all of them end in `,123`."""
    text = _written(column)
    if not len(text) or numbers(column, ".") is not None or numbers(column, ",") is None:
        return False
    return bool(text.str.contains(r",(\d{0,2}|\d{4,})$").any())


def unread(frame: pl.DataFrame, called: str, among: Iterable[str]) -> list[str]:
    """Columns of `among` that are called so, hold digits nearly everywhere, and are no numbers."""
    found = []
    for name in among:
        text = _written(frame[name])
        digits = bool(len(text)) and float(text.str.contains(r"\d").mean() or 0) > READABLE  # type: ignore[arg-type]
        if re.search(called, name, re.IGNORECASE) and digits and numbers(frame[name]) is None:
            found.append(name)
    return found


def _written(column: pl.Series) -> pl.Series:
    if column.dtype.is_temporal() or column.dtype.is_nested():
        return pl.Series([], dtype=pl.String)
    text = column.cast(pl.String).drop_nulls().str.strip_chars()
    return text.filter(text != "")
