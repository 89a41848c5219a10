"""What `pip install` brings: the verbs and their configuration, outside of a clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shopkeeper import configuration

ROOT = Path(__file__).parents[1]
SHOP = """
defaults:
  - override /split@_global_.split: temporal
name: corner
raw: {folder: corner, files: [log.csv]}
reader: {format: csv}
columns: {user_id: who, item_id: what, timestamp: when}
event_type: purchase
target_events: [purchase]
filter_seen: false
filters: {}
temporal: {validation_days: 7, test_days: 7}
max_rejected_share: 0
"""


def test_every_configuration_file_travels_with_the_package(installed: Path):
    here = {p.relative_to(ROOT / "conf").as_posix() for p in (ROOT / "conf").rglob("*.yaml")}
    there = {
        p.relative_to(installed / "shopkeeper/conf").as_posix() for p in (installed / "shopkeeper/conf").rglob("*.yaml")
    }
    assert here == there
    report = Path("shopkeeper/evaluation/report")
    pages = [sorted(p.name for p in (place / report / "templates").iterdir()) for place in (ROOT / "src", installed)]
    assert pages[0] == pages[1]


def test_a_folder_with_nothing_but_a_dataset_of_its_own_trains_a_model_of_the_package(installed: Path, tmp_path: Path):
    (tmp_path / "conf/dataset").mkdir(parents=True)
    (tmp_path / "data/raw/corner").mkdir(parents=True)
    (tmp_path / "conf/dataset/corner.yaml").write_text(SHOP)
    rows = [f"c{d % 5},p{d % 3},2024-01-{d:02d} {h}:00" for d in range(1, 31) for h in (10, 15)]
    (tmp_path / "data/raw/corner/log.csv").write_text("who,what,when\n" + "\n".join(rows) + "\n")
    environment = {k: v for k, v in os.environ.items() if k != "SHOPKEEPER_RAW"} | {"PYTHONPATH": str(installed)}

    def shopkeeper(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "shopkeeper", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = shopkeeper("train", "dataset=corner", "model=popularity", "tracking=none", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/manifest.json").is_file()
    misspelt = shopkeeper("train", "dataset=cornr")
    assert misspelt.returncode == 1
    assert "Did you mean 'corner'?" in misspelt.stderr


def test_a_whole_conf_replaces_the_packages_and_a_part_adds_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert configuration.folders() == [configuration.PACKAGED]
    (tmp_path / "conf/dataset").mkdir(parents=True)
    (tmp_path / "conf/dataset/mine.yaml").write_text("name: mine\n")
    assert configuration.folders() == [Path("conf"), configuration.PACKAGED]
    assert configuration.find("dataset", "mine") == Path("conf/dataset/mine.yaml")
    assert {"mine", "demo_shop"} <= set(configuration.names("dataset"))
    (tmp_path / "conf/config.yaml").write_text("seed: 1\n")
    assert configuration.folders() == [Path("conf")]
    assert configuration.names("dataset") == ["mine"]
