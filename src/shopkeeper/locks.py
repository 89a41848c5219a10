"""Who holds what: a folder that is being read stays, and a place that is being written is one process' alone.

The system lets go of what a dead process held. Where the file system has no locks, nobody is kept out.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shopkeeper.errors import UserError


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


def called(name: object) -> object:
    """A path as people know it: one that leads through a folder that is `Held` by the folder's own name."""
    if not str(name).startswith("/proc/self/fd/"):
        return name
    real = os.path.realpath(str(name))
    return os.path.relpath(real) if Path(real).is_relative_to(Path.cwd()) else real


def is_held(folder: Path) -> bool:
    """Whether a process has a folder open as `Held`; also where that cannot be told."""
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


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
                wait = silent
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


def silent() -> None:
    """Said already."""
