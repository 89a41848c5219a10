"""How long a trial may take."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class TrialTimeoutError(Exception):
    """A trial took too long. No `TimeoutError`: that is an `OSError`, which others may take for a failing disk."""


@contextmanager
def time_limit(hours: float | None) -> Iterator[None]:
    """A `TrialTimeoutError` in the main thread when what is within takes longer."""
    if hours is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        raise TrialTimeoutError(f"the trial ran longer than tuning.trial_hours={hours}")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, hours * 3600)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
