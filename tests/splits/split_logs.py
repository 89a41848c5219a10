"""Small prepared logs for the tests of splits and audits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.data.prepared import Prepared
from shopkeeper.schema import EVENT_CODE
from shopkeeper.timeline import DAY, instant

START = instant("2024-01-01", "start")


def write_log(
    folder: Path,
    user,
    item,
    timestamp=None,
    event_type=None,
    order=None,
    session=None,
    channel=None,
    config: dict | None = None,
    consent: list[tuple[str, int, bool]] | None = None,
) -> Prepared:
    """Write a prepared folder from columns in file order, as `prepare` does: ids by first appearance, stable sort.

    `user` and `item` are external ids (anything); timestamp in µs; event_type as names; `consent` holds changes
    (user, µs, in force), by user and time.
    """
    user, item = np.asarray(user).astype(str), np.asarray(item).astype(str)
    n = len(user)
    ts = None if timestamp is None else np.asarray(timestamp, np.int64)
    arrival = np.arange(n) if ts is None else np.argsort(ts, kind="stable")

    def encode(values):
        names, first, inverse = np.unique(values[arrival], return_index=True, return_inverse=True)
        by_arrival = np.argsort(first)
        code = np.empty(len(names), np.int32)
        code[by_arrival] = np.arange(1, len(names) + 1)
        out = np.empty(n, np.int32)
        out[arrival] = code[inverse]
        return out, names[by_arrival]

    user_code, user_ids = encode(user)
    item_code, item_ids = encode(item)
    row = np.lexsort((np.arange(n), np.zeros(n) if ts is None else ts, user_code))
    types = ["purchase"] * n if event_type is None else list(event_type)
    columns = {
        "item": item_code,
        "event_type": np.array([EVENT_CODE[t] for t in types], np.int8),
        "timestamp": ts,
        "order": None if order is None else np.asarray(order, np.int32),
        "session": None if session is None else np.asarray(session, np.int32),
        "channel": None if channel is None else np.asarray(channel, np.int8),
        "price": np.linspace(1.0, 9.0, n),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in columns.items():
        if values is not None:
            np.save(folder / f"{name}.npy", values[row])
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(np.bincount(user_code)[1:])]).astype(np.int64))
    pq.write_table(
        pa.table({"item": np.arange(1, len(item_ids) + 1, dtype=np.int32), "item_id": item_ids.tolist()}),
        folder / "items.parquet",
    )
    pq.write_table(
        pa.table({"user": np.arange(1, len(user_ids) + 1, dtype=np.int32), "user_id": user_ids.tolist()}),
        folder / "users.parquet",
    )
    if consent is not None:
        code = {name: i for i, name in enumerate(user_ids, start=1)}
        rows = sorted((code[u], at, agrees) for u, at, agrees in consent if u in code)
        columns = dict(zip(("user", "at", "in_force"), map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table({**columns, "user": pa.array(columns["user"], pa.int32())}), folder / "consent.parquet")
    manifest = {"dataset": "tiny", "n_items": len(item_ids), "fingerprint": f"f{n}", "config": config or {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Prepared.open(folder)


def random_log(
    folder: Path,
    seed: int,
    n: int = 400,
    days: int = 60,
    orders: bool = True,
    config=None,
    consent: bool = False,
    n_items: int = 1000,
) -> Prepared:
    """A random shop: views and purchases with ties in time, orders of several lines, sessions, late new items.

    With `consent` some customers withdraw in the course of time, some of them agree again; what they do in between
    is not in the log. Few items: orders with an item on several lines.
    """
    rng = np.random.default_rng(seed)
    user = rng.integers(0, 25, n)
    visit = np.flatnonzero(rng.random(n - 1) < 0.3) + 1  # often several events of one customer on a day
    user[visit] = user[visit - 1]
    day = np.sort(rng.integers(0, days, n))
    ts = START + day * DAY + rng.integers(0, 6, n) * 3_600_000_000  # whole hours: many ties
    item = rng.integers(0, 10 + day, n) % n_items  # later days know more items
    kind = np.where(rng.random(n) < 0.6, "purchase", "view")
    order = np.zeros(n, np.int32)
    if orders:
        hours = (1, 36)[seed % 2]  # odd seeds: orders whose lines are torn apart in time, across cutoffs, too
        key = user * 10**8 + (ts - START) // (hours * 3_600_000_000)
        order = np.where(kind == "purchase", np.unique(key, return_inverse=True)[1] + 1, 0)
    tab = rng.choice(3, n, p=[0.2, 0.5, 0.3])  # 0: without a session
    session = np.where(tab > 0, np.unique((user * 100 + day // 2) * 3 + tab, return_inverse=True)[1] + 1, 0)
    channel = rng.integers(0, 3, n)
    kept, changes = np.ones(n, bool), None
    if consent:
        changes = [(f"u{u}", START, True) for u in range(25)]
        for u in range(0, 25, 2):
            gone, back = np.sort(START + rng.integers(0, (days + 20) * DAY, 2))
            changes += [(f"u{u}", int(gone), False)] + ([(f"u{u}", int(back), True)] if u % 4 else [])
            kept &= ~((user == u) & (ts >= gone) & ((ts < back) | (u % 4 == 0)))
    return write_log(
        folder,
        np.array([f"u{x}" for x in user])[kept],
        np.array([f"i{x}" for x in item])[kept],
        ts[kept],
        kind[kept],
        order[kept] if orders else None,
        session=session[kept],
        channel=channel[kept],
        config=config,
        consent=changes,
    )


SPECS = {
    "leave_one_out": {"name": "leave_one_out"},
    "leave_k_out": {"name": "leave_k_out", "k": 2},
    "leave_one_out_strict": {"name": "leave_one_out", "protocol": "strict", "k_core": 2},
    "temporal": {"name": "temporal", "validation_days": 10, "test_days": 10, "k_core": 2},
    "temporal_last": {"name": "temporal", "validation_days": 10, "test_days": 10, "targets": "last"},
    "temporal_all": {"name": "temporal", "validation_days": 10, "test_days": 10, "targets": "all"},
    "temporal_published": {"name": "temporal", "validation_days": 10, "test_days": 10, "protocol": "published"},
    "temporal_shares": {"name": "temporal", "validation_share": 0.2, "test_share": 0.2},
    "rolling": {"name": "rolling", "validation_days": 8, "test_days": 8, "fold": 2},
    "held_out_users": {"name": "held_out_users", "validation_share": 0.25, "test_share": 0.25, "fold_in": 0.6},
    "sessions": {"name": "sessions", "validation_days": 15, "test_days": 15, "gap_minutes": 200},
    "sessions_user": {
        "name": "sessions",
        "validation_days": 15,
        "test_days": 15,
        "history": "user",
        "targets": "first",
    },
}


def spec(name: str, **other) -> dict:
    """One of the shipped kinds of split, for purchases."""
    return {"target_events": ["purchase"], **SPECS[name], **other}
