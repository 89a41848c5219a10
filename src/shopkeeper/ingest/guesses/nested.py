"""The head of a file whose rows hold several events: which list to explode, and what its entries and records hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.errors import UserError
from shopkeeper.ingest.block import Wanted
from shopkeeper.ingest.chunks import read_chunks
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.ingest.readers import reader
from shopkeeper.ingest.rows import Shaping

LINES = 200  # of JSON that are looked at for names
PAIRS = ({"key", "value"}, {"name", "value"})


def unfolded(
    path: Path, options: dict[str, Any], told: ReaderSettings, rows: int
) -> tuple[pl.DataFrame, str, list[str]]:
    """The first events of a nested file as a flat frame, the list that was exploded ("": none), and doubts.

    Raises:
        UserError: a file whose rows hold several lists and nothing tells which one is of events.
    """
    names, lists = _names(path, options["format"], told.encoding or "utf-8")
    if not lists and not any("." in name for name in names):
        return pl.DataFrame(), "", []
    taken, doubts = "", []
    if lists:
        taken = max(lists, key=lambda name: len(lists[name]))
        others = [name for name in lists if name != taken]
        if others:
            doubts.append(
                f"'{taken}' is taken for the list of events or items, and {', '.join(others)} is left out; an entry of "
                f"a list of keys and values is named like {others[0]}[its key]"
            )
        names = [*names, *(f"{taken}.{field}" if field else taken for field in sorted(lists[taken]))]
    config = parse({
        "name": "look", "raw": {"folder": "", "files": [path.name]}, "reader": {"format": options["format"]},
        "rows": {"explode": taken} if taken else {}, "columns": {"user_id": names[0], "item_id": names[-1]},
    })  # fmt: skip
    shaping = Shaping(config, Wanted(dict.fromkeys(names, pa.string()), frozenset(names), explode=config.rows.lists))
    frames: list[pl.DataFrame] = []
    for block in reader(options["format"])(path, shaping.wanted, told, None):
        frame = pl.DataFrame(pl.from_arrow(shaping(block).table))
        frames.append(frame.with_columns(pl.col(pl.Categorical).cast(pl.String)))
        if sum(frame.height for frame in frames) >= rows:
            break
    return pl.concat(frames, how="vertical_relaxed").head(rows), taken, doubts


def _names(path: Path, format: str, encoding: str) -> tuple[list[str], dict[str, set[str]]]:
    """Paths of plain values outside of lists, and per list its entries' fields ("": entries are plain values)."""
    if format == "parquet":
        return _of_types(pq.read_schema(path))
    plain: dict[str, None] = {}
    lists: dict[str, set[str]] = {}
    pairs: set[str] = set()
    start = next(read_chunks(path, quotes=False, encoding=encoding)).data
    for line in [line for line in start.split(b"\n") if line.strip()][:LINES]:
        _walk(json.loads(line), "", plain, lists, pairs)
    return list(plain), {name: fields for name, fields in lists.items() if fields and name not in pairs}


def _walk(
    value: Mapping[str, Any], above: str, plain: dict[str, None], lists: dict[str, set[str]], pairs: set[str]
) -> None:
    for key, inner in value.items():
        name = f"{above}{key}"
        if isinstance(inner, dict):
            _walk(inner, f"{name}.", plain, lists, pairs)
        elif isinstance(inner, list):
            fields = lists.setdefault(name, set())
            for entry in inner:
                found = (
                    {k for k, v in entry.items() if not isinstance(v, dict | list)} if isinstance(entry, dict) else {""}
                )
                fields |= found
                if isinstance(entry, dict) and any(pair <= set(entry) for pair in PAIRS) and len(entry) < 4:
                    pairs.add(name)
        else:
            plain[name] = None


def _of_types(schema: Iterable[pa.Field], above: str = "") -> tuple[list[str], dict[str, set[str]]]:
    plain: list[str] = []
    lists: dict[str, set[str]] = {}
    for field in schema:
        name, kind = f"{above}{field.name}", field.type
        if pa.types.is_struct(kind):
            inner, more = _of_types(kind, f"{name}.")
            plain += inner
            lists |= more
        elif pa.types.is_map(kind):
            continue
        elif pa.types.is_nested(kind):
            entry = kind.value_type
            fields = {f.name for f in entry if not pa.types.is_nested(f.type)} if pa.types.is_struct(entry) else {""}
            if not (pa.types.is_struct(entry) and any(pair <= {f.name for f in entry} for pair in PAIRS)):
                lists[name] = fields
        else:
            plain.append(name)
    return plain, lists


def check_cells(path: Path, frame: pl.DataFrame) -> None:
    """A `UserError` where cells of a text file hold lists: which of them go together, a person must say."""
    for name in frame.columns:
        text = frame[name].drop_nulls()
        if text.dtype == pl.String and len(text) and bool(text.str.contains(r"(?s)^\s*\[.*\]\s*$").all()):
            raise UserError(
                f"{path}: column '{name}' holds lists, and a row must be one event; write a config by hand and name "
                f"all columns whose lists go together: rows: {{explode: [{name}, …]}}"
            )
