"""Sums and firsts over ranges of the event log, exact to the last bit (see also `sequences.ranges.lower_bound`).

Shapes: M rows of the event log.
"""

from __future__ import annotations

import numpy as np


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
