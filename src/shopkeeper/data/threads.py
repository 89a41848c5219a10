"""Pieces of work side by side in threads: Arrow, NumPy, SciPy and LightGBM let go of the interpreter meanwhile."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")
WORKERS = 2
_END: Any = object()


class _Pool(ThreadPoolExecutor):
    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """End the threads, and wait for them unless the pieces were let go of: Python's collector may do that, too.

        It may do so in any thread, within the start of another one, and that holds a lock which waiting would need.
        """
        self.shutdown(wait=kind is not GeneratorExit, cancel_futures=True)


def ahead(pieces: Iterator[T]) -> Iterator[T]:
    """The same pieces in the same order, each made in a second thread while the one before it is used.

    One piece more is held in memory. What making a piece raises is raised where it would have come.
    """
    with _Pool(1, "ahead") as pool:
        coming = pool.submit(next, pieces, _END)
        while (piece := coming.result()) is not _END:
            coming = pool.submit(next, pieces, _END)
            yield piece


def side_by_side(work: Callable[[S], T], pieces: Iterable[S], at_once: int = WORKERS) -> list[T]:
    """`work` of each piece, in their order. What the first of them raises is raised when all have ended.

    Pieces know nothing of each other, so that `at_once`, how many are at work at a time, changes nothing.

    Examples:
        >>> side_by_side(len, ["a", "bc", ""])
        [1, 2, 0]
    """
    if at_once <= 1:
        return [work(piece) for piece in pieces]
    with ThreadPoolExecutor(at_once, "beside") as pool:
        return list(pool.map(work, pieces))


def blocks(work: Callable[[int], T], firsts: range) -> list[T]:
    """`work(first)` of each block of rows, in their order, as many at once as threads may be taken."""
    return side_by_side(work, firsts, min(cores(), len(firsts)))


def cores() -> int:
    """Threads that may be taken: `OMP_NUM_THREADS`, as for all numeric libraries, or the cores of this process."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def each_ahead(work: Callable[[S], T], pieces: Iterator[S]) -> Iterator[T]:
    """`work` of each piece, in their order; of the later ones the next two are at work while one is used.

    The first is made alone, as who only looks at how a file begins asks for no more. What taking a piece or its work
    raises is raised where it would have come.
    """
    for first in pieces:
        yield work(first)
        break
    with _Pool(WORKERS, "ahead") as pool:

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
