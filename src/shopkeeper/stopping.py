"""SIGINT, SIGTERM and SIGHUP end a command where it can be gone on with, with an exit code that says so.

The first one is an exception at once, or, where something must come to its end first (`held_back`), a little later.
The second one ends the process on the spot; what is on disk is then as after a SIGKILL: whole.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asks for the end. As with Ctrl-C, no `except Exception` holds it up."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class _Heard:
    noted: int | None = None  # the first signal
    held = 0  # how many blocks it has to wait for


def describe(error: BaseException) -> str:
    """One line about the end: by which signal, and what the notes of the error say about going on."""
    name = signal.Signals(getattr(error, "number", signal.SIGINT)).name
    notes = getattr(error, "__notes__", [])
    return f"stopped by {name}; {'; '.join(notes) or 'nothing half-written is left: run the same command again'}"


def exit_code(error: BaseException) -> int:
    """128 and the number of the signal, by custom: 130, 143, 129."""
    return 128 + int(getattr(error, "number", signal.SIGINT))


@contextmanager
def listening() -> Iterator[None]:
    """Within this the signals come as `Stopped`; those that the parent had ignored (nohup) stay ignored."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _hear:
        yield
        return
    before: dict[int, Any] = {n: signal.getsignal(n) for n in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _hear)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise  # the process is on its way out: a further signal ends it on the spot
    except BaseException:
        _restore(before)
        raise
    else:
        _restore(before)


def note(number: int) -> None:
    """As if the signal had come while it is held back: for a process that is told to end in another way."""
    _Heard.noted = number


def due() -> None:
    """Raise the signal that has been held back, if there is one."""
    if _Heard.noted is not None:
        raise Stopped(_Heard.noted)


def noted() -> bool:
    """Whether a signal has come."""
    return _Heard.noted is not None


@contextmanager
def held_back() -> Iterator[None]:
    """A signal that comes within this is raised at its end, or where the code within calls `due`."""
    _Heard.held += 1
    try:
        yield
    finally:
        _Heard.held -= 1
    if not _Heard.held:
        due()


def _hear(number: int, frame: FrameType | None) -> None:
    if _Heard.noted is not None:
        name = signal.Signals(number).name
        os.write(2, f"error: stopped by {name}, at once; run the same command again\n".encode())
        os._exit(128 + number)
    _Heard.noted = number
    if not _Heard.held:
        raise Stopped(number)


def _restore(handlers: dict[int, Any]) -> None:
    _Heard.noted = None
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)
