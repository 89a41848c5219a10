"""The best of each row, of equal ones the lower column: of a table with a value in every cell, and of a sparse one.

Which of several equal values are among the best is part of an answer: a bundle, an evaluation and a second stage that
look at the same numbers must choose the same items. So nothing here depends on how a partition happens to leave ties.

Shapes: B rows, V columns, N entries of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

WIDE = 16  # times k: so many columns are worth a look at what cannot be among the best
CELLS = 4_000_000  # of a block of rows that are looked at side by side: bounds the memory to some 50 MiB


def best_columns(value_BV: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest values of each row, best first, ties to the lower column: int64 (B, min(k, V))."""
    k = min(k, value_BV.shape[1])
    if k == 0 or not len(value_BV):
        return np.zeros((len(value_BV), k), np.int64)
    if value_BV.shape[1] >= WIDE * k:
        found = _best_of_few(value_BV, k)
        if found is not None:
            return found
    last_B1 = -np.partition(-value_BV, k - 1, axis=1)[:, k - 1 : k]
    pick_BV = value_BV >= last_B1
    crowded = np.flatnonzero(np.count_nonzero(pick_BV, axis=1) > k)
    if len(crowded):
        above, same = value_BV[crowded] > last_B1[crowded], value_BV[crowded] == last_B1[crowded]
        room = k - np.count_nonzero(above, axis=1)[:, None]
        pick_BV[crowded] = above | (same & (np.cumsum(same, axis=1, dtype=np.int32) <= room))
    column_Bk = np.nonzero(pick_BV)[1].reshape(len(value_BV), k)
    order = np.argsort(-np.take_along_axis(value_BV, column_Bk, axis=1), axis=1, kind="stable")
    best: np.ndarray = np.take_along_axis(column_Bk, order, axis=1)
    return best


def _best_of_few(value_BV: np.ndarray, k: int) -> np.ndarray | None:
    """`best_columns` among what is as large as the kth highest maximum of 2 k parts; None where that is too much."""
    B, V = value_BV.shape
    parts = 2 * k
    highest = value_BV[:, : V - V % parts].reshape(B, -1, parts).max(axis=1)
    low_B1 = np.partition(highest, parts - k, axis=1)[:, parts - k, None]
    place = np.flatnonzero(value_BV >= low_B1)
    if len(place) * 4 > value_BV.size:  # many equal values
        return None
    row, column = np.divmod(place, V)
    start = np.searchsorted(row, np.arange(B + 1))
    if not (low_B1 > -np.inf).all() or np.diff(start).min(initial=k) < k:  # NaN counts as less than all else
        return None
    turn = np.arange(len(row)) - start[row]
    value_BN = np.full((B, int(np.diff(start).max())), -np.inf, value_BV.dtype)
    value_BN[row, turn] = value_BV[row, column]
    best: np.ndarray = column[start[:-1, None] + np.argsort(-value_BN, axis=1, kind="stable")[:, :k]]
    return best


def best_entries(indptr: np.ndarray, column: np.ndarray, value: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest values of each row, by row and best first, ties to the lower column: int64.

    Row b has the entries `indptr[b]:indptr[b + 1]`, in any order; shorter rows give all that they have.
    """
    length = np.diff(indptr)
    enough = value[indptr[0] : indptr[-1]] >= np.repeat(_low(indptr, value, k), length)
    place = np.flatnonzero(enough) + indptr[0]
    # One number that grows as values fall, and with the column.
    key = _falling(value[place]).astype(np.uint64) << np.uint64(32) | column[place].astype(np.uint64)
    start = np.searchsorted(place, indptr)
    n = np.diff(start)
    kept = np.minimum(n, k)
    into = np.cumsum(kept) - kept
    best = np.empty(int(kept.sum()), np.int64)
    for rows, width in _alike(n):
        order = np.argsort(_table(key, start[rows], n[rows], width, np.iinfo(np.uint64).max), axis=1)[:, :k]
        turn = np.arange(order.shape[1])
        there = turn < kept[rows][:, None]
        best[(into[rows][:, None] + turn)[there]] = place[(start[rows][:, None] + order)[there]]
    return best


def _falling(value: np.ndarray) -> np.ndarray:
    """Numbers of 32 bits in the opposite order, equal ones for equal values."""
    if value.dtype != np.float32:
        return np.unique(-value, return_inverse=True)[1]
    bits = (value + np.float32(0)).view(np.uint32)  # -0 is 0; bits of floats are in order, those below 0 backwards
    return np.where(bits >> np.uint32(31), bits, bits ^ np.uint32(0x7FFFFFFF))


def _low(indptr: np.ndarray, value: np.ndarray, k: int) -> np.ndarray:
    """A bound that k values of each row reach, and few more; -inf for rows of at most k: (B,).

    Each row is cut into at least 2 k pieces, or its values: the kth highest of their maxima.
    """
    length = np.diff(indptr)
    low = np.full(len(length), -np.inf, value.dtype)
    long = np.flatnonzero(length > k)
    if not len(long):
        return low
    size = np.maximum(length // (2 * k), 1)
    count = np.where(length > k, -(-length // size), np.minimum(length, 1))
    first = np.cumsum(count) - count
    begin = np.repeat(indptr[:-1] - first * size, count) + np.arange(int(count.sum())) * np.repeat(size, count)
    highest = -np.maximum.reduceat(value[: indptr[-1]], begin)
    for rows, width in _alike(np.where(length > k, count, 0)):
        table = _table(highest, first[rows], count[rows], width, np.inf)
        table.partition(k - 1, axis=1)
        low[rows] = -table[:, k - 1]
    return low


def _alike(n: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Rows that have about as many entries (none: in none), so that the longest does not make the table wide."""
    width_B = _rounded(n)
    for width in np.unique(width_B[n > 0]).tolist():
        rows = np.flatnonzero(width_B == width)
        step = max(1, CELLS // width)
        yield from ((rows[first : first + step], width) for first in range(0, len(rows), step))


def _table(value: np.ndarray, start: np.ndarray, n: np.ndarray, width: int, empty: Any) -> np.ndarray:
    """Entries `start[r]` to `start[r] + n[r]` of each row side by side, filled up with `empty`: (R, width)."""
    turn = np.arange(width)
    table = value.take(start[:, None] + turn, mode="clip")
    table[turn >= n[:, None]] = empty
    return table


def _rounded(n: np.ndarray) -> np.ndarray:
    """Up to a number of three leading bits, at most a quarter more: int64."""
    step = 1 << np.maximum(np.floor(np.log2(np.maximum(n, 1))).astype(np.int64) - 2, 0)
    return -(-n // step) * step
