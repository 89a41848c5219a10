"""NumPy over whole columns, piece by piece: it copies what it takes for places or counts into 64 bits first.

For a hundred million codes of 32 bits such a copy is .75 GiB; of a piece, 16 MiB. Each of two threads has a half of the
pieces: these operations wait for memory, and NumPy lets go of the interpreter meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

PIECE = 1 << 21
THREADS = 2
T = TypeVar("T")


def pieces(n: int) -> Iterator[slice]:
    """n rows as pieces, in order."""
    return _pieces(slice(0, n))


def counted(codes: np.ndarray, n: int) -> np.ndarray:
    """How often each of the codes 0 .. n - 1 occurs: int64 (n,).

    Examples:
        >>> counted(np.array([2, 0, 2], np.int32), 4).tolist()
        [1, 0, 2, 0]
    """

    def of(rows: slice) -> np.ndarray:
        found = np.zeros(n, np.int64)
        for piece in _pieces(rows):
            found += np.bincount(codes[piece], minlength=n)
        return found

    first, *others = _in_shares(of, len(codes))
    for other in others:
        first += other
    return first


def taken(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`values[rows]` of places, int (n,).

    Examples:
        >>> taken(np.array([5.0, 7.0]), np.array([1, 1, 0], np.int32)).tolist()
        [7.0, 7.0, 5.0]
    """
    found = np.empty(len(rows), values.dtype)

    def into(share: slice) -> None:
        for piece in _pieces(share):
            found[piece] = values[rows[piece]]

    _in_shares(into, len(rows))
    return found


def _pieces(rows: slice) -> Iterator[slice]:
    return (slice(at, min(at + PIECE, rows.stop)) for at in range(rows.start, rows.stop, PIECE))


def _in_shares(work: Callable[[slice], T], n: int) -> list[T]:
    """`work` on each thread's share of n rows, in their order; on all of them here where they are one piece."""
    if n <= PIECE:
        return [work(slice(0, n))]
    edges = [n * i // THREADS for i in range(THREADS + 1)]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, map(slice, edges[:-1], edges[1:])))
