"""What a file holds, in one text: BLAKE3 of its bytes (several GB/s where SHA-256 has one), remembered.

A digest is remembered by device, inode, size and both times of the file, in a small database of the user's
(`$XDG_CACHE_HOME/shopkeeper/hashes.sqlite`), so that an unchanged log of 10 GB costs one look at its inode. The time of
the last change of the inode cannot be set by hand: a correction of equal length whose date was put back is seen, too.
Like git's index, a file that was changed less than two seconds before it was hashed is not remembered: a change in the
same tick of the clock would leave its times as they are. Where the database cannot be written, nothing is remembered.

O'Connor, Aumasson, Neves, Wilcox-O'Hearn (2020), "BLAKE3: one function, fast everywhere".
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.files import member, sha256_file, sha256_json
from shopkeeper.folders import MANIFEST
from shopkeeper.unchanged import RACY_NS

SEAL = "seal"  # the key of a manifest that holds the hash of all else in it
PREFIX = "blake3:"  # a digest without it is SHA-256
_here: dict[tuple[str, int, int], tuple[str, str]] = {}  # what this process remembers: (kind, device, inode) -> …


def state_of(path: Path) -> str:
    """What changes when a file is written or replaced: device, inode, size, times of content and of inode."""
    return _state(os.stat(path))


def hash_file(path: Path) -> str:
    """`blake3:<hex>` of a file's bytes, from memory where the file is as it was."""
    return remembered("blake3", path, _blake3)


def same_bytes(path: Path, digest: str) -> bool:
    """Whether a file still has the digest that a manifest gives, whichever of the two kinds it is."""
    make = _blake3 if digest.startswith(PREFIX) else sha256_file
    return remembered(digest.partition(":")[0] if digest.startswith(PREFIX) else "sha256", path, make) == digest


def hash_tree(folder: Path, skip: frozenset[str] = frozenset({"manifest.json"})) -> dict[str, str]:
    """Relative POSIX path -> digest for every file below `folder`, sorted, without those named in `skip`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in skip)
    return {p.relative_to(folder).as_posix(): hash_file(p) for p in files}


def check_hashes(
    folder: Path, listed: Mapping[str, str], way_out: str, shown: Path | None = None, manifest: str = MANIFEST
) -> None:
    """A `UserError` for the first file of a manifest that is missing from `folder` or holds other bytes than then.

    `shown` is how messages call the folder. A name that leads out of it is refused before anything is opened.
    """
    shown = folder if shown is None else shown
    if not isinstance(listed, Mapping) or not all(isinstance(digest, str) for digest in listed.values()):
        raise UserError(f"{shown / manifest} does not list files with their hashes; {way_out}")
    for name, digest in listed.items():
        path = member(folder, name, listed_in=shown / manifest)
        try:
            same = same_bytes(path, digest)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise UserError(f"{shown / name} is missing; {way_out}") from None
        if not same:
            raise UserError(f"{shown / name} was changed or damaged after it was written (its hash differs); {way_out}")


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says, with the SHA-256 of it in canonical JSON under `seal`. Not a signature: it shows edits."""
    said = json.loads(json.dumps({k: v for k, v in manifest.items() if k != SEAL}, default=str))
    return {**said, SEAL: sha256_json(said)}


def check_seal(manifest: Mapping[str, Any], file: Path, way_out: str, needed: bool) -> None:
    """A `UserError` where a manifest, read from `file`, is not what was sealed; `needed`: it must have a seal."""
    if SEAL not in manifest and not needed:  # of a version that had none
        return
    if manifest.get(SEAL) != sealed(manifest)[SEAL]:
        raise UserError(f"{file} was changed or damaged after it was written (its seal differs); {way_out}")


def remembered(kind: str, path: Path, make: Callable[[Path], str]) -> str:
    """`make(path)`, or what it gave when the file was last as it is now."""
    before = os.stat(path)
    key, state = (kind, before.st_dev, before.st_ino), _state(before)
    known = _here.get(key) or _stored(key)
    if known and known[0] == state:
        _here[key] = known
        return known[1]
    value = make(path)
    settled = time.time_ns() - max(before.st_mtime_ns, before.st_ctime_ns) > RACY_NS
    if settled and _state(os.stat(path)) == state:
        _here[key] = (state, value)
        _store(key, (state, value))
    return value


def _state(s: os.stat_result) -> str:
    return f"{s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}"


def _blake3(path: Path) -> str:
    from blake3 import blake3

    if os.stat(path).st_size < 1 << 20:
        return PREFIX + blake3(Path(path).read_bytes()).hexdigest()
    return PREFIX + blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


def _database() -> sqlite3.Connection:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shopkeeper"
    folder.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(folder / "hashes.sqlite", timeout=1, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=OFF")
    database.execute(
        "CREATE TABLE IF NOT EXISTS file (kind TEXT, device INTEGER, inode INTEGER, state TEXT, value TEXT, "
        "PRIMARY KEY (kind, device, inode))"
    )
    return database


def _stored(key: tuple[str, int, int]) -> tuple[str, str] | None:
    try:
        database = _database()
        try:
            found = database.execute("SELECT state, value FROM file WHERE kind=? AND device=? AND inode=?", key)
            row = found.fetchone()
        finally:
            database.close()
    except (sqlite3.Error, OSError, RuntimeError, OverflowError):
        return None
    return None if row is None else (str(row[0]), str(row[1]))


def _store(key: tuple[str, int, int], value: tuple[str, str]) -> None:
    try:
        database = _database()
        try:
            database.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)", (*key, *value))
        finally:
            database.close()
    except (sqlite3.Error, OSError, RuntimeError, OverflowError):
        pass
