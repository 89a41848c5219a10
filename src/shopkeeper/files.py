"""Writing so that nothing half-written ever looks finished (temporary name, fsync, rename), and hashing it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.errors import UserError

CANNOT_WRITE = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS}
# Libraries that write by themselves (safetensors, LightGBM, SQLite) hide the system's error in their own.
FULL = re.compile(r"No space left on device|File too large|Disk quota exceeded|database or disk is full", re.I)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a value in canonical JSON (sorted keys, no blanks): the identity of a configuration."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def sha256_tree(folder: Path, skip: frozenset[str] = frozenset({"manifest.json"})) -> dict[str, str]:
    """Relative POSIX path -> SHA-256 for every file below `folder`, sorted, without those named in `skip`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in skip)
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in files}


def member(folder: Path, name: object, what: str = "folder") -> Path:
    """A file below `folder` by the name that a manifest gives it; a `UserError` for one that leads elsewhere.

    A link is followed inside the folder and into DVC's cache, which may link what it checks out.
    """
    refused = UserError(
        f"{folder / 'manifest.json'} names the file {name!r:.80}, which may lie outside the {what}; refused"
    )
    if not isinstance(name, str) or not name or "\\" in name or ":" in name or "\0" in name:
        raise refused
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise refused
    path = folder / name
    if any((folder / part).is_symlink() for part in (relative, *relative.parents) if part.name):
        real = path.resolve()
        if not real.is_relative_to(folder.resolve()) and not {".dvc", "cache"} <= set(real.parts):
            raise refused
    return path


def read_json(path: Path) -> Any:
    """Parse a JSON file; a `UserError` names the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: the folder is incomplete; run the step that writes it again") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise UserError(f"{path} is not readable as JSON ({e}); delete its folder and run the step again") from None


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file; a `UserError` names the file when it is missing or damaged."""
    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: the folder is incomplete; delete it and run its step again") from None
    except (pa.ArrowException, OSError) as e:
        first = str(e).strip().splitlines()[0]
        raise UserError(f"{path} is damaged ({first}); delete its folder and run its step again") from None


def write_error(error: BaseException) -> str | None:
    """Why the disk refused a write, in one line with the way out; None for any other error."""
    name = getattr(error, "filename", None)
    if isinstance(error, PermissionError):
        return f"no permission for {name or 'a file'}; change its rights or choose another folder"
    if not (FULL.search(str(error)) or (isinstance(error, OSError) and error.errno in CANNOT_WRITE)):
        return None
    return f"cannot write{f' {name}' if name else ''}: {_reason(error)}; free some space or choose another folder"


def _reason(error: BaseException) -> str:
    found = FULL.search(str(error))
    return found[0] if found else str(getattr(error, "strerror", None) or error)


def write_json(path: Path, value: Any) -> None:
    """Write JSON (sorted keys, two blanks) under a temporary name and rename."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as tmp:
        tmp.write_text(text, encoding="utf-8")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success flush it to disk and rename it, on failure remove it."""
    tmp = _beside(path)
    try:
        yield tmp
        _fsync(tmp)
        os.replace(tmp, path)
        _fsync(path.parent)
    except Exception as e:
        _refuse(e, path, tmp)
        raise
    finally:
        tmp.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success it replaces `path` whole, on failure nothing is left.

    A process killed in between leaves only a folder called `.<name>.<process>-<id>.tmp`, which no reader looks at
    and which the next call removes; that of a process still at work stays.
    """
    tmp = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.*.tmp"):
            if not _at_work(stale):
                shutil.rmtree(stale, ignore_errors=True)
        tmp.mkdir()
        yield tmp
        for file in tmp.rglob("*"):
            _fsync(file)
        if path.exists():
            old = _beside(path)
            os.replace(path, old)
            os.replace(tmp, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(tmp, path)
        _fsync(path.parent)
    except Exception as e:
        _refuse(e, path, tmp)
        raise
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold `path` for this process; a `UserError` when another one holds it. The system lets go of a dead one's.

    The lock is a file `.<name>.lock` beside `path`. Where the file system has no locks, nobody is kept out.
    """
    import fcntl

    lock = path.with_name(f".{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(lock, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another process is at work on {path}; wait until it has ended, or end it") from None
            except OSError:
                pass
            try:
                if not os.path.samestat(os.stat(lock), os.fstat(file.fileno())):
                    continue
            except FileNotFoundError:  # whoever had it deleted it between the opening and the locking
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _beside(path: Path) -> Path:
    """A new temporary name next to `path`, which says whose it is."""
    return path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


def _at_work(tmp: Path) -> bool:
    """Whether the process that made a temporary folder still lives, and is another one than this."""
    owner = tmp.name.split(".")[-2].partition("-")[0]
    if not owner.isdigit() or int(owner) == os.getpid():
        return False
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _refuse(error: Exception, path: Path, tmp: Path) -> None:
    """Raise a `UserError` that names `path` when `error` is about writing it, not about a file read meanwhile."""
    name = getattr(error, "filename", None)
    elsewhere = isinstance(name, str) and tmp.name not in name and Path(name).parent != path.parent
    if isinstance(error, UserError) or elsewhere:
        return
    if write_error(error) is not None or isinstance(error, OSError):
        raise UserError(f"cannot write {path}: {_reason(error)}; free some space or choose another folder") from error


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
