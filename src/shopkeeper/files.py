"""Writing so that nothing half-written ever looks finished (temporary name, fsync, rename), and hashing it.

Here alone folders are replaced and removed, and only what this project made: `folders.py` has the rule.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from shopkeeper import stopping
from shopkeeper.errors import UserError
from shopkeeper.exchange import exchange, exchange_filled
from shopkeeper.folders import KINDS, LEFT, MANIFEST, UNFINISHED, Unlike, check_target, is_ours, made_here, within
from shopkeeper.locks import alone, called, silent

if TYPE_CHECKING:
    import pyarrow as pa

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


def member(folder: Path, name: object, what: str = "folder", listed_in: Path | None = None) -> Path:
    """A file below `folder` by the name that a manifest gives it; a `UserError` for one that leads elsewhere.

    A link is followed inside the folder and into DVC's cache, which may link what it checks out. `listed_in` is how
    messages call the manifest.
    """
    listed_in = folder / MANIFEST if listed_in is None else listed_in
    refused = UserError(f"{listed_in} names the file {name!r:.80}, which may lie outside the {what}; make it anew")
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


def read_json(path: Path, shown: Path | None = None) -> Any:
    """Parse a JSON file; a `UserError` names the file (as `shown`) when it is missing or damaged."""
    shown = path if shown is None else shown
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{shown} is missing: the folder is incomplete; run the step that writes it again") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise UserError(f"{shown} is not readable as JSON ({e}); delete its folder and run the step again") from None


def read_parquet(path: Path, columns: list[str] | None = None, shown: Path | None = None) -> pa.Table:
    """Read a Parquet file; a `UserError` names the file (as `shown`) when it is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shown = path if shown is None else shown
    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError:
        raise UserError(f"{shown} is missing: the folder is incomplete; delete it and run its step again") from None
    except (pa.ArrowException, OSError) as e:
        first = str(e).strip().splitlines()[0]
        raise UserError(f"{shown} is damaged ({first}); delete its folder and run its step again") from None


def write_error(error: BaseException) -> str | None:
    """Why the disk refused a write, in one line with the way out; None for any other error."""
    name = called(getattr(error, "filename", None))
    if isinstance(error, NotADirectoryError) or (isinstance(error, FileExistsError) and os.path.isfile(str(name))):
        return f"{name} is a file where a folder is wanted; move it away or choose another folder"
    if isinstance(error, PermissionError):
        return f"no permission for {name or 'a file'}; change its rights or choose another folder"
    if not (FULL.search(str(error)) or (isinstance(error, OSError) and error.errno in CANNOT_WRITE)):
        return None
    return f"cannot write{f' {name}' if name else ''}: {_reason(error)}; {_way_out(error)}"


def _reason(error: BaseException) -> str:
    found = FULL.search(str(error))
    return found[0] if found else str(getattr(error, "strerror", None) or error)


