"""What is known of a session after its first events, row by row of the log.

Shapes: M events of a log, n rows (sessions), K events of each.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.data.requests import Events
from shopkeeper.data.session_rows import MINUTE
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES, MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import local

COUNTED = tuple(name for name in EVENT_TYPES if name != "purchase")
KNOWN = (
    *(f"session_{name}s" for name in COUNTED),
    *("session_minutes", "session_last_gap_minutes", "session_items", "session_items_known"),
    *("session_price_mean", "session_price_highest", "session_hour", "session_weekday"),
)


def session_features(events: Events, rows_nK: np.ndarray, start: np.ndarray, zone: str) -> np.ndarray:
    """What the first K events of sessions say, as `KNOWN` names it: float64 (n, features).

    `start` (n,): the first row of the log of each customer; what lies between it and the session is his history.
    """
    assert events.timestamp is not None
    n, K = rows_nK.shape
    kind, item, time = events.event_type[rows_nK], events.item[rows_nK], events.timestamp[rows_nK]
    columns = [(kind == EVENT_CODE[name]).sum(axis=1) for name in COUNTED]
    columns.append((time[:, -1] - time[:, 0]) / MINUTE)
    columns.append((time[:, -1] - time[:, -2]) / MINUTE if K > 1 else np.zeros(n))
    in_order = np.sort(item, axis=1)
    new = np.append(np.ones((n, 1), bool), np.diff(in_order, axis=1) != 0, axis=1)
    columns.append((new & (in_order > 0)).sum(axis=1))
    columns.append(_had_before(events, rows_nK, start, in_order, new & (in_order > 0)))
    price = np.full((n, K), np.nan) if events.price is None else np.asarray(events.price[rows_nK], np.float64)
    some = ~np.isnan(price)
    total, count = np.where(some, price, 0).sum(axis=1), some.sum(axis=1)
    columns.append(np.divide(total, count, out=np.full(n, np.nan), where=count > 0))
    columns.append(np.where(count > 0, np.where(some, price, -np.inf).max(axis=1), np.nan))
    clock = local(time[:, -1], zone)
    columns.append(clock % MICROSECONDS_PER_DAY / (60 * MINUTE))
    columns.append((clock // MICROSECONDS_PER_DAY + 3) % 7)  # 1970-01-01 was a Thursday, Monday is 0
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


def _had_before(
    events: Events, rows_nK: np.ndarray, start: np.ndarray, item_nK: np.ndarray, counts_nK: np.ndarray
) -> np.ndarray:
    """How many of the items of a row (those that count) had an event of the customer before the session: (n,)."""
    owner, column = np.nonzero(counts_nK)
    wanted = item_nK[owner, column].astype(np.int64)
    length = rows_nK[:, 0] - start
    offsets = np.concatenate([[0], np.cumsum(length)])
    rows = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], length)
    width = int(max(events.item.max(initial=0), 0)) + 1
    seen = np.unique(np.repeat(np.arange(len(start)), length) * width + events.item[rows])
    return np.bincount(owner[np.isin(owner * width + wanted, seen)], minlength=len(rows_nK))
