"""What visitors of a simulated shop type into its search: before some visits' first look, words of what they then see.

Typed is the category of the item that is looked at next (often), the category and the item's number in it, or the
category with a slip. Slips are chance, so a search says of later orders nothing that the look after it does not say:
oracles, which read looks, carts and orders, stay oracles.

Shapes: M rows of a chunk's log, Q searches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.simulated.customers import VIEW, SimulatedLog
from shopkeeper.simulated.world import World

SHARE = 0.3  # of visits that begin with a look
WORDS = (0.6, 0.3)  # the category alone, with the item's number; the rest has a slip
SECONDS = (5, 60)  # before the look


@dataclass(frozen=True)
class Searches:
    """Searches of a chunk, by the row of the look that each comes before."""

    row: np.ndarray  # int64 (Q,), ascending
    text: np.ndarray  # int64 (Q,): position in `texts`
    timestamp: np.ndarray  # int64 (Q,) µs UTC, before the look and on its day
    texts: list[str]


def searches(world: World, log: SimulatedLog, rng: np.random.Generator) -> Searches:
    """Draw who searches, and what is typed."""
    visit, first = np.unique(log.session, return_index=True)
    first = np.sort(first[(visit > 0) & (log.event_type[first] == VIEW)])
    row = first[rng.random(len(first)) < SHARE]
    n, item = len(row), log.item[row].astype(np.int64)
    texts = words_of(world)
    kind = np.searchsorted(np.cumsum(WORDS), rng.random(n), side="right")
    of_item = 2 * len(world.category_names) + item - 1
    text = np.choose(kind, [world.category[item], of_item, len(world.category_names) + world.category[item]])
    before = rng.integers(SECONDS[0] * 1_000_000, SECONDS[1] * 1_000_000, n)
    midnight = log.timestamp[row] // MICROSECONDS_PER_DAY * MICROSECONDS_PER_DAY
    return Searches(row, text, np.maximum(log.timestamp[row] - before, midnight), texts)


def words_of(world: World) -> list[str]:
    """Everything that is ever typed: categories, categories with a slip, and items by their number within one."""
    names = list(world.category_names)
    within: dict[int, int] = {}
    items = []
    for category in world.category[1:].tolist():
        within[category] = within.get(category, 0) + 1
        items.append(f"{names[category]} {within[category]}")
    return [*names, *(name[:1] + name[2:] for name in names), *items]
