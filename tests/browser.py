"""A page, opened in headless Chromium: its picture, its console messages, its document after scripts ran.

Chromium comes from the distribution's packages (`apt-get install chromium`). Without it a test skips with the reason;
with CI=true that is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--enable-logging=stderr", "--log-level=0", "--force-prefers-reduced-motion",
)  # fmt: skip
CONSOLE = re.compile(r'CONSOLE[^\]]*\] "(.*)", source: (.*) \(\d+\)')


def screenshot(page: Path | str, png: Path, width: int = 1280, height: int = 900) -> Path:
    """Save a picture of a file or URL, `width` × `height` CSS pixels from the top of the page."""
    _run(page, f"--screenshot={png.resolve()}", f"--window-size={width},{height}")
    assert png.is_file(), "Chromium wrote no picture"
    return png


def console_errors(page: Path | str, width: int = 1280, height: int = 900) -> list[str]:
    """Everything that the page wrote to the console (a finished page writes nothing), also refused requests."""
    done = _run(page, "--dump-dom", f"--window-size={width},{height}", "--virtual-time-budget=3000")
    return [match.group(1) for match in CONSOLE.finditer(done.stderr)]


def document(page: Path | str, width: int = 1280, height: int = 900, budget: int = 3000) -> str:
    """The page's HTML after its scripts ran, for so many milliseconds of its own clock."""
    return _run(page, "--dump-dom", f"--window-size={width},{height}", f"--virtual-time-budget={budget}").stdout


def chromium() -> str:
    """Path of the browser; skips the test without one, fails it with CI=true."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    reason = f"no browser: none of {', '.join(NAMES)} is installed (apt-get install chromium)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _run(page: Path | str, *options: str) -> subprocess.CompletedProcess[str]:
    url = page if isinstance(page, str) and "://" in page else Path(page).resolve().as_uri()
    # A profile of its own: two browsers at once do not meet, and nothing is left behind.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium(), *FLAGS, f"--user-data-dir={profile}", *options, url]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
