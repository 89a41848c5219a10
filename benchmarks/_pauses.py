"""How long a core stood still for everybody: the machine beneath was elsewhere, or the system kept it.

A process that sleeps a little again and again sees it: whatever is runnable there, one that only ever sleeps is woken
first, so that what it oversleeps by more than a time slice nobody could have used. It needs less than a hundredth of
the core.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

NAP = 0.002  # seconds
PAUSE = 0.005  # seconds: above a time slice


class Pauses:
    """Of one core, from now on: when each ended (`time.perf_counter`, one clock for all processes), how long it was."""

    def __init__(self, core: int):
        command = [sys.executable, str(Path(__file__)), str(core)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def end(self) -> list[tuple[float, float]]:
        """What was seen."""
        self.process.send_signal(signal.SIGTERM)
        return [(end, seconds) for end, seconds in json.loads(self.process.communicate()[0])]


def within(pauses: list[tuple[float, float]], spans: list[tuple[float, float]]) -> list[float]:
    """Seconds of each pause that ended in one of the spans."""
    return [seconds for end, seconds in pauses if any(a < end <= b for a, b in spans)]


def main() -> None:
    os.sched_setaffinity(0, {int(sys.argv[1])})
    with contextlib.suppress(PermissionError):
        os.nice(-20)
    found: list[tuple[float, float]] = []
    going = True

    def stop(number: int, frame: object) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    while going:
        start = time.perf_counter()
        time.sleep(NAP)
        end = time.perf_counter()
        if end - start - NAP > PAUSE:
            found.append((end, end - start - NAP))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
