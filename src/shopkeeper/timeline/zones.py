"""Days and hours of the shop: what its clocks show at an instant, and the instant at which they show it.

An hour, a weekday, a day or a week of people is that of the dataset's `timestamp.time_zone` (UTC where it names none).
Lengths are lengths: a horizon of 30 days is 30 x 24 hours whether the clocks change in between or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from shopkeeper.errors import UserError
from shopkeeper.schema import MICROSECONDS_PER_DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
MOST_DAYS = 400_000  # of a window: more than a thousand years is a slip
_YEAR = round(365.2425 * MICROSECONDS_PER_DAY)


def zone_of(dataset: Mapping[str, Any]) -> str:
    """The shop's time zone from a dataset's config (as in a prepared manifest); UTC where it names none."""
    return str((dataset.get("timestamp") or {}).get("time_zone") or "UTC")


def local(instants: np.ndarray, zone: str) -> np.ndarray:
    """What the clocks of a zone show, as int64 µs since 1970-01-01 00:00 there, at instants (int64 µs UTC, any shape).

    Raises `UserError` for a zone that is not known.
    """
    instants = np.asarray(instants)
    if zone == "UTC" or not instants.size:
        return instants
    changes, shifts = changes_between(int(instants.min()), int(instants.max()), zone)
    return instants + shifts[np.searchsorted(changes, instants, side="right")]


def changes_between(first: int, last: int, zone: str) -> tuple[np.ndarray, np.ndarray]:
    """When a zone's clocks change from `first` to `last` (int64 µs UTC (C,)), and by how much they are ahead of UTC
    before, between and after (int64 µs (C + 1,)); a few changes outside of that span may be among them.
    """
    if zone == "UTC":
        return np.zeros(0, np.int64), np.zeros(1, np.int64)
    low, high = (1970 + int(np.clip(t, -60 * _YEAR, 200 * _YEAR)) // _YEAR for t in (first, last))
    return _clock(zone, low - 1, high + 1)


def instant_of(local_time: int, zone: str) -> int:
    """The instant (µs UTC) at which the clocks of a zone show `local_time` (µs).

    Of two such instants the earlier one; of a time that the clocks skip, the instant at which they skip it.
    """
    if zone == "UTC":
        return local_time
    _, shifts = _clock(zone, *(1970 + (local_time + d * _YEAR) // _YEAR for d in (-1, 1)))
    found = [
        t for t in sorted(local_time - s for s in set(shifts.tolist())) if int(local(np.array(t), zone)) == local_time
    ]
    if found:
        return int(found[0])
    changes, shifts = _clock(zone, *(1970 + (local_time + d * _YEAR) // _YEAR for d in (-1, 1)))
    skipped = (changes + shifts[:-1] <= local_time) & (local_time < changes + shifts[1:])
    return int(changes[np.flatnonzero(skipped)[0]])


def floor_day(instant: int, zone: str = "UTC") -> int:
    """The instant (µs UTC) of the midnight at or before an instant, on the clocks of a zone."""
    shown = int(local(np.array(instant), zone))
    return instant_of(shown - shown % MICROSECONDS_PER_DAY, zone)


def add_days(instant: int, days: int, zone: str = "UTC") -> int:
    """The instant (µs UTC) at which the clocks of a zone show the same time whole days later (or, below 0, earlier)."""
    return instant_of(int(local(np.array(instant), zone)) + days * MICROSECONDS_PER_DAY, zone)


def days_before(instant: int, days: float, zone: str = "UTC") -> int:
    """Whole days are the shop's, whose clocks may change in between; fractions are of 24 hours."""
    if float(days).is_integer():
        return add_days(instant, -int(days), zone)
    return instant - round(days * MICROSECONDS_PER_DAY)


def clock(instant: int, zone: str = "UTC") -> datetime:
    """What the clocks of a zone show at an instant (µs UTC), as a date and time without a zone: name it beside."""
    return (_EPOCH + int(local(np.array(instant), zone)) * _MICROSECOND).replace(tzinfo=None)


@lru_cache(maxsize=64)
def _clock(zone: str, first_year: int, last_year: int) -> tuple[np.ndarray, np.ndarray]:
    """When a zone's clocks change (int64 µs UTC (C,)) and how far they are ahead of UTC before and after (C + 1,)."""
    try:
        clock = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UserError(
            f"timestamp.time_zone: '{zone}' is not known; use a name like Europe/London "
            f"(`pip install tzdata` where this machine has no time zones)"
        ) from None

    def shift(hour: int) -> int:
        return (_EPOCH + timedelta(hours=hour)).astimezone(clock).utcoffset() // _MICROSECOND  # type: ignore[operator]

    hour, last = (
        int((datetime(y, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) // 3600 for y in (first_year, last_year + 1)
    )
    changes, shifts = [], [shift(hour)]
    while hour < last:
        after = hour + 24 * 7
        if (now := shift(after)) != shifts[-1]:
            low, high = hour, after  # clocks change on the hour, half or quarter: find the hour, then the second
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if shift(middle) == shifts[-1] else (low, middle)
            changes.append(_second(clock, low, shifts[-1]))
            now = shift(high)
            shifts.append(now)
            after = high
        hour = after
    return np.array(changes, np.int64), np.array(shifts, np.int64)


def _second(clock: ZoneInfo, hour: int, before: int) -> int:
    """The instant (µs) within the hour after `hour` at which a clock is no longer `before` µs ahead of UTC."""
    low, high = 0, 3600
    while high - low > 1:
        middle = (low + high) // 2
        at = (_EPOCH + timedelta(hours=hour, seconds=middle)).astimezone(clock)
        low, high = (middle, high) if at.utcoffset() // _MICROSECOND == before else (low, middle)  # type: ignore[operator]
    return (hour * 3600 + high) * 1_000_000
