"""The next of several pieces is made while this one is used: readers and writers let go of the interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
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
