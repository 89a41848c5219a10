"""What a window of a customer's log holds: lines, orders, or money.

All are differences of integer running totals, so that what happens outside of a window changes nothing in it, not even
in the last bit.

* lines: events of some types, as `active` and churn count them.
* orders: purchases of one order id are one order, or those of one time stamp where the log has no order ids. It lies
  where its first line does.
* money: price x quantity of purchases, less that of the returns that happen in the window, whenever the purchase was.
  Below 0, where more came back than was bought, it counts as 0: that money was spent before.

Shapes: M rows of an event log, n ranges of it.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.data.requests import Events, Requests
from shopkeeper.features.point_in_time import prefix
from shopkeeper.features.rfm import MONEY_UNIT, money_of, order_starts
from shopkeeper.schema import EVENT_CODE, event_codes

LINES, ORDERS, MONEY = "lines", "orders", "money"
HOLDS = (LINES, ORDERS, MONEY)


def own_events(events: Events, start: np.ndarray, end: np.ndarray) -> tuple[Events, np.ndarray]:
    """Histories start:end (n,) one after another, as a log of their own, and where each begins: int64 (n+1,)."""
    offsets, rows = Requests(events, start, end).flat()
    columns = {name: None if column is None else np.asarray(column[rows]) for name, column in vars(events).items()}
    return Events(**columns), offsets  # type: ignore[arg-type]


def running_total(events: Events, offsets: np.ndarray, of: str, types: tuple[str, ...] = ("purchase",)) -> np.ndarray:
    """Running total over the log as `window_total` reads it: int64 (M+1,).

    Args:
        events: sorted by (customer, time).
        offsets: customer j of them has rows offsets[j]:offsets[j+1].
        of: one of `HOLDS`.
        types: event types that count as lines.
    """
    assert of in HOLDS, f"a window holds {', '.join(HOLDS)}, not {of}"
    if of == LINES:
        return prefix(np.isin(events.event_type, np.asarray(event_codes(types), np.int8)))
    bought = events.event_type == EVENT_CODE["purchase"]
    if of == ORDERS:
        assert events.timestamp is not None
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        return prefix(order_starts(bought, owner, events.order, events.timestamp))
    money, returned = money_of(events)[0], events.event_type == EVENT_CODE["return"]
    return prefix(np.where(bought, money, np.where(returned, -money, 0)))


def window_total(running: np.ndarray, start: np.ndarray, end: np.ndarray, of: str) -> np.ndarray:
    """What the rows start:end (n,) hold: int64 (n,), of money float64 (n,) in the log's currency."""
    total = running[end] - running[start]
    return np.maximum(total, 0) * MONEY_UNIT if of == MONEY else total
