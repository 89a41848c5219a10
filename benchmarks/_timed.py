"""What `shop_speed.py` and its peers have in common, in whichever environment: the sizes, and the clock."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

PER_MODEL, TREES = 50, 100  # of two stages
ASKED = 1_000  # requests of `tifu_knn`
DAY = 86_400


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds by the clock and of the processor that `work` takes, and the process's peak memory."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    seconds, used = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "cpu_seconds": used, "peak_gib": peak}
