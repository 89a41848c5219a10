"""Events of neighbouring customers, and the rows that are asked of them: what several groups of features read.

All rows are answered in one pass: integer running totals over the flat arrays (`point_in_time.prefix`), and for each
row the difference between two of them. What is derived of the events is derived once.

An *order* is one step of a customer: the purchase lines of one order id, or, where the log has none, of one time stamp.
A *visit* is a day (of the shop's calendar) with any event.

Shapes: n rows (customer, cutoff), M events of the block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Events
from shopkeeper.features.customer.shop import Shop
from shopkeeper.features.point_in_time import first_of_key, prefix
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import local

MONEY_UNIT = 1e-4  # money is summed in ten-thousandths, as integers
SECOND = 1_000_000  # µs


@dataclass(frozen=True)
class Block:
    """`person` (n,) counts the customers of the block from 0; only events strictly before `cutoff` (n,) count."""

    events: Events
    offsets: np.ndarray  # int64: events of person p are rows offsets[p]:offsets[p+1]
    person: np.ndarray
    cutoff: np.ndarray  # int64 µs
    shop: Shop
    user: np.ndarray  # int64 (n,) internal ids
    found: dict[str, np.ndarray] = field(default_factory=dict)  # features of groups that were computed before

    @property
    def time(self) -> np.ndarray:
        """Of each event, µs: int64 (M,)."""
        assert self.events.timestamp is not None
        return self.events.timestamp

    @cached_property
    def owner(self) -> np.ndarray:
        """Person of each event: int64 (M,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @cached_property
    def start(self) -> np.ndarray:
        """First row of each history: int64 (n,)."""
        return np.asarray(self.offsets[:-1][self.person])

    @cached_property
    def end(self) -> np.ndarray:
        """The row behind each history: int64 (n,)."""
        return lower_bound(self.time, self.start, self.offsets[1:][self.person], self.cutoff)

    @cached_property
    def _since(self) -> dict[float, np.ndarray]:
        return {}

    def since(self, days: float) -> np.ndarray:
        """First row of the last so many days before each cutoff: int64 (n,)."""
        if days not in self._since:
            instant = self.cutoff - round(days * MICROSECONDS_PER_DAY)
            self._since[days] = lower_bound(self.time, self.start, self.end, instant)
        return self._since[days]

    def is_type(self, name: str) -> np.ndarray:
        """Which events are of a type: bool (M,)."""
        return np.asarray(self.events.event_type == EVENT_CODE[name])

    @cached_property
    def bought(self) -> np.ndarray:
        """Purchase lines: bool (M,)."""
        return self.is_type("purchase")

    @cached_property
    def new_order(self) -> np.ndarray:
        """The first line of each order: bool (M,)."""
        return order_starts(self.bought, self.owner, self.events.order, self.time)

    @cached_property
    def _money_and_units(self) -> tuple[np.ndarray, np.ndarray]:
        return money_of(self.events)

    @property
    def money(self) -> np.ndarray:
        """Of each event, in MONEY_UNITs: int64 (M,)."""
        return self._money_and_units[0]

    @property
    def units(self) -> np.ndarray:
        """The same of pieces."""
        return self._money_and_units[1]

    @cached_property
    def spent(self) -> np.ndarray:
        """Money of purchase lines, else 0: int64 (M,)."""
        return np.where(self.bought, self.money, 0)

    @cached_property
    def day(self) -> np.ndarray:
        """Of the shop's calendar: int64 (M,)."""
        return local(self.time, self.shop.zone) // MICROSECONDS_PER_DAY

    @cached_property
    def visit(self) -> np.ndarray:
        """The first event of each day on which the customer was there: bool (M,)."""
        first = np.ones(len(self.time), bool)
        first[1:] = (self.day[1:] != self.day[:-1]) | (self.owner[1:] != self.owner[:-1])
        return first

    @cached_property
    def lines(self) -> np.ndarray:
        """Purchase lines of each row: int64 (n,)."""
        return self.total(self.bought)

    @cached_property
    def orders(self) -> np.ndarray:
        """Orders of each row: int64 (n,)."""
        return self.total(self.new_order)

    @cached_property
    def past(self) -> tuple[np.ndarray, np.ndarray]:
        """Each purchase line before each cutoff, oldest first: of which row, and where it is, int64 (P,) each."""
        rows, running = np.flatnonzero(self.bought), prefix(self.bought)
        first, n = running[self.start], running[self.end] - running[self.start]
        at = np.arange(int(n.sum())) + np.repeat(first - (np.cumsum(n) - n), n)
        return np.repeat(np.arange(len(n)), n), rows[at]

    @cached_property
    def silence(self) -> np.ndarray:
        """Days since the last order: float64 (n,), NaN without one."""
        return self.days_since(self.new_order)

    @cached_property
    def absence(self) -> np.ndarray:
        """Days since the last event of any kind: float64 (n,), NaN without one."""
        return self.days_since(np.ones(len(self.time), bool))

    def total(self, flag_or_amount: np.ndarray, since: np.ndarray | None = None) -> np.ndarray:
        """Sum of each history, or from a row of it on: int64 (n,)."""
        running = prefix(flag_or_amount)
        return np.asarray(running[self.end] - running[self.start if since is None else since])

    def days_since(self, flag: np.ndarray, last: bool = True) -> np.ndarray:
        """Days from the last (or first) such event to the cutoff: float64 (n,), NaN where there is none."""
        return (self.cutoff - self._time_of(flag, last)) / MICROSECONDS_PER_DAY

    def row_of(self, flag: np.ndarray, last: bool) -> np.ndarray:
        """Row of the last (or first) flagged event of each history, M where there is none: int64 (n,)."""
        rows = np.append(np.flatnonzero(flag), len(flag))
        running = prefix(flag)
        found = running[self.end] > running[self.start]
        place = np.where(found, running[self.end] - 1 if last else running[self.start], -1)
        return np.where(found, rows[place], len(flag))

    def _time_of(self, flag: np.ndarray, last: bool) -> np.ndarray:
        """Instant of the last (or first) flagged event of each history, NaN where there is none: float64 (n,)."""
        row = self.row_of(flag, last)
        there = row < len(flag)
        instant = np.full(len(row), np.nan)
        instant[there] = self.time[row[there]]
        return instant

    def gaps(self, flag: np.ndarray) -> np.ndarray:
        """Seconds since the customer's flagged event before, at each flagged event, else 0: int64 (M,)."""
        row = np.flatnonzero(flag)
        gap = np.zeros(len(flag), np.int64)
        follows = self.owner[row][1:] == self.owner[row][:-1]
        gap[row[1:]] = np.where(follows, np.diff(self.time[row]) // SECOND, 0)
        return gap


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where there is nothing below: float64 (n,)."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


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


def money_of(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """Price x |quantity| and |quantity| of every row in MONEY_UNITs, int64 (M,); unknown price 0, quantity 1."""
    limit = 2.0**53
    units = np.ones(len(events.item)) if events.quantity is None else np.nan_to_num(np.abs(events.quantity), nan=1.0)
    price = np.zeros(len(events.item)) if events.price is None else np.nan_to_num(events.price, nan=0.0)

    def integer(x: np.ndarray) -> np.ndarray:
        return np.rint(np.clip(x / MONEY_UNIT, 0, limit)).astype(np.int64)

    with np.errstate(over="ignore"):  # beyond all numbers is beyond the limit, too
        return integer(price * units), integer(units)
