"""Fixtures that every test may use."""

from __future__ import annotations

import os
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
