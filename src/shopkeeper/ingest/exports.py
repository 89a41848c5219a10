"""Known exports: how a file whose columns are not those of its config is told apart from other exports, and its age.

A source (`conf/source/<name>.yaml`) is the part of a dataset's config that is the same for everybody who has that
export; its block `export` says what it is. A dataset points to it in its `defaults` (`/source@_here_: <name>`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from shopkeeper import configuration
from shopkeeper.errors import Rule
from shopkeeper.shapes import PLAIN, TEXT, Each, Items, Needed
from shopkeeper.typed import held, made


def _compiles(pattern: object) -> bool:
    try:
        re.compile(str(pattern))
    except re.error:
        return False
    return isinstance(pattern, str) and pattern != ""


PATTERN: Rule = ("must be a regular expression", _compiles)
FEWEST = 5  # columns of an export by which a file that lacks some is taken for one that nobody has named
ENOUGH = 0.6  # share of an export's columns by which a file is taken for one


@dataclass(frozen=True)
class Export:
    """What a known export is called and how its files are told."""

    title: str = held(Needed(TEXT))
    columns: tuple[str, ...] = held(Items(PLAIN), ())  # names in the file that it always has, in their order there
    one_of: tuple[str, ...] = held(Items(PLAIN), ())  # further names, of which it has one at least
    line: str | None = held(PATTERN, None)  # what each line of a file without a header looks like
    renamed: Mapping[str, str] = held(Each(PLAIN), factory=dict)  # of these: name in the file -> its later name
    since: Mapping[str, str] = held(Each(PLAIN), factory=dict)  # name in the file -> version that brought it
    split: str | None = held(TEXT, None)  # the split that suits it; None: temporal where there are times
    apart: str | None = held(PATTERN, None)  # files whose names match it are not read beside the others
    unfit: str | None = held(TEXT, None)  # why nothing can be learned from it
    instead: str | None = held(TEXT, None)  # and what to do


@cache
def _read(path: str, written: int) -> Export | None:
    with open(path, encoding="utf-8") as file:
        block = (yaml.safe_load(file) or {}).get("export")
    return made(Export, block) if block else None


def known() -> Iterator[tuple[str, Export]]:
    """Every source of `conf/source`, by name."""
    for name in configuration.names("source"):
        path = configuration.find("source", name)
        if path is not None and (found := _read(str(path), path.stat().st_mtime_ns)):
            yield name, found


def files_read(name: str) -> list[str]:
    """Names and patterns of the files that a source itself names: of several kinds of a log, joined, of attributes."""
    path = configuration.find("source", name)
    told = yaml.safe_load(path.read_text(encoding="utf-8")) if path is not None else {}

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key in ("file", "files"):
                    yield from ([inner] if isinstance(inner, str) else inner)
                else:
                    yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    return list(walk({key: inner for key, inner in told.items() if key != "export"}))


def recognised(have: Collection[str], fewest: int = 1) -> tuple[str, Export] | None:
    """The known export that a file with these columns is, or most likely was; None where it is like none of them.

    `fewest`: columns of it that must be there where not all are: `user_id` and `timestamp` stand in any table.
    """
    best, most = None, (0.0, 0)
    for name, export in known():
        if not export.columns:
            continue
        found = sum(column in have or export.renamed.get(column) in have for column in export.columns)
        found += any(column in have for column in export.one_of)
        share = found / (len(export.columns) + bool(export.one_of))
        if (share == 1 or (share >= ENOUGH and found >= fewest)) and (share, found) > most:
            best, most = (name, export), (share, found)
    return best


def without_header(lines: Sequence[str]) -> tuple[str, Export] | None:
    """The known export whose lines these are, of a file that has no header."""
    for name, export in known():
        if export.line and lines and all(re.fullmatch(export.line, line) for line in lines):
            return name, export
    return None


def version(export: Export, have: Collection[str]) -> str:
    """` of 2021 or later`, by the youngest column that a file has; empty where nothing tells."""
    ages = sorted(str(age) for column, age in export.since.items() if column in have)
    return f" of {ages[-1]} or later" if ages else ""


def looks_like(have: Collection[str], missing: Collection[str], own: Export | None) -> str:
    """What is to be said of a file that lacks a column of its config: which export it looks like. Blank in front."""
    found = recognised(have, 1 if own else FEWEST)
    if found is None:
        return f" The config is for {own.title}, which this file does not look like." if own else ""
    name, export = found
    what = f"{export.title}{version(export, have)}"
    if export.unfit and own is None:
        return f" The file looks like {what}: {export.unfit}; {export.instead}."
    if own is not None and own.title == export.title:
        gone = [c for c in export.columns if c not in have and export.renamed.get(c) not in have]
        lacks = ", ".join(f"'{column}'" for column in dict.fromkeys([*missing, *gone]))
        return (
            f" The file looks like {what}, without {lacks}: renamed or left out; write the usual name "
            "into the header, or export it again with all columns."
        )
    if own is not None:
        return (
            f" The config is for {own.title}; this file looks like {what} (source {name}): keep them in folders apart."
        )
    return f" The file looks like {what}: conf/source/{name}.yaml says how it is read."
