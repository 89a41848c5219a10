"""Steps of a log and arithmetic on ranges of rows. A step is an order (all its lines) or a single event.

Shapes: M events, R chosen rows, S steps, U users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.data.orders import first_lines


@dataclass(frozen=True)
class Steps:
    """The steps among chosen rows of a log, sorted by (user, first row).

    Lines of one order are one step also when other events lie between them; the same order code under two users
    makes two steps.
    """

    row: np.ndarray  # int64 (S,) first row of each step
    rows: np.ndarray  # int64 (R,) all rows, ascending
    of_row: np.ndarray | None  # int64 (R,) the step of each row; None: every row is a step of its own

    def lines(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of chosen steps (ascending step numbers), ascending, and for each its position in `chosen`."""
        if self.of_row is None:
            return self.row[chosen], np.arange(len(chosen))
        position = np.full(len(self.row), -1, np.int64)
        position[chosen] = np.arange(len(chosen))
        of_row = position[self.of_row]
        return self.rows[of_row >= 0], of_row[of_row >= 0]

    def per_user(self, offsets: np.ndarray) -> np.ndarray:
        """How many steps each user has: int64 (U,). `offsets` are the log's (U+1,)."""
        return np.diff(np.searchsorted(self.row, offsets))


def steps(rows: np.ndarray, user: np.ndarray, order: np.ndarray | None) -> Steps:
    """Find the steps among chosen rows.

    Args:
        rows: ascending row numbers, int64 (R,).
        user: user of every event of the log, int32 (M,).
        order: order codes of the log, (M,), 0 = not part of an order; None where the data has no orders.
    """
    if order is None or len(rows) == 0:
        return Steps(rows, rows, None)
    head = first_lines(user[rows], order[rows])
    begins = head == np.arange(len(head))
    return Steps(rows[begins], rows, (np.cumsum(begins) - 1)[head])


def steps_per_user(chosen: np.ndarray, user: np.ndarray, order: np.ndarray | None, offsets: np.ndarray) -> np.ndarray:
    """How many steps each user has among the rows of a mask, bool (M,): int64 (U,). `offsets` are the log's (U+1,)."""
    if order is not None:
        return steps(np.flatnonzero(chosen), user, order).per_user(offsets)
    found = np.zeros(len(offsets) - 1, np.int64)
    some = offsets[1:] > offsets[:-1]
    found[some] = np.add.reduceat(chosen, offsets[:-1][some], dtype=np.int64)
    return found


def training_mask(offsets: np.ndarray, train_end: np.ndarray) -> np.ndarray:
    """Which events are training rows, bool (M,): of user u those in offsets[u-1]:train_end[u-1]."""
    lengths = np.stack([train_end - offsets[:-1], offsets[1:] - train_end], axis=1).ravel()
    return np.repeat(np.tile(np.array([True, False]), len(train_end)), lengths)


def first_of_each(sorted_values: np.ndarray) -> np.ndarray:
    """Where a new value begins in a sorted array: bool, same length."""
    return np.concatenate([[True], sorted_values[1:] != sorted_values[:-1]])[: len(sorted_values)]


def first_within(values: np.ndarray) -> np.ndarray:
    """Where each value occurs for the first time in an array of any order: bool, same length."""
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def last_of_each(sorted_values: np.ndarray) -> np.ndarray:
    """Where a value is about to change in a sorted array: bool, same length."""
    return first_of_each(sorted_values[::-1])[::-1]


def tied(timestamp: np.ndarray, offsets: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """Events whose neighbour has the same user and time stamp, lines of one order aside: bool (M,).

    Between such events the order is the file's, not the world's.
    """
    equal = timestamp[1:] == timestamp[:-1]
    inner = offsets[1:-1]
    inner = inner[(inner > 0) & (inner < len(timestamp))]
    equal[inner - 1] = False  # the neighbour is another user's
    if order is not None:
        equal &= ~((order[1:] == order[:-1]) & (order[1:] > 0))
    mask = np.zeros(len(timestamp), bool)
    mask[1:] |= equal
    mask[:-1] |= equal
    return mask


def uniform_hash(ids: np.ndarray, seed: int) -> np.ndarray:
    """A float64 in [0, 1) for each id, the same whatever else is in the data: SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = ids.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
        for _ in range(2):  # twice: neighbouring seeds must not give neighbouring streams
            z += np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53
