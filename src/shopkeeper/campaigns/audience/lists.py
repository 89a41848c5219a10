"""Items of each customer from the log: left in the cart, of the last order, due again, back in stock.

Everything is from strictly before the instant.

Shapes: n customers, N items of all lists, V = n_items + 1, R rows of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.campaigns.audience.settings import Back, CartLeft, Due
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.features.baskets import Baskets
from shopkeeper.features.repeats import SHORTEST_DAYS, Purchases, Visits
from shopkeeper.people.tables import instants, read_columns
from shopkeeper.programs.again import mean_log_gap
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY

HOUR = MICROSECONDS_PER_DAY / 24
LOOKS = ("view", "add_to_cart", "favourite")
SAMPLE, FEWEST = 50_000, 20  # customers, and purchases of an item, from which it is said whether it is bought again
PRIOR = 3.0  # gaps of the shop's that count beside an item's own, as of the model `buy_it_again`


@dataclass(frozen=True)
class ItemLists:
    """Items of n customers, what matters most first."""

    offsets: np.ndarray  # int64 (n + 1,)
    item: np.ndarray  # int32 (N,)

    @classmethod
    def of(cls, owner: np.ndarray, item: np.ndarray, rank: np.ndarray, n: int) -> ItemLists:
        """From rows (owner, item), the lowest rank first; each item of an owner once."""
        order = np.lexsort((item, rank, owner))
        owner, item = owner[order], item[order]
        first = np.zeros(len(owner), bool)
        first[np.unique(owner * (int(item.max(initial=0)) + 1) + item, return_index=True)[1]] = True
        owner, item = owner[first], item[first]
        return cls(np.searchsorted(owner, np.arange(n + 1)).astype(np.int64), item.astype(np.int32))

    @property
    def some(self) -> np.ndarray:
        """Who has any: bool (n,)."""
        return np.diff(self.offsets) > 0

    def take(self, rows: np.ndarray) -> ItemLists:
        """Those of these customers."""
        count = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        place = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], count)
        return ItemLists(offsets, self.item[place])

    def first(self, k: int) -> np.ndarray:
        """The first k of each: int32 (n, k), 0 where there are no more."""
        place = self.offsets[:-1, None] + np.arange(k)
        there = place < self.offsets[1:, None]
        return np.where(there, np.append(self.item, np.int32(0))[np.where(there, place, -1)], 0).astype(np.int32)


def rows_between(
    prepared: Prepared, customer: np.ndarray, since: int, at: int, types: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Whose each event of some types in [since, at) is (place among `customer`), and its row: int64 (R,), by time."""
    time, offsets = prepared.events.timestamp, prepared.offsets
    assert time is not None
    first, last = offsets[customer - 1], offsets[customer]
    start, end = lower_bound(time, first, last, since), lower_bound(time, first, last, at)
    of, rows = Requests(prepared.events, start, end).flat([EVENT_CODE[name] for name in types])
    return np.repeat(np.arange(len(customer)), np.diff(of)), rows


def cart_left(prepared: Prepared, customer: np.ndarray, at: int, rule: CartLeft) -> ItemLists:
    """What lies in the cart: the item's last event of the time is that it was put in; the newest first.

    Raises:
        UserError: the log knows no carts.
    """
    if not (prepared.events.event_type == EVENT_CODE["add_to_cart"]).any():
        raise UserError(
            f"dataset={prepared.name} has no add_to_cart: nobody leaves anything in a cart that is not logged"
        )
    types = ("add_to_cart", "remove_from_cart", "purchase")
    owner, rows = rows_between(prepared, customer, at - round(rule.hours * HOUR), at, types)
    events = prepared.events
    assert events.timestamp is not None
    put_in = events.event_type[rows] == EVENT_CODE["add_to_cart"]
    newest = np.zeros(len(customer), np.int64)
    np.maximum.at(newest, owner[put_in], events.timestamp[rows][put_in])
    last = _last_of_pair(owner, events.item[rows])
    kept = last & put_in & (newest[owner] <= at - round(rule.quiet_hours * HOUR))
    return ItemLists.of(owner[kept], events.item[rows][kept], -rows[kept], len(customer))


