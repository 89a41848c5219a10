"""Reading files of a prepared folder and of its splits: arrays and tables, and what to run where one is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper import configuration
from shopkeeper.errors import UserError
from shopkeeper.files import read_parquet
from shopkeeper.locks import Held

COLUMNS = {
    "item": np.int32,
    "event_type": np.int8,
    "timestamp": np.int64,
    "price": np.float64,
    "quantity": np.float64,
    "order": np.int32,
    "session": np.int32,
    "channel": np.int8,  # or wider, as many as there are (`code_type`)
}


def code_type(n: int) -> type[np.signedinteger[Any]]:
    """The narrowest type for codes 1..n of a column with few different values (0 = unknown): int8 up to 127."""
    return next(kind for kind in (np.int8, np.int16, np.int32) if n <= np.iinfo(kind).max)


def array_of(path: Path, dtype: type, folder: Path) -> np.ndarray:
    """A memory-mapped array of `folder`, as messages call it; a `UserError` where it is missing or of another type."""
    shown = folder / path.name
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{shown} is missing; delete {folder} and run {command_of(folder)} again") from None
    except (ValueError, OSError, EOFError) as e:
        raise UserError(f"{shown} is damaged ({e}); delete {folder} and run {command_of(folder)} again") from None
    if array.dtype != dtype:
        raise UserError(f"{shown} holds {array.dtype}, expected {np.dtype(dtype)}; run {command_of(folder)} again")
    return array


def table_of(place: Path, shown: Path, name: str, columns: list[str] | None) -> pa.Table:
    """A Parquet file of a folder that was opened as `place`; a `UserError` where it has gone meanwhile."""
    if not (place / name).is_file():
        raise UserError(
            f"{shown / name} has gone: the folder was deleted or prepared anew while it was read; "
            f"run the same command again"
        )
    return read_parquet(place / name, columns, shown / name)


def place_of(path: Path, held: Held | None) -> Path:
    """Where files of a folder are read: through the one that was opened, also after another has taken its name."""
    return held.place if held is not None and held.path == path else path


def command_of(path: Path, manifest: Mapping[str, Any] | None = None) -> str:
    """The command that makes a prepared folder, as far as its manifest or its name (`<dataset>-<hash8>`) says."""
    folder = next((up for up in path.parents if up.name in ("splits", "as_of")), path / "x").parent
    name = str((manifest or {}).get("dataset") or re.sub("-[0-9a-f]{8}$", "", folder.name))
    known = manifest is not None or configuration.find("dataset", name) is not None
    return f"`shopkeeper prepare dataset={name}`" if known else "`shopkeeper prepare`"
