"""Writing so that nothing half-written ever looks finished (temporary name, fsync, rename), and hashing it.

Here alone folders are replaced and removed, and only what this project made: `check_target` is the rule.
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
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper import stopping
from shopkeeper.errors import UserError

CANNOT_WRITE = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS}
# Libraries that write by themselves (safetensors, LightGBM, SQLite) hide the system's error in their own.
FULL = re.compile(r"No space left on device|File too large|Disk quota exceeded|database or disk is full", re.I)
MANIFEST, UNFINISHED = "manifest.json", ".unfinished.json"
# Beside any manifest: what seals it, what a killed process of ours left, what a system's file browser leaves.
ALWAYS = (
    r"(.*/)?(manifest\.json|manifest\.json\.sha256|\.unfinished\.json|\.DS_Store|\.[^/]+\.lock)"
    r"|(.*/)?\.[^/]+\.\d+-[0-9a-f]{8}\.tmp(/.*)?"
)
Unlike = Callable[[Mapping[str, Any]], str | None]


class Kind(NamedTuple):
    """A kind of folder that this project makes."""

    title: str
    way_out: str
    called: tuple[str, ...] = ()  # the `kind` in its manifest, where that has other names
    mark: str = MANIFEST  # the file without which it is none
    beside: str = r"(?!)"  # what it holds though its manifest does not list it
    shared: bool = False  # filled, not replaced: others may write there, too


_SPLIT = r"[^/]+\.(npy|parquet|json)"
_STUDY = r"study\.db.*|trials\.json|best\.yaml|(history|importance|slice|curves)\.png"
KINDS = {
    "prepared": Kind(
        "prepared dataset", "set prepared_folder or paths.prepared to a new folder", beside=rf"splits/[^/]+/{_SPLIT}"
    ),
    "split": Kind("split", "set paths.prepared to a new folder", mark="timeline.json", beside=_SPLIT),
    "run": Kind("run", "set hydra.run.dir to a new folder", beside=r"log|[^/]+\.log|\.hydra/[^/]+", shared=True),
    "report": Kind("report", "set out to a new folder"),
    "bundle": Kind("bundle", "set name to another one", called=("recommender", "customer")),
    "study": Kind("study", "set tuning.name to another one", beside=_STUDY, shared=True),
    "composed": Kind("folder of composed configs", "run in another folder"),
    "checkpoint": Kind(
        "checkpoint", "set paths.checkpoints to a new folder", mark="state.json", beside=r"state\.(json|safetensors)"
    ),
}


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
    name = getattr(error, "filename", None)
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


def check_target(folder: Path, kind: str, unlike: Unlike | None = None) -> Path:
    """The folder that a target stands for (a link leads to its own); a `UserError` where writing would lose something.

    A target is new, or empty, or made by this project: it carries a manifest of the same kind and holds nothing that
    this project did not put there. To be called before the work begins; the functions that write ask again.

    Args:
        folder: the target.
        kind: one of `KINDS`.
        unlike: given the manifest that is there, says of what else it is ("dataset a, not b"), or None. Left out where
            `overwrite=true` was said.
    """
    folder, title, way_out = _real(Path(folder)), KINDS[kind].title, KINDS[kind].way_out
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; {way_out}")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise UserError(f"{folder} is the folder that this command runs in, or lies above it; {way_out}")
    manifest = made_here(folder, kind)
    foreign = _foreign(folder, kind, manifest)
    if foreign and manifest is None:
        raise UserError(
            f"{folder} holds '{foreign}' and is no {title} that this project made; move it away, or {way_out}"
        )
    if foreign:
        raise UserError(f"'{foreign}' in the {title} {folder} is not this project's; move it away, or {way_out}")
    if manifest is not None and unlike is not None and (said := unlike(manifest)):
        raise UserError(f"{folder} holds a {title} of {said}; say overwrite=true to replace it, or {way_out}")
    return folder


def made_here(folder: Path, kind: str) -> Mapping[str, Any] | None:
    """What the manifest of a folder says, where this project made it and it is of that kind, finished or not."""
    called, mark = KINDS[kind].called or (kind,), KINDS[kind].mark
    for name in (mark, UNFINISHED):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and (mark != MANIFEST or found.get("kind") in called):
            return found
    return None


def _foreign(folder: Path, kind: str, manifest: Mapping[str, Any] | None) -> str | None:
    """The first thing within a folder that this project did not put there; None where there is none."""
    if not folder.is_dir():
        return None
    about = KINDS[kind]
    if manifest is None and not about.shared:
        return min(os.listdir(folder), default=None)
    if manifest is not None and about.mark == MANIFEST and "files" not in manifest:
        return None  # of a version that did not list them
    listed = set((manifest or {}).get("files") or {})
    beside = re.compile(about.beside if manifest is None else f"{ALWAYS}|{about.beside}")
    nested = [p for p in sorted((folder / "as_of").glob("*")) if made_here(p, kind)] if kind == "prepared" else []
    for path in sorted(_within(folder)):
        name = path.relative_to(folder).as_posix()
        if not (name in listed or beside.fullmatch(name) or any(path.is_relative_to(p) for p in nested)):
            return name
    found = ((p, _foreign(p, kind, made_here(p, kind))) for p in nested)
    return next((f"as_of/{p.name}/{name}" for p, name in found if name), None)


def _within(folder: Path) -> list[Path]:
    """Every file and link below a folder; links are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        found += [Path(place, name) for name in files]
        found += [Path(place, name) for name in folders if os.path.islink(os.path.join(place, name))]
    return found


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
        _flush(tmp)
        check_target(path, kind, unlike)  # somebody may have put something there meanwhile
        with stopping.held_back():  # a signal between the two renames would lose both folders
            if not path.exists():
                os.replace(tmp, path)
            else:
                old = _beside(path)
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

    What is given must hold a `manifest.json` that lists its files. They are moved in one by one and the manifest last;
    the files of the manifest that was there go. A process killed meanwhile leaves no manifest, but `.unfinished.json`,
    by which the folder is known.
    """
    path = check_target(path, kind)
    with _room(path) as tmp:
        yield tmp
        _flush(tmp)
        check_target(path, kind)
        before: set[str] = set((made_here(path, kind) or {}).get("files") or {})
        names = sorted(p.relative_to(tmp).as_posix() for p in _within(tmp))
        old = [member(path, name) for name in before.difference(names)]
        path.mkdir(parents=True, exist_ok=True)
        with stopping.held_back():
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


def _flush(folder: Path) -> None:
    for file in folder.rglob("*"):
        _fsync(file)


def _real(path: Path) -> Path:
    """What a link leads to, and the name behind `.` and `..`; other paths as they were given."""
    return path.resolve() if path.is_symlink() or path.name in ("", "..") else path


class Held:
    """A folder that is being read: `place` leads to it also when another one has taken its name meanwhile.

    While this object lives, nobody of this program deletes the folder; the system lets go of a dead process' folders.
    Where there is no `/proc`, `place` is the name itself. Raises `OSError` where there is no such folder.
    """

    def __init__(self, path: Path, called: Path | None = None) -> None:
        import fcntl

        self.path = Path(path if called is None else called)
        self.handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        weakref.finalize(self, os.close, self.handle)
        with suppress(OSError):  # a file system without locks, or a folder on its way out
            fcntl.flock(self.handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        through = Path(f"/proc/self/fd/{self.handle}")
        self.place = through if through.is_dir() else Path(path)


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


@contextmanager
def alone(path: Path, wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold `path` for this process. The system lets go of a dead one's.

    Where another process holds it: a `UserError`; with `wait`, this is called once (to say so) and the lock awaited.

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
                if wait is None:
                    raise UserError(
                        f"another process is at work on {path}; wait until it has ended, or end it"
                    ) from None
                wait()
                wait = _silent
                fcntl.flock(file, fcntl.LOCK_EX)
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


def _silent() -> None:
    """Said already."""


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
            f"{path} was replaced or removed by another process while it was written; run the same command again"
        ) from error
    if write_error(error) is not None or isinstance(error, OSError):
        raise UserError(f"cannot write {path}: {_reason(error)}; {_way_out(error)}") from error


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
