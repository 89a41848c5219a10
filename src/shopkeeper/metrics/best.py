"""The best of each row, of equal ones the lower column: of a table with a value in every cell, and of a sparse one.

Which of several equal values are among the best is part of an answer: a bundle, an evaluation and a second stage that
look at the same numbers must choose the same items. So nothing here depends on how a partition happens to leave ties.

Shapes: B rows, V columns, N entries of all rows.
"""

from __future__ import annotations

import numpy as np

CELLS = 4_000_000  # of a block of rows that are looked at side by side: bounds the memory to some 50 MiB


def best_columns(value_BV: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest values of each row, best first, ties to the lower column: int64 (B, min(k, V))."""
    k = min(k, value_BV.shape[1])
    if k == 0:
        return np.zeros((len(value_BV), 0), np.int64)
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


def best_entries(indptr: np.ndarray, column: np.ndarray, value: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest values of each row, by row and best first, ties to the lower column: int64.

    Row b has the entries `indptr[b]:indptr[b + 1]`, in any order; shorter rows give all that they have.
    """
    length = np.diff(indptr)
    kept = np.repeat(length <= k, length)
    long = np.flatnonzero(length > k)
    width_b = _rounded(length[long])
    # Rows of about the same length side by side, so that the longest does not make the table wide.
    for width in np.unique(width_b).tolist():
        rows = long[width_b == width]
        for first in range(0, len(rows), max(1, CELLS // width)):
            some = rows[first : first + max(1, CELLS // width)]
            inside_bW = np.arange(width) < length[some][:, None]
            place = (indptr[some][:, None] + np.arange(width))[inside_bW]
            value_bW = np.full(inside_bW.shape, -np.inf, value.dtype)
            value_bW[inside_bW] = value[place]
            last_b1 = -np.partition(-value_bW, k - 1, axis=1)[:, k - 1 : k]
            kept[place[(value_bW >= last_b1)[inside_bW]]] = True
    place = np.flatnonzero(kept)
    row = np.searchsorted(indptr, place, side="right") - 1
    order = np.lexsort((column[place], -value[place], row))
    place, row = place[order], row[order]
    return place[np.arange(len(row)) - np.searchsorted(row, row) < k]


def _rounded(n: np.ndarray) -> np.ndarray:
    """Up to a number of three leading bits, at most a quarter more: int64."""
    step = 1 << np.maximum(np.floor(np.log2(np.maximum(n, 1))).astype(np.int64) - 2, 0)
    return -(-n // step) * step
