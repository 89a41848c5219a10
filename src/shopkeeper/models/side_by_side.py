"""Blocks of work side by side, for models whose work is done by NumPy, SciPy and LightGBM."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def side_by_side(work: Callable[[int], T], firsts: range) -> list[T]:
    """`work(first)` of each block, in their order, as many at once as there are cores.

    NumPy, SciPy's products and LightGBM let other threads run meanwhile; blocks know nothing of each other, so that
    the number of threads changes nothing.
    """
    n = min(cores(), len(firsts))
    if n <= 1:
        return [work(first) for first in firsts]
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(work, firsts))


def cores() -> int:
    """Threads that may be taken: `OMP_NUM_THREADS`, as for all numeric libraries, or the cores of this process."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
