"""What would go wrong for a user: a half-written file or folder that looks finished."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shopkeeper.errors import UserError, nearest
from shopkeeper.files import atomic_file, atomic_folder, read_json, sha256_tree, write_json
from shopkeeper.locks import Held, called


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path):
    target = tmp_path / "a.json"
    write_json(target, {"x": 1})

    def killed_half_way() -> None:
        with atomic_file(target) as tmp:
            tmp.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        killed_half_way()
    assert json.loads(target.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_folder_leaves_the_old_folder_and_no_litter(tmp_path: Path):
    with atomic_folder(tmp_path / "out", "composed") as folder:
        (folder / "good").write_text("1")
        write_json(folder / "manifest.json", {"kind": "composed", "files": {"good": ""}})

    def killed_half_way() -> None:
        with atomic_folder(tmp_path / "out", "composed") as folder:
            (folder / "bad").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        killed_half_way()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["good", "manifest.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path):
    stale = tmp_path / ".out.dead.tmp"
    stale.mkdir()
    with atomic_folder(tmp_path / "out", "composed") as folder:
        (folder / "good").write_text("1")
    assert not stale.exists()


def test_a_folder_that_another_process_is_writing_stays(tmp_path: Path):
    busy = tmp_path / f".out.{os.getppid()}-1a2b3c4d.tmp"
    busy.mkdir()
    with atomic_folder(tmp_path / "out", "composed") as folder:
        (folder / "good").write_text("1")
    assert busy.exists()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "choose another folder"), (errno.EIO, "choose another folder"),
        (errno.ENAMETOOLONG, "choose another folder"), (errno.EACCES, "change its rights"),
        (errno.ENOENT, "run the same command again"), (errno.ENOTEMPTY, "run the same command again"),
    ],
)  # fmt: skip
def test_more_space_is_advised_for_a_full_disk_and_for_nothing_else(tmp_path: Path, number: int, advice: str):
    with pytest.raises(UserError) as e, atomic_folder(tmp_path / "out", "composed"):
        raise OSError(number, os.strerror(number))
    assert advice in str(e.value)
    assert ("free some space" in str(e.value)) is (number in (errno.ENOSPC, errno.EDQUOT))


def test_a_full_disk_is_one_line_that_names_the_folder(tmp_path: Path):
    def full_disk(path: Path) -> None:
        with atomic_folder(path, "composed") as folder:
            (folder / "x").write_text("1")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot write .*out: No space left on device; free some space"):
        full_disk(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_names_a_folder_that_is_held_as_people_know_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "data/prepared").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    held = Held(Path("data/prepared"))
    with pytest.raises(UserError) as e, atomic_file(held.place / "split.json"):
        raise OSError(28, "No space left on device")
    assert str(e.value).startswith("cannot write data/prepared/split.json: No space left on device; ")
    monkeypatch.chdir(tmp_path / "data/prepared")
    assert called(held.place / "a") == "a"
    monkeypatch.chdir("/")
    assert called("elsewhere/a") == "elsewhere/a"


def test_damaged_json_names_the_file(tmp_path: Path):
    (tmp_path / "m.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"m\.json is not readable"):
        read_json(tmp_path / "m.json")


def test_the_tree_hash_sees_every_byte_but_not_the_manifest(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    before = sha256_tree(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    assert sha256_tree(tmp_path) == before
    (tmp_path / "a").write_text("2")
    assert sha256_tree(tmp_path) != before


def test_a_misspelt_name_gets_its_nearest_neighbour():
    assert "Did you mean 'sasrec'?" in nearest("sasrek", ["sasrec", "popularity"])
    assert nearest("sasrek", []) == ""
    items = [f"sku-{n:04}" for n in range(2000)]
    said = nearest("sku-17", items)  # not the whole catalogue
    assert "Did you mean" in said
    assert said.endswith("sku-0008, sku-0009 and 1,990 more.")
    assert nearest("x", items[:100]).endswith(f"Valid: {', '.join(items[:100])}.")


def test_a_signal_between_the_two_renames_loses_neither_folder(tmp_path: Path):
    """In a process of its own, which sends SIGTERM to itself as soon as the old folder has been moved away."""
    code = """
import os, signal, sys
from pathlib import Path
from shopkeeper import files, stopping
target = Path(sys.argv[1])
with files.atomic_folder(target, "report") as room:
    (room / "manifest.json").write_text('{"kind": "report", "version": 1}')
replace = os.replace
files.exchange = lambda *_: False  # as where a system cannot swap two names
def killed(a, b):
    replace(a, b)
    os.kill(os.getpid(), signal.SIGTERM) if Path(a) == target else None
os.replace = killed
with stopping.listening(), files.atomic_folder(target, "report") as room:
    (room / "manifest.json").write_text('{"kind": "report", "version": 2}')
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "r")], capture_output=True, text=True)
    assert "Stopped" in done.stderr, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    assert '"version": 2' in (tmp_path / "r" / "manifest.json").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot swap two names at one instant")
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_kill_at_any_rename_leaves_the_old_folder_or_the_new_one(tmp_path: Path, nth: int):
    """SIGKILL just before the nth rename, swaps among them, in a process of its own."""
    code = """
import os, signal, sys
from pathlib import Path
from shopkeeper import files
target, left = Path(sys.argv[1]), [int(sys.argv[2])]
with files.atomic_folder(target, "report") as room:
    (room / "manifest.json").write_text('{"kind": "report", "version": 1}')
def counted(rename):
    def before(a, b):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(a, b)
    return before
os.replace, files.exchange = counted(os.replace), counted(files.exchange)
with files.atomic_folder(target, "report") as room:
    (room / "manifest.json").write_text('{"kind": "report", "version": 2}')
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "r"), str(nth)], capture_output=True, text=True)
    version = json.loads((tmp_path / "r" / "manifest.json").read_text())["version"]
    assert (done.returncode, version) == {1: (-9, 1), 2: (-9, 2), 3: (0, 2)}[nth], done.stderr
    with atomic_folder(tmp_path / "r", "report") as room:
        (room / "manifest.json").write_text('{"kind": "report", "version": 3}')
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
