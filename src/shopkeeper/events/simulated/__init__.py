"""The simulated shop: raw files like a shop's own log, from a world whose truth is known exactly.

`simulate(settings, folder)` writes

    events.parquet   user_id, item_id, event_type, timestamp (µs UTC), session_id, order_id, quantity, price, channel
    items.parquet    item_id, category, price, replenishable
    users.parquet    user_id, region, newsletter (these carry no signal: a model that gains from them overfits)
    truth.json       preset, seed, customers, hash of the parameters, number of events

in chunks of customers, so that memory does not grow with their number. Rows are in time order within a chunk (up to
50,000 customers, so a small shop is one chunk); `prepare` sorts anyway. The same settings give the same bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.errors import UserError, nearest
from shopkeeper.events.simulated.customers import Hidden, Log, hidden_paths, live
from shopkeeper.events.simulated.presets import FROZEN, parameters_hash, world_of
from shopkeeper.events.simulated.world import World
from shopkeeper.events.simulated.write import EventsFile, write_items, write_users
from shopkeeper.files import write_json

CHUNK = 50_000  # customers; part of what a seed means
SETTINGS = ("preset", "seed", "customers", "events")
DEFAULT_CUSTOMERS = 5_000


def simulate(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write the raw files of a simulated shop into `folder`; returns the truth (what `truth.json` holds).

    Settings: `preset`; `seed` (default 1); `customers` (default 5,000) or `events`, about how many events to
    write (then customers = events / the preset's mean). Raises `UserError` for unknown or senseless settings.
    """
    preset, seed, customers = read_settings(settings)
    world = world_of(preset)
    folder.mkdir(parents=True, exist_ok=True)
    rows = 0
    with EventsFile(folder / "events.parquet", world, customers) as file:
        for first, log, _ in chunks(world, preset, seed, customers):
            file.append(first, log)
            rows += len(log.item)
    write_items(folder / "items.parquet", world)
    write_users(folder / "users.parquet", customers, seed)
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


def read_settings(settings: Mapping[str, Any]) -> tuple[str, int, int]:
    """Preset, seed and number of customers from the `simulate:` block of a dataset's config."""
    for key in settings:
        if key not in SETTINGS:
            raise UserError(f"simulate.{key}: there is no such setting.{nearest(key, SETTINGS)}")
    preset = str(settings.get("preset", "demo_shop"))
    if preset not in FROZEN:
        raise UserError(f"simulate.preset: there is no simulated shop '{preset}'.{nearest(preset, FROZEN)}")
    seed = _whole("seed", settings.get("seed", 1), 0)
    if settings.get("events") is not None:
        if settings.get("customers") is not None:
            raise UserError("simulate.customers and simulate.events say the same thing twice: give one of them")
        events = _whole("events", settings["events"], 1)
        return preset, seed, max(1, round(events / EVENTS_PER_CUSTOMER[preset]))
    given = settings.get("customers")
    return preset, seed, _whole("customers", DEFAULT_CUSTOMERS if given is None else given, 1)


# Mean events of a customer, measured over 50,000 of them: turns `events` into `customers`.
EVENTS_PER_CUSTOMER = {"demo_shop": 56.0, "markov": 25.0, "seasonal": 40.0, "btyd": 8.0}


def chunks(world: World, preset: str, seed: int, customers: int) -> Iterator[tuple[int, Log, Hidden]]:
    """Number of the first customer, log and hidden truth of each chunk."""
    for first, hidden, rng in hidden_chunks(world, preset, seed, customers):
        yield first, live(world, hidden, rng), hidden


def hidden_chunks(
    world: World, preset: str, seed: int, customers: int
) -> Iterator[tuple[int, Hidden, np.random.Generator]]:
    """Number of the first customer, hidden truth and the generator for what is visible, chunk by chunk."""
    for number, first in enumerate(range(0, customers, CHUNK)):
        secret, visible = np.random.SeedSequence([seed, zlib.crc32(preset.encode()), number]).spawn(2)
        n = min(CHUNK, customers - first)
        yield first, hidden_paths(world, n, np.random.default_rng(secret)), np.random.default_rng(visible)


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = int(value)
        if number != float(value) or number < least:
            raise ValueError
    except (TypeError, ValueError):
        raise UserError(f"simulate.{name}: {value!r} is not a whole number of at least {least}") from None
    return number
