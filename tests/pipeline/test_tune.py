"""A study survives what happens to long searches: kills, several machines at once; one command for many models."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from searches import ROOT, trials
from servers.postgres import server


def test_one_command_gives_every_model_of_a_leaderboard_the_same_budget(tmp_path: Path):
    from test_bad_input import HEAD, ROWS, write_raw

    write_raw(tmp_path, HEAD + "".join(ROWS))
    places = [f"paths.{k}={tmp_path / k}" for k in ("raw", "prepared", "studies", "outputs")]
    words = ["dataset=online_retail", "tracking=none", "progress=false", "tuning=random", "tuning.trials=2",
             "tuning.models=[item_knn,popularity]", "tuning.name=spring"]  # fmt: skip
    done = subprocess.run([sys.executable, "tune.py", *words, *places], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {f.parent.name: json.loads(f.read_text()) for f in (tmp_path / "studies").glob("*/trials.json")}
    assert sorted(found) == ["spring-item_knn", "spring-popularity"]
    assert [len(t) for t in found.values()] == [2, 2]


def process(storage: str, folder: Path, n: int) -> subprocess.Popen[str]:
    """A search in a process of its own, training replaced by a nap."""
    code = f"""
import sys, time, logging
sys.path.insert(0, {str(ROOT / "tests")!r})
from pathlib import Path
from searches import config
from shopkeeper.pipeline import tune
def nap(cfg, log):
    time.sleep(0.2)
    return cfg.model.parameters["neighbours"]
tune.validate_model, tune.data_of = nap, lambda cfg: {{}}
print("ready", flush=True)
words = ["tuning=random", "tuning.trials={n}", "tuning.storage={storage}", "tuning.heartbeat_seconds=1"]
tune.tune_model(config(Path({str(folder)!r}), *words))
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(storage: str) -> list[Any]:
    import optuna

    [name] = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    return [t for t in study.get_trials() if t.state.is_finished()]


def test_a_killed_search_goes_on_and_no_trial_is_lost(tmp_path: Path):
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    victim = process(storage, tmp_path / "a", 10)
    assert victim.stdout is not None
    assert victim.stdout.readline().strip() == "ready"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if len(finished(storage)) >= 3:
                break
        except Exception:
            time.sleep(0.1)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    before = len(finished(storage))
    assert 3 <= before < 10
    time.sleep(3.5)  # the heartbeat of the killed trial goes stale
    second = process(storage, tmp_path / "a", 10)
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors[-2000:]
    states = [t.state.name for t in finished(storage)]
    assert states.count("COMPLETE") == 10, "a killed trial costs nothing of the budget"
    lost = [t for t in trials(tmp_path / "a") if t["state"] == "fail"]
    assert len(lost) == states.count("FAIL")
    assert all("killed or lost" in t["error"] for t in lost)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of our own; its URL."""
    with server() as port:
        yield f"postgresql://shop@127.0.0.1:{port}/postgres"


def test_two_processes_share_one_study_in_postgresql(postgres: str, tmp_path: Path):
    pair = [process(postgres, tmp_path / name, 16) for name in "ab"]
    for one in pair:
        _, errors = one.communicate(timeout=180)
        assert one.returncode == 0, errors[-2000:]
    done = finished(postgres)
    assert 16 <= len(done) <= 17  # two trials may be under way when the budget is reached
    assert len({tuple(t.params.values()) for t in done}) == len(done), "the processes search the same places"
    overlap = sum(a.datetime_start < b.datetime_complete and b.datetime_start < a.datetime_complete
                  for i, a in enumerate(done) for b in done[:i])  # fmt: skip
    assert overlap > 3, "the processes ran one after the other"
