"""What a file holds is noticed whatever is done to its date, and an unchanged file is not read again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from shopkeeper import hashing
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_file

OLD = 1_600_000_000


@pytest.fixture(autouse=True)
def own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "_here", {})


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file had been written long ago: the time of an inode's last change cannot be set back."""
    monkeypatch.setattr(hashing, "RACY_NS", -1)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose bytes were read."""
    seen: list[str] = []
    original = hashing._blake3

    def counted(path: Path) -> str:
        seen.append(Path(path).name)
        return original(path)

    monkeypatch.setattr(hashing, "_blake3", counted)
    return seen


@pytest.mark.parametrize("size", [0, 3, (1 << 20) + 1])
def test_the_digest_is_blake3_of_the_bytes(tmp_path: Path, size: int):
    from blake3 import blake3

    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "f").write_bytes(data[:size])
    assert hashing.hash_file(tmp_path / "f") == "blake3:" + blake3(data[:size]).hexdigest()


def test_an_unchanged_file_is_read_once_also_by_the_next_process(tmp_path: Path, settled: None, reads: list[str]):
    (tmp_path / "log.csv").write_text("a,b\n")
    first = hashing.hash_file(tmp_path / "log.csv")
    hashing._here.clear()  # the next process
    assert hashing.hash_file(tmp_path / "log.csv") == first
    assert reads == ["log.csv"]


def test_a_correction_of_equal_length_whose_date_was_put_back_is_seen(tmp_path: Path, settled: None):
    path = tmp_path / "log.csv"
    path.write_text("price\n20.0\n")
    os.utime(path, (OLD, OLD))
    before = hashing.hash_file(path)
    path.write_text("price\n90.0\n")
    os.utime(path, (OLD, OLD))
    assert hashing.hash_file(path) != before


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path, reads: list[str]):
    (tmp_path / "log.csv").write_text("a,b\n")
    hashing.hash_file(tmp_path / "log.csv")
    hashing.hash_file(tmp_path / "log.csv")
    assert len(reads) == 2, "a second write in the same tick of the clock would not have been seen"


def test_what_changes_while_it_is_hashed_is_not_remembered(
    tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "log.csv"
    path.write_text("one")
    original = hashing._blake3

    def slow(file: Path) -> str:
        digest = original(file)
        path.write_text("other")
        return digest

    monkeypatch.setattr(hashing, "_blake3", slow)
    before = hashing.hash_file(path)
    monkeypatch.setattr(hashing, "_blake3", original)
    assert hashing.hash_file(path) != before


def test_digests_of_both_kinds_are_checked(tmp_path: Path):
    path = tmp_path / "f"
    path.write_text("a")
    for digest in (sha256_file(path), hashing.hash_file(path)):
        assert hashing.same_bytes(path, digest)
    path.write_text("b")
    assert not hashing.same_bytes(path, hashlib.sha256(b"a").hexdigest())
    with pytest.raises(UserError, match=r"f was changed or damaged .* make it again"):
        hashing.check_hashes(tmp_path, {"f": hashlib.sha256(b"a").hexdigest()}, "make it again")
    with pytest.raises(UserError, match="shown/g is missing; make it again"):
        hashing.check_hashes(tmp_path, {"g": ""}, "make it again", Path("shown"))


@pytest.mark.parametrize("damage", ["no folder", "no database"])
def test_without_a_memory_hashing_still_works(tmp_path: Path, settled: None, damage: str):
    path, cache = tmp_path / "f", tmp_path / "cache"
    path.write_text("a")
    before = hashing.hash_file(path)
    hashing._here.clear()
    database = cache / "shopkeeper/hashes.sqlite"
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM file").fetchone() == (1,)
    for file in database.parent.iterdir():
        file.unlink()
    if damage == "no database":
        database.write_text("this is no database, and longer than a header of one would be" * 9)
    else:
        database.parent.rmdir()
        database.parent.write_text("a file where the folder should be")
    assert hashing.hash_file(path) == before
