"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def raw() -> Path:
    """The folder of raw public data (SHOPKEEPER_RAW). With CI=true a missing folder is a failure, else a skip."""
    folder = os.environ.get("SHOPKEEPER_RAW")
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = f"no raw data: SHOPKEEPER_RAW is {folder!r}, which is not a folder"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard() -> None:
    """Below nohup, or behind an `&`, signals come in ignored, and every child would ignore them in turn."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
