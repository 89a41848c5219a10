"""The service of a bundle in a process of its own, for the benchmarks that ask it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY_S = 60


@contextmanager
def served(bundle: Path, core: int | None = None) -> Iterator[int]:
    """Its port, once it is ready; it runs on one core where that is told. `TimeoutError`: it does not become ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "shopkeeper", "serve", str(bundle), "--port", str(port)]
    on = None if core is None else lambda: os.sched_setaffinity(0, {core})
    service = subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=on)
    try:
        _wait(f"http://127.0.0.1:{port}/health/ready")
        yield port
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(READY_S)


def _wait(address: str) -> None:
    end = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise TimeoutError(f"{address} is not ready after {READY_S} s") from None
            time.sleep(0.1)
