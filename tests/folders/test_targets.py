"""A folder that this project did not make is never replaced or emptied, whoever names it as a target."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from made_folders import WITH_MANIFEST, files, fill, made, refused

from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, remove_made, remove_ours, write_json
from shopkeeper.folders import KINDS, check_target


@pytest.mark.parametrize("kind", KINDS)
def test_a_persons_folder_is_refused_by_every_kind_of_target(kind: str, tmp_path: Path):
    mine = tmp_path / "letters" / "taxes"
    mine.mkdir(parents=True)
    (mine / "keep.txt").write_text("mine")
    refused(tmp_path / "letters", kind, "letters holds 'taxes.*move it away, or ")


@pytest.mark.parametrize("kind", KINDS)
def test_new_and_empty_folders_are_targets(kind: str, tmp_path: Path):
    assert check_target(tmp_path / "new", kind) == tmp_path / "new"
    (tmp_path / "empty").mkdir()
    check_target(tmp_path / "empty", kind)


@pytest.mark.parametrize("kind", WITH_MANIFEST)
def test_a_folder_of_its_own_kind_is_a_target_and_one_of_another_kind_is_none(kind: str, tmp_path: Path):
    check_target(made(tmp_path / "own", kind), kind)
    other = "report" if kind != "report" else "run"
    refused(made(tmp_path / "other", other), kind, "other holds '.*' and is no ")


@pytest.mark.parametrize("kind", sorted(set(WITH_MANIFEST) - {"study"}))
@pytest.mark.parametrize("name", ["keep.txt", "checkpoint/keep.txt", "photos/2020/a.png", "config.yaml", "run/own.npy"])
def test_what_a_person_put_into_a_folder_of_ours_is_not_lost_with_it(kind: str, name: str, tmp_path: Path):
    folder = made(tmp_path / "own", kind)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("mine")
    refused(folder, kind, f"'{name}' in the .* is not this project's; move it away, or ")


def test_a_link_that_a_person_put_into_a_folder_of_ours_is_not_lost_with_it(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    folder = made(tmp_path / "own", "report")
    (folder / "photos").symlink_to(tmp_path / "photos", target_is_directory=True)
    refused(folder, "report", "'photos' in the report")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [".", "..", "", "below/..", "/"])
def test_the_working_folder_and_those_above_it_are_no_targets(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match="is the folder that this command runs in, or lies above it"):
        check_target(Path(name), kind)


def test_a_file_is_no_target(tmp_path: Path):
    (tmp_path / "letter").write_text("mine")
    refused(tmp_path / "letter", "report", "letter is a file, not a folder; set out")
    assert (tmp_path / "letter").read_text() == "mine"


def test_a_link_leads_to_its_folder_which_is_judged_and_replaced_while_the_link_stays(tmp_path: Path):
    (tmp_path / "big").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "big", target_is_directory=True)
    with atomic_folder(tmp_path / "link", "composed") as folder:
        write_json(folder / "manifest.json", {"kind": "composed", "files": {}})
    assert (tmp_path / "link").is_symlink()
    assert files(tmp_path / "big") == ["manifest.json"]
    (tmp_path / "big" / "keep.txt").write_text("mine")
    refused(tmp_path / "link", "composed", "'keep.txt' in the ")


def test_what_appears_in_the_target_while_the_work_goes_on_stays(tmp_path: Path):
    def write() -> None:
        with atomic_folder(tmp_path / "out", "report") as folder:
            (folder / "report.html").write_text("1")
            (tmp_path / "out").mkdir()
            (tmp_path / "out/keep.txt").write_text("mine")

    with pytest.raises(UserError, match=r"holds 'keep\.txt'"):
        write()
    assert files(tmp_path) == ["out/keep.txt"]


def test_a_folder_of_something_else_of_the_same_kind_needs_overwrite(tmp_path: Path):
    folder = made(tmp_path / "own", "bundle", model="popularity")

    def unlike(manifest: Any) -> str | None:
        return None if manifest["model"] == "sasrec" else f"model={manifest['model']}, not sasrec"

    with pytest.raises(UserError, match="holds a bundle of model=popularity, not sasrec; say overwrite=true"):
        check_target(folder, "bundle", unlike)
    check_target(folder, "bundle")


def test_prepared_data_with_splits_and_cutoffs_of_its_own_is_replaced_and_what_lies_among_them_is_not_lost(
    tmp_path: Path,
):
    folder = made(tmp_path / "shop", "prepared")
    made(folder / "as_of" / "2020-01-01", "prepared")
    for place in (folder, folder / "as_of" / "2020-01-01"):
        (place / "splits" / "temporal-1a2b3c4d").mkdir(parents=True)
        (place / "splits" / "temporal-1a2b3c4d" / "timeline.json").write_text("{}")
        (place / "splits" / ".temporal-1a2b3c4d.17-1a2b3c4d.tmp").mkdir()  # of a process that was killed
        (place / "splits" / ".temporal-1a2b3c4d.17-1a2b3c4d.tmp" / "x.npy").write_text("half")
    check_target(folder, "prepared")
    (folder / "as_of" / "2020-01-01" / "keep.txt").write_text("mine")
    refused(folder, "prepared", r"'as_of/2020-01-01/keep\.txt' in the prepared dataset")
    (folder / "as_of" / "2020-01-01" / "keep.txt").unlink()
    (folder / "splits" / "notes.txt").write_text("mine")
    refused(folder, "prepared", "'splits/notes.txt' in the prepared dataset")


def test_only_what_bears_the_names_of_ours_is_removed(tmp_path: Path):
    (tmp_path / "step").mkdir()
    for name in ("state.json", "state.safetensors", "keep.txt"):
        (tmp_path / "step" / name).write_text("1")
    remove_made(tmp_path / "step", "state.*")
    assert files(tmp_path) == ["step/keep.txt"]
    (tmp_path / "step/keep.txt").unlink()
    remove_made(tmp_path / "step", "state.*")
    assert not (tmp_path / "step").exists()


@pytest.mark.parametrize("name", ["../keep.txt", "away/keep.txt"])
def test_a_manifest_does_not_choose_what_outside_its_folder_is_removed(name: str, tmp_path: Path):
    (tmp_path / "keep.txt").write_text("mine")
    fill(tmp_path / "run", weights="1")
    (tmp_path / "run/away").symlink_to(tmp_path, target_is_directory=True)
    write_json(tmp_path / "run/manifest.json", {"kind": "run", "files": {"weights": "", name: "", "away": ""}})
    with pytest.raises(UserError, match="may lie outside"):
        fill(tmp_path / "run", weights="2")
    assert (tmp_path / "keep.txt").read_text() == "mine"
    assert (tmp_path / "run/manifest.json").is_file()


@pytest.mark.parametrize("kind", WITH_MANIFEST)
def test_a_manifest_that_lists_files_in_another_way_is_not_ours(kind: str, tmp_path: Path):
    folder = made(tmp_path / "theirs", kind)
    write_json(folder / "manifest.json", {"kind": (KINDS[kind].called or (kind,))[0], "files": ["own.npy"]})
    refused(folder, kind, "is no ")


@pytest.mark.parametrize(("kind", "name"), [("checkpoint", "state.json"), ("split", "timeline.json")])
def test_a_persons_file_that_is_called_like_one_of_ours_is_no_manifest(kind: str, name: str, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text('{"a": 1}')
    refused(tmp_path / "mine", kind, f"holds '{name}'")


def test_clean_removes_what_this_project_made_and_nothing_else(tmp_path: Path):
    root = tmp_path / "outputs"
    made(root / "day/run", "run")
    (root / "day/run/log").write_text("said")
    made(root / "mixed", "report")
    (root / "mixed/notes.txt").write_text("mine")
    made(root / "prepared/shop", "prepared")
    write_json(root / "prepared/shop/splits/a/timeline.json", {"spec": {}})
    made(root / "prepared/shop/as_of/2020", "prepared")
    write_json(root / "tpe/manifest.json", {"kind": "study"})
    (root / "tpe/study.db").write_text("x")
    (root / ".old.999999999-0123abcd.tmp/x").mkdir(parents=True)
    busy = root / f".new.{os.getppid()}-0123abcd.tmp"
    made(busy, "run")
    write_json(root / "theirs/manifest.json", {"kind": "another program's", "files": {"a": "b"}})
    write_json(root / "theirs/state.json", {"a": 1})
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_text("mine")
    (root / "photos").symlink_to(tmp_path / "photos", target_is_directory=True)
    everything = files(tmp_path)
    assert remove_ours(root, dry_run=True)[0]
    assert files(tmp_path) == everything
    removed, stay = remove_ours(root)
    assert {str(p.relative_to(root)) for p in removed} >= {"day/run", "mixed", "prepared/shop", "tpe"}
    left = [f"{busy.name}/manifest.json", f"{busy.name}/own.npy", "mixed/notes.txt", "photos", "theirs/manifest.json",
            "theirs/state.json"]  # fmt: skip
    assert sorted(p.relative_to(root).as_posix() for p in stay) == sorted(left)
    assert not (root / "day").exists()
    assert (tmp_path / "photos/a.png").exists()