def _way_out(error: BaseException) -> str:
    """What helps against a refused write: more space only where there is none."""
    number, reason = getattr(error, "errno", None), _reason(error)
    if number == errno.EFBIG or reason.lower() == "file too large":
        return "raise the limit on the size of a file (`ulimit -f`) or choose a folder on another disk"
    if number in (errno.ENOSPC, errno.EDQUOT) or FULL.search(reason):
        return "free some space or choose another folder"
    if isinstance(error, PermissionError):
        return "change its rights or choose another folder"
    return "choose another folder"


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
def atomic_folder(path: Path, kind: str, unlike: Unlike | None = None) -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success it replaces `path` whole, on failure nothing is left.

    `check_target` says what may be replaced. Who holds the folder that is replaced (`Held`) reads it to the end: it
    goes when nobody does any more. A process killed in between leaves only a folder called
    `.<name>.<process>-<id>.tmp`, which no reader looks at and which the next call removes; that of a process still at
    work stays.
    """
    path = check_target(path, kind, unlike)
    with _room(path) as tmp:
        yield tmp
        flush(tmp)
        # One process after the other. Where two renames are needed a signal between them would lose both folders.
        with _moving(path), stopping.held_back():
            check_target(path, kind, unlike)  # somebody may have put something there meanwhile
            old = _beside(path)
            if not path.exists():
                os.replace(tmp, path)
            elif exchange(tmp, path):
                os.replace(tmp, old)
                _remove(old)
            else:
                os.replace(path, old)
                try:
                    os.replace(tmp, path)
                except OSError:
                    os.replace(old, path)
                    raise
                _remove(old)
        _fsync(path.parent)


@contextmanager
def filled_folder(path: Path, kind: str) -> Iterator[Path]:
    """As `atomic_folder`, for a folder that others write into as well: what they wrote stays.

    What is given must hold a `manifest.json` that lists its files; the files of the manifest that was there go. Where
    there was one, the two are swapped at one instant. Else, or where a system cannot, files are moved in one by one
    and the manifest last: a process killed meanwhile leaves `.unfinished.json`, by which the folder is known.
    """
    path = check_target(path, kind)
    with _room(path) as tmp:
        yield tmp
        flush(tmp)
        names = sorted(p.relative_to(tmp).as_posix() for p in within(tmp))
        with _moving(path), stopping.held_back():  # two that write here at once would mix their files
            check_target(path, kind)
            before: set[str] = set((made_here(path, kind) or {}).get("files") or {})
            old = [member(path, name) for name in before.difference(names)]
            if before and exchange_filled(tmp, path, before | {MANIFEST, UNFINISHED}):
                _fsync(path.parent)
                return
            path.mkdir(parents=True, exist_ok=True)
            write_json(path / UNFINISHED, {"kind": kind, "files": dict.fromkeys(sorted(before | set(names)), "")})
            (path / MANIFEST).unlink(missing_ok=True)
            for file in old:
                file.unlink(missing_ok=True)
            for name in sorted(names, key=lambda name: name == MANIFEST):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(tmp / name, path / name)
            _fsync(path)
            (path / UNFINISHED).unlink()
            for place in sorted({(path / name).parent for name in before}, reverse=True):
                with suppress(OSError):  # it is not empty
                    place.rmdir()


def _moving(path: Path) -> AbstractContextManager[None]:
    return alone(path.with_name(f"{path.name}.move"), silent)


def remove_ours(root: Path, dry_run: bool = False) -> tuple[list[Path], list[Path]]:
    """Remove what this project made below a folder: the folders removed, and the files that stay for they are not ours.

    With `dry_run` nothing is removed. Links are not followed. In a folder of ours the files go that its manifest lists
    or that belong to its kind; what killed processes left goes, too, and folders that are empty by then.
    """
    found = [Path(place) for place, _, _ in os.walk(root)]
    busy = [f for f in found if re.fullmatch(LEFT, f.name) and _at_work(f)]
    ours: set[Path] = set()
    removed = []
    for folder in found:
        if any(folder.is_relative_to(b) for b in busy):
            continue
        left = re.fullmatch(LEFT, folder.name) is not None
        of = [(kind, made) for kind in KINDS if (made := made_here(folder, kind)) is not None]
        if left or of:
            removed.append(folder)
        for path in within(folder) if left or of else []:
            name = path.relative_to(folder).as_posix()
            if left or any(is_ours(name, kind, made) for kind, made in of):
                ours.add(path)
    stay = sorted(set(within(root)) - ours)
    if not dry_run:
        for path in ours:
            path.unlink()
        for folder in reversed(found):  # from the inside out
            with suppress(OSError):  # it is not empty
                folder.rmdir()
    return removed, stay


def remove_made(folder: Path, pattern: str) -> None:
    """Remove what this project put into its own folder, by a pattern of names; the folder too, when empty."""
    for path in folder.glob(pattern):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _room(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, gone at the end; those that killed processes left there go first."""
    tmp = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if not _at_work(stale):
                _remove(stale)
        tmp.mkdir()
        yield tmp
    except Exception as e:
        _refuse(e, path, tmp)
        raise
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def flush(folder: Path) -> None:
    """Wait until what has been written of all files below a folder is on the disk."""
    for file in folder.rglob("*"):
        _fsync(file)


def _remove(folder: Path) -> None:
    """Delete a folder that has lost its name, unless somebody still reads it."""
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError:
        pass
    finally:
        os.close(handle)
    shutil.rmtree(folder, ignore_errors=True)


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
    if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) in (errno.ENOTEMPTY, errno.EEXIST):
        raise UserError(
            f"{called(path)} was replaced or removed by another process meanwhile; run the same command again"
        ) from error
    if write_error(error) is not None or isinstance(error, OSError):
        raise UserError(f"cannot write {called(path)}: {_reason(error)}; {_way_out(error)}") from error


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