def last_order(prepared: Prepared, customer: np.ndarray, at: int) -> ItemLists:
    """What the last order held, the dearest lines first."""
    owner, rows = rows_between(prepared, customer, np.iinfo(np.int64).min, at, ("purchase",))
    events = prepared.events
    assert events.timestamp is not None
    newest = np.zeros(len(customer), np.int64)
    np.maximum.at(newest, owner, rows)
    head = newest[owner]
    same = events.timestamp[rows] == events.timestamp[head]
    if events.order is not None:
        order = events.order[rows]
        same = np.where(events.order[head] > 0, order == events.order[head], same & (order == 0))
    price = np.zeros(len(rows)) if events.price is None else np.nan_to_num(events.price[rows])
    return ItemLists.of(owner[same], events.item[rows][same], -price[same], len(customer))


def due(prepared: Prepared, customer: np.ndarray, at: int, rule: Due) -> ItemLists:
    """What is due by gaps as the model `buy_it_again` expects them; what is due for longest first.

    The gap expected lies between the customer's own gaps of the item and the item's usual one, each weighing as much as
    it is known.
    """
    time, offsets, V = prepared.events.timestamp, prepared.offsets, prepared.n_items + 1
    assert time is not None
    first, last = offsets[customer - 1], offsets[customer]
    requests = Requests(prepared.events, first, lower_bound(time, first, last, at))
    baskets = Baskets.of(requests, [EVENT_CODE["purchase"]], V)
    visits = Visits.of(baskets)
    bought = Purchases.of(baskets, visits, V)
    _, days = visits.between()
    usual_V = bought.usual_log_gaps(V, PRIOR, float(np.log(np.median(days))) if len(days) else 0.0)
    known = {"usual": usual_V, "shop": np.array([*bought.variances(usual_V), 0.0])}
    now = bought.newest()
    now = now[bought.times[now] >= rule.times]
    owner, item = bought.owner[now], bought.item[now]
    assert baskets.last is not None
    age = (at - baskets.last[owner]) / MICROSECONDS_PER_DAY + visits.age[visits.first[owner] + bought.basket[now]]
    gap = np.exp(mean_log_gap(known, item, bought.times[now] - 1, bought.log_gaps[now]))
    late = np.maximum(age, SHORTEST_DAYS) - gap
    kept = (late >= -rule.ahead_days) & (late <= rule.late_days)
    return ItemLists.of(owner[kept], item[kept], -late[kept], len(customer))


