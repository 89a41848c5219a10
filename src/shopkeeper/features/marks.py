"""What a line of a log is besides a purchase: of an item that its customer never had.

Shapes: M rows of an event log, sorted by (customer, time).
"""

from __future__ import annotations

import numpy as np

from shopkeeper.data.requests import Events
from shopkeeper.schema import EVENT_CODE


def never_had(events: Events, offsets: np.ndarray) -> np.ndarray:
    """Which rows are a customer's first purchase of their item: bool (M,)."""
    rows = np.flatnonzero(events.event_type == EVENT_CODE["purchase"])
    owner = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))[rows]
    item = np.asarray(events.item[rows], np.int64)
    found = np.zeros(len(events.item), bool)
    found[rows[np.unique(owner * (int(item.max(initial=0)) + 1) + item, return_index=True)[1]]] = True
    return found
