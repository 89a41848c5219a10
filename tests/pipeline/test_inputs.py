"""What the stage `inputs` notes changes exactly where a stage would do something else."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper import closure, hashing, unchanged
from shopkeeper.files import read_json
from shopkeeper.pipeline.stages.inputs import write_inputs

DATASET: dict[str, Any] = {
    "name": "shop",
    "raw": {"folder": "", "files": ["day-*.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "user", "item_id": "item"},
}
TARGETS = {
    "sasrec": ("next_item", "shopkeeper.recommenders.networks.sasrec.SASRec"),
    "popularity": ("next_item", "shopkeeper.recommenders.counting.popularity.Popularity"),
    "logistic": ("churn", "shopkeeper.customers.logistic.Logistic"),
}
SAID: dict[bytes, str] = {}  # by the bytes of a source file what stands in it: of every copy of the package the same


def read_once(path: Path, read: Callable[[Path], str] = closure._read) -> str:
    source = path.read_bytes()
    if source not in SAID:
        SAID[source] = read(path)
    return SAID[source]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with composed configs, one raw file, and a copy of the package that may be edited."""
    shutil.copytree(closure.PACKAGE, tmp_path / "shopkeeper", ignore=shutil.ignore_patterns("__pycache__", "conf"))
    monkeypatch.setattr(closure, "PACKAGE", tmp_path / "shopkeeper")
    monkeypatch.setattr(closure, "_read", read_once)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "_here", {})
    monkeypatch.setenv("SHOPKEEPER_RAW", str(tmp_path / "raw"))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/day-1.csv").write_text("user,item\nu,i\n")
    common = {"dataset": DATASET, "paths": {"raw": "${oc.env:SHOPKEEPER_RAW,data/raw}"}, "task": {"name": "next_item"}}
    stages: dict[str, Any] = {"stage-prepare": common}
    for name, (task, target) in TARGETS.items():
        stages[f"train-{name}"] = {**common, "task": {"name": task}, "model": {"name": name, "target": target}}
    baselines = {"recency": {"name": "recency", "target": "shopkeeper.recommenders.counting.recency.Recency"}}
    own = {"name": "tifu_knn", "target": "shopkeeper.recommenders.knn.tifu_knn.TIFUKNN"}
    report = {"baselines": baselines, "shop_baselines": {"tifu_knn": own}}
    stages["stage-evaluate"] = {**common, "report": report}
    stages["stage-export"] = {**common, "run": "best"}
    del stages["stage-export"]["task"]
    (tmp_path / "composed").mkdir()
    for name, config in stages.items():
        (tmp_path / "composed" / f"{name}.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def changed(place: Path) -> set[str]:
    """The files that are written anew with other content; those that are as before are not touched."""
    out = place / "inputs"
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.glob("*")}
    write_inputs(place / "composed", out)
    after = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.glob("*")}
    assert all(after[n] == before[n] for n in before.keys() & after.keys() if after[n][1] == before[n][1])
    return {n.removesuffix(".json") for n in before.keys() | after.keys() if before.get(n) != after.get(n)}


def edit(place: Path, name: str) -> None:
    with open(place / "shopkeeper" / name, "a") as file:
        file.write("EDITED = 1\n")


def test_a_change_reaches_the_stages_that_run_it_and_no_other(place: Path):
    every = changed(place)
    assert every == {"raw", "campaigns", *(f"code-{p.stem}" for p in (place / "composed").iterdir())}
    assert changed(place) == set()

    edit(place, "nn/attention.py")  # imported by one model alone
    assert changed(place) == {"code-train-sasrec", "code-stage-evaluate", "code-stage-export"}
    edit(place, "recommenders/counting/popularity.py")  # the best model may be any of those that are trained
    assert {"code-train-popularity", "code-stage-export"} <= changed(place)
    edit(place, "recommenders/counting/recency.py")  # a baseline of the report
    assert changed(place) == {"code-stage-evaluate"}
    edit(place, "recommenders/knn/tifu_knn.py")  # a baseline of shops
    assert changed(place) == {"code-stage-evaluate"}
    edit(place, "schema.py")  # imported by all
    assert changed(place) == every - {"raw", "campaigns"}
    edit(place, "evaluation/report/page.py")  # shown, and nothing that is learned
    assert changed(place) == {"code-stage-evaluate"}
    edit(place, "customers/build_cohort.py")
    assert "code-train-logistic" in (again := changed(place))
    assert not {"code-train-sasrec", "code-train-popularity"} & again
    (place / "shopkeeper/recommenders/new_model.py").write_text("X = 1\n")
    assert changed(place) == set()


