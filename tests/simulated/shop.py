"""A simulated shop as flat arrays and requests, made without reader, validation or splitter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events, Requests
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from shopkeeper.simulated.settings import Simulation
from shopkeeper.simulated.shop import simulate

DAY = MICROSECONDS_PER_DAY
CHANNELS = ["store", "web"]  # the order in which a preparer meets them is its own affair


@dataclass
class Shop:
    prepared: Prepared
    truth: dict[str, Any]

    @property
    def first_day(self) -> int:
        return int(np.datetime64(self.truth["first_date"]).astype("datetime64[D]").astype(np.int64)) * DAY


def shop(folder: Path, **settings: Any) -> Shop:
    """Simulate and lay out in internal ids, items numbered by first appearance."""
    truth = simulate(Simulation(**settings), folder)
    table = pq.read_table(folder / "events.parquet")
    time = table["timestamp"].cast(pa.int64()).to_numpy()
    user_id, item_id = table["user_id"].to_numpy(zero_copy_only=False), table["item_id"].to_numpy(zero_copy_only=False)
    order = np.argsort(time, kind="stable")
    users, items = _ids(user_id[order]), _ids(item_id[order])
    user = np.array([users[x] for x in user_id])
    rows = np.lexsort((np.arange(len(user)), time, user))
    events = Events(
        item=np.array([items[x] for x in item_id], np.int32)[rows],
        event_type=np.array([EVENT_CODE[x] for x in table["event_type"].to_pylist()], np.int8)[rows],
        timestamp=time[rows],
        channel=np.array([CHANNELS.index(x) + 1 for x in table["channel"].to_pylist()], np.int8)[rows],
    )
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=len(users) + 1)[1:])])
    prepared = Prepared(
        folder, {"dataset": "demo_shop", "n_items": len(items), "simulation": truth, "channels": CHANNELS},
        offsets.astype(np.int64), events,
    )  # fmt: skip
    prepared.__dict__["items"] = pa.table({"item": list(items.values()), "item_id": list(items)})
    prepared.__dict__["users"] = pa.table({"user": list(users.values()), "user_id": list(users)})
    return Shop(prepared, truth)


def order_requests(s: Shop, from_day: int) -> tuple[Requests, list[list[int]]]:
    """One request at each order from a day on, history strictly before it; and the lines of the order."""
    e, user = s.prepared.events, s.prepared.event_user
    bought = e.event_type == EVENT_CODE["purchase"]
    same = np.zeros(len(user), bool)
    same[1:] = bought[:-1] & (e.timestamp[1:] == e.timestamp[:-1]) & (user[1:] == user[:-1])
    begin = np.flatnonzero(bought & ~same & (e.timestamp >= s.first_day + from_day * DAY))
    lines = []
    for row in begin:
        last = row + 1
        while last < len(same) and same[last] and bought[last]:
            last += 1
        lines.append(e.item[row:last].tolist())
    start = s.prepared.offsets[user[begin] - 1]
    requests = Requests(e, start, begin, e.timestamp[begin], user[begin].astype(np.int32), e.channel[begin])
    return requests, lines


def _ids(names: np.ndarray) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found.setdefault(name, len(found) + 1)
    return found
