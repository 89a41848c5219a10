"""Folders as this project makes them, and what of a target is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, filled_folder, write_json
from shopkeeper.folders import KINDS, check_target

Manifest = dict[str, Any]


WITH_MANIFEST = [kind for kind, about in KINDS.items() if about.mark == "manifest.json"]


def made(folder: Path, kind: str, **about: Any) -> Path:
    """A folder as this project makes it: one file and a manifest that lists it."""
    folder.mkdir(parents=True)
    (folder / "own.npy").write_text("1")
    called = (KINDS[kind].called or (kind,))[0]
    write_json(folder / "manifest.json", {"kind": called, "files": {"own.npy": "…"}, **about})
    return folder


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def refused(folder: Path, kind: str, match: str) -> None:
    """Refused before the work and when writing, in one line; nothing moves."""
    before = files(folder) if folder.is_dir() else []
    with pytest.raises(UserError, match=match) as e:
        check_target(folder, kind)
    assert "\n" not in str(e.value)
    write = filled_folder if KINDS[kind].shared else atomic_folder
    with pytest.raises(UserError, match=match), write(folder, kind):
        pytest.fail("the work began")
    assert (files(folder) if folder.is_dir() else []) == before


def fill(folder: Path, **content: str) -> None:
    with filled_folder(folder, "run") as room:
        for name, text in content.items():
            path = room / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        write_json(room / "manifest.json", {"kind": "run", "files": {n.replace("__", "/"): "" for n in content}})
