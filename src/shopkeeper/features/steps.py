"""Histories as steps: each order, what was seen before it, and the order that is still to come.

Shapes: B requests, S steps of all histories, V columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shopkeeper.data.orders import first_of_steps
from shopkeeper.data.requests import Requests
from shopkeeper.schema import INTEREST, MICROSECONDS_PER_DAY

if TYPE_CHECKING:
    from scipy import sparse

Entries = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Steps:
    """Histories as orders and what was seen before each; every history has one step more, which is still to come.

    A step is an order, or an instant where the log has no orders, or an event where it has no time.
    """

    n_columns: int
    owner: np.ndarray  # int64 (S,): which history
    at: np.ndarray | None  # int64 (S,) µs of the step's first line, of the step to come the maximum; None without time
    line: tuple[np.ndarray, np.ndarray]  # step and item of each line
    look: tuple[np.ndarray, np.ndarray, np.ndarray]  # step, item and place (0 = newest) of each other event of interest
    first: np.ndarray  # int64 (B,): each history's first step
    last: np.ndarray  # int64 (B,): its last order; the step before its first where there is none

    @classmethod
    def of(cls, requests: Requests, types: list[int], n_columns: int) -> Steps:
        """Steps of target events (types: codes) and looks at items below `n_columns`."""
        events = requests.events
        offsets, rows = requests.flat(list(INTEREST))
        owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
        known = events.item[rows] < n_columns
        owner, rows = owner[known], rows[known]
        target = np.isin(events.event_type[rows], np.asarray(types, np.int8))
        new = np.zeros(len(rows), bool)
        t_rows, t_owner = rows[target], owner[target]
        time, order = (None if column is None else column[t_rows] for column in (events.timestamp, events.order))
        head = first_of_steps(t_owner, time, order)
        begins = head == np.arange(len(head))
        new[target] = begins
        n_orders = np.bincount(owner[new], minlength=len(requests))
        first = np.cumsum(n_orders + 1) - (n_orders + 1)
        within = np.cumsum(new) - (np.cumsum(n_orders) - n_orders)[owner]  # orders of the owner that have begun
        step = first[owner] + within
        step[target] = (first[owner] + within - 1)[target][head]  # a late line belongs where its order began
        looked = ~target
        l_step, l_item = step[looked], events.item[rows[looked]]
        behind = np.searchsorted(l_step, l_step, side="right") - 1 - np.arange(len(l_step))
        at = None
        if events.timestamp is not None:
            at = np.full(int((n_orders + 1).sum()), np.iinfo(np.int64).max)
            np.minimum.at(at, step[target], events.timestamp[t_rows])
        return cls(
            n_columns,
            np.repeat(np.arange(len(requests)), n_orders + 1),
            at,
            (step[target], events.item[t_rows]),
            (l_step, l_item, behind),
            first,
            first + n_orders - 1,
        )

    def bought(self) -> sparse.csr_array:
        """1 for each item of each order: float32 sparse (S, V)."""
        return self._matrix(*self.bought_entries())

    def bought_entries(self) -> Entries:
        """Step, item and value of what `bought` holds, by step and item."""
        step, item = self.line
        return self._highest(step, item, np.ones(len(step), np.float32))

    def seen(self, newest: int, decay: float) -> sparse.csr_array:
        """Weight of the `newest` looks before each order, the highest of each item: float32 sparse (S, V)."""
        return self._matrix(*self.seen_entries(newest, decay))

    def seen_entries(self, newest: int, decay: float) -> Entries:
        """Step, item and value of what `seen` holds, by step and item."""
        step, item, place = self.look
        near = place < newest
        return self._highest(step[near], item[near], (decay ** place[near]).astype(np.float32))

    def before(self, bought_SV: sparse.csr_array, days: float | None) -> sparse.csr_array:
        """What the customer's order before held, if it was at most `days` earlier: sparse (S, V)."""
        from scipy import sparse

        n = len(self.owner)
        follows = np.zeros(n, bool)
        follows[1:] = self.owner[1:] == self.owner[:-1]
        if days is not None and self.at is not None:
            gap = np.diff(self.at.astype(np.float64), prepend=0.0)
            follows &= gap <= days * MICROSECONDS_PER_DAY
        here = np.flatnonzero(follows)
        shift = sparse.csr_array((np.ones(len(here), np.float32), (here, here - 1)), shape=(n, n))
        return (shift @ bought_SV).tocsr()

    def _highest(self, step: np.ndarray, item: np.ndarray, value: np.ndarray) -> Entries:
        """The highest value of each step and item, by step and item."""
        key = step * self.n_columns + item
        order = np.lexsort((-value, key))
        key, value = key[order], value[order]
        highest = np.ones(len(key), bool)
        highest[1:] = key[1:] != key[:-1]
        key, value = key[highest], value[highest]
        return key // self.n_columns, key % self.n_columns, value

    def _matrix(self, step: np.ndarray, item: np.ndarray, value: np.ndarray) -> sparse.csr_array:
        from scipy import sparse

        return sparse.csr_array((value, (step, item)), shape=(len(self.owner), self.n_columns))
