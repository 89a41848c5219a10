"""Every command of the README, typed as it stands, one after another, in a copy of this tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]
# Needs what no test has. What comes instead, if anything, is tried in its place.
ELSEWHERE = {
    "dvc remote add -d team s3://bucket/shopkeeper && dvc push": "",  # a bucket
    "export MLFLOW_TRACKING_URI=https://mlflow.example.org && python train.py model=sasrec": "",  # a server
    "python uplift.py campaign=hillstrom": "python uplift.py campaign=hillstrom --cfg job",  # the campaign's table
    "python train.py dataset=telco_churn model=logistic": (  # the table of customers
        "python train.py dataset=telco_churn model=logistic --cfg job"
    ),
    "python train.py model=gru task.together=[orders,spend]": (  # some minutes
        "python train.py model=gru task.together=[orders,spend] trainer.max_epochs=1"
    ),
    "python tune.py model=auto tuning.hours=2": "python tune.py model=auto tuning.trials=1",
    "python tune.py model=sasrec tuning=tpe tuning.trials=40 tuning.storage=postgresql://shop@db/studies": (
        "python tune.py model=sasrec tuning=tpe tuning.trials=40 tuning.storage=postgresql://shop@db/studies --cfg job"
    ),
}


def commands() -> list[str]:
    """The lines of the README's shell blocks, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_commands_that_are_tried_otherwise_stand_in_the_readme():
    assert set(ELSEWHERE) <= set(commands())
    assert len(commands()) > 20


def test_the_speeds_that_the_readme_tells_are_those_of_the_benchmark():
    rows = json.loads((ROOT / "benchmarks" / "results" / "train.json").read_text(encoding="utf-8"))["rows"]
    found = {r["figure"]: r["values"] for r in rows if (r["system"], r["dataset"]) == ("shopkeeper", "ml_1m")}
    ends = [(min(found[figure]), max(found[figure])) for figure in (
        "epoch", "span of runs, times as fast as replay", "span of runs, times as fast as rectools")]  # fmt: skip
    less = [found[f"processor time, times less than {peer}"][0] for peer in ("replay", "rectools")]
    words = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    own, replay, rectools = (f"{low:.1f} to {high:.1f}" for low, high in ends)
    assert f"takes {own} s: from run to run {replay} times as fast as RePlay and {rectools} times as fast" in words
    assert f"with {less[0]:.1f} and {less[1]:.1f} times less processor time" in words


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository of this tree's files with this environment as its `.venv`, as after `make setup`."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    place = tmp_path / "copy"
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            shutil.copy2(ROOT / name, place / name, follow_symlinks=False)
    for name in ("pyproject.toml", "constraints.txt"):  # older than the environment: `make` has nothing to install
        os.utime(place / name, (0, 0))
    me = ["-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    for git in (["init", "-q"], ["add", "-A"], [*me, "commit", "-qm", "as it stands"]):
        subprocess.run(["git", *git], cwd=place, check=True)
    (place / ".venv").symlink_to(sys.prefix)
    rng = np.random.default_rng(0)
    with open(place / "outcomes.csv", "w", encoding="utf-8") as file:
        file.write("user_id,treated,value\n")
        for user in range(400):
            file.write(f"u{user},{user % 2},{rng.random() < 0.3 + 0.1 * (user % 2):d}\n")
    action = rng.integers(0, 2, 2000)
    log = {"reward": (rng.random(2000) < 0.2 + 0.1 * action).astype(float), "action": action,
           "propensity": np.full(2000, 0.5), "target": [[0.2, 0.8]] * 2000}  # fmt: skip
    pq.write_table(pa.table(log), place / "log.parquet")
    return place


@pytest.mark.slow
def test_every_command_of_the_readme_does_what_it_says(copy: Path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(copy / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("SHOPKEEPER_RAW", None)  # the demo shop is all that they need
    failed = {}
    for command in commands():
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", ELSEWHERE.get(command, command)],
            cwd=copy, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            failed[command] = (done.stdout + done.stderr)[-1500:]
    assert not failed, "\n\n".join(f"{command}\n{said}" for command, said in failed.items())
