"""What verbs leave behind when they are typed: runs in their place, and nothing at all where they fail."""

from __future__ import annotations

import json
import os
import shlex
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
    check = "shopkeeper verify exports/demo_shop-best/next_item"
    assert done.stderr.splitlines()[-1] == f"next: {check}"
    assert shopkeeper(tmp_path, *check.split()[1:]).returncode == 0
    other = shopkeeper(tmp_path, "export", "run=best", "split=leave_one_out", "paths.runs=mine", "golden=5")
    assert "holds a bundle of split=temporal, not leave_one_out; say overwrite=true to replace it" in other.stderr
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
    cleaned = shopkeeper(tmp_path, "clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert "removed outputs/sweeps/" in cleaned.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "outputs").exists()


def test_what_was_prepared_and_scored_is_gone_on_with_by_the_command_that_is_told(tmp_path: Path) -> None:
    def told_next(*words: str) -> str:
        done = shopkeeper(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        return done.stderr.splitlines()[-1].removeprefix("next: ")

    small, quick = SMALL[:1], SMALL[1:]
    prepared = told_next("prepare", "split=leave_one_out", *small)
    assert prepared == f"shopkeeper train dataset=demo_shop model=item_knn split=leave_one_out {small[0]}"
    assert told_next(*prepared.split()[1:], *quick) == "shopkeeper evaluate"
    churn = told_next("prepare", "task=churn", *small)
    assert churn == f"shopkeeper train dataset=demo_shop model=logistic task=churn {small[0]}"
    told_next(*churn.split()[1:], *quick)
    scored = told_next("score", "run=logistic", "at=2025-05-01")
    assert scored.startswith("shopkeeper audience dataset=demo_shop at=2025-05-01T00:00:00 audience=at_risk scores=")
    done = shopkeeper(tmp_path, *shlex.split(scored)[1:], *small)
    assert done.returncode == 0, done.stderr
