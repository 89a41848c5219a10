"""The client in clients/javascript, where node and its package are there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CLIENT = Path(__file__).parents[1] / "clients" / "javascript"


def node(*words: str, wants: str = "onnxruntime-node") -> subprocess.CompletedProcess[str]:
    """Run node in the client's folder; skipped with the reason where it, or the package, is missing."""
    if shutil.which("node") is None:
        pytest.skip("the JavaScript client needs node (https://nodejs.org), which is not here")
    if wants and not (CLIENT / "node_modules" / wants).is_dir():
        pytest.skip("the JavaScript client's package is not installed; `make javascript` does it")
    return subprocess.run(["node", *words], capture_output=True, text=True, cwd=CLIENT, check=False)


def module(code: str) -> Any:
    """What a line of JavaScript prints, as JSON; needs node alone."""
    done = node("--input-type=module", "-e", code, wants="")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
