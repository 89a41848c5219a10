"""Raw files: what their names and patterns mean, and every one that `prepare` reads, with size and hash.

The log's files, tables of items and users with their maps of ids, lists of erasure, consent and identities: what a
pattern matches today is part of it. Reads no table and needs no Polars, so that training can ask, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.hashing import hash_file, state_of
from shopkeeper.ingest.dataset import DatasetConfig, parse

log = logging.getLogger(__name__)
RULES = ("erasure", "identity", "consent")  # with a `file`; see `people/rules.py`
WORST_SHOWN = 3


@dataclass(frozen=True)
class RawFile:
    """One file: its name below raw.folder (or as the config gives it), what it is for, its bytes and their hash."""

    name: str
    role: str  # log, joined, items, users, erasure, identity, consent
    bytes: int
    hash: str


def is_pattern(name: str) -> bool:
    """Whether a name of raw files stands for whatever matches it."""
    return any(c in name for c in "*?[")


def matching(folder: Path, name: str) -> list[Path]:
    """What a name or a pattern means below a folder, sorted; hidden things, as in a shell, only where it names them.

    `~$orders.xlsx` is hidden, too: it lies beside a workbook that somebody has open.
    """
    if not is_pattern(name):
        return [folder / name]
    found, named = sorted(folder.glob(name)), _is_hidden(Path(name))
    return found if named else [path for path in found if not _is_hidden(path.relative_to(folder))]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "~$")) for part in path.parts)


def find_files(config: DatasetConfig, raw: Path, names: Sequence[str]) -> list[Path]:
    """Paths of raw files (glob patterns allowed, sorted), each once; a `UserError` says where to get a missing one."""
    folder = Path(raw) / config.folder
    found: list[Path] = []
    for name in names:
        matches = [p for p in matching(folder, name) if p.is_file()]
        if not matches:
            source = config.plain.get("source")
            raise UserError(
                f"{folder / name} is missing: "
                + (f"get it from {source}, " if source else "")
                + ("run `prepare`, which fetches it, " if any(entry.name == name for entry in config.fetch) else "")
                + f"put it into {Path(raw).resolve() / config.folder}, or point paths.raw (SHOPKEEPER_RAW) elsewhere"
            )
        found += matches
    return list(dict.fromkeys(found))  # a file that two patterns mean is read once


def raw_files(config: DatasetConfig, raw: Path) -> list[RawFile]:
    """Every raw file that preparing a dataset reads, the log's first, in the order in which they are read.

    Raises `UserError` for one that is missing.
    """
    out = []
    for role, path, name in _paths(config, Path(raw)):
        if not path.is_file():
            raise UserError(f"{path} is missing ({role}.file of dataset {config.name}); put the table there")
        out.append(RawFile(name, role, path.stat().st_size, hash_file(path)))
    return out


def states(config: DatasetConfig, raw: Path) -> dict[str, str]:
    """By name, what tells without reading a byte whether a file was written or replaced meanwhile."""
    return {name: state_of(path) if path.is_file() else "gone" for _, path, name in _paths(config, Path(raw))}


def looked_at(config: DatasetConfig, raw: Path) -> list[Path] | None:
    """Every file that `raw_files` gives and every folder in which a pattern is looked for; None where one is missing.

    While none of these is written, replaced, added to or removed, `raw_files` gives the same.
    """
    try:
        files = [path for _, path, _ in _paths(config, Path(raw))]
    except UserError:
        return None
    folder = Path(raw) / config.folder
    places = set()
    for pattern in (name for _, names in _names(config) for name in names if is_pattern(name)):
        places.add(folder)
        parts = Path(pattern).parts
        for n in range(1, len(parts)):
            places.update(folder.glob("/".join(parts[:n])))
    return [*files, *places] if all(path.is_file() for path in files) else None


def check_still(config: DatasetConfig, raw: Path, before: Mapping[str, str]) -> None:
    """A `UserError` when a file was written, replaced, added or removed since `states` gave `before`."""
    after = states(config, raw)
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if names:
        raise UserError(f"{_some(names)} changed while it was read; wait until it is written, then run prepare again")


def as_json(files: Iterable[RawFile]) -> list[dict[str, Any]]:
    """The form of a prepared folder's manifest, under `raw_files`."""
    return [asdict(file) for file in files]


def changes(before: Sequence[Mapping[str, Any]], now: Sequence[RawFile]) -> str | None:
    """In words, what differs between the files of a manifest and those of today; None where nothing does."""
    old, new = {(f["role"], f["name"]): f for f in before}, {(f.role, f.name): f for f in now}
    said = []
    for words, keys in (
        ("changed", [k for k in new if k in old and new[k].hash != old[k].get("hash")]),
        ("new", [k for k in new if k not in old]),
        ("gone", [k for k in old if k not in new]),
    ):
        if keys:
            said.append(f"{words}: {_some([name for _, name in keys])}")
    if not said and list(old) != list(new):
        said.append("the order of the files")
    return "; ".join(said) or None


def are_here(before: Sequence[Mapping[str, Any]], folder: Path) -> bool:
    """Whether one of the files of a manifest is below `raw.folder` at all: else nothing can be compared."""
    return any((folder / f["name"]).is_file() for f in before)


def raw_changes(manifest: Mapping[str, Any], raw: Path) -> str | None:
    """What differs between the raw files that a prepared folder was made from and those below `raw`, in words.

    Where none of them is there (prepared data came without), that is said and taken for no change.
    """
    before = manifest.get("raw_files") or []
    if not before:
        return None
    config = parse(manifest["config"])
    if not are_here(before, Path(raw) / config.folder):
        log.warning(
            "no raw file of %s is in %s: whether they have changed since could not be checked", manifest["dataset"], raw
        )
        return None
    changed = changes(before, raw_files(config, raw))
    return changed and f"raw files differ from those it was prepared from ({changed})"


def _paths(config: DatasetConfig, raw: Path) -> list[tuple[str, Path, str]]:
    folder = raw / config.folder
    found: list[tuple[str, Path, str]] = []

    def add(role: str, patterns: Sequence[str]) -> None:
        for path in find_files(config, raw, patterns):
            found.append(
                (role, path, path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path))
            )

    for role, names in _names(config):
        add(role, names)
    for role in RULES:
        if file := (config.plain.get(role) or {}).get("file"):
            found.append((role, folder / str(file), str(file)))
    return found


def _names(config: DatasetConfig) -> Iterator[tuple[str, Sequence[str]]]:
    """Names and patterns below raw.folder, by what they are for."""
    if config.simulate is not None:
        return
    yield "log", config.files
    if joined := dict.fromkeys(f for kind in config.logs or (config,) for step in kind.steps for f in step.files()):
        yield "joined", list(joined)
    for role, spec in (("items", config.items), ("users", config.users)):
        if spec.file:
            yield role, [spec.file]
            if spec.id_map:
                yield role, [spec.id_map.file]


def _some(names: Sequence[str]) -> str:
    more = len(names) - WORST_SHOWN
    return ", ".join(names[:WORST_SHOWN]) + (f" and {more} more" if more > 0 else "")
