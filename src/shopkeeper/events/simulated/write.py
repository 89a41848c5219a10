"""Raw files of the simulated shop: one row group per chunk, plain strings and a UTC time stamp, as any shop's log."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.events.simulated.customers import Log
from shopkeeper.events.simulated.world import CHANNELS, World
from shopkeeper.schema import EVENT_TYPES

_TEXT = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        ("user_id", _TEXT),
        ("item_id", _TEXT),
        ("event_type", _TEXT),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("session_id", _TEXT),
        ("order_id", _TEXT),
        ("quantity", pa.int32()),
        ("price", pa.float64()),
        ("channel", _TEXT),
    ]
)


def user_ids(first: int, n: int) -> list[str]:
    """External ids of customers first .. first + n - 1 (counted from 0)."""
    return [f"c{number:08d}" for number in range(first + 1, first + n + 1)]


def item_ids(world: World) -> list[str]:
    """External ids of world items 1..n_items."""
    return [f"sku-{number:04d}" for number in range(1, world.n_items + 1)]


class EventsFile:
    """`events.parquet`, written chunk by chunk."""

    def __init__(self, path: Path, world: World, customers: int) -> None:
        # Without the Arrow schema in the file every reader sees plain strings; the dictionaries only save space.
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd", store_schema=False)
        self._items = pa.array(item_ids(world))
        self._sessions = self._orders = 0

    def __enter__(self) -> EventsFile:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()

    def append(self, first: int, log: Log) -> None:
        """Add a chunk whose customer 0 is customer `first` of the shop."""
        n = int(log.customer.max(initial=-1)) + 1
        sessions, orders = int(log.session.max(initial=0)), int(log.order.max(initial=0))
        bought = log.quantity > 0
        columns = [
            _text(log.customer, pa.array(user_ids(first, n))),
            _text(log.item - 1, self._items),
            _text(log.event_type - 1, pa.array(EVENT_TYPES)),
            pa.array(log.timestamp, pa.timestamp("us", tz="UTC")),
            _text(log.session - 1, _numbered("s", self._sessions, sessions)),
            _text(log.order - 1, _numbered("o", self._orders, orders)),
            pa.array(log.quantity, pa.int32(), mask=~bought),
            pa.array(log.price),
            _text(log.channel, pa.array(CHANNELS)),
        ]
        self._sessions, self._orders = self._sessions + sessions, self._orders + orders
        self._writer.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), row_group_size=1 << 20)


def write_items(path: Path, world: World) -> None:
    """`items.parquet`: what the shop knows of its items."""
    V = slice(1, None)
    table = {
        "item_id": item_ids(world),
        "category": [world.category_names[c] for c in world.category[V]],
        "price": world.price[V],
        "replenishable": world.cycle[V] > 0,
    }
    pq.write_table(pa.table(table), path, compression="zstd")


def write_users(path: Path, customers: int, seed: int) -> None:
    """`users.parquet`: attributes that say nothing about what a customer does."""
    rng = np.random.default_rng([seed, 7])
    table = {
        "user_id": user_ids(0, customers),
        "region": np.array(["north", "east", "south", "west"])[rng.integers(0, 4, customers)],
        "newsletter": rng.random(customers) < 0.4,
    }
    pq.write_table(pa.table(table), path, compression="zstd")


def _text(index: np.ndarray, names: pa.Array) -> pa.Array:
    """Dictionary-encoded strings; index -1 is null."""
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32), mask=index < 0), names)


def _numbered(letter: str, before: int, n: int) -> pa.Array:
    return pa.array([f"{letter}{number:09d}" for number in range(before + 1, before + n + 1)], pa.string())
