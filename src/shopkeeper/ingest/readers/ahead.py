"""The next of several pieces is made while this one is used: readers and writers let go of the interpreter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")
WORKERS = 2
_END: Any = object()


def ahead(pieces: Iterator[T]) -> Iterator[T]:
    """The same pieces in the same order, each made in a second thread while the one before it is used.

    One piece more is held in memory. What making a piece raises is raised where it would have come.
    """
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, pieces, _END)
        while (piece := coming.result()) is not _END:
            coming = pool.submit(next, pieces, _END)
            yield piece


def each_ahead(work: Callable[[S], T], pieces: Iterator[S]) -> Iterator[T]:
    """`work` of each piece, in their order; of the later ones the next two are at work while one is used.

    The first is made alone, as who only looks at how a file begins asks for no more. What taking a piece or its work
    raises is raised where it would have come.
    """
    for first in pieces:
        yield work(first)
        break
    with ThreadPoolExecutor(WORKERS, "ahead") as pool:

        def begun() -> Iterator[Future[T]]:
            try:
                yield from (pool.submit(work, piece) for piece in pieces)
            except Exception as e:
                broken: Future[T] = Future()
                broken.set_exception(e)
                yield broken

        coming: deque[Future[T]] = deque()
        for future in begun():
            coming.append(future)
            if len(coming) > WORKERS:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
