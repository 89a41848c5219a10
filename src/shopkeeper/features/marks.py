"""What a line of a log is besides a purchase: of an item that its customer never had, or below the item's usual price.

Shapes: M rows of an event log, sorted by (customer, time).
"""

from __future__ import annotations

import numpy as np

from shopkeeper.data.requests import Events
from shopkeeper.schema import EVENT_CODE

LEAST_OFF = 0.05  # share of the usual price that a discount takes off at least


def never_had(events: Events, offsets: np.ndarray) -> np.ndarray:
    """Which rows are a customer's first purchase of their item: bool (M,)."""
    rows = np.flatnonzero(events.event_type == EVENT_CODE["purchase"])
    owner = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))[rows]
    item = np.asarray(events.item[rows], np.int64)
    found = np.zeros(len(events.item), bool)
    found[rows[np.unique(owner * (int(item.max(initial=0)) + 1) + item, return_index=True)[1]]] = True
    return found


def below_usual(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """Which purchases were below the item's usual price, and of which it is known: bool (M,) each.

    The usual price of an item is the highest at which anybody bought it strictly before; of its first sale, and of
    lines without a price, nothing is known. So no later row changes what is said of a line.
    """
    discounted, known = np.zeros(len(events.item), bool), np.zeros(len(events.item), bool)
    if events.price is None or events.timestamp is None:
        return discounted, known
    bought = (events.event_type == EVENT_CODE["purchase"]) & (np.nan_to_num(events.price) > 0)
    rows = np.flatnonzero(bought)
    rows = rows[np.lexsort((events.timestamp[rows], events.item[rows]))]
    if not len(rows):
        return discounted, known
    item, time, price = events.item[rows], events.timestamp[rows], np.asarray(events.price[rows], np.float64)
    kinds, rank = np.unique(price, return_inverse=True)
    place = np.cumsum(np.concatenate([[0], item[1:] != item[:-1]]))
    highest = np.maximum.accumulate(place * len(kinds) + rank) - place * len(kinds)  # rank of the highest price so far
    new_time = np.concatenate([[True], (item[1:] != item[:-1]) | (time[1:] != time[:-1])])
    before = np.flatnonzero(new_time)[np.cumsum(new_time) - 1] - 1  # the last row of an earlier time
    there = (before >= 0) & (item[np.maximum(before, 0)] == item)
    usual = kinds[highest[np.maximum(before, 0)]]
    known[rows] = there
    discounted[rows] = there & (price <= usual * (1 - LEAST_OFF))
    return discounted, known
