"""Steps over single rows: a column of several, a text in one spelling, a further event of a row, a time of two."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl

from shopkeeper.ingest.steps.settings import Also, FirstOf, Text, Time
from shopkeeper.ingest.steps.step import AT, Shaped, Spoiled, Tools, floats, texts
from shopkeeper.ingest.times import check_format

MICROSECONDS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}


def first_of(frame: pl.DataFrame, told: FirstOf, tools: Tools) -> Shaped:
    """The first of several columns in which something stands, in `into`."""
    return Shaped(frame.with_columns(pl.coalesce([texts(frame, c) for c in told.columns]).alias(told.into)))


def text(frame: pl.DataFrame, told: Text, tools: Tools) -> Shaped:
    """A column in one spelling."""
    column = texts(frame, told.column)
    column = column if told.take is None else column.str.extract(told.take)
    column = column if told.remove is None else column.str.replace_all(told.remove, "")
    column = column.str.to_lowercase() if told.lower else column
    column = column if told.digits is None else column.str.zfill(told.digits)
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


def time(frame: pl.DataFrame, told: Time, tools: Tools) -> Shaped:
    """Local times, Datetime in microseconds, in `into`; rows whose date or offset is none are spoiled."""
    day, no_day = _days(frame, told, tools)
    number, no_number = floats(frame, told.offset, tools.decimal)
    after = np.nan_to_num(number)
    if told.unit == "hhmm":
        minutes = after % 100
        no_number = no_number | (after < 0) | (after >= 2400) | (minutes >= 60)
        after = ((after - minutes) / 100 * 60 + minutes) * MICROSECONDS["m"]
    else:
        after = after * MICROSECONDS[told.unit]
    found = day + pl.Series(np.rint(np.where(no_number, 0, after)).astype(np.int64)).cast(pl.Duration("us"))
    found = found.set(pl.Series(np.isnan(number)), None)
    spoiled = [
        Spoiled(int(frame[AT][i]), column, reason, str(frame[column][i]))
        for column, bad, reason in ((told.date, no_day, "not a date"), (told.offset, no_number, f"not {told.unit}"))
        for i in np.flatnonzero(bad).tolist()
    ]
    keep = pl.Series(~(no_day | no_number))
    return Shaped(frame.with_columns(found.alias(told.into)).filter(keep), spoiled)


def _days(frame: pl.DataFrame, told: Time, tools: Tools) -> tuple[pl.Series, np.ndarray]:
    """Midnights (Datetime, null where nothing stands) and which values are no dates, bool (n,)."""
    if told.since is not None:
        number, bad = floats(frame, told.date, tools.decimal)
        first = dt.datetime.fromisoformat(str(told.since)[:10])
        days = pl.Series(np.nan_to_num(number).astype(np.int64) - 1) * dt.timedelta(days=1) + first
        return days.cast(pl.Datetime("us")).set(pl.Series(np.isnan(number)), None), bad
    text = texts(frame, told.date)
    if told.format:
        check_format(told.format)
    days = text.str.to_date(told.format or "%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return days, (days.is_null() & text.is_not_null()).to_numpy()
