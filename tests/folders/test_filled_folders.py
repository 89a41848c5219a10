"""A folder that is filled or replaced is whole whoever is killed, and what others wrote stays."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from made_folders import files, fill

from shopkeeper.files import atomic_folder, filled_folder, write_json
from shopkeeper.folders import KINDS, check_target


def test_a_run_folder_that_hydra_has_made_keeps_its_logs_and_loses_the_files_of_the_run_before(tmp_path: Path):
    run = tmp_path / "run"
    (run / ".hydra").mkdir(parents=True)
    for log in ("train.log", "log", ".hydra/config.yaml"):
        (run / log).write_text("said")
    fill(run, weights="1", checkpoint__state="1")
    fill(run, trees="2", config="2")
    assert files(run) == [".hydra/config.yaml", "config", "log", "manifest.json", "train.log", "trees"]
    assert not (run / "checkpoint").exists()


def test_a_run_that_cannot_be_written_leaves_the_run_before_whole(tmp_path: Path):
    fill(tmp_path / "run", weights="1")

    def fail() -> None:
        with filled_folder(tmp_path / "run", "run") as room:
            (room / "weights").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert files(tmp_path) == ["run/manifest.json", "run/weights"]
    assert (tmp_path / "run/weights").read_text() == "1"


@pytest.mark.parametrize("moved", range(3))
def test_a_process_killed_while_it_fills_leaves_no_finished_run_and_a_folder_that_can_be_filled_again(
    moved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fill(tmp_path / "run", weights="1", trees="1")
    monkeypatch.setattr("shopkeeper.files.exchange_filled", lambda *_: False)  # as where a system cannot swap
    rename, done = os.replace, []

    def killed(source: Path, target: Path) -> None:
        if Path(target).parent == tmp_path / "run" and Path(target).name != ".unfinished.json":
            if len(done) == moved:
                raise KeyboardInterrupt
            done.append(target)
        rename(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "run", weights="2", config="2")
    assert not (tmp_path / "run/manifest.json").exists()
    monkeypatch.setattr(os, "replace", rename)
    fill(tmp_path / "run", weights="3")
    assert files(tmp_path) == ["run/manifest.json", "run/weights"]
    assert json.loads((tmp_path / "run/manifest.json").read_text())["files"] == {"weights": ""}


def killed_before_change(number: int, run: Path) -> int:
    """Fill a run a second time in a child that is killed before its nth change on disk; how it ended."""
    pid = os.fork()
    if pid == 0:
        left = [number]

        def heard(event: str, facts: tuple[Any, ...]) -> None:
            writes = event == "open" and isinstance(facts[2], int) and facts[2] & (os.O_WRONLY | os.O_RDWR)
            if writes or event in ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(heard)
        fill(run, weights="2", config="2", trees__one="2")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot swap two names at one instant")
def test_a_kill_at_any_change_leaves_the_run_before_or_the_new_one_and_what_others_wrote(tmp_path: Path):
    run, versions = tmp_path / "run", []
    for number in range(1, 60):
        shutil.rmtree(tmp_path)
        (run / ".hydra").mkdir(parents=True)
        (run / "train.log").write_text("said")
        (run / ".hydra/config.yaml").symlink_to("../train.log")
        (run / "trees").mkdir()
        fill(run, weights="1", trees__old="1")
        ended = killed_before_change(number, run)
        listed = json.loads((run / "manifest.json").read_text())["files"]
        versions.append(sorted((run / name).read_text() for name in listed))
        assert versions[-1] in (["1"] * 2, ["2"] * 3), f"{number}: {versions[-1]}"
        assert (run / ".hydra/config.yaml").read_text() == "said"
        fill(run, weights="3", trees__one="3")
        assert files(tmp_path) == [
            "run/.hydra/config.yaml", "run/manifest.json", "run/train.log", "run/trees/one", "run/weights"
        ]  # fmt: skip
        if ended == 0:
            break
    assert number > 8, "most kills hit it under way"
    assert versions == sorted(versions)
    assert versions[0] != versions[-2] == versions[-1], "kills before the swap and after it"


def test_who_writes_into_the_folder_while_it_is_filled_goes_on_writing_there(tmp_path: Path):
    fill(tmp_path / "run", weights="1")
    with open(tmp_path / "run/train.log", "a") as log:
        log.write("before ")
        log.flush()
        fill(tmp_path / "run", weights="2")
        log.write("after")
    assert (tmp_path / "run/train.log").read_text() == "before after"


@pytest.mark.parametrize("kind", [kind for kind, about in KINDS.items() if about.shared])
def test_what_a_killed_process_left_in_a_new_folder_does_not_bar_the_way(kind: str, tmp_path: Path):
    """SIGKILL, or another process at work, between the first temporary file and the manifest."""
    left = tmp_path / "new" / "..unfinished.json.123-0123abcd.tmp"
    left.parent.mkdir()
    left.write_text("{")
    check_target(left.parent, kind)


NAMES = [f"{n}.txt" for n in range(6)]


def write_often(root: Path, kind: str, who: str) -> None:
    make = filled_folder if KINDS[kind].shared else atomic_folder
    for turn in range(15):
        with make(root / kind, kind) as room:
            for name in NAMES:
                (room / name).write_text(f"{who}{turn}")
            write_json(room / "manifest.json", {"kind": kind, "by": f"{who}{turn}", "files": dict.fromkeys(NAMES)})


@pytest.mark.parametrize("kind", ["run", "report"])
def test_several_that_write_into_one_folder_at_once_do_not_mix_their_files(kind: str, tmp_path: Path):
    processes = [multiprocessing.Process(target=write_often, args=(tmp_path, kind, who)) for who in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    by = json.loads((tmp_path / kind / "manifest.json").read_text())["by"]
    assert {(tmp_path / kind / name).read_text() for name in NAMES} == {by}
    assert files(tmp_path / kind) == sorted([*NAMES, "manifest.json"])
    assert [p.name for p in tmp_path.iterdir()] == [kind]