def bought_lately(
    prepared: Prepared, customer: np.ndarray, at: int, days: float, again_V: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What each bought in the last so many days, but for items of `again_V` (see `bought_again`): owner and item."""
    owner, rows = rows_between(prepared, customer, at - round(days * MICROSECONDS_PER_DAY), at, ("purchase",))
    item = prepared.events.item[rows]
    kept = ~again_V[item]
    return owner[kept], item[kept]


def bought_again(prepared: Prepared, at: int, days: float) -> np.ndarray:
    """Which items half of all who buy them buy again within so many days, as what is used up is: bool (V,).

    Of purchases so long before the instant that the days are over, of at most `SAMPLE` customers; of an item that was
    bought fewer than `FEWEST` times nothing is said.
    """
    customer = np.flatnonzero(np.diff(prepared.offsets)) + 1
    if len(customer) > SAMPLE:
        customer = np.sort(np.random.default_rng(0).choice(customer, SAMPLE, replace=False))
    time, length = prepared.events.timestamp, round(days * MICROSECONDS_PER_DAY)
    assert time is not None
    owner, rows = rows_between(prepared, customer, np.iinfo(np.int64).min, at, ("purchase",))
    item, when = prepared.events.item[rows].astype(np.int64), np.asarray(time)[rows]
    order = np.lexsort((when, item, owner))
    owner, item, when = owner[order], item[order], when[order]
    same = (owner[1:] == owner[:-1]) & (item[1:] == item[:-1])
    once = np.append(~same | (when[1:] > when[:-1]), True)[: len(when)]  # lines of one order are one purchase
    owner, item, when = owner[once], item[once], when[once]
    soon = (owner[1:] == owner[:-1]) & (item[1:] == item[:-1]) & (when[1:] <= when[:-1] + length)
    over = when + length <= at
    V = prepared.n_items + 1
    bought = np.bincount(item[over], minlength=V)
    again = np.bincount(item[over & np.append(soon, False)[: len(when)]], minlength=V)
    return (bought >= FEWEST) & (2 * again >= bought)


def back_in_stock(
    prepared: Prepared, customer: np.ndarray, at: int, rule: Back, came: dict[int, tuple[int, int]]
) -> ItemLists:
    """What each looked at before it came back, within the rule's days, and has not bought since; newest look first.

    `came`: item -> when it ran out and when it came back (µs), as `stock_changes` gives it.

    Raises:
        UserError: the log knows only purchases.
    """
    if not np.isin(prepared.events.event_type, [EVENT_CODE[name] for name in LOOKS]).any():
        raise UserError(
            f"dataset={prepared.name} has no views, carts or favourites: who looked at what is back is not logged"
        )
    if not came:
        return ItemLists(np.zeros(len(customer) + 1, np.int64), np.zeros(0, np.int32))
    again_V = np.full(prepared.n_items + 1, -1, np.int64)
    again_V[list(came)] = [when for _, when in came.values()]
    since = int(min(when for _, when in came.values()) - rule.looked_days * MICROSECONDS_PER_DAY)
    owner, rows = rows_between(prepared, customer, since, at, (*LOOKS, "purchase"))
    events = prepared.events
    assert events.timestamp is not None
    item, when = events.item[rows], events.timestamp[rows]
    bought = events.event_type[rows] == EVENT_CODE["purchase"]
    of_it = again_V[item] >= 0
    owner, rows, item, when, bought = (values[of_it] for values in (owner, rows, item, when, bought))
    looked = ~bought & (when < again_V[item]) & (when >= again_V[item] - rule.looked_days * MICROSECONDS_PER_DAY)
    # A pair counts by its last look before the item came back, unless it was bought after that look.
    kept = _last_of_pair(owner[looked | bought], item[looked | bought]) & ~bought[looked | bought]
    some = np.flatnonzero(looked | bought)[kept]
    return ItemLists.of(owner[some], item[some], -when[some], len(customer))


def stock_changes(path: Path, prepared: Prepared, at: int, days: float) -> dict[int, tuple[int, int]]:
    """Items that came back in so many days before an instant and are there: when they ran out, when they came back.

    The table (CSV or Parquet) has `item_id`, `at` and `in_stock` (true or false), a row per change; later rows than the
    instant are not looked at.

    Raises:
        UserError: a column is missing, or a value is neither true nor false.
    """
    table = read_columns(path, ("item_id", "at", "in_stock"))
    when = instants(table["at"], path, "at")
    texts = [str(x).lower() for x in table["in_stock"].cast(pa.string()).to_pylist()]
    if wrong := [x for x in texts if x not in ("true", "false", "1", "0")]:
        raise UserError(f"{path} has '{wrong[0]:.40}' in in_stock; write true or false")
    there = np.array([x in ("true", "1") for x in texts], bool)
    names = prepared.items["item_id"].combine_chunks().cast(pa.string())
    item = pc.fill_null(pc.index_in(table["item_id"], value_set=names), -1).to_numpy(zero_copy_only=False) + 1
    rows = np.flatnonzero((item > 0) & (when < at))
    rows = rows[np.lexsort((when[rows], item[rows]))]
    found: dict[int, tuple[int, int]] = {}
    since = at - round(days * MICROSECONDS_PER_DAY)
    for before, now in zip(rows[:-1].tolist(), rows[1:].tolist(), strict=True):
        one = int(item[now])
        if item[before] != one:
            continue
        if there[now] and not there[before] and when[now] >= since:
            found[one] = int(when[before]), int(when[now])
        elif not there[now]:
            found.pop(one, None)  # it has run out again
    return found


def _last_of_pair(owner: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Whether a row is the last of its owner and item, rows being in order of time: bool (R,)."""
    key = owner * (int(item.max(initial=0)) + 1) + item
    found = np.zeros(len(key), bool)
    found[len(key) - 1 - np.unique(key[::-1], return_index=True)[1]] = True
    return found
