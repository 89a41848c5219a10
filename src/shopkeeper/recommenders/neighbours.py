"""The strongest entries of a product of sparse matrices, row by row, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy import sparse

from shopkeeper.metrics.best import best_entries

PAIRS_AT_ONCE = 10_000_000  # products of one block: bounds the memory to some 200 MiB


def strongest(
    a_SV: sparse.csr_array,
    b_SV: sparse.csr_array,
    neighbours: int,
    value: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> sparse.csr_array:
    """The `neighbours` highest of each row of `value(i, j, (a' b)[i, j])`, i != j: float32 sparse (V, V).

    `value` gets rows, columns and entries that are not 0, as arrays. Ties: lower column first.
    """
    a_VS = a_SV.T.tocsr()
    # Products that row i costs: the sizes of the rows of b that a's column i meets, summed.
    cost_V = a_VS.astype(bool).astype(np.int64) @ np.diff(b_SV.indptr).astype(np.int64)
    block_V = np.cumsum(cost_V) // PAIRS_AT_ONCE
    edges = np.concatenate([[0], np.flatnonzero(np.diff(block_V)) + 1, [len(cost_V)]])
    parts = []
    for first, end in pairwise(edges):
        both = (a_VS[first:end] @ b_SV).tocsr()
        i, j = np.repeat(np.arange(first, end, dtype=np.int32), np.diff(both.indptr)), both.indices
        got = value(i, j, both.data).astype(np.float32)
        other = i != j
        got[~other] = -np.inf
        near = best_entries(both.indptr, j, got, neighbours)
        near = near[other[near]]
        parts.append((i[near], j[near], got[near]))
    i, j, got = (np.concatenate(column) for column in zip(*parts, strict=True))
    return sparse.coo_array((got, (i, j)), shape=(len(cost_V), len(cost_V))).tocsr()
