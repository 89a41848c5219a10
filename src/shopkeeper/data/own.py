"""What a customer's own history says of each of its items whenever something is asked: how often, how long ago, due?

A row of a history knows of its item what had happened until then. At a query (after some row) every item that stands in
the history is spoken for by the newest row that holds it: the pairs of a query and an event are those with
`row <= query < following[row]`, so that nothing has to be grouped anew for each query.

Shapes: M rows of all histories, H histories, Q queries, R pairs of a query and the newest event of an own item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.data.orders import first_of_steps
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES, MICROSECONDS_PER_DAY

LOOKBACK = 1000  # newest events before a query whose items are spoken for
SHORTEST_DAYS = 0.5  # gaps below count as this long: the same day, twice
COUNTS = (  # that need no clock
    "never_taken", "taken_once", "taken", "other", "share", "orders", "own_items", "place", "since", "carted", "visit",
    "cart_place",
)  # fmt: skip
TIMES = (
    "age", "lag", "orders_since", "after_order", "taken_age", "gap", "own_due", "usual_due", "order_age", "order_gap",
    "order_due",
)  # fmt: skip


@dataclass(frozen=True)
class OwnRows:
    """Rows of histories one after another, oldest first, and what was known after each of them."""

    item: np.ndarray  # int32 (M,)
    kind: np.ndarray  # int8 (M,) event codes
    time: np.ndarray | None  # int64 µs (M,)
    first: np.ndarray  # int64 (M,): the first row of its history
    following: np.ndarray  # int64 (M,): the history's next row on the same item; beyond all rows where there is none
    taken: np.ndarray  # int32 (M,): target steps that held the item so far
    other: np.ndarray  # int32 (M,): other events on it so far
    first_taken: np.ndarray  # int64 (M,): row of the item's first target event so far, -1: none
    last_taken: np.ndarray  # int64 (M,): row of the last one
    since: np.ndarray  # int32 (M,): events on the item since the last target step of the history
    carted: np.ndarray  # int32 (M,): `carts` at the last of them that put it into the cart; 0: none did
    carts: np.ndarray  # int32 (M,): rows so far, of whomever, that put something into the cart
    session: np.ndarray | None  # int32 (M,), 0 = unknown
    orders: np.ndarray  # int32 (M,): target steps of the history so far
    first_order: np.ndarray  # int64 (M,): row of the history's first target event so far, -1: none
    last_order: np.ndarray  # int64 (M,): row of the last one

    @classmethod
    def of(
        cls,
        offsets: np.ndarray,
        item: np.ndarray,
        kind: np.ndarray,
        targets: list[int],
        time: np.ndarray | None,
        order: np.ndarray | None = None,
        session: np.ndarray | None = None,
    ) -> OwnRows:
        """Of the histories `offsets[h]:offsets[h + 1]`; `targets`: codes of target events."""
        m = len(item)
        at = np.arange(m)
        first = np.repeat(offsets[:-1], offsets[1:] - offsets[:-1])
        counts = np.zeros(len(EVENT_TYPES) + 1, bool)  # looked up: `isin` is slow for a single history
        counts[targets] = True
        wanted = counts[kind]
        head = first_of_steps(first, time, order)
        one = len(offsets) == 2
        by_item = np.argsort(item, kind="stable") if one else np.lexsort((item, first))  # rows of one item in time
        begins = _changes(item[by_item])
        if not one:
            begins |= _changes(first[by_item])
        following = np.full(m, np.iinfo(np.int64).max)
        same = np.flatnonzero(~begins)
        following[by_item[same - 1]] = by_item[same]
        back = np.empty(m, np.int64)
        back[by_item] = at
        start = np.maximum.accumulate(np.where(begins, at, 0))
        bought = wanted[by_item]
        new = np.zeros(m, bool)  # rows that take an item which their step had not taken yet
        rows = by_item[bought]
        width = int(item.max(initial=0)) + 1
        new[rows[_firsts(head[rows] * width + item[rows])]] = True
        opens = np.zeros(m, bool)  # rows with which a target step begins
        takes = np.flatnonzero(wanted)
        opens[takes[_firsts(head[takes])]] = True
        last = np.maximum.accumulate(np.where(bought, at, -1))
        total = np.cumsum(bought)
        events = _since(total, bought, start)
        earliest = np.maximum.accumulate(np.where(bought & (events == 1), at, -1))
        orders = _running(opens, first)
        period = begins | _changes(orders[by_item])  # of an item, between two target steps of the history
        from_order = np.maximum.accumulate(np.where(period, at, 0))
        cart = kind == EVENT_CODE["add_to_cart"]
        carts = np.cumsum(cart)
        last_cart = np.maximum.accumulate(np.where(cart[by_item], at, -1))
        return cls(
            item, kind, time, first, following,
            _running(new[by_item], start)[back].astype(np.int32),
            (at - start + 1 - events)[back].astype(np.int32),
            np.where(earliest >= start, by_item[earliest], -1)[back],
            np.where(last >= start, by_item[last], -1)[back],
            (at - from_order + 1 - _since(total, bought, from_order))[back].astype(np.int32),
            np.where(last_cart >= from_order, carts[by_item[last_cart]], 0)[back].astype(np.int32),
            carts.astype(np.int32),
            session,
            orders.astype(np.int32),
            _latest(opens & (orders == 1), first),
            _latest(wanted, first),
        )  # fmt: skip

    @property
    def bytes(self) -> int:
        """Size of the arrays."""
        return sum(values.nbytes for values in vars(self).values() if values is not None)

    def pairs(self, row_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The query and the row of each pair, by query, for queries after the rows `row_Q`: int64 (R,) each."""
        low = np.maximum(self.first[row_Q], row_Q + 1 - LOOKBACK)
        count = row_Q + 1 - low
        query = np.repeat(np.arange(len(row_Q)), count)
        row = np.arange(len(query)) + np.repeat(low - (np.cumsum(count) - count), count)
        newest = self.following[row] > row_Q[query]
        return query[newest], row[newest]

    def counts(self, query_R: np.ndarray, row_R: np.ndarray, after_Q: np.ndarray) -> np.ndarray:
        """`COUNTS` of pairs (query, row), by query, for queries after the rows `after_Q`: float32 (R, len(COUNTS))."""
        taken, orders_Q = self.taken[row_R], self.orders[after_Q]
        n_Q, orders = np.bincount(query_R, minlength=len(after_Q)), orders_Q[query_R]
        behind = np.cumsum(n_Q)[query_R] - 1 - np.arange(len(query_R))  # own items whose newest event is newer
        still = self.orders[row_R] == orders  # no target step since
        visit = np.zeros(len(row_R), bool)
        if self.session is not None:
            session_R = self.session[after_Q][query_R]
            visit = (self.session[row_R] == session_R) & (session_R > 0)
        carted = self.carted[row_R]
        in_cart = still & (carted > 0)
        columns = [taken == 0, taken == 1, np.log1p(taken), np.log1p(self.other[row_R]),
                   taken / np.maximum(orders, 1), np.log1p(orders_Q)[query_R], np.log(n_Q)[query_R], np.log1p(behind),
                   np.log1p(self.since[row_R]) * still, in_cart, visit,
                   np.log1p(self.carts[after_Q][query_R] - carted) * in_cart]  # fmt: skip
        return _side_by_side(columns)

    def times(
        self, query_R: np.ndarray, row_R: np.ndarray, after_Q: np.ndarray, at_Q: np.ndarray, usual_V: np.ndarray
    ) -> np.ndarray:
        """`TIMES` of pairs (query, row), for queries after the rows `after_Q`, at `at_Q` (µs): float32 (R, len(TIMES)).

        `usual_V`: the items' usual gaps in days. Logarithms of days; what cannot be known is 0.
        """
        assert self.time is not None
        time = self.time

        def since(at: np.ndarray, row: np.ndarray) -> np.ndarray:
            return np.maximum((at - time[row]) / MICROSECONDS_PER_DAY, 0.0)

        def gap(begin: np.ndarray, end: np.ndarray, times: np.ndarray) -> np.ndarray:
            days = (time[end] - time[begin]) / MICROSECONDS_PER_DAY / np.maximum(times - 1, 1)
            return np.log(np.maximum(days, SHORTEST_DAYS))

        # What is the query's own is computed once for it, and not for each of its items.
        orders_Q, order_Q = self.orders[after_Q], self.last_order[after_Q]
        order_age_Q = np.log(np.maximum(since(at_Q, order_Q), SHORTEST_DAYS))
        own_orders_Q = gap(self.first_order[after_Q], order_Q, orders_Q)
        taken, last, at_R = self.taken[row_R], self.last_taken[row_R], at_Q[query_R]
        taken_age = np.log(np.maximum(since(at_R, last), SHORTEST_DAYS))
        own, ever, again = gap(self.first_taken[row_R], last, taken), taken > 0, taken > 1
        columns = [
            np.log1p(since(at_R, row_R)), np.log1p(after_Q[query_R] - row_R),
            np.log1p(orders_Q[query_R] - self.orders[row_R]), row_R > order_Q[query_R],
            taken_age * ever, own * again, (taken_age - own) * again,
            (taken_age - np.log(usual_V[self.item[row_R]])) * ever, (order_age_Q * (orders_Q > 0))[query_R],
            (own_orders_Q * (orders_Q > 1))[query_R], ((order_age_Q - own_orders_Q) * (orders_Q > 1))[query_R],
        ]  # fmt: skip
        return _side_by_side(columns)


