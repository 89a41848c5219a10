"""Tiny prepared datasets for tests, written straight to disk in the layout of `data/layout.py`.

No reader, validation or splitter runs, so a test of a model or a metric fails only when that model or metric is wrong.

    prepared, split = tiny_prepared(tmp_path / "tiny", [[1, 2, 3], [2, 3, 1, 2]])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.data.stored import COLUMNS
from shopkeeper.files import sha256_json, sha256_tree, write_json
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES, MICROSECONDS_PER_DAY

DAY = MICROSECONDS_PER_DAY


def tiny_prepared(
    path: Path,
    histories: Sequence[Sequence[int]],
    timestamps: Sequence[Sequence[int]] | None = None,
    *,
    event_types: Sequence[Sequence[str]] | None = None,
    columns: Mapping[str, Sequence[Sequence[float]]] | None = None,
    items: Mapping[str, Sequence[Any]] | None = None,
    users: Mapping[str, Sequence[Any]] | None = None,
    channels: Sequence[str] = (),
    n_items: int | None = None,
    catalogue: Sequence[int] | None = None,
    held_out: Sequence[int] = (),
    protocol: str = "published",
    name: str = "tiny",
) -> tuple[Prepared, Split]:
    """Write and open a prepared dataset with a leave-one-out split called `leave_one_out-tiny`.

    `histories[u-1]` are the items (1..n_items, oldest first) of user u, `timestamps` the same shape in microseconds
    (None: order-only data), `event_types` names (default: all `purchase`), `columns` further event columns of
    `prepared.COLUMNS` (`price`, `quantity`, `order`, `session`, `channel`), `items` / `users` attribute columns
    (one value per item / user). Users with three events or more have their last event as test target and the one
    before as validation target; shorter ones only train. Users in `held_out` (internal ids) have no training rows.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    flat: dict[str, np.ndarray] = {"item": _flat(histories, np.int32)}
    flat["event_type"] = (
        np.full(len(flat["item"]), EVENT_CODE["purchase"], np.int8)
        if event_types is None
        else _flat([[EVENT_CODE[t] for t in types] for types in event_types], np.int8)
    )
    if timestamps is not None:
        flat["timestamp"] = _flat(timestamps, np.int64)
    for column, values in (columns or {}).items():
        flat[column] = _flat(values, COLUMNS[column])
    lengths = np.array([len(h) for h in histories], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    assert all(len(values) == offsets[-1] for values in flat.values()), "every column needs one value per event"
    if n_items is None:
        n_items = int(flat["item"].max(initial=0))
    users_n = len(histories)

    np.save(path / "offsets.npy", offsets)
    for column, values in flat.items():
        np.save(path / f"{column}.npy", values)
    item_ids = [f"i{i}" for i in range(1, n_items + 1)]
    user_ids = [f"u{u}" for u in range(1, users_n + 1)]
    item_table = {"item": pa.array(range(1, n_items + 1), pa.int32()), "item_id": item_ids, **(items or {})}
    user_table = {"user": pa.array(range(1, users_n + 1), pa.int32()), "user_id": user_ids, **(users or {})}
    pq.write_table(pa.table(item_table), path / "items.parquet")
    pq.write_table(pa.table(user_table), path / "users.parquet")
    pq.write_table(_events_table(offsets, flat, item_ids, user_ids), path / "events.parquet")
    files = sha256_tree(path)
    manifest = {
        "dataset": name,
        "n_users": users_n,
        "n_items": n_items,
        "n_events": int(offsets[-1]),
        "channels": list(channels),
        "files": files,
        "fingerprint": sha256_json(files),
    }
    write_json(path / "manifest.json", manifest)
    split = path / "splits" / "leave_one_out-tiny"
    _write_split(split, offsets, flat, user_ids, item_ids, catalogue, held_out, protocol)
    prepared = Prepared.open(path)
    return prepared, Split.named(prepared, split.name)


def cycle_histories(n_users: int, n_items: int, length: int) -> list[list[int]]:
    """Users who walk round 1, 2, …, n_items, 1, …, each from another start: the next item follows from the last."""
    return [[(u + t) % n_items + 1 for t in range(length)] for u in range(n_users)]


def days(histories: Sequence[Sequence[int]], start: int = 0) -> list[list[int]]:
    """Time stamps for `histories`: one event a day from day `start` on, in microseconds."""
    return [[(start + t) * DAY for t in range(len(h))] for h in histories]


def _flat(lists: Sequence[Sequence[Any]], dtype: Any) -> np.ndarray:
    return np.array([x for xs in lists for x in xs], dtype)


def _events_table(
    offsets: np.ndarray, flat: Mapping[str, np.ndarray], item_ids: list[str], user_ids: list[str]
) -> pa.Table:
    user = np.repeat(np.arange(len(user_ids)), np.diff(offsets))
    table: dict[str, Any] = {
        "user_id": [user_ids[u] for u in user],
        "item_id": [item_ids[i - 1] for i in flat["item"]],
        "event_type": [EVENT_TYPES[code - 1] for code in flat["event_type"]],
    }
    if "timestamp" in flat:
        table["timestamp"] = pa.array(flat["timestamp"], pa.timestamp("us", "UTC"))
    return pa.table(
        table | {k: v for k, v in flat.items() if k in ("price", "quantity", "order", "session", "channel")}
    )


def _write_split(
    folder: Path,
    offsets: np.ndarray,
    flat: Mapping[str, np.ndarray],
    user_ids: list[str],
    item_ids: list[str],
    catalogue: Sequence[int] | None,
    held_out: Sequence[int],
    protocol: str,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    first, last = offsets[:-1], offsets[1:]
    asked = np.flatnonzero(last - first >= 3)
    train_end = last.copy()
    train_end[asked] -= 2
    out = np.array(sorted(held_out), np.int64) - 1
    train_end[out] = first[out]
    np.save(folder / "train_end.npy", train_end)
    items = np.unique(flat["item"]) if catalogue is None else np.array(sorted(catalogue))
    np.save(folder / "catalogue.npy", items.astype(np.int32))
    trained = np.zeros(len(item_ids) + 1, bool)
    for begin, end in zip(first, train_end, strict=True):
        trained[flat["item"][begin:end]] = True

    hashes = {}
    for part, back in (("validation", 2), ("test", 1)):
        row = last[asked] - back
        target = flat["item"][row]
        instant = flat["timestamp"][row] if "timestamp" in flat else None
        one = np.arange(len(asked) + 1, dtype=np.int32)
        table: dict[str, Any] = {
            "request": np.arange(len(asked), dtype=np.int64),
            "user": (asked + 1).astype(np.int32),
            "start": first[asked],
            "end": row,
            "targets": pa.ListArray.from_arrays(one, pa.array(target, pa.int32())),
            "target_rows": pa.ListArray.from_arrays(one, pa.array(row, pa.int64())),
            "warm_user": train_end[asked] > first[asked],
            "warm_targets": pa.ListArray.from_arrays(one, pa.array(trained[target])),
        }
        if instant is not None:
            table["instant"] = instant
        if "channel" in flat:
            table["channel"] = flat["channel"][row]
        pq.write_table(pa.table(table), folder / f"{part}.parquet")
        at = [None] * len(asked) if instant is None else instant.tolist()
        hashes[part] = sha256_json(
            sorted([user_ids[u], at[j], [item_ids[i - 1]]] for j, (u, i) in enumerate(zip(asked, target, strict=True)))
        )
    timeline = {
        "spec": {"name": "leave_one_out"},
        "protocol": protocol,
        "cutoffs": {},
        "target_hash": hashes,
        "counts": {"validation": len(asked), "test": len(asked), "train_rows": int((train_end - first).sum())},
        "audit": {},
    }
    write_json(folder / "timeline.json", timeline)
