"""What a manifest says is what was written: each has a seal, and whoever reads one that was edited says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from house import House, small_shop
from shopkeeper.cli.leaderboard import print_leaderboard
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.files import read_json, sha256_file, write_json
from shopkeeper.hashing import sealed
from shopkeeper.pipeline.places import listed
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.stages.compose import compose_stages
from shopkeeper.pipeline.stages.inputs import write_inputs
from shopkeeper.pipeline.stages.unedited import check_chosen, check_composed


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a prepared dataset, its split, a run and a report with a baseline."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        house = House(place)
        house.dataset("small", small_shop())
        house.train("models/run", "dataset=small", "model=recency")
        house.evaluate("dataset=small", "runs=[models/run]", "out=page")
    return place


@pytest.fixture
def made(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "made")
    return tmp_path / "made"


def open_split(place: Path) -> None:
    prepared = Prepared.open(place / "data/prepared/small")
    Split.named(prepared, next((prepared.path / "splits").iterdir()).name)


KINDS: dict[str, tuple[str, Callable[[Path], Any], tuple[str, ...]]] = {
    "split": (
        "data/prepared/small/splits/*/timeline.json",
        open_split,
        ("target_hash", "cutoffs", "n_requests", "spec", "protocol", "audit", "cold", "emptied_by_ties_share"),
    ),
    "prepared": (
        "data/prepared/small/manifest.json",
        lambda place: Prepared.open(place / "data/prepared/small"),
        ("n_items", "config", "observation", "raw_files", "time_span", "event_types"),
    ),
    "run": (
        "models/run/manifest.json",
        lambda place: open_run(place / "models/run"),
        ("trained_until", "target_hash", "split", "uses_instant", "oracle", "commit", "erasure_list"),
    ),
    "baseline of a report": (
        "page/baselines/popularity/manifest.json",
        lambda place: open_run(place / "page/baselines/popularity"),
        ("trained_until", "target_hash"),
    ),
    "report": ("page/manifest.json", lambda place: print_leaderboard(place / "page"), ("runs", "dataset")),
}
FORMAT = {"split": ("format", 3), "prepared": ("format_version", 2)}


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_of_any_entry_of_a_manifest_is_one_line_that_names_the_file_and_the_way_out(
    made: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(made)
    name, opened, keys = KINDS[kind]
    path = next(made.glob(name))
    before = read_json(path)
    opened(made)
    assert set(keys) <= set(before)
    for key in keys:
        write_json(path, {**before, key: "edited"})
        with pytest.raises(UserError, match=rf"{path.name} was changed or damaged .*seal.*(again|train)") as e:
            opened(made)
        assert "\n" not in str(e.value)
    write_json(path, {key: before[key] for key in before if key != keys[0]})
    with pytest.raises(UserError, match=path.name):
        opened(made)


@pytest.mark.parametrize("kind", ["split", "prepared", "run"])
def test_a_manifest_without_a_seal_is_read_where_its_version_had_none_and_else_refused(made: Path, kind: str):
    name, opened, _ = KINDS[kind]
    path = next(made.glob(name))
    said = {key: value for key, value in read_json(path).items() if key != "seal"}
    write_json(path, said)
    with pytest.raises(UserError, match="seal"):
        opened(made)
    key, version = FORMAT.get(kind, ("format_version", 1))
    write_json(path, {**said, key: version})
    opened(made)


def test_a_run_that_calls_itself_something_else_is_not_left_out_in_silence(made: Path):
    path = made / "models/run/manifest.json"
    assert len(listed(made / "models")) == 1
    write_json(path, {**read_json(path), "kind": "note"})
    with pytest.raises(UserError, match=r"models/run/manifest\.json was changed"):
        listed(made / "models", strict=True)


def test_a_leaderboard_that_was_edited_is_not_shown(made: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(made)
    board = made / "page/leaderboard.txt"
    board.write_text(board.read_text().replace("0.", "1."))
    with pytest.raises(UserError, match=r"leaderboard\.txt was changed or damaged"):
        print_leaderboard(made / "page")


def test_the_seal_is_that_of_what_is_read_back_whatever_was_written():
    said = {"b": (1, 2.5), "c": {9: Path("x"), 10: None}, "a": 1e-300, "seal": "old"}
    first = sealed(said)
    assert sealed(first) == first
    assert first["seal"] != sealed({**said, "a": 2e-300})["seal"]
    assert first["seal"] == sealed(dict(reversed(said.items())))["seal"]


def test_a_run_that_is_trained_anew_while_it_is_read_is_not_mixed_with_the_new_one(
    made: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another process trains into the folder after it was opened: figures of the one, rows and weights of the other."""
    monkeypatch.chdir(made)
    run = open_run("models/run")
    assert run.table().num_rows
    run.model()
    House(made).train("models/run", "dataset=small", "model=recency", "seed=2")
    for read in (run.table, run.model):
        with pytest.raises(
            UserError, match=r"models/run was trained anew while it was read; run the same command again"
        ):
            read()
    assert open_run("models/run").table().num_rows
    (made / "models/run/manifest.json").unlink()  # as while files are moved one by one
    with pytest.raises(UserError, match="was trained anew while it was read"):
        run.table()


def test_a_composed_config_that_was_edited_is_one_line_and_one_of_a_persons_own_is_read(tmp_path: Path):
    folder = tmp_path / "data/composed"
    compose_stages(folder)
    write_inputs(folder, tmp_path / "inputs")
    (folder / "train-own.yaml").write_text((folder / "train-popularity.yaml").read_text())
    check_composed(folder, ["train-popularity.yaml", "train-own.yaml"])
    file = folder / "train-popularity.yaml"
    file.write_text(file.read_text().replace("seed: 1", "seed: 2"))
    said = r"composed/train-popularity.yaml was changed or damaged .* edit conf/ and run `python -m shopkeeper compose`"
    with pytest.raises(UserError, match=said):
        write_inputs(folder, tmp_path / "inputs")
    with pytest.raises(UserError, match=said):
        check_composed(folder, ["train-popularity.yaml"])
    check_composed(folder, ["stage-prepare.yaml"])
    manifest = read_json(folder / "manifest.json")
    manifest["files"]["train-popularity.yaml"] = sha256_file(file)
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(UserError, match=r"composed/manifest.json was changed .* \(its seal differs\)"):
        check_composed(folder, ["train-popularity.yaml"])


def test_a_verb_looks_at_the_composed_config_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "data/composed"
    compose_stages(folder)
    sources = [SimpleNamespace(schema="pkg", path="hydra.conf"), SimpleNamespace(schema="file", path=str(folder))]
    told = SimpleNamespace(runtime=SimpleNamespace(config_sources=sources),
                           job=SimpleNamespace(config_name="stage-prepare"))  # fmt: skip
    monkeypatch.setattr(HydraConfig, "get", lambda: told)
    check_chosen()
    (folder / "stage-prepare.yaml").write_text((folder / "stage-prepare.yaml").read_text() + "extend: null\n")
    with pytest.raises(UserError, match=r"stage-prepare\.yaml was changed"):
        check_chosen()
