"""JSON lines: one object per line; columns are its keys, values are read as the text they are written in.

Of objects and lists inside of it only what names lead to is read (`paths.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from shopkeeper.errors import UserError
from shopkeeper.ingest.block import Block, Reject, Wanted, check_columns, shown
from shopkeeper.ingest.chunks import Chunk, read_chunks, record_starts
from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.ingest.paths import kinds, place, with_records

LOOKED_AT = 200  # lines whose keys are the file's columns


def read_json_lines(
    path: Path, wanted: Wanted | None, told: ReaderSettings, advance: Callable[[int], object] | None
) -> Iterator[Block]:
    """Rows of a JSON lines file, plain or compressed. A key that a line lacks is a missing value."""
    first = True
    unseen: set[str] = set()
    types: dict[str, pa.DataType] = {}
    for chunk in read_chunks(path, quotes=False, encoding=told.encoding or "utf-8", advance=advance):
        starts, lines = record_starts(chunk.data, quotes=False)
        if not len(starts):
            continue
        if first:
            first = False
            looked_at = _first(path, chunk, starts, int(lines[0]))
            keys = list(dict.fromkeys(key for value in looked_at for key in value))
            if wanted is None:
                wanted = Wanted(dict.fromkeys(keys, pa.string()))
            _check_not_inside(path, looked_at[0], {place(name, keys).column for name in wanted.names})
            types = kinds(wanted.names, wanted.explode, keys)
            types = {name: with_records(kind, [value.get(name) for value in looked_at]) for name, kind in types.items()}
            # What lies inside of others may be of few events only; `rows.py` says what is in none.
            unseen = {name for name in (*wanted.names, *wanted.explode) if name in types} - set(keys)
            unseen -= wanted.optional
            schema = pl.DataFrame(pl.from_arrow(pa.schema(list(types.items())).empty_table())).schema
        assert wanted is not None
        unseen -= {name for name in unseen if json.dumps(name).encode() in chunk.data}
        yield _block(path, chunk, starts, lines, schema)
    if first:
        raise UserError(f"{path} is empty; expected one JSON object per line")
    if unseen:  # a key may be missing from a line, not from all of them
        check_columns(path, keys, sorted(unseen))


def _check_not_inside(path: Path, first: dict[str, Any], columns: set[str]) -> None:
    """A `UserError` where a line is no row but holds a list of rows, as what is sent in batches does."""
    inside = (key for key, value in first.items() if isinstance(value, list) and value and isinstance(value[0], dict)
              and not columns & first.keys() and columns & value[0].keys())  # fmt: skip
    if (key := next(inside, None)) is not None:
        raise UserError(
            f"{path}: a line holds a list of rows, '{key}'; write a row per line into a folder of its own: "
            f"jq -c '.{key}[]' {path.name} > rows/{path.stem}.jsonl"
        )


def _first(path: Path, chunk: Chunk, starts: np.ndarray, line: int) -> list[dict[str, Any]]:
    """The first lines: one alone may lack what is empty there. `line` is where the first one stands."""
    found: list[dict[str, Any]] = []
    for i, start in enumerate(starts[:LOOKED_AT].tolist()):
        text = chunk.data[start : chunk.data.find(b"\n", start) + 1 or None]
        try:
            value = json.loads(text)
        except ValueError as e:
            if i:  # is rejected later
                continue
            raise UserError(f"{path}, line {chunk.line + line}: not JSON ({e}); expected one object per line") from None
        if isinstance(value, dict):
            found.append(value)
        elif not i:
            raise UserError(f"{path}, line {chunk.line + line}: not a JSON object; expected one object per line")
    return found


def _block(path: Path, chunk: Chunk, starts: np.ndarray, lines: np.ndarray, schema: Mapping[str, Any]) -> Block:
    try:
        if b"\0" in chunk.data:
            raise ValueError
        chunk.data.decode("utf-8")
        frame = pl.read_ndjson(chunk.data, schema=schema)
        if frame.height != len(starts):
            raise ValueError
        broken: list[Reject] = []
    except (pl.exceptions.PolarsError, ValueError):
        frame, keep, broken = _line_by_line(path, chunk, starts, lines, schema)
        lines = lines[keep]
    numbers = chunk.line + lines
    return Block(shown(path), frame.to_arrow(), lambda i: numbers[i], broken)


def _line_by_line(
    path: Path, chunk: Chunk, starts: np.ndarray, lines: np.ndarray, schema: Mapping[str, Any]
) -> tuple[pl.DataFrame, np.ndarray, list[Reject]]:
    """A chunk with a bad line: each line is tried by itself, so that only the bad ones are rejected."""
    stops = np.append(starts[1:], len(chunk.data))
    good, broken = [], []
    keep = np.ones(len(starts), bool)
    for i, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        text = chunk.data[start:stop].strip()
        reason = ""
        try:
            if not isinstance(json.loads(text.decode("utf-8")), dict):
                reason = "not a JSON object"
        except UnicodeDecodeError:
            reason = "not UTF-8 (set reader.encoding when the whole file is in another one)"
        except ValueError as e:
            reason = f"not JSON ({e})"
        if not reason:
            try:
                pl.read_ndjson(text, schema=schema)
            except pl.exceptions.PolarsError as e:
                reason = f"not JSON ({str(e).splitlines()[0]})"
        if reason:
            keep[i] = False
            shown_as = text[:200].decode("utf-8", "replace").replace("\0", "\\0")
            broken.append(Reject(shown(path), chunk.line + int(lines[i]), "", reason, shown_as))
        else:
            good.append(text)
    frame = pl.read_ndjson(b"\n".join(good), schema=schema) if good else pl.DataFrame(schema=schema)
    return frame, keep, broken
