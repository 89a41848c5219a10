"""Two names swapped at one instant: a process killed between two renames would leave nothing under the name."""

from __future__ import annotations

import os
from pathlib import Path

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
