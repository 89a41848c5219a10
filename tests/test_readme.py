"""Every command of the README, and of the pages that need a clone, typed as it stands in a copy of this tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pages.test_pages import IN_A_CLONE
from pages.typed import SITE, commands, typed

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(SITE / page for page in IN_A_CLONE)]
# Needs what no test has. What comes instead, if anything, is tried in its place.
ELSEWHERE = {
    "dvc remote add -d team s3://bucket/shopkeeper && dvc push": "",  # a bucket
    "export MLFLOW_TRACKING_URI=https://mlflow.example.org && python train.py model=sasrec": "",  # a server
    "python tune.py model=sasrec tuning=tpe tuning.trials=40 tuning.storage=postgresql://shop@db/studies": (
        "python tune.py model=sasrec tuning=tpe tuning.trials=40 tuning.storage=postgresql://shop@db/studies --cfg job"
    ),
}


def test_commands_that_are_tried_otherwise_stand_on_these_pages():
    every = [command for page in PAGES for command in commands(page)]
    assert set(ELSEWHERE) <= set(every)
    assert len(every) > 20


def test_the_readme_is_short_and_each_page_that_it_names_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    targets = [one.partition("#")[0] for one in re.findall(r"\]\(([^)]+)\)", text) if "://" not in one]
    assert len(targets) > 25
    assert all((ROOT / target).is_file() for target in targets)


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
    return place


@pytest.mark.slow
def test_every_command_does_what_it_says(copy: Path):
    failed: dict[str, str] = {}
    for page in PAGES:
        failed |= {f"{page.name}: {step}": said for step, said in typed(page, copy, ELSEWHERE, copy / "src").items()}
    assert not failed, "\n\n".join(f"{step}\n{said}" for step, said in failed.items())
