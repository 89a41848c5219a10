"""A cohort as it is put to a sequence network: its rows of the log alone, an event or a basket each.

A basket are events of one customer that follow each other, of one type and at one time: the lines of an order, where a
log has its time at each of them. Orders by their number would not do: a cutoff may lie between two lines of one, and
what was bought after it would be told.

Shapes: n rows (customer, cutoff), M events that are read, V numbers of items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shopkeeper.customers.base import Cohort
from shopkeeper.data.requests import Events
from shopkeeper.training.objectives.customer_heads import Questions


def gathered(
    cohort: Cohort, max_length: int, columns: Sequence[str], label: np.ndarray | None = None, baskets: bool = False
) -> Questions:
    """A cohort with its rows of the log alone: of each history, what the newest `max_length` before a cutoff need.

    Rows of one customer at several cutoffs share their history. Items are those of the log. `baskets`: of each basket
    (`in_baskets`) a row, no event.
    """
    if baskets:
        cohort = in_baskets(cohort)
    start, of = np.unique(cohort.start, return_inverse=True)
    stop, low = start.copy(), np.full(len(start), np.iinfo(np.int64).max)
    np.maximum.at(stop, of, cohort.end)
    np.minimum.at(low, of, cohort.end)
    low = np.maximum(start, low - max_length)
    length = stop - low
    base = np.cumsum(length) - length
    rows = np.arange(length.sum()) + np.repeat(low - base, length)
    shift = (base - low)[of]
    return Questions(
        np.asarray(cohort.events.item[rows], np.int32),
        {name: np.asarray(getattr(cohort.events, name)[rows]) for name in columns},
        np.maximum(cohort.start, low[of]) + shift,
        np.asarray(cohort.end) + shift,
        np.asarray(cohort.cutoff),
        None if label is None else label.astype(np.float32),
    )


def numbered(asked: Questions, known_V: np.ndarray) -> Questions:
    """The same with the network's numbers for items: their own where known, else the one after the last."""
    item = asked.item
    known = known_V[np.where(item < len(known_V), item, 0)]
    number = np.where(known, item, len(known_V)).astype(np.int32)
    return Questions(number, asked.columns, asked.start, asked.end, asked.instant, asked.label)


def in_baskets(cohort: Cohort) -> Cohort:
    """The same with baskets for events: `price` is what the lines come to, `quantity` how many they are.

    A line is its price times its quantity, without the sign; an unknown price is 0, an unknown quantity 1. Of the other
    columns there are item (the first line's), type and time. A cutoff never lies within a basket.
    """
    start, of = np.unique(cohort.start, return_inverse=True)
    stop = start.copy()
    np.maximum.at(stop, of, cohort.end)
    length = stop - start
    base = np.cumsum(length) - length
    rows = np.arange(length.sum()) + np.repeat(start - base, length)
    events = cohort.events
    assert events.timestamp is not None
    kind, time = events.event_type[rows], events.timestamp[rows]
    first = np.append(True, (np.diff(kind) != 0) | (np.diff(time) != 0))[: len(rows)]
    first[base[length > 0]] = True
    amount = np.zeros(len(rows)) if events.price is None else np.nan_to_num(events.price[rows])
    if events.quantity is not None:
        amount *= np.nan_to_num(np.abs(events.quantity[rows]), nan=1.0)
    at = np.flatnonzero(first)
    basket = np.append(np.cumsum(first) - 1, len(at))  # of each row; behind the last one: where the next would be
    begin = basket[base[of]]
    last = np.maximum(base[of] + cohort.end - cohort.start - 1, 0)
    made = Events(
        item=events.item[rows[at]],
        event_type=kind[at],
        timestamp=time[at],
        price=np.add.reduceat(amount, at) if len(at) else amount,
        quantity=np.diff(np.append(at, len(rows))).astype(np.float64),
    )
    return replace(
        cohort, events=made, start=begin, end=np.where(cohort.end > cohort.start, basket[last] + 1, begin), session=None
    )
