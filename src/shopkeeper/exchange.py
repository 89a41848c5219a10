"""Two names swapped at one instant: a process killed between two renames would leave nothing under the name."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from shopkeeper.folders import LEFT, within

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # renameat2(2): Linux 3.15, glibc 2.28


def exchange(one: Path, other: Path) -> bool:
    """Swap what stands under two names of one file system; False, with nothing done, where this system cannot."""
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return bool(renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0)


def exchange_filled(new: Path, old: Path, ours: Collection[str]) -> bool:
    """Swap a new folder in for an old one that others write into as well: what is theirs is in the new one, too.

    `ours`: the files of the old one, by their path below it, that go with it. Open files stay open: theirs are linked,
    not copied. False, with `old` as it was, where this file system cannot.
    """

    def theirs(folder: Path, target: Path) -> list[str]:
        names = [p.relative_to(folder).as_posix() for p in within(folder)]
        names = [name for name in names if name not in ours and not re.fullmatch(LEFT, name)]
        return [name for name in names if not os.path.lexists(target / name)]

    try:
        for place, folders, files in os.walk(old):
            if not folders and not files:
                (new / os.path.relpath(place, old)).mkdir(parents=True, exist_ok=True)
        for name in theirs(old, new):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(old / name, new / name, follow_symlinks=False)
        shutil.copymode(old, new)
    except OSError:
        return False
    if not exchange(new, old):
        return False
    for name in theirs(new, old):  # written in the meantime
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(new / name, old / name)
    return True
