"""Time stamps of a log as int64 microseconds since 1970 UTC: numbers with a unit, ISO 8601, own formats, local time.

Local times are read in `timestamp.time_zone`. A time that the clocks skip does not exist and is rejected; one that
they show twice is read as the earlier of the two. Dates before `not_before` (default 1980) and after `not_after`
(default: a day from now) are rejected: they come of a wrong unit, an empty field or a wrong clock.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset_parts import UNITS, Timestamp
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import clock, instant_of

MISSING = np.int64(-(2**63))
MICROSECOND = dt.timedelta(microseconds=1)
_FURTHEST = 2**62 // 1_000_000  # seconds: what still fits in microseconds


def to_micros(column: pa.Array, spec: Timestamp) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds (int64, MISSING where there is none) and why a value is none: "" or a reason, object (n,).

    `column` is text, integers, floats, dates or time stamps. Raises `UserError` for a bad zone or format.
    """
    if pa.types.is_dictionary(column.type):
        micros, why = to_micros(column.dictionary, spec)
        codes = pc.fill_null(column.indices, len(micros)).to_numpy(zero_copy_only=False)
        return np.append(micros, MISSING)[codes], np.append(why, "missing")[codes]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        micros, bad = _from_text(column, spec)
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        micros, bad = _from_numbers(column, spec.unit)
    elif pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        micros, bad = _from_arrow_times(column, spec)
    else:
        raise UserError(f"the time stamp column holds {column.type}; it must be text, numbers, dates or time stamps")
    why = np.full(len(micros), "", object)
    why[micros == MISSING] = "missing"
    for mask, reason in bad:
        why[mask] = reason
    known = why == ""
    low, high = limits(spec)
    first = clock(low, spec.time_zone).date()
    why[known & (micros < low)] = f"before {first} (timestamp.unit or not_before wrong?)"
    why[known & (micros > high)] = "in the future (timestamp.unit or not_after wrong?)"
    return micros, why


def limits(spec: Timestamp) -> tuple[int, int]:
    """First and last instant that is believed, microseconds UTC; dates are the shop's."""
    zone, after = spec.time_zone, spec.not_after
    low = _instant(spec.not_before or "1980-01-01", "not_before", zone)
    high = int(dt.datetime.now(dt.UTC).timestamp() * 1e6) + MICROSECONDS_PER_DAY
    return low, high if after is None else _instant(after, "not_after", zone)


