"""What verbs leave behind when they are typed: runs in their place, and nothing at all where they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shopkeeper.pipeline.places import listed

SMALL = ("dataset.simulate.customers=120", "evaluation.resamples=20", "tracking=none", "progress=false")


def shopkeeper(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "shopkeeper", *words]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("words", [
    ("train", "model=popularity", "model.half_life_days=abc", "tracking=none"),
    ("train", "-m", "model=popularity", "seed=1,2", "name=one"),
    ("train", "model=popularity", "model.half_life_days=abc", "hydra.run.dir=a/b/c", "tracking=none"),
    ("evaluate",),
])  # fmt: skip
def test_a_failed_command_leaves_no_folder(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = shopkeeper(tmp_path, *words)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_the_next_command_is_about_what_was_done_whatever_else_was_trained(tmp_path: Path) -> None:
    def told_next(*words: str) -> str:
        done = shopkeeper(tmp_path, *words, *SMALL, "paths.runs=mine")
        assert done.returncode == 0, done.stderr
        return done.stderr.splitlines()[-1]

    assert told_next("train", "-m", "model=popularity,recency") == "next: shopkeeper evaluate paths.runs=mine"
    assert told_next("train", "model=ease", "split=leave_one_out") == "next: shopkeeper evaluate paths.runs=mine"
    export = "shopkeeper export run=best dataset=demo_shop split=temporal paths.runs=mine"
    assert told_next("evaluate", "split=temporal", "report.shuffle=false") == f"next: {export}"
    done = shopkeeper(tmp_path, *export.split()[1:], "golden=5")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "exports/demo_shop-best/next_item/manifest.json").read_text(encoding="utf-8"))
    assert told["model"] in ("popularity", "recency")


def test_a_sweep_leaves_its_runs_with_all_others_and_ends_with_its_table(tmp_path: Path) -> None:
    done = shopkeeper(tmp_path, "train", "-m", "model=popularity,recency", *SMALL)
    assert done.returncode == 0, done.stderr
    runs = listed(tmp_path / "runs")
    assert {run.model for run in runs} == {"popularity", "recency"}
    assert {run.path.parent for run in runs} == {tmp_path / "runs/demo_shop/next_item/temporal"}
    table = done.stdout.rpartition("\n\n")[2].splitlines()
    assert table[0] == "next_item, on validation:"
    assert table[1].split() == ["run", "model", "ndcg@10", "↑"]
    assert {line.split()[0] for line in table[3:]} == {run.path.name for run in runs}
    assert "next: shopkeeper evaluate" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data", "runs", "outputs"}
