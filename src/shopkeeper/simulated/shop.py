"""The simulated shop: raw files like a shop's own log, from a world whose truth is known exactly.

`simulate(told, folder)` writes

    events.parquet   user_id, item_id, event_type, timestamp (µs UTC), session_id, order_id, quantity, price, channel
    items.parquet    item_id, category, price, replenishable; when asked for cost and margin
    users.parquet    user_id, region, newsletter (these carry no signal: a model that gains from them overfits)
    truth.json       preset, seed, customers, hash of the parameters, number of events

and, when asked for, `campaign.parquet` (see `campaign`), `identities.parquet` (see `identities`; the events' user_id is
then the key that the shop saw) and what only the generator knows of them below `hidden/`; events of type `search` and
their column `query` (see `searches`).

It goes chunk by chunk (50,000 customers), so memory does not grow with their number. Rows are in time order within a
chunk, and a small shop is one chunk; `prepare` needs no order in the files. The same settings give the same bytes.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.files import write_json
from shopkeeper.simulated.customers import Hidden, SimulatedLog, hidden_paths, live
from shopkeeper.simulated.presets import parameters_hash, world_of
from shopkeeper.simulated.searches import searches
from shopkeeper.simulated.settings import Simulation
from shopkeeper.simulated.world import World
from shopkeeper.simulated.write import EventTables, TableFile, items_table, times, user_ids, users_table

CHUNK = 50_000  # customers; part of what a seed means
log = logging.getLogger(__name__)


def simulate(told: Simulation, folder: Path) -> dict[str, Any]:
    """Write the raw files of a simulated shop into `folder`; returns the truth (what `truth.json` holds)."""
    preset, seed, customers = told.preset, told.seed, told.n_customers
    world, rows = world_of(preset), 0
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = _Files(folder, stack)
        files.append("items", items_table(world, told.costs))
        events = EventTables(world)
        for number, (first, hidden, rng) in enumerate(hidden_chunks(world, preset, seed, customers)):
            n, chunk = len(hidden.kind), live(world, hidden, rng)
            extra = np.random.SeedSequence([seed, zlib.crc32(preset.encode()), number, 1]).spawn(3)
            users: tuple[np.ndarray, list[str]] = chunk.customer, user_ids(first, n)
            files.append("users", users_table(first, n, seed))
            if told.campaign:
                _write_campaign(files, world, hidden, chunk, first, np.random.default_rng(extra[0]))
            if told.identities:
                users = _write_identities(files, world, hidden, chunk, first, np.random.default_rng(extra[1]))
            typed = searches(world, chunk, np.random.default_rng(extra[2])) if told.searches else None
            files.append("events", events.table(chunk, users, typed))
            rows += len(chunk.item)
            del chunk, users  # before the next chunk is made beside it
            if customers > CHUNK:
                log.info("simulated %s of %s customers, %s events", f"{first + n:,}", f"{customers:,}", f"{rows:,}")
    truth = {
        "preset": preset,
        "seed": seed,
        "customers": customers,
        "events": rows,
        "parameters_hash": parameters_hash(preset),
        "first_date": world.day_zero.date().isoformat(),
        "days": world.days,
    }
    write_json(folder / "truth.json", truth)
    return truth


def hidden_chunks(
    world: World, preset: str, seed: int, customers: int
) -> Iterator[tuple[int, Hidden, np.random.Generator]]:
    """Number of the first customer, hidden truth and the generator for what is visible, chunk by chunk."""
    for number, first in enumerate(range(0, customers, CHUNK)):
        secret, visible = np.random.SeedSequence([seed, zlib.crc32(preset.encode()), number]).spawn(2)
        n = min(CHUNK, customers - first)
        yield first, hidden_paths(world, n, np.random.default_rng(secret)), np.random.default_rng(visible)


class _Files:
    """The Parquet files of a folder by name, opened when first written to."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.open: dict[str, TableFile] = {}

    def append(self, name: str, table: pa.Table) -> None:
        if name not in self.open:
            self.open[name] = self.stack.enter_context(TableFile(self.folder / f"{name}.parquet"))
        self.open[name].append(table)


def _write_campaign(
    files: _Files, world: World, hidden: Hidden, chunk: SimulatedLog, first: int, rng: np.random.Generator
) -> None:
    from shopkeeper.simulated.campaign import campaign

    names = np.array(user_ids(first, len(hidden.kind)), object)
    for name, columns in zip(("campaign", "hidden/uplift"), campaign(world, hidden, chunk, rng), strict=True):
        table = {"user_id": pa.array(names[columns.pop("customer")], pa.string())}
        table |= {key: times(column) if key == "timestamp" else pa.array(column) for key, column in columns.items()}
        files.append(name, pa.table(table))


def _write_identities(
    files: _Files, world: World, hidden: Hidden, chunk: SimulatedLog, first: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """Write links and the truth; returns the keys that the chunk's rows are under, as positions and names."""
    from shopkeeper.simulated.identities import identities, key_names

    n, found = len(hidden.kind), identities(world, hidden, chunk, rng)

    def texts(keys: np.ndarray) -> pa.Array:
        return pa.array(key_names(keys, n, first), pa.string())

    span = {name: times(found.links[name]) for name in ("valid_from", "valid_until")}
    files.append(
        "identities", pa.table({"account": texts(found.links["account"]), "key": texts(found.links["key"]), **span})
    )
    names = np.array(user_ids(first, n), object)
    persons = found.persons
    span = {name: times(persons[name]) for name in ("valid_from", "valid_until")}
    who = pa.array(names[persons["customer"]], pa.string())
    files.append("hidden/persons", pa.table({"key": texts(persons["key"]), "person": who, **span}))
    used, position = np.unique(found.key, return_inverse=True)
    return position, key_names(used, n, first)
