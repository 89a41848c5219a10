"""Verbs killed by SIGTERM, SIGINT and SIGKILL: nothing torn, nothing lost, true exit codes, and the next run is right.

The long form, with every verb, is benchmarks/kills.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "kills.py"
STAGES = ("prepare", "train popularity", "extend", "evaluate", "export", "tune")


@pytest.fixture(scope="module")
def kills() -> list[dict[str, Any]]:
    """Three kills of each stage that leaves a folder, before one of its changes on disk, drawn at random (seeded)."""
    command = [sys.executable, str(BENCHMARK), "--json", "--changes", "--kills", "18", "--stages", ",".join(STAGES)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_signal_ends_each_of_the_stages_under_way_with_a_code_that_says_so(kills: list[dict[str, Any]]):
    assert {(kill["stage"], kill["signal"], kill["code"]) for kill in kills} == {
        (stage, name, code) for stage in STAGES for name, code in (("SIGTERM", 143), ("SIGINT", 130), ("SIGKILL", -9))
    }
    assert {kill["earlier"] for kill in kills} == {0, 1}, "no kill had an earlier result to lose"


def test_after_a_kill_nothing_is_torn_or_lost_and_the_next_run_leaves_what_an_undisturbed_one_does(
    kills: list[dict[str, Any]],
):
    assert [kill for kill in kills if kill["wrong"]] == []
