"""An arranged log as the files of a prepared folder (layout: `data/layout.py`); equal logs, equal bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.arrange.order import Arranged
from shopkeeper.arrange.pieces import counted
from shopkeeper.data.stored import COLUMNS, code_type
from shopkeeper.data.threads import ahead
from shopkeeper.ingest.values import typed
from shopkeeper.schema import EVENT_TYPES

GROUP_ROWS = 1 << 20
# Rows that Arrow encodes at once, each time looking for the least and the greatest text: its default of 1,024 costs a
# fifth more. Pages end where they did, but for those of texts that are in no dictionary, which keep the default.
BATCH_ROWS = 1 << 12
TEXT = pa.dictionary(pa.int32(), pa.string())


def write_arrays(folder: Path, log: Arranged) -> None:
    """offsets.npy and one .npy per event column."""
    np.save(folder / "offsets.npy", log.offsets, allow_pickle=False)
    for name, dtype in COLUMNS.items():
        if name in log.columns:
            dtype = code_type(len(log.names["channel"])) if name == "channel" else dtype
            np.save(folder / f"{name}.npy", log.columns[name].astype(dtype, copy=False), allow_pickle=False)


def write_events(
    path: Path, log: Arranged, returns: np.ndarray | None, extra: Mapping[str, str], decimal: str | None = None
) -> None:
    """Every kept event with its external ids, sorted by (user, timestamp, file order).

    Columns: user_id, item_id, event_type, and those the data has of timestamp (UTC), session_id, order_id, quantity,
    price, channel, returns_row (row of the purchase that a return undoes, from 0), and the `extra` ones (name ->
    column of the file; numbers where all values are, with the file's decimal sign). Texts are written as dictionaries.
    """
    values = {
        name: typed(pl.Series(pl.from_arrow(log.names[f"file:{c}"])), decimal).to_arrow() for name, c in extra.items()
    }
    values = {name: v.cast(pa.string()) if pa.types.is_string_view(v.type) else v for name, v in values.items()}
    texts = {"item_id": "item", "session_id": "session", "order_id": "order", "channel": "channel"}
    fields = [("user_id", TEXT), ("item_id", TEXT), ("event_type", TEXT)]
    fields += [("timestamp", pa.timestamp("us", "UTC"))] if "timestamp" in log.columns else []
    fields += [(name, TEXT) for name in ("session_id", "order_id") if texts[name] in log.columns]
    fields += [(name, pa.float64()) for name in ("quantity", "price") if name in log.columns]
    fields += [("channel", TEXT)] if "channel" in log.columns else []
    fields += [("returns_row", pa.int64())] if returns is not None else []
    fields += [(name, v.type) for name, v in values.items()]
    schema = pa.schema(fields)
    types = pa.array(["", *EVENT_TYPES])
    columns_of = {name: (log.columns[texts[name]], log.names[name]) for name in texts if texts[name] in log.columns}
    if "order_id" in columns_of:
        columns_of["order_id"] = _each_text_once(*columns_of["order_id"])
    users, offsets = log.names["user_id"], log.offsets
    n = int(offsets[-1])
    dictionaries = [name for name, kind in fields if kind == TEXT]

    def groups() -> Iterator[pa.Table]:
        for start in range(0, max(n, 1), GROUP_ROWS):
            rows = slice(start, min(start + GROUP_ROWS, n))
            first = int(np.searchsorted(offsets, start, side="right")) - 1  # 0-based user of the first row
            last = int(np.searchsorted(offsets, rows.stop, side="left"))
            local = np.clip(offsets[first : last + 1], start, rows.stop)
            user = np.repeat(np.arange(last - first, dtype=np.int32), np.diff(local))
            columns: list[pa.Array] = []
            for name, kind in fields:
                if name == "user_id":
                    columns.append(pa.DictionaryArray.from_arrays(user, users.slice(first, last - first)))
                elif name == "event_type":
                    columns.append(pa.DictionaryArray.from_arrays(log.columns[name][rows].astype(np.int32), types))
                elif name in values:
                    code = log.columns[f"file:{extra[name]}"][rows]
                    columns.append(values[name].take(pa.array(code - 1, mask=code == 0)))
                elif name == "returns_row":
                    assert returns is not None
                    columns.append(pa.array(returns[rows], mask=returns[rows] < 0))
                elif kind == TEXT:
                    ids, names = columns_of[name]
                    columns.append(_texts(ids[rows], names))
                elif name == "timestamp":
                    columns.append(pa.array(log.columns[name][rows]).cast(kind))
                else:
                    columns.append(pa.array(log.columns[name][rows], from_pandas=True))  # NaN -> null
            yield pa.Table.from_arrays(columns, schema=schema)

    batch = None if any(pa.types.is_string(kind) for _, kind in fields) else BATCH_ROWS
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=dictionaries, write_statistics=True, write_batch_size=batch
    ) as out:
        for group in ahead(groups()):
            out.write_table(group, row_group_size=GROUP_ROWS)


def write_table(path: Path, table: pa.Table) -> None:
    """A table as one Parquet file."""
    pq.write_table(table, path, compression="zstd")


def _each_text_once(ids: np.ndarray, names: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """The same texts, one id for each: orders may share a number (`order_numbers`), entries of a dictionary may not."""
    once = names.dictionary_encode()
    if len(once.dictionary) == len(names):
        return ids, names
    return np.append(0, once.indices.to_numpy() + 1)[ids], once.dictionary


def _texts(ids: np.ndarray, names: pa.Array) -> pa.Array:
    """Ids (1.., 0 = none) as a dictionary array that holds only the texts that occur."""
    largest = int(ids.max(initial=0))
    used = np.flatnonzero(counted(ids, largest + 1)) if largest < 4 * len(ids) else np.unique(ids)
    used = used[used > 0]
    place = np.zeros((int(used[-1]) if len(used) else 0) + 1, np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    codes = pa.array(place[ids], mask=ids == 0) if (ids == 0).any() else pa.array(place[ids])
    return pa.DictionaryArray.from_arrays(codes, names.take(pa.array(used - 1)))
