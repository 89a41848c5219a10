"""Items that the same rows have: the counts of all pairs, or the strongest of each item, in bounded memory.

Few items stand in most rows, so that nearly all of a sparse product is about them. Where all pairs are counted they are
columns of a dense matrix, which BLAS multiplies; what the others have in common stays sparse. Counts are whole numbers:
exact in 32 bits.

Shapes: S or U rows (orders, users), V or A items, H items of many users, L the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy import sparse

from shopkeeper.data.threads import blocks
from shopkeeper.metrics.best import best_columns, best_entries

PAIRS_AT_ONCE = 10_000_000  # products of one block: bounds the memory to some 200 MiB
MANY = 32  # an item is one of many where it has at least the 32nd part of the users
CELLS = 128_000_000  # of the dense matrix, at most: 0.5 GiB
BYTES_A_PRODUCT = 400  # products in 8 bits in the time of one of a sparse matrix
WORTH_TORCH = 400_000_000_000  # products in 32 bits take longer than to bring torch in
FULL = 36_000_000  # pairs, at most, of which item-kNN has all counts at once: 144 MB
BLOCK, ROWS = 512, 64  # rows that are counted at once, and that are compared


def each_once(offsets: np.ndarray, item: np.ndarray, width: int) -> sparse.csr_array:
    """1 where row u has an item among `item[offsets[u]:offsets[u + 1]]`, however often: float32 sparse (U, width).

    Row and item are one number, so that one sort finds what stands twice: a quarter of the time of SciPy's way.
    """
    fits = np.int32 if len(offsets) * width <= np.iinfo(np.int32).max else np.int64
    first_U = (np.arange(len(offsets)) * width).astype(fits)
    key = np.repeat(first_U[:-1], np.diff(offsets))
    key += item.astype(fits, copy=False)
    key.sort()
    new = np.ones(len(key), bool)
    np.not_equal(key[1:], key[:-1], out=new[1:])
    key = key[new]
    indptr = np.searchsorted(key, first_U)
    key -= np.repeat(first_U[:-1], np.diff(indptr))
    indptr = indptr.astype(key.dtype)
    return sparse.csr_array((np.ones(len(key), np.float32), key, indptr), shape=(len(offsets) - 1, width))


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


def strongest_of_all(
    x_UV: sparse.csr_array, neighbours: int, value: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> sparse.csr_array | None:
    """`strongest(x, x, …)` by way of all counts; None where x has other entries than 1, or few in common.

    `value` is above 0, and 0 where nothing is in common. All that do are the same pairs and values, bit for bit.
    """
    known = np.flatnonzero(np.bincount(x_UV.indices, minlength=x_UV.shape[1])).astype(np.int32)
    products = int((np.diff(x_UV.indptr).astype(np.int64) ** 2).sum())
    if not (0 < len(known) ** 2 <= min(FULL, products // 4) and (x_UV.data == 1).all()):
        return None
    place_V = np.zeros(x_UV.shape[1], np.int32)
    place_V[known] = np.arange(len(known))
    x_UA = sparse.csr_array((x_UV.data, place_V[x_UV.indices], x_UV.indptr), shape=(x_UV.shape[0], len(known)))
    narrow = x_UA.shape[0] <= np.iinfo(np.uint16).max  # no count is above the number of rows
    both_AA = counts_together(x_UA, np.uint16 if narrow else np.float32)

    def block(first: int) -> tuple[np.ndarray, ...]:
        both = both_AA[first : first + ROWS].astype(np.float32, copy=False)
        i = np.arange(first, first + len(both))
        got = value(known[i][:, None], known, both).astype(np.float32, copy=False)
        got[np.arange(len(both)), i] = 0
        near = best_columns(got, neighbours)
        row, place = np.nonzero(np.take_along_axis(got, near, axis=1) > 0)
        column = near[row, place]
        return known[i[row]], known[column], got[row, column]

    i, j, got = (np.concatenate(column) for column in zip(*blocks(block, range(0, len(known), ROWS)), strict=True))
    return sparse.coo_array((got, (i, j)), shape=(x_UV.shape[1],) * 2).tocsr()


def counts_together(x_UA: sparse.csr_array, dtype: type = np.float64, block: int = BLOCK) -> np.ndarray:
    """X^T X of a sparse matrix whose entries are all 1: (A, A). Nothing else of its size is made."""
    U, A = x_UA.shape
    count_A, products = np.bincount(x_UA.indices, minlength=A), int((np.diff(x_UA.indptr).astype(np.int64) ** 2).sum())
    falling = np.argsort(-count_A, kind="stable")[: CELLS // max(U, 1)]
    among, share = _product(U * len(falling) ** 2), MANY
    if among is not None and len(falling) == A and BYTES_A_PRODUCT * products >= U * A**2:
        share = U + 1  # nothing stays sparse
    many = np.sort(falling[share * count_A[falling] >= max(U, 1)])
    place_A = np.full(A, -1)
    place_A[many] = np.arange(len(many))
    few = np.flatnonzero(place_A < 0)
    place_A[few] = np.arange(len(few))
    user, column = np.repeat(np.arange(U), np.diff(x_UA.indptr)), x_UA.indices
    x_UH = np.zeros((U, len(many)), np.float32 if among is None else np.int8)
    is_many_A = np.zeros(A, bool)
    is_many_A[many] = True
    of_many = is_many_A[column]
    x_UH[user[of_many], place_A[column[of_many]]] = 1
    user, column = user[~of_many], place_A[column[~of_many]]
    x_LU = sparse.csr_array((np.ones(len(user), np.float32), (column, user)), shape=(len(few), U))
    both_AA = np.empty((A, A), dtype)

    def put(rows: np.ndarray, columns: np.ndarray, both: np.ndarray) -> None:
        at, across = _span(rows), _span(columns)
        both_AA[at if isinstance(across, slice) else rows[:, None], across] = both
        both_AA[across if isinstance(at, slice) else columns[:, None], at] = both.T

    for first in range(0, len(many), block):  # of either half of what is symmetric one is counted
        part_UH, rest_UH = x_UH[:, first : first + block], x_UH[:, first:]
        put(many[first : first + block], many[first:], among(part_UH, rest_UH) if among else part_UH.T @ rest_UH)
    x_UH = x_UH.astype(np.float32, copy=False) if len(few) else x_UH

    def others(first: int) -> None:
        rows, part_LU = few[first : first + block], x_LU[first : first + block]
        put(rows, many, part_LU @ x_UH)
        put(rows, few[first:], (part_LU @ x_LU[first:].T.tocsr()).toarray())

    blocks(others, range(0, len(few), block))
    return both_AA


def _product(operations: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """`a.T @ b` of 0 and 1 in 8 bits, faster than in 32; None where torch has none, or takes longer to come."""
    if "torch" not in sys.modules and operations < WORTH_TORCH:
        return None
    import torch

    from shopkeeper.private_torch import BYTES, product_of_bytes

    if not BYTES:
        return None
    return lambda a, b: product_of_bytes(torch.from_numpy(a).T, torch.from_numpy(b)).numpy()


def _span(ascending: np.ndarray) -> np.ndarray | slice:
    """The same numbers as a slice where they follow one another: much less work for NumPy."""
    if len(ascending) and ascending[-1] - ascending[0] == len(ascending) - 1:
        return slice(int(ascending[0]), int(ascending[-1]) + 1)
    return ascending