def _instant(value: Any, option: str, zone: str) -> int:
    try:
        when = dt.datetime.fromisoformat(str(value))
    except ValueError:
        raise UserError(f"timestamp.{option}: '{value}' is no date; write it like 2020-01-31") from None
    micros = (when.replace(tzinfo=when.tzinfo or dt.UTC) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // MICROSECOND
    return micros if when.tzinfo else instant_of(micros, zone)


Bad = list[tuple[np.ndarray, str]]
ROUNDED = "a spreadsheet or a format of numbers has rounded it (export it again, times as text)"


def _from_numbers(column: pa.Array, unit: str | None) -> tuple[np.ndarray, Bad]:
    factor = UNITS[unit or "s"]
    missing = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        values = column.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        missing = missing | np.isnan(values)
        outside = ~missing & ~(np.abs(values) < _FURTHEST * (1_000_000 / factor))
        micros = np.rint(np.where(missing | outside, 0.0, values) * factor).astype(np.int64)
    else:
        if pa.types.is_uint64(column.type):
            most = pa.scalar(2**62, pa.uint64())
            column = pc.if_else(pc.greater(column, most), most, column)
        values = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        furthest = int(_FURTHEST * (1_000_000 / factor))
        outside = (values >= furthest) | (values <= -furthest)
        values = np.where(outside, 0, values) if outside.any() else values
        micros = values // 1000 if factor == 0.001 else (values if factor == 1 else values * int(factor))
    if missing.any():
        micros = np.where(missing, MISSING, micros)
    return micros, [(outside, "not a time (too large for its unit)")]


def _rounded(text: pl.Series, unit: str, alone: bool) -> np.ndarray:
    """Which numbers are written as 1.76235E+15, with a last digit worth more than a second: bool (n,).

    So spreadsheets write them. Programs that leave out zeros alone write 1.7623008e+18 (Python, from 1e+16 on),
    1.7623008E12 (Java) or, of midnights and among numbers without an exponent, 1.7623008e+15 (R). Formats of C (%g, %e)
    round as spreadsheets do, with a small e. `alone`: no time of the column is written without an exponent.
    """
    parts = text.str.extract_groups(r"^[+-]?\d+(?:\.(\d*))?([eE])\+(\d{1,3})$").struct.unnest()
    exponent = parts["3"].cast(pl.Int64)
    last = exponent - parts["1"].fill_null("").str.len_chars().cast(pl.Int64)
    days = text.cast(pl.Float64, strict=False) * (UNITS[unit] / MICROSECONDS_PER_DAY)
    of_c = (parts["2"] == "e") & (exponent < 16) & (days % 1 != 0) & alone
    rounds = (parts["2"] == "E") | of_c
    return (rounds & ((10.0**last) * (UNITS[unit] / 1e6) > 1)).fill_null(False).to_numpy()


def _from_arrow_times(column: pa.Array, spec: Timestamp) -> tuple[np.ndarray, Bad]:
    missing = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(column.type):
        micros, bad = _from_numbers(column.cast(pa.int64()), column.type.unit)
    elif pa.types.is_date64(column.type):
        micros, bad = _from_numbers(column.cast(pa.int64()), "ms")
    else:
        days = pc.multiply(column.cast(pa.int32()).cast(pa.int64()), MICROSECONDS_PER_DAY // 1_000_000)
        micros, bad = _from_numbers(days, "s")
    if not (pa.types.is_timestamp(column.type) and column.type.tz is not None):
        micros, skipped = _localise(pl.Series(np.where(missing, 0, micros)).cast(pl.Datetime("us")), spec)
        bad = [*bad, *skipped]
    micros = np.where(missing, MISSING, micros)
    return micros, [(mask & ~missing, reason) for mask, reason in bad]


def _from_text(column: pa.Array, spec: Timestamp) -> tuple[np.ndarray, Bad]:
    text = pl.Series(pl.from_arrow(column)).cast(pl.String).str.strip_chars()
    missing = (text.is_null() | (text == "")).to_numpy()
    if spec.unit or not spec.format:
        numbers = text.cast(pl.Int64, strict=False)
        whole = numbers.is_not_null().to_numpy()
        if spec.unit:
            micros, bad = _from_numbers(numbers.to_arrow(), spec.unit)
            rest = ~whole & ~missing
            if rest.any():
                floats = text.filter(pl.Series(rest)).cast(pl.Float64, strict=False)
                micros = micros.copy()
                micros[rest], more = _from_numbers(floats.to_arrow(), spec.unit)
                bad = [(_spread(mask, rest) | bad[0][0], reason) for mask, reason in more]
                bad.append((_spread(_rounded(text.filter(pl.Series(rest)), spec.unit, not whole.any()), rest), ROUNDED))
                bad.append((rest & (micros == MISSING), "not a number (timestamp.unit is set)"))
            return micros, bad
    pattern = spec.format
    if spec.year:  # the file writes month and day only
        text, pattern = pl.Series([f"{spec.year}-"]) + text, f"%Y-{pattern}"
    parsed, zoned = _parse(text, pattern)
    if zoned is not None:
        micros, bad = zoned.dt.epoch("us").fill_null(int(MISSING)).to_numpy().copy(), []
        naive = parsed.is_not_null().to_numpy()
        if naive.any():
            local, bad = _localise(parsed, spec)
            micros[naive] = local[naive]
            bad = [(mask & naive, reason) for mask, reason in bad]
    else:
        micros, bad = _localise(parsed, spec)
    micros[missing] = MISSING
    shape = "ISO 8601 (2020-01-31 12:00:00)" if pattern is None else f"of the form {pattern}"
    return micros, [
        *[(mask & ~missing, reason) for mask, reason in bad],
        (~missing & (micros == MISSING) & ~_any([m for m, _ in bad], len(micros)), f"not a time {shape}"),
    ]


# What each strftime code means here; a code that is in none of these is refused.
DATED = frozenset("YCymbBhdejDFxvuwaAUWGgV")
TIMED = frozenset("HkIlMSpPTRrXcs+") | {".f", "3f", "6f", "9f", ".3f", ".6f", ".9f"}
HOURS_OF_24 = frozenset("HkTR")
ZONED = frozenset({"z", ":z", "::z", "#z", "+"})
MUTE = frozenset("%nt")
PADDED = frozenset("kle")
_CODE = re.compile(r"%[-_0]?((?:::|:|#)?z|\.?[369]?f|.)")


def check_format(pattern: str) -> frozenset[str]:
    """The codes of a format, without their padding (`%-H` is `H`); a `UserError` for one that no time has."""
    codes = frozenset(match[1] for match in _CODE.finditer(pattern))
    for code in sorted(codes):
        if code not in DATED | TIMED | ZONED | MUTE:
            raise UserError(
                f"timestamp.format: '{pattern}' has the code %{code}, which is not known; write it with "
                f"%Y %m %d %H %M %S, %I %p (twelve hours), %b (month's name), %z (zone)"
            )
    if not codes & (DATED | frozenset("cs+")):
        raise UserError(f"timestamp.format: '{pattern}' has a time of day and no date; name both, or join two columns")
    return codes


def _parse(text: pl.Series, pattern: str | None) -> tuple[pl.Series, pl.Series | None]:
    """Naive times, and instants for the values that name their zone (None where no value does)."""
    if pattern is not None:
        pattern = pattern.replace(".%f", "%.f")  # as Python writes a fraction of a second
        codes = check_format(pattern)
        zoned = bool(codes & ZONED) or "s" in codes
        dated = not codes & TIMED
        if codes & HOURS_OF_24 and codes & {"p", "P"} and not zoned:  # 14:03 PM, as some shops write it
            half = text.str.extract(r"(?i)\b([ap])\.?m\b").str.to_lowercase()
            rest = re.sub(r"\s*%[pP]", "", pattern)
            when = _parse(text.str.replace(r"(?i)\s*\b[ap]\.?m\b\.?", ""), rest)[0]
            return when.set(((when.dt.hour() >= 12) != (half == "p")).fill_null(True), None), None
        if codes & PADDED:  # `%l` and `%k` pad with a blank, which the parser wants to see or not to see
            text = text.str.replace_all(r"\s+", " ")
            pattern = re.sub(r"\s+", " ", pattern)
        try:
            if zoned:
                when = text.str.to_datetime(pattern, time_unit="us", time_zone="UTC", strict=False)
                return pl.Series([None] * len(text), dtype=pl.Datetime("us")), when
            if dated:
                return text.str.to_date(pattern, strict=False).cast(pl.Datetime("us")), None
            return text.str.to_datetime(pattern, time_unit="us", strict=False), None
        except pl.exceptions.PolarsError as e:
            raise UserError(
                f"timestamp.format: '{pattern}' cannot be used ({str(e).splitlines()[0]}); write it like %Y-%m-%d %H:%M"
            ) from None
    named = (text.str.contains(r"(Z|UTC|[+-]\d{2}:?\d{2})$") & text.str.contains(":", literal=True)).fill_null(False)
    if not named.any():
        return _iso(text), None
    there = text.filter(named)  # parsed on their own: most files have none, or nothing else
    zone = there.str.extract(r"([+-]\d{2}:?\d{2})$").str.replace(":", "", literal=True).fill_null("+0000")
    hours, minutes = zone.str.slice(1, 2).cast(pl.Int64), zone.str.slice(3, 2).cast(pl.Int64)
    sign = zone.str.starts_with("-").cast(pl.Int64) * -2 + 1
    ahead = (sign * (hours * 60 + minutes) * 60_000_000).set((hours >= 24) | (minutes >= 60), None)  # no zone is so far
    bare = there.str.replace(r"\s*(Z|UTC|[+-]\d{2}:?\d{2})$", "")
    instants = (_iso(bare) - ahead.cast(pl.Duration("us"))).dt.replace_time_zone("UTC")
    nothing = pl.Series([None], dtype=instants.dtype).new_from_index(0, len(text))
    return _iso(text.set(named, None)), nothing.scatter(named.arg_true(), instants)


def _iso(text: pl.Series) -> pl.Series:
    """ISO 8601 without a zone; the formats one after the other, each for what those before it could not read."""
    text = text.str.replace("T", " ", literal=True)
    when = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    for pattern in ("%Y-%m-%d %H:%M", "%Y-%m-%d"):
        rest = when.is_null() & text.is_not_null()
        if rest.any():
            found = text.filter(rest).str.to_datetime(pattern, time_unit="us", strict=False)
            when = when.scatter(rest.arg_true(), found)
    return when


def _localise(naive: pl.Series, spec: Timestamp) -> tuple[np.ndarray, Bad]:
    zone = spec.time_zone
    known = naive.is_not_null().to_numpy()
    if zone == "UTC":
        return naive.dt.epoch("us").fill_null(int(MISSING)).to_numpy().copy(), []
    try:
        local = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    except pl.exceptions.PolarsError:
        raise UserError(f"timestamp.time_zone: '{zone}' is not known; use a name like Europe/London") from None
    micros = local.dt.epoch("us").fill_null(int(MISSING)).to_numpy().copy()
    return micros, [(known & (micros == MISSING), f"does not exist in {zone} (the clocks go forward over it)")]


def _spread(mask: np.ndarray, over: np.ndarray) -> np.ndarray:
    out = np.zeros(len(over), bool)
    out[over] = mask
    return out


def _any(masks: list[np.ndarray], n: int) -> np.ndarray:
    return np.logical_or.reduce(masks) if masks else np.zeros(n, bool)