def test_raw_files_are_noted_and_kept_where_there_are_none(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    changed(place)
    (place / "raw/day-1.csv").write_text("user,item\nv,i\n")
    assert changed(place) == {"raw"}
    (place / "raw/day-2.csv").write_text("user,item\nu,i\n")
    assert changed(place) == {"raw"}
    monkeypatch.setenv("SHOPKEEPER_RAW", str(tmp_path / "nowhere"))
    assert changed(place) == set()
    assert "could not be checked" in caplog.text
    assert [f["name"] for f in read_json(place / "inputs/raw.json")["files"]] == ["day-1.csv", "day-2.csv"]


def leave(folder: Path, **manifest: object) -> None:
    """A folder that a verb has left."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"dataset": "shop", "commit": "a", "seal": "b", **manifest}))


def test_what_was_made_by_hand_and_the_report_shows_is_noted_and_nothing_else(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(place)
    changed(place)
    leave(Path("audiences/shop/win_back-2026-01-01"), files={"card.json": "1"})
    assert changed(place) == {"campaigns"}
    leave(Path("audiences/shop/win_back-2026-01-01"), files={"card.json": "1"}, commit="c", seal="d")
    assert changed(place) == set()  # the same of another commit
    leave(Path("audiences/shop/win_back-2026-01-01"), files={"card.json": "2"})
    assert changed(place) == {"campaigns"}
    leave(Path("segments/shop-2026-01-01"))
    assert changed(place) == {"campaigns"}
    leave(Path("outputs/uplift/mail"))
    assert changed(place) == {"campaigns"}
    leave(Path("segments/shop"))  # a stage of the pipeline makes it
    leave(Path("audiences/other/win_back-2026-01-01"), dataset="other")
    leave(Path("outputs/uplift/hillstrom"), dataset=None)
    Path("audiences/shop/half").mkdir()
    Path("audiences/shop/broken").mkdir()
    Path("audiences/shop/broken/manifest.json").write_text("{")
    assert changed(place) == set()
    noted = read_json(place / "inputs/campaigns.json")
    assert list(noted) == ["audiences/shop/win_back-2026-01-01", "outputs/uplift/mail", "segments/shop-2026-01-01"]
    shutil.rmtree("audiences")
    assert changed(place) == {"campaigns"}
    config = yaml.safe_load((place / "composed/stage-evaluate.yaml").read_text())
    config["report"]["campaigns"] = False
    (place / "composed/stage-evaluate.yaml").write_text(yaml.safe_dump(config))
    assert changed(place) == {"campaigns"}
    assert read_json(place / "inputs/campaigns.json") == {}


def test_no_path_of_the_machine_is_noted(place: Path):
    changed(place)
    assert not [p for p in (place / "inputs").iterdir() if str(place) in p.read_text()]


def noted(place: Path) -> bool:
    """Look until what was written is no longer new; whether nothing has changed since."""
    for _ in range(2):
        write_inputs(place / "composed", place / "inputs")
    return unchanged.is_unchanged(str(place / "inputs"))


def replace_raw(place: Path) -> None:
    """Other bytes of the same length, and the date put back."""
    file = place / "raw/day-1.csv"
    before = file.stat()
    file.write_text(file.read_text().replace("u,i", "v,i"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a source file": lambda place: edit(place, "nn/attention.py"),
    "a new module": lambda place: (place / "shopkeeper/nn/new.py").write_text(""),
    "a page": lambda place: edit(place, "evaluation/report/templates/report.css"),
    "a raw file": replace_raw,
    "a raw file that a pattern newly matches": lambda place: (place / "raw/day-2.csv").write_text("user,item\n"),
    "a raw file that has gone": lambda place: (place / "raw/day-1.csv").unlink(),
    "another folder of raw files": lambda place: os.environ.update(SHOPKEEPER_RAW=str(place)),
    "a new audience": lambda place: leave(place / "audiences/shop/new"),
    "a composed config": lambda place: (place / "composed/train-popularity.yaml").write_text("{}"),
    "a new stage": lambda place: (place / "composed/train-new.yaml").write_text("{}"),
    "what was written": lambda place: (place / "inputs/raw.json").write_text("{}"),
    "what was written, gone": lambda place: (place / "inputs/raw.json").unlink(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_stage_is_over_at_once_until_something_changes_that_it_looks_at(
    place: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    monkeypatch.setattr(unchanged, "RACY_NS", 0)
    monkeypatch.chdir(place)
    assert noted(place)
    CHANGES[what](place)
    assert not unchanged.is_unchanged(str(place / "inputs"))


def test_what_is_younger_than_two_seconds_is_looked_at_again(place: Path):
    assert not noted(place)


def test_nothing_is_noted_of_models_from_elsewhere_or_without_raw_files(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unchanged, "RACY_NS", 0)
    config = yaml.safe_load((place / "composed/train-popularity.yaml").read_text())
    config["model"]["target"] = "of_my_own.Model"
    (place / "composed/train-popularity.yaml").write_text(yaml.safe_dump(config))
    assert not noted(place)
    config["model"]["target"] = TARGETS["popularity"][1]
    (place / "composed/train-popularity.yaml").write_text(yaml.safe_dump(config))
    assert noted(place)
    monkeypatch.setenv("SHOPKEEPER_RAW", str(place / "nowhere"))  # which is said each time
    assert not noted(place)


def test_the_command_imports_nothing_where_nothing_has_changed(place: Path, monkeypatch: pytest.MonkeyPatch):
    ran: list[str] = []
    monkeypatch.setattr("shopkeeper.cli.main.main", lambda: ran.append(sys.argv[1]))
    for said, word in ((True, "inputs"), (False, "inputs"), (True, "compose")):
        monkeypatch.setattr(unchanged, "is_unchanged", lambda said=said: said)
        monkeypatch.setattr(sys, "argv", ["shopkeeper", word])
        runpy.run_module("shopkeeper", run_name="__main__")
    assert ran == ["inputs", "compose"]
    loaded = (
        "import sys; before = set(sys.modules); import shopkeeper.unchanged; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["__future__", "shopkeeper", "shopkeeper.unchanged"]
