"""Which folders are this project's, and what may be written where: the rule about targets.

A target is new, or empty, or carries this project's manifest of the same kind and holds nothing else; anything else is
refused in one line. `files.py`, which alone replaces and removes folders, asks here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from shopkeeper.errors import UserError

MANIFEST, UNFINISHED = "manifest.json", ".unfinished.json"
# What a process of ours leaves where it is killed, also before there is a manifest.
LEFT = r"(.*/)?\.[^/]+\.\d+-[0-9a-f]{8}\.tmp(/.*)?|(.*/)?\.[^/]+\.lock"
# Beside any manifest: what seals it, and what a system's file browser leaves.
ALWAYS = rf"(.*/)?(manifest\.json|manifest\.json\.sha256|\.unfinished\.json|\.DS_Store)|{LEFT}"
Unlike = Callable[[Mapping[str, Any]], str | None]


class Kind(NamedTuple):
    """A kind of folder that this project makes."""

    title: str
    way_out: str
    called: tuple[str, ...] = ()  # the `kind` in its manifest, where that has other names
    mark: str = MANIFEST  # the file without which it is none
    says: str = "kind"  # what that file must say
    beside: str = r"(?!)"  # what it holds though its manifest does not list it
    shared: bool = False  # filled, not replaced: others may write there, too


_SPLIT = r"[^/]+\.(npy|parquet|json)"
_STUDY = r"study\.db.*|trials\.json|best\.yaml|(history|importance|slice|curves)\.png"
KINDS = {
    "prepared": Kind(
        "prepared dataset", "set prepared_folder or paths.prepared to a new folder", beside=rf"splits/[^/]+/{_SPLIT}"
    ),
    "split": Kind("split", "set paths.prepared to a new folder", mark="timeline.json", says="spec", beside=_SPLIT),
    "run": Kind(
        "run",
        "set name to another one, or hydra.run.dir to a new folder",
        beside=r"log|[^/]+\.log|\.hydra/[^/]+",
        shared=True,
    ),
    "report": Kind("report", "set out to a new folder"),
    "bundle": Kind("bundle", "set name to another one", called=("recommender", "customer", "table")),
    "triton": Kind("Triton model repository", "choose another folder with --to"),
    "answers": Kind(  # what reads the folder as one table skips names that begin so
        "folder of answers",
        "choose another one",
        mark="_manifest.json",
        beside=r"_manifest\.json|part-\d{5,}\.parquet",
    ),
    "segments": Kind("folder of segments", "set out to a new folder"),
    "audience": Kind("folder of an audience", "set out to a new folder"),
    "uplift": Kind("folder of an uplift", "set out to a new folder"),
    "study": Kind("study", "set tuning.name to another one", beside=_STUDY, shared=True),
    "sweep": Kind(
        "folder of a sweep",
        "set hydra.sweep.dir to a new folder",
        mark="sweep.json",
        beside=r"(sweep|mlflow)\.json|multirun\.yaml",
    ),
    "live": Kind(
        "folder of live figures",
        "set paths.outputs to a new folder",
        mark="live.json",
        beside=r"live\.json|(metrics|curves)/.+\.(json|tsv)",
    ),
    "composed": Kind("folder of composed configs", "run in another folder"),
    "checkpoint": Kind(
        "checkpoint",
        "set paths.checkpoints to a new folder",
        mark="state.json",
        says="tree",
        beside=r"state\.(json|safetensors)",
    ),
}


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
    called, mark, says = KINDS[kind].called or (kind,), KINDS[kind].mark, KINDS[kind].says
    for name in (mark, UNFINISHED):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(found, dict) or not isinstance(found.get("files") or {}, dict):
            continue
        if says in found and (mark != MANIFEST or found["kind"] in called):
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
    nested = [p for p in sorted((folder / "as_of").glob("*")) if made_here(p, kind)] if kind == "prepared" else []
    for path in sorted(within(folder)):
        name = path.relative_to(folder).as_posix()
        if not is_ours(name, kind, manifest) and not any(path.is_relative_to(p) for p in nested):
            return name
    found = ((p, _foreign(p, kind, made_here(p, kind))) for p in nested)
    return next((f"as_of/{p.name}/{name}" for p, name in found if name), None)


def is_ours(name: str, kind: str, manifest: Mapping[str, Any] | None) -> bool:
    """Whether this project put a file (its path below the folder) there, as the folder's manifest and kind say."""
    if manifest is not None and name in (manifest.get("files") or {}):
        return True
    return re.fullmatch(f"{LEFT if manifest is None else ALWAYS}|{KINDS[kind].beside}", name) is not None


def within(folder: Path) -> list[Path]:
    """Every file and link below a folder; links are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        found += [Path(place, name) for name in files]
        found += [Path(place, name) for name in folders if os.path.islink(os.path.join(place, name))]
    return found


def _real(path: Path) -> Path:
    """What a link leads to, and the name behind `.` and `..`; other paths as they were given."""
    return path.resolve() if path.is_symlink() or path.name in ("", "..") else path
