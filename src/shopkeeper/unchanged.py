"""Whether anything that the stage `inputs` looks at has changed since it looked last: asked before all imports.

`dvc repro` runs that stage each time, mostly to hear that there is nothing new. What it looked at (files, folders,
variables of the environment) is noted with the state of each, by which git's index tells, too: device, inode, size
and times, as in `hashing`. A folder's times change when a name is added to it or removed. Of what the stage wrote
itself the time of the inode is left out: DVC sets the rights of its files each time. While all are as noted, the whole
stage would write what is there. The note lies beside the digests (`$XDG_CACHE_HOME/shopkeeper`); where it cannot be
written, or anything is younger than two seconds, nothing is noted. Imports nothing that Python has not loaded already.
"""

from __future__ import annotations

import os

PLACE = "data/inputs"  # where the stage writes
RACY_NS = 2_000_000_000  # coarsest time stamps of file systems in use (FAT)


def is_unchanged(out: str = PLACE) -> bool:
    """Whether all that was noted for the folder `out` is as it was."""
    try:
        with open(_note(out), encoding="utf-8") as file:
            owner, *lines = file.read().split("\n")
        if owner != _owner(out) or not lines:
            return False
        for line in lines:
            kind, name, _ = line.split("\t")
            if _line(kind, name) != line:
                return False
        return True
    except (OSError, ValueError):
        return False


def note(out: str, paths: list[str], variables: list[str], began: int) -> None:
    """Note for the folder `out` the state of all that decided what stands in it, where it has been so since `began`.

    Args:
        out: the folder that was written, which holds files alone.
        paths: files and folders that were looked at, or that would be, were they there.
        variables: names of the environment that were read.
        began: when the look began, ns since 1970.
    """
    try:
        made = [out, *(os.path.join(out, name) for name in os.listdir(out))]
        lines = {_line("file", os.path.abspath(path), began) for path in paths}
        lines |= {_line("made", os.path.abspath(path), began) for path in made}
        lines |= {_line("variable", name) for name in variables}
        if any(line.count("\t") != 2 or "\n" in line for line in lines):  # names that this file has no words for
            return
        place = _note(out)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        mine = f"{place}.{os.getpid()}"
        with open(mine, "w", encoding="utf-8") as file:
            file.write("\n".join([_owner(out), *sorted(lines)]))
        os.replace(mine, place)
    except (OSError, ValueError):
        return


def _line(kind: str, name: str, before: int | None = None) -> str:
    """A thing and its state; a `ValueError` where it is as it is only since `before`, or nearly."""
    if kind == "variable":
        return f"{kind}\t{name}\t{'=' + os.environ[name] if name in os.environ else ''}"
    try:
        s = os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        return f"{kind}\t{name}\t"
    changed = 0 if kind == "made" else s.st_ctime_ns
    if before is not None and max(s.st_mtime_ns, changed) > before - RACY_NS:
        raise ValueError(f"{name} is too young")
    return f"{kind}\t{name}\t{s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns} {changed}"


def _note(out: str) -> str:
    s = os.stat(out)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "shopkeeper", f"unchanged-{s.st_dev}-{s.st_ino}")


def _owner(out: str) -> str:
    """Which folder a note is about, and which copy of this package made it."""
    return f"{os.path.abspath(out)}\t{os.path.dirname(os.path.abspath(__file__))}"
