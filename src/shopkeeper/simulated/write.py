"""Raw files of the simulated shop: one row group per chunk, plain strings and a UTC time stamp, as any shop's log."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.schema import EVENT_CODE, EVENT_TYPES
from shopkeeper.simulated.customers import SimulatedLog
from shopkeeper.simulated.searches import Searches
from shopkeeper.simulated.world import CHANNELS, World

COSTS_SEED, LEAST_COST, MOST_COST = 11, 0.35, 0.8  # of an item's price, by category
TEXT = pa.dictionary(pa.int32(), pa.string())
TIME = pa.timestamp("us", tz="UTC")
EVENTS = pa.schema(
    [
        ("user_id", TEXT),
        ("item_id", TEXT),
        ("event_type", TEXT),
        ("timestamp", TIME),
        ("session_id", TEXT),
        ("order_id", TEXT),
        ("quantity", pa.int32()),
        ("price", pa.float64()),
        ("channel", TEXT),
    ]
)
USERS = pa.schema([("user_id", pa.string()), ("region", pa.string()), ("newsletter", pa.bool_())])


def user_ids(first: int, n: int) -> list[str]:
    """External ids of customers first .. first + n - 1 (counted from 0)."""
    return [f"c{number:08d}" for number in range(first + 1, first + n + 1)]


def item_ids(world: World) -> list[str]:
    """External ids of world items 1..n_items."""
    return [f"sku-{number:04d}" for number in range(1, world.n_items + 1)]


class TableFile:
    """A Parquet file written chunk by chunk. Its schema is that of the first chunk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()

    def append(self, table: pa.Table) -> None:
        """Add rows as row groups of at most a million."""
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Without the Arrow schema in the file every reader sees plain strings; dictionaries only save space.
            self._writer = pq.ParquetWriter(self.path, table.schema, compression="zstd", store_schema=False)
        self._writer.write_table(table, row_group_size=1 << 20)


class EventTables:
    """Logs of chunks as tables; ids of sessions and orders go on counting from chunk to chunk."""

    def __init__(self, world: World) -> None:
        self._items = pa.array(item_ids(world))
        self._sessions = self._orders = 0

    def table(
        self, log: SimulatedLog, users: tuple[np.ndarray, list[str]], searches: Searches | None = None
    ) -> pa.Table:
        """The chunk's rows; `users` are the position of each row's key among the names, and the names.

        With searches they stand among them, each before its look, and there is a column of what was typed.
        """
        sessions, orders = int(log.session.max(initial=0)), int(log.order.max(initial=0))
        columns = [
            _text(users[0], pa.array(users[1], pa.string())),
            _text(log.item - 1, self._items),
            _text(log.event_type - 1, pa.array(EVENT_TYPES)),
            pa.array(log.timestamp, TIME),
            _text(log.session - 1, _numbered("s", self._sessions, sessions)),
            _text(log.order - 1, _numbered("o", self._orders, orders)),
            pa.array(log.quantity, pa.int32(), mask=log.quantity == 0),
            pa.array(log.price),
            _text(log.channel, pa.array(CHANNELS)),
        ]
        self._sessions, self._orders = self._sessions + sessions, self._orders + orders
        table = pa.Table.from_arrays(columns, schema=EVENTS)
        return table if searches is None else _with_searches(table, log, searches)


def items_table(world: World, costs: bool = False) -> pa.Table:
    """What the shop knows of its items; with `costs` also what one of each cost it, and what is left of its price.

    Costs are a share of the price that goes by category, and a little by item; nothing that a customer does depends on
    them. In a sale less is left than `margin` says.
    """
    known = slice(1, None)
    columns = {
        "item_id": item_ids(world),
        "category": [world.category_names[c] for c in world.category[known]],
        "price": world.price[known],
        "replenishable": world.cycle[known] > 0,
    }
    if costs:
        rng = np.random.Generator(np.random.PCG64([COSTS_SEED, world.n_items]))
        of_category = LEAST_COST + (MOST_COST - LEAST_COST) * rng.random(len(world.category_names))
        own = 0.9 + 0.2 * rng.random(world.n_items)
        cost = np.round(world.price[known] * of_category[world.category[known]] * own, 2)
        columns |= {"cost": cost, "margin": np.round(world.price[known] - cost, 2)}
    return pa.table(columns)


def users_table(first: int, n: int, seed: int) -> pa.Table:
    """Attributes that say nothing about what a customer does."""
    rng = np.random.default_rng([seed, 7, first])
    region = np.array(["north", "east", "south", "west"])[rng.integers(0, 4, n)]
    return pa.table([pa.array(user_ids(first, n)), pa.array(region), pa.array(rng.random(n) < 0.4)], schema=USERS)


def _with_searches(table: pa.Table, log: SimulatedLog, searches: Searches) -> pa.Table:
    """The rows, and among them by time the searches, each before what happened at its instant."""
    found, names = table.take(pa.array(searches.row)), pa.array(searches.texts)
    mine = {
        "item_id": _text(np.full(len(found), -1), pa.array([], pa.string())),
        "event_type": _text(np.full(len(found), EVENT_CODE["search"] - 1), pa.array(EVENT_TYPES)),
        "timestamp": pa.array(searches.timestamp, TIME),
        **{name: pa.nulls(len(found), EVENTS.field(name).type) for name in ("order_id", "quantity", "price")},
        "query": _text(searches.text, names),
    }
    for name in found.column_names:
        mine.setdefault(name, found[name])
    nobody = _text(np.full(len(table), -1), names)
    all_of = pa.concat_tables([pa.table(mine).select([*EVENTS.names, "query"]), table.append_column("query", nobody)])
    at = np.concatenate([searches.timestamp, log.timestamp])
    return all_of.take(pa.array(np.argsort(at, kind="stable")))


def times(instants: np.ndarray) -> pa.Array:
    """µs UTC as time stamps; -1 is null."""
    return pa.array(instants, TIME, mask=instants < 0)


def _text(index: np.ndarray, names: pa.Array) -> pa.Array:
    """Dictionary-encoded strings; index -1 is null."""
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32), mask=index < 0), names)


def _numbered(letter: str, before: int, n: int) -> pa.Array:
    return pa.array([f"{letter}{number:09d}" for number in range(before + 1, before + n + 1)], pa.string())
