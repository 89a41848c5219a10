"""Looking things up "strictly before an instant" for many (customer, cutoff) rows at once, by index arithmetic.

Shapes: n rows (customer, cutoff), M rows of the event log.
"""

from __future__ import annotations

import numpy as np


def first_at_or_after(timestamp: np.ndarray, start: np.ndarray, end: np.ndarray, instant: np.ndarray) -> np.ndarray:
    """First row of each sorted range `timestamp[start:end]` that is not before `instant`: int64 (n,), `end` if none.

    One binary search for all ranges together: about log2(longest range) vectorised steps, whatever the number of
    distinct instants. Rows `start:result` are exactly those strictly before the instant.
    """
    low, high = np.array(start, np.int64), np.array(end, np.int64)
    last = max(len(timestamp) - 1, 0)
    while np.any(low < high):
        middle = (low + high) // 2
        before = (low < high) & (timestamp[np.minimum(middle, last)] < instant)
        low, high = np.where(before, middle + 1, low), np.where(before, high, middle)
    return low


def prefix(values: np.ndarray) -> np.ndarray:
    """Running total as int64 (M+1,): the sum over rows a:b is `prefix[b] - prefix[a]`.

    Integers on purpose: the difference is exact, so what happens after a cutoff (or to another customer) cannot
    change a feature even in its last bit, which with floating-point running totals it would.
    """
    total = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=total[1:], dtype=np.int64)
    return total


def first_of_key(group: np.ndarray, key: np.ndarray) -> np.ndarray:
    """True at the first row of each distinct (group, key) pair, in row order: bool (M,)."""
    order = np.lexsort((key, group))  # stable: equal pairs stay in row order
    new = np.ones(len(order), bool)
    new[1:] = (group[order][1:] != group[order][:-1]) | (key[order][1:] != key[order][:-1])
    first = np.zeros(len(order), bool)
    first[order] = new
    return first