def _side_by_side(columns: list[np.ndarray]) -> np.ndarray:
    """As the columns of one float32 array: for a few pairs a third of the time of `np.stack`."""
    out = np.empty((len(columns[0]), len(columns)), np.float32)
    for place, column in enumerate(columns):
        out[:, place] = column
    return out


def _firsts(values: np.ndarray) -> np.ndarray:
    """Where each different value stands first: int64; for a few values half of the time of `np.unique`."""
    order = np.argsort(values, kind="stable")
    firsts: np.ndarray = order[_changes(values[order])]
    return firsts


def _changes(values: np.ndarray) -> np.ndarray:
    """Where a value is another than the one before it, and at the beginning: bool (M,)."""
    changed = np.ones(len(values), bool)
    changed[1:] = values[1:] != values[:-1]
    return changed


def _running(flag: np.ndarray, start: np.ndarray) -> np.ndarray:
    """How many flags stand from `start[m]` to m: int64 (M,)."""
    return _since(np.cumsum(flag), flag, start)


def _since(total: np.ndarray, flag: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The same where their running total is known."""
    counted: np.ndarray = total - total[start] + flag[start]
    return counted


def _latest(flag: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The last flagged row from `start[m]` to m, -1: none: int64 (M,)."""
    row = np.maximum.accumulate(np.where(flag, np.arange(len(flag)), -1)) if len(flag) else np.zeros(0, np.int64)
    return np.where(row >= start, row, -1)
