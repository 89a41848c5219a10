"""What every reader hands on: blocks of rows as they stand in the file, and the rows too broken to be columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.dataset_parts import ReaderSettings


class Reject(NamedTuple):
    """One row that was not kept: where, why, and the value at fault as it stands in the file."""

    file: str
    row: int  # 1-based line (text), row (Parquet) or sheet row (Excel)
    column: str  # name in the file; "" where the whole row is at fault
    reason: str
    value: str


REJECTED = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("value", pa.string()),
    ]
)


def rejected_table(rejects: Sequence[Reject]) -> pa.Table:
    """Rejected rows as a table."""
    columns = list(zip(*rejects, strict=True)) if rejects else [()] * len(REJECTED)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, REJECTED, strict=True)], schema=REJECTED)


@dataclass(frozen=True)
class Block:
    """Rows of one file, in file order."""

    file: str
    table: pa.Table  # the wanted columns, under the names of the file
    row_of: Callable[[np.ndarray], np.ndarray]  # position in the block -> row in the file
    broken: list[Reject] = field(default_factory=list)  # rows that are not in `table`
    reread: Callable[[], Block] | None = None  # the same rows with values as text, exactly as they stand
    path: Path | None = None  # of the file: names in messages need not be different


@dataclass(frozen=True)
class Wanted:
    """Columns to read (names in the file) and the type in which each is cheapest to read where it is clean.

    Of nested files names may be paths; the reader hands on the columns that they begin in, with what is wanted of them.
    """

    types: Mapping[str, pa.DataType]
    optional: frozenset[str] = frozenset()  # columns that a file may lack
    exact: bool = False  # values as text, exactly as they stand, with the row of each
    explode: tuple[str, ...] = ()  # columns of lists

    @property
    def names(self) -> list[str]:
        """Column names, in order."""
        return list(self.types)

    def there(self, have: Sequence[str]) -> Wanted:
        """The same without the optional columns that a file lacks."""
        gone = self.optional.difference(have)
        return replace(self, types={k: v for k, v in self.types.items() if k not in gone}) if gone else self


class Reader(Protocol):
    """Reads one file, as its settings say; `advance(bytes)` moves the progress bar."""

    def __call__(
        self, path: Path, wanted: Wanted | None, told: ReaderSettings, advance: Callable[[int], object] | None
    ) -> Iterator[Block]:
        """Blocks of the file; `wanted=None` reads every column as text (attribute tables)."""


def shown(path: Path) -> str:
    """How a file is called in messages and in rejected.parquet: its name, so that no machine's path is kept.

    Of a file in a folder of partitions (`day=2025-11-05/part-0.parquet`) the partitions are part of its name.
    """
    first = next((i for i, part in enumerate(path.parts) if "=" in part), len(path.parts) - 1)
    return "/".join(path.parts[first:])


class MissingColumnError(UserError):
    """A wanted column is not among those that a file has."""

    def __init__(self, message: str, have: Sequence[str], any_of: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.have = tuple(have)
        self.any_of = tuple(any_of)  # columns of which one would have been enough


def check_columns(path: Path, have: Sequence[str], wanted: Sequence[str], line: int = 1, hint: str = "") -> None:
    """A `UserError` when a wanted column is missing from the header, or stands there twice."""
    for name in wanted:
        if name not in have:
            options = nearest(name, [h for h in have if h][:50]) if any(have) else ""
            raise MissingColumnError(f"{path}, line {line}: no column '{name}' in the header.{options}{hint}", have)
        if list(have).count(name) > 1:
            raise UserError(f"{path}, line {line}: the header names column '{name}' twice; rename one of them")
