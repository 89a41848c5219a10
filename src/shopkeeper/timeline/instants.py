"""Instants: int64 microseconds since 1970-01-01 00:00 UTC, and how people write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from shopkeeper.errors import Rule, UserError
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import instant_of

DAY = MICROSECONDS_PER_DAY
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = ((datetime(y, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) for y in (1, 9999))


def iso(instant: int) -> str:
    """`1284076800000000` -> `2010-09-10T00:00:00Z` (fraction only where there is one)."""
    moment = _EPOCH + timedelta(microseconds=int(instant))
    return moment.replace(tzinfo=None).isoformat() + "Z"


def instant(value: Any, setting: str, zone: str = "UTC") -> int:
    """An instant from a config: an ISO date or date and time (of `zone` unless it names its own), or microseconds.

    Raises `UserError` naming `setting` when the value is none of these.
    """
    if isinstance(value, bool):
        raise UserError(f"{setting}: {value!r} is no instant; write it as 2010-09-10 or 2010-09-10T12:00:00Z")
    if isinstance(value, int):
        if not _FIRST <= value < _LAST:
            raise UserError(f"{setting}: {value} µs lie outside of the years 1 to 9999; write it as 2010-09-10")
        return value
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        message = f"{setting}: '{value}' is no instant; write it as 2010-09-10 or 2010-09-10T12:00:00Z"
        raise UserError(message) from None
    if moment.tzinfo is None:
        return instant_of((moment.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1), zone)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _is_instant(value: Any) -> bool:
    try:
        instant(value, "")
    except UserError:
        return False
    return True


INSTANT: Rule = ("must be a day or an instant such as 2010-09-10 or 2010-09-10T12:00:00Z", _is_instant)
