"""Which column of a file holds its times and how they are written; a date and a time of day that stand apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from shopkeeper.ingest.dataset_parts import Timestamp
from shopkeeper.ingest.times import MISSING, to_micros
from shopkeeper.typed import made

DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y%m%d", "%Y-%m-%d", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y",
         "%d-%m-%Y", "%m-%d-%Y", "%b %d, %Y", "%d %b %Y")  # fmt: skip
CLOCKS = ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
FORMATS = (*(f"{date} {clock}" for date in DATES for clock in CLOCKS), *DATES)
_CLOCK = r"^\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?$"
ZONE = "the times name no zone; UTC is a guess"
NO_CLOCK = (
    "the times are dates: events of one day share an instant, in the order of the file; if a column has the time of "
    "day, write timestamp: [date, time]"
)


def join_date_and_clock(frame: pl.DataFrame, pattern: str) -> tuple[pl.DataFrame, dict[str, tuple[str, str]]]:
    """The frame with its date and its time of day as one column, which is named in {column: (date, time of day)}.

    `pattern` is what columns of times are called. Unchanged where no column holds a time of day, or no date stands by.
    """
    clocks = [c for c in frame.columns if _is_clock(frame[c])]
    dates = [c for c in frame.columns if re.search(pattern, c, re.IGNORECASE) and c not in clocks and _dated(frame[c])]
    if not clocks or not dates:
        return frame, {}
    date, clock = dates[0], clocks[0]
    name = f"{date}+{clock}"
    both = pl.concat_str(_texts(frame[date]), _texts(frame[clock]), separator=" ")
    at = frame.columns.index(date)
    return frame.insert_column(at, frame.select(both.alias(name))[name]).drop(date, clock), {name: (date, clock)}


def time_options(column: pl.Series) -> tuple[dict[str, str] | None, list[str]]:
    """Options of `timestamp` for a column, None where it holds no times; and doubts."""
    if column.dtype == pl.Time:
        return None, []
    dates_only = [NO_CLOCK] if _dated(column) else []
    if column.dtype.is_temporal():
        zoned = isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone
        return ({}, dates_only) if zoned else ({"time_zone": "UTC"}, [ZONE, *dates_only])
    text = column.cast(pl.String).drop_nulls().str.strip_chars()
    text = text.filter(text != "")
    if not len(text):
        return None, []
    numbers = text.cast(pl.Float64, strict=False)
    if not numbers.null_count() and not fits(text, Timestamp(format="%Y%m%d")):
        size = float(numbers.median() or 0)  # type: ignore[arg-type]
        for unit, largest in (("s", 1e11), ("ms", 1e14), ("us", 1e17), ("ns", 1e20)):
            if 1e8 < size < largest:
                return {"unit": unit}, [] if fits(text, Timestamp(unit=unit)) else [
                    "some values are outside 1980 to today"
                ]
        return None, []
    if fits(text, Timestamp()):
        named = bool(text.str.contains(r"(Z|UTC|[+-]\d{2}:?\d{2})$").all()) and bool(text.str.contains(":").all())
        return ({}, []) if named else ({"time_zone": "UTC"}, [ZONE, *dates_only])
    if not (fitting := [f for f in FORMATS if fits(text, Timestamp(format=f))]):
        return None, []
    notes = [ZONE, *dates_only]
    if len(fitting) > 1:
        fitting, doubt = likeliest(text, [Timestamp(format=form) for form in fitting])
        notes.append(doubt)
    return {"format": fitting[0], "time_zone": "UTC"}, notes


def instants(column: pl.Series) -> np.ndarray:
    """The instants of a column of times that can be read, int64 µs."""
    options, _ = time_options(column)
    values = column.drop_nulls().to_arrow() if column.dtype.is_temporal() else _texts(column.drop_nulls()).to_arrow()
    micros, why = to_micros(values, made(Timestamp, options or {}))
    return micros[(why == "") & (micros != MISSING)]


def _texts(column: pl.Series) -> pl.Series:
    """As they are written, or would be in a file of text."""
    if column.dtype.is_temporal() and column.dtype != pl.Time:
        return column.dt.strftime("%Y-%m-%d")
    return column.cast(pl.String).str.strip_chars()


def _is_clock(column: pl.Series) -> bool:
    if column.dtype == pl.Time:
        return True
    if column.dtype != pl.String:
        return False
    text = column.drop_nulls().str.strip_chars()
    return bool(len(text) and text.str.contains(_CLOCK).mean() > 0.95)  # type: ignore[operator]


def _dated(column: pl.Series) -> bool:
    """Whether a column holds days without a time of day."""
    if column.dtype.is_temporal():
        return column.dtype != pl.Time and bool((column.drop_nulls().dt.truncate("1d") == column.drop_nulls()).all())
    text = column.cast(pl.String).drop_nulls().str.strip_chars()
    text = text.filter(text != "")
    if not len(text) or text.str.contains(":").any():
        return False
    return fits(text, Timestamp()) or any(fits(text, Timestamp(format=date)) for date in DATES)


def fits(text: pl.Series, spec: Timestamp) -> bool:
    """Whether nearly all of some texts are times as a config has them."""
    return len(_read(text, spec)) > 0.95 * len(text)


def likeliest(text: pl.Series, specs: Sequence[Timestamp]) -> tuple[list[str], str]:
    """Formats that all fit some texts, the likeliest first and else as given; and the doubt that is left."""
    forms = [str(spec.format) for spec in sorted(specs, key=lambda spec: _unlikely(text, spec))]
    return forms, f"the dates fit {' and '.join(forms)} alike; is the day or the month first?"


def _unlikely(text: pl.Series, spec: Timestamp) -> tuple[int, int]:
    """How many texts are no times so, and over how long (µs) the others spread: of two ways to read them the lesser is
    the likelier. First days of a December are, with day and month in the wrong order, the twelfth of many months.
    """
    micros = _read(text, spec)
    return len(text) - len(micros), int(np.ptp(micros)) if len(micros) else 0


def _read(text: pl.Series, spec: Timestamp) -> np.ndarray:
    """The instants (µs) of those texts that are times as a config has them."""
    micros, why = to_micros(pa.array(text.to_list(), pa.string()), spec)
    return micros[(why == "") & (micros != MISSING)]
