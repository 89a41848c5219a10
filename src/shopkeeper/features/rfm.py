"""Recency, frequency, money and their relatives, of any customer at any instant, from what was strictly before it.

All (customer, cutoff) rows are answered in one pass over the log: integer running totals over the flat arrays
(`point_in_time.prefix`), and for each row the difference between two of them. An *order* is one step of a customer:
the purchase lines of one order id, or, where the log has none, of one time stamp. A returned purchase stays a
purchase; the return shows in `return_share` and `money_returned_share` from the moment at which it happens. A *visit*
is a day (of the shop's calendar) with any event. `order_weeks` and `order_months` are different weeks (from Monday) and
stretches of 30 days (of the calendar) in which something was ordered: who orders in many of them has a habit, and who
placed as many orders at once has none; with a window, those whose first order lies in it.

Nothing is set against the age of the log: what grows with it tells cutoffs apart, and a model then carries the trend
of its training cutoffs on into a season that it has not seen.

Every feature is 0 or more, or NaN where it is undefined (e.g. the gap between orders of a customer with one order).
Times are in days, money in the log's currency.

Shapes: n rows (customer, cutoff), F features, M events of one block of customers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.features.point_in_time import first_of_key, prefix
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import local

WINDOWS = (30, 60, 90, 180)  # days
PERIODS = {"weeks": (7, 3), "months": (30, 0)}  # days, and how many of one had passed on 1970-01-01, a Thursday
HABIT = (90, 180)  # days
MONEY_UNIT = 1e-4  # money is summed in ten-thousandths, as integers
SECOND = 1_000_000  # µs
BLOCK = 2_000_000  # events worked on at once: bounds memory, changes no result


@dataclass(frozen=True)
class FeatureTable:
    """Features of n (customer, cutoff) rows."""

    names: tuple[str, ...]
    values: np.ndarray  # float64 (n, F)


def rfm_features(
    events: Events,
    offsets: np.ndarray,
    user: np.ndarray,
    cutoff: np.ndarray,
    item_category: np.ndarray | None = None,
    channels: Sequence[str] = (),
    block: int = BLOCK,
    category_since: np.ndarray | None = None,
    zone: str = "UTC",
) -> FeatureTable:
    """Features of customers `user` (n,) at instants `cutoff` (n,), in the order given.

    Args:
        events: the log, sorted by (user, timestamp, file order).
        offsets: int64 (n_users + 1,): events of user u are rows offsets[u-1]:offsets[u].
        user: internal ids, 1..n_users.
        cutoff: int64 µs UTC; only events strictly before count.
        item_category: int32 (n_items + 1,), category code per internal item id, 0 = unknown, which counts as none;
            None: `categories` is NaN.
        channels: declared channel names; code c of `events.channel` is `channels[c-1]`.
        block: events worked on at once.
        category_since: int64 (n_items + 1,) µs: the event in which an item's category was first written; before the
            end of that instant it is unknown. None: known from the start.
        zone: the shop's time zone: a visit is one of its days.

    Raises:
        UserError: the log has no time stamps.
    """
    if events.timestamp is None:
        raise UserError("customer features need time stamps, and this dataset has only an order; use another dataset")
    names = _names(channels)
    values = np.empty((len(user), len(names)))
    for rows, first, last in _blocks(offsets, np.asarray(user, np.int64), block):
        low, high = int(offsets[first - 1]), int(offsets[last])
        columns = _block_features(
            _cut(events, low, high),
            offsets[first - 1 : last + 1] - low,
            np.asarray(user, np.int64)[rows] - first,
            np.asarray(cutoff, np.int64)[rows],
            item_category,
            len(channels),
            category_since,
            zone,
        )
        values[rows] = np.stack(columns, axis=1)
    return FeatureTable(names, values)


def _names(channels: Sequence[str]) -> tuple[str, ...]:
    return (
        *("days_since_order", "days_since_first_order", "days_since_event"),
        *("orders", *(f"orders_{w}d" for w in WINDOWS)),
        *("money", *(f"money_{w}d" for w in WINDOWS), "money_per_order"),
        *("gap_mean", "gap_std", "gap_last", "recency_over_gap"),
        *("lines_per_order", "units_per_order", "items", "categories", "repeat_share"),
        *("return_share", "money_returned_share"),
        *("views_30d", "days_since_view", "carts_30d", "days_since_cart"),
        *("visits_30d", "visits_90d", "visit_gap_mean", "recency_over_visit_gap"),
        *(f"order_{period}{window}" for period in PERIODS for window in ("", *(f"_{w}d" for w in HABIT))),
        *(f"channel_share_{name}" for name in channels),
    )


def _block_features(
    events: Events,
    offsets: np.ndarray,
    person: np.ndarray,
    cutoff: np.ndarray,
    item_category: np.ndarray | None,
    n_channels: int,
    category_since: np.ndarray | None,
    zone: str,
) -> list[np.ndarray]:
    """Feature columns, in the order of `_names`, for the customers of one block; `person` (n,) counts from 0."""
    time = events.timestamp
    assert time is not None
    M = len(time)
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))  # (M,)
    start = offsets[:-1][person]
    end = lower_bound(time, start, offsets[1:][person], cutoff)
    window = {w: lower_bound(time, start, end, cutoff - w * MICROSECONDS_PER_DAY) for w in WINDOWS}

    def is_type(name: str) -> np.ndarray:
        return events.event_type == EVENT_CODE[name]

    def total(flag_or_amount: np.ndarray, since: np.ndarray = start) -> np.ndarray:
        running = prefix(flag_or_amount)
        return running[end] - running[since]

    def days_since_last(flag: np.ndarray) -> np.ndarray:
        return _days(cutoff, _time_of(time, flag, start, end, last=True))

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)

    bought, returned = is_type("purchase"), is_type("return")
    new_order = order_starts(bought, owner, events.order, time)
    money, units = money_of(events)

    lines, orders = total(bought), total(new_order)
    recency = days_since_last(new_order)
    tenure = _days(cutoff, _time_of(time, new_order, start, end, last=False))

    gap = _gaps(new_order, owner, time)  # seconds, (M,), 0 where a row starts no second or later order
    n_gaps = np.maximum(orders - 1, 0)
    gap_mean = ratio(total(gap), n_gaps)
    gap_variance = ratio(total(gap * gap), n_gaps) - gap_mean**2
    gap_std = np.sqrt(np.maximum(gap_variance, 0))
    last_order = _row_of(new_order, start, end, last=True)
    gap_last = np.where(n_gaps > 0, np.append(gap, 0)[last_order], np.nan)
    per_day = MICROSECONDS_PER_DAY / SECOND

    spent = np.where(bought, money, 0)
    new_item = np.zeros(M, bool)
    new_item[bought] = first_of_key(owner[bought], events.item[bought])
    items = total(new_item)
    if item_category is None:
        categories = np.full(len(person), np.nan)
    else:
        kind = item_category[events.item]
        with_category = np.flatnonzero(bought & (kind > 0))
        seen = time[with_category]  # the instant from which the customer has bought from a category, as far as known
        if category_since is not None:
            seen = np.maximum(seen, category_since[events.item[with_category]])
        categories = _distinct(owner[with_category], kind[with_category], seen, person, cutoff).astype(np.float64)

    viewed, carted = is_type("view"), is_type("add_to_cart")
    day = local(time, zone) // MICROSECONDS_PER_DAY
    visit = np.ones(M, bool)  # the first event of each day on which the customer was there
    visit[1:] = (day[1:] != day[:-1]) | (owner[1:] != owner[:-1])
    visit_gap = ratio(total(_gaps(visit, owner, time)), np.maximum(total(visit) - 1, 0)) / per_day
    absence = days_since_last(np.ones(M, bool))
    begun = {name: _begun(new_order, owner, day, *of) for name, of in PERIODS.items()}
    columns = [
        recency,
        tenure,
        absence,
        orders,
        *(total(new_order, window[w]) for w in WINDOWS),
        total(spent) * MONEY_UNIT,
        *(total(spent, window[w]) * MONEY_UNIT for w in WINDOWS),
        ratio(total(spent) * MONEY_UNIT, orders),
        gap_mean / per_day,
        gap_std / per_day,
        gap_last / per_day,
        ratio(recency, gap_mean / per_day),
        ratio(lines, orders),
        ratio(total(np.where(bought, units, 0)) * MONEY_UNIT, orders),
        items,
        categories,
        1 - ratio(items, lines),
        ratio(total(returned), lines),
        ratio(total(np.where(returned, money, 0)), total(spent)),
        total(viewed, window[30]),
        days_since_last(viewed),
        total(carted, window[30]),
        days_since_last(carted),
        total(visit, window[30]),
        total(visit, window[90]),
        visit_gap,
        ratio(absence, visit_gap),
        *(total(flag, since) for flag in begun.values() for since in (start, *(window[w] for w in HABIT))),
    ]
    for code in range(1, n_channels + 1):
        here = new_order & (events.channel == code) if events.channel is not None else np.zeros(M, bool)
        columns.append(ratio(total(here), orders))
    return [np.asarray(c, np.float64) for c in columns]


def order_starts(bought: np.ndarray, owner: np.ndarray, order: np.ndarray | None, time: np.ndarray) -> np.ndarray:
    """True at the first purchase line of each order: bool (M,). Order 0 (unknown) counts by time stamp."""
    first = np.zeros(len(bought), bool)
    row = np.flatnonzero(bought)
    if order is None:
        first[row] = first_of_key(owner[row], time[row])
        return first
    known = order[row] > 0
    for part, key in ((row[known], order), (row[~known], time)):
        first[part] = first_of_key(owner[part], key[part])
    return first


def _distinct(
    owner: np.ndarray, kind: np.ndarray, seen: np.ndarray, person: np.ndarray, cutoff: np.ndarray
) -> np.ndarray:
    """How many different kinds each person has seen strictly before a cutoff: int64 (n,).

    `owner`, `kind` and `seen` are those of some events, sorted by owner; `person` those of the rows asked for.
    """
    if (np.diff(seen)[np.diff(owner) == 0] < 0).any():
        order = np.lexsort((seen, owner))
        owner, kind, seen = owner[order], kind[order], seen[order]
    running = prefix(first_of_key(owner, kind))
    start, stop = np.searchsorted(owner, person, "left"), np.searchsorted(owner, person, "right")
    return running[lower_bound(seen, start, stop, cutoff)] - running[start]


def _gaps(new_order: np.ndarray, owner: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Seconds since the customer's order before, at the row where an order starts, else 0: int64 (M,)."""
    row = np.flatnonzero(new_order)
    gap = np.zeros(len(new_order), np.int64)
    follows = owner[row][1:] == owner[row][:-1]
    gap[row[1:]] = np.where(follows, np.diff(time[row]) // SECOND, 0)
    return gap


def _begun(new_order: np.ndarray, owner: np.ndarray, day: np.ndarray, length: int, passed: int) -> np.ndarray:
    """True where a customer's first order in a period of `length` days starts: bool (M,)."""
    row, first = np.flatnonzero(new_order), np.zeros(len(new_order), bool)
    period = (day[row] + passed) // length
    first[row] = np.append(True, (period[1:] != period[:-1]) | (owner[row][1:] != owner[row][:-1]))[: len(row)]
    return first


def money_of(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """Price x |quantity| and |quantity| of every row in MONEY_UNITs, int64 (M,); unknown price 0, quantity 1."""
    limit = 2.0**53
    units = np.ones(len(events.item)) if events.quantity is None else np.nan_to_num(np.abs(events.quantity), nan=1.0)
    price = np.zeros(len(events.item)) if events.price is None else np.nan_to_num(events.price, nan=0.0)

    def integer(x: np.ndarray) -> np.ndarray:
        return np.rint(np.clip(x / MONEY_UNIT, 0, limit)).astype(np.int64)

    return integer(price * units), integer(units)


def _row_of(flag: np.ndarray, start: np.ndarray, end: np.ndarray, last: bool) -> np.ndarray:
    """Row of the last (or first) flagged event of each range, len(flag) where there is none: int64 (n,)."""
    rows = np.append(np.flatnonzero(flag), len(flag))
    running = prefix(flag)
    found = running[end] > running[start]
    return np.where(found, rows[np.where(found, running[end] - 1 if last else running[start], -1)], len(flag))


def _time_of(time: np.ndarray, flag: np.ndarray, start: np.ndarray, end: np.ndarray, last: bool) -> np.ndarray:
    """Instant of the last (or first) flagged event of each range, -1 row's instant NaN: float64 (n,)."""
    row = _row_of(flag, start, end, last)
    there = row < len(flag)
    instant = np.full(len(row), np.nan)
    instant[there] = time[row[there]]
    return instant


def _days(cutoff: np.ndarray, instant: np.ndarray) -> np.ndarray:
    return (cutoff - instant) / MICROSECONDS_PER_DAY


def _cut(events: Events, low: int, high: int) -> Events:
    """Rows low:high of every column, in memory."""

    def part(column: np.ndarray | None) -> np.ndarray | None:
        return None if column is None else np.asarray(column[low:high])

    return Events(
        np.asarray(events.item[low:high]),
        np.asarray(events.event_type[low:high]),
        part(events.timestamp),
        part(events.price),
        part(events.quantity),
        part(events.order),
        part(events.session),
        part(events.channel),
    )


def _blocks(offsets: np.ndarray, user: np.ndarray, block: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Rows of `user` in groups of neighbouring customers with about `block` events: (rows, first user, last user)."""
    order = np.argsort(user, kind="stable")
    people = user[order]
    bucket = np.asarray(offsets)[people - 1] // max(block, 1)  # by where the customer's events begin
    change = bucket[1:] != bucket[:-1]
    edges = [0, *(np.flatnonzero(change) + 1).tolist(), len(user)] if len(user) else []
    for a, b in pairwise(edges):
        yield order[a:b], int(people[a]), int(people[b - 1])
