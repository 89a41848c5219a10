"""Calls of a tracker that may hang: made one after the other by a thread of their own, and not waited for for ever.

What a store fails with, be it a database's driver, a server or an object store's client, is put in a line.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from shopkeeper import startup
from shopkeeper.errors import UserError, without_secrets

SECONDS = 25.0  # for a call; HTTP requests give up after ten, and are tried twice
MOST_SAID = 200  # characters of the store's own message
SAID = (
    ("readonly database", "its file may not be written: change its rights"),
    ("database is locked", "another program holds the database: end it, or wait"),
    ("status code 401", "it wants a name and a password: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ("status code 403", "name and password are not enough: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ("error code 401", "it wants a name and a password: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ("error code 403", "name and password are not enough: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ("error code 404", "what answers there is no MLflow server: look at host and port"),
    ("status code 404", "what answers there is no MLflow server: look at host and port"),
)


class SilentError(Exception):
    """A call that has not come back in time."""


class Line:
    """A thread that makes one call after the other, as MLflow keeps a run per thread. After a silence it makes none."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Any] = queue.Queue()
        self.silent = False
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """The function's result or its error; a `SilentError` when it takes longer."""
        if self.silent:
            raise SilentError("no answer")
        if self._thread is None:  # a daemon: what hangs does not keep the process
            self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
            self._thread.start()
        done = threading.Event()
        answer: list[Any] = []
        with without_unused():
            self._calls.put((function, done, answer))
            if not done.wait(seconds):
                self.silent = True
                raise SilentError(f"no answer within {seconds:g} s")
        result, error = answer
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Let the thread end."""
        self._calls.put(None)

    def _work(self) -> None:
        while (job := self._calls.get()) is not None:
            function, done, answer = job
            try:
                answer += [function(), None]
            except Exception as e:
                answer += [None, e]
            finally:
                done.set()


def without_unused() -> AbstractContextManager[None]:
    """Within, MLflow finds none of the packages that it has a use for only where they are (its slim edition has none).

    They are for data frames, traces and notebooks, and take longer to import than a run takes to be told.
    """
    return startup.without("pandas", "polars", "pyspark", "scipy", "IPython", "pygments")


def reason(error: BaseException) -> str:
    """Why, short, with the way out where it is known, and without the passwords in addresses."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ImportError) and error.name:
        package = error.name.partition(".")[0]
        return f"the package {package} is not installed: `pip install {package}`"
    text = str(getattr(error, "message", None) or error).strip() or type(error).__name__
    said = next((said for part, said in SAID if part in text), None)
    first = without_secrets(text.splitlines()[0])[:MOST_SAID]
    return first if said is None else f"{said}; {first}"
