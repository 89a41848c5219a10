"""What a window of a customer's log holds: lines, orders, or money.

All are differences of integer running totals, so that what happens outside of a window changes nothing in it, not even
in the last bit.

* lines: events of some types, as `active` and churn count them.
* orders: purchases of one order id are one order, or those of one time stamp where the log has no order ids. It lies
  where its first line does.
* money: price x quantity of purchases, less that of the returns that happen in the window, whenever the purchase was.
  Below 0, where more came back than was bought, it counts as 0: that money was spent before.
* returns: events of this type.
* new: purchases of items that the customer never bought before, in the window or ahead of it.
* discount: the share of the window's purchases that are below the item's usual price (`features/customer/shop.py`); NaN
  where it has none of which that is known.
* alive: purchases, as a sign that the customer had not left. None is no sign that they had: this is asked by itself
  so that models know it, and those that tell leaving from waiting answer with the one and not with the other.
* wait: days until the first purchase; the whole window where there is none, since nobody has seen the next one.

Shapes: M rows of an event log, n ranges of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shopkeeper.data.requests import Events, Requests
from shopkeeper.features.customer.block import MONEY_UNIT, money_of, order_starts
from shopkeeper.features.customer.shop import below_usual
from shopkeeper.features.marks import never_had
from shopkeeper.features.point_in_time import prefix
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY, event_codes

LINES, ORDERS, MONEY = "lines", "orders", "money"
RETURNS, NEW, DISCOUNT, WAIT, ALIVE = "returns", "new", "discount", "wait", "alive"
SESSION = "session"  # rows of a task are sessions, not customers
TOTALS = (LINES, ORDERS, MONEY)
# start, end (n,) of rows of the log, the instant and the length of the window (µs) -> what each window holds (n,)
Held = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


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
        of: one of `TOTALS`.
        types: event types that count as lines.
    """
    assert of in TOTALS, f"a running total is of {', '.join(TOTALS)}, not {of}"
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


def holding(events: Events, offsets: np.ndarray, of: str, types: tuple[str, ...] = ("purchase",)) -> Held:
    """What windows of a log hold, of any kind; `events`, `offsets` and `types` as in `running_total`."""
    if of in TOTALS:
        running = running_total(events, offsets, of, types)
        return lambda start, end, cutoff, horizon: window_total(running, start, end, of)
    if of in (RETURNS, NEW, ALIVE):
        code = EVENT_CODE["return" if of == RETURNS else "purchase"]
        number = prefix(never_had(events, offsets) if of == NEW else events.event_type == code)
        return lambda start, end, cutoff, horizon: number[end] - number[start]
    if of == DISCOUNT:
        discounted, known = map(prefix, below_usual(events))

        def share(start: np.ndarray, end: np.ndarray, cutoff: int, horizon: int) -> np.ndarray:
            n = known[end] - known[start]
            return np.where(n > 0, (discounted[end] - discounted[start]) / np.maximum(n, 1), np.nan)

        return share
    assert of == WAIT, f"nothing is known of windows that hold {of}"
    bought = np.flatnonzero(events.event_type == EVENT_CODE["purchase"])

    def wait(start: np.ndarray, end: np.ndarray, cutoff: int, horizon: int) -> np.ndarray:
        place = np.searchsorted(bought, start)
        row = np.append(bought, len(events.item))[place]
        assert events.timestamp is not None
        at = np.append(events.timestamp, cutoff + horizon)[row]
        return np.where(row < end, at - cutoff, horizon) / MICROSECONDS_PER_DAY

    return wait
