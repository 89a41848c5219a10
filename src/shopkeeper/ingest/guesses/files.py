"""Which files `new-dataset` was given (one, a folder, a pattern), and how a config names them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.scalars import SPECIAL
from shopkeeper.ingest.raw import is_pattern, matching

NOT_DATA = (
    ".md",
    ".txt~",
    ".yaml",
    ".yml",
    ".pdf",
    ".html",
    ".py",
    ".crc",
    ".log",
    ".crdownload",
    ".part",
    ".tmp",
)  # the last three: not downloaded yet
LOOKED_INTO = 50  # files whose columns are compared
# What YAML, or `dataset=…` on a command line, reads as a number or a word of its own.
NO_NAME = "|".join((r"\d[\d_]*(e\d+)?", *SPECIAL, "nan", "inf"))


@dataclass(frozen=True)
class Given:
    """Files of one log, and what its config says of them."""

    paths: tuple[Path, ...]
    folder: str  # below paths.raw
    files: tuple[str, ...]  # names and patterns below it
    name: str  # of the dataset

    @property
    def home(self) -> Path | None:
        """Where the files have to lie for the dataset to find them; None where they lie there."""
        home = raw_root() / self.folder
        there = all(path.resolve().is_relative_to(home.resolve()) for path in self.paths)
        return None if there else home


def raw_root() -> Path:
    """The folder paths.raw where no setting tells another: data/raw, or what SHOPKEEPER_RAW names."""
    return Path(os.environ.get("SHOPKEEPER_RAW", "data/raw"))


def given(told: Path, name: str | None = None) -> Given:
    """The files that a path, a folder or a pattern (`exports/orders*.csv`) means, sorted.

    Raises:
        UserError: there are none.
    """
    if is_pattern(told.as_posix()) and not told.exists():
        parts = told.parts
        first = next(i for i, part in enumerate(parts) if is_pattern(part))
        root = Path(*parts[:first]) if first else Path()
        paths = [p for p in matching(root, "/".join(parts[first:])) if p.is_file()]
    elif told.is_dir():
        root = told
        paths = sorted(p for p in told.rglob("*") if p.is_file() and _is_data(p.relative_to(told)))
    elif told.is_file():
        return Given((told,), *_below_raw(told.parent, ""), (told.name,), name or named(told.name))
    else:
        raise UserError(
            f"{told} is not a file; give the path of an event log (CSV, Parquet, JSON lines, Excel), a folder of such, "
            f"or a pattern in quotes ('exports/orders*.csv')"
        )
    if not paths:
        raise UserError(f"{told} holds no files of data; give a folder or a pattern that does")
    inside = [p.relative_to(root).as_posix() for p in paths]
    return Given(tuple(paths), *_below_raw(root, root.name), patterns(inside), name or named(root.resolve().name))


def only(files: Given, kept: Collection[Path]) -> Given:
    """Some of the files; named one by one where a pattern would mean others of the folder, too."""
    root = Path(os.path.commonpath([path.parent for path in files.paths]))
    rest = tuple(path for path in files.paths if path in kept)
    inside = [path.relative_to(root).as_posix() for path in rest]
    found = patterns(inside)
    meant = {path for pattern in found for path in matching(root, pattern)}
    return Given(rest, files.folder, found if meant & set(files.paths) == set(rest) else tuple(inside), files.name)


def named(file: str) -> str:
    """A dataset's name after a file's: `My Shop-2020.csv` is `my_shop_2020`, `2023-10.csv` is `log_2023_10`."""
    name = re.sub(r"[^a-z0-9]+", "_", file.split(".")[0].lower()).strip("_") or "my_shop"
    return f"log_{name}" if re.fullmatch(NO_NAME, name) else name


def patterns(names: Sequence[str]) -> tuple[str, ...]:
    """Names of files as few patterns: what they begin and end with, in one folder; partitions as `*/*.parquet`.

    >>> patterns(["orders_1.csv", "orders_2.csv"])
    ('orders_*.csv',)
    >>> patterns(["day=1/part-0.parquet", "day=2/part-0.parquet"])
    ('day=*/part-0.parquet',)
    """
    if len(names) == 1:
        return (names[0],)
    deep = {name.count("/") for name in names}
    if len(deep) > 1:
        return tuple(names)
    levels = zip(*(name.split("/") for name in names), strict=True)
    return ("/".join(_pattern(sorted(set(level))) for level in levels),)


def _pattern(parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    start = _shared(parts)
    end = _shared([part[len(start) :][::-1] for part in parts])[::-1]
    return re.sub(r"\d+$", "", start) + "*" + re.sub(r"^\d+", "", end)  # the next file has other digits


def _shared(texts: Sequence[str]) -> str:
    """What all of some texts begin with."""
    first, last = min(texts), max(texts)
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:n]


def _is_data(path: Path) -> bool:
    hidden = any(part.startswith((".", "_", "~$")) for part in path.parts)
    return not hidden and not path.name.lower().endswith(NOT_DATA) and path.stem.lower() != "readme"


def _below_raw(folder: Path, otherwise: str) -> tuple[str]:
    """The folder as `raw.folder` names it: below paths.raw (SHOPKEEPER_RAW, data/raw) where it lies there."""
    raw = raw_root().resolve()
    inside = folder.resolve()
    if inside == raw:
        return ("",)
    return (inside.relative_to(raw).as_posix() if inside.is_relative_to(raw) else otherwise,)
