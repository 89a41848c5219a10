"""What a customer leans to: categories, brands, levels of price, discounts, and items as a recommender sees them.

A purchase counts half after every `half_life_days`. Sums are over a row's own purchases alone, in their order.

Shapes: n rows (customer, cutoff), P pairs of a row and a purchase before its cutoff, M events of the block.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.features.customer.block import Block, ratio
from shopkeeper.features.customer.declared import Affinity, ItemVectors, Levels, Windows
from shopkeeper.features.customer.shop import Kinds
from shopkeeper.schema import MICROSECONDS_PER_DAY

Columns = dict[str, np.ndarray]


def category(b: Block, told: Affinity) -> Columns:
    """The share of the category that is bought most, how many are bought evenly, the share of the newest purchase's.

    With `named`, the share of each of these too.
    """
    return _affinity(b, told, b.shop.category, "category")


def brand(b: Block, told: Affinity) -> Columns:
    """As `category`, of brands."""
    return _affinity(b, told, b.shop.brand, "brand")


def price_level(b: Block, told: Levels) -> Columns:
    """The share of each level of price, from the cheapest: levels hold equal shares of all purchases of the shop."""
    n, levels = len(b.person), told.levels
    row, line = b.past
    weight, priced = _weight(b, told.half_life_days), np.zeros(len(b.time), bool)
    price = np.zeros(len(b.time)) if b.events.price is None else np.nan_to_num(b.events.price)
    priced = price[line] > 0
    row, line, weight = row[priced], line[priced], weight[priced]
    level = np.zeros(len(row), np.int64)
    if b.shop.prices is not None:
        day = b.shop.prices.row(b.cutoff)[row]
        for edge in b.shop.prices.values.T:
            level += price[line] > edge[day]
    share = np.bincount(row * levels + level, weight, n * levels).reshape(n, levels)
    whole = np.bincount(row, weight, n)
    return {f"price_level_{k + 1}": ratio(share[:, k], whole) for k in range(levels)}


def discounts(b: Block, told: Windows) -> Columns:
    """The share of purchases below the item's usual price (the highest so far), of those of which it is known."""
    none = np.zeros(len(b.time), bool)
    discounted, known = (none, none) if b.shop.usual is None else b.shop.usual.marks(b.events)
    found = {"discount_share": ratio(b.total(discounted), b.total(known))}
    for w in told.windows:
        found[f"discount_share_{w}d"] = ratio(b.total(discounted, b.since(w)), b.total(known, b.since(w)))
    return found


def item_vectors(b: Block, told: ItemVectors) -> Columns:
    """Where purchases lie among items as a trained recommender sees them: the mean of their vectors, from 0 to 1."""
    n, vectors = len(b.person), b.shop.vectors
    if vectors is None:
        return {f"item_vector_{d + 1}": np.full(n, np.nan) for d in range(told.size)}
    row, line = b.past
    item = b.events.item[line]
    known = vectors[item].any(axis=1)
    row, item, weight = row[known], item[known], _weight(b, told.half_life_days)[known]
    whole = np.bincount(row, weight, n)
    mean = [ratio(np.bincount(row, weight * vectors[item, d], n), whole) for d in range(vectors.shape[1])]
    return {f"item_vector_{d + 1}": np.clip((1 + one) / 2, 0, 1) for d, one in enumerate(mean)}


def _weight(b: Block, half_life_days: float) -> np.ndarray:
    """What each past purchase counts: float64 (P,)."""
    row, line = b.past
    return np.exp2(-(b.cutoff[row] - b.time[line]) / (half_life_days * MICROSECONDS_PER_DAY))


def _affinity(b: Block, told: Affinity, kinds: Kinds | None, name: str) -> Columns:
    n = len(b.person)
    named = [f"{name}_affinity_{one}" for one in told.named]
    if kinds is None:
        columns = (f"{name}_affinity", f"{name}_affinity_number", f"{name}_affinity_newest", *named)
        return {column: np.full(n, np.nan) for column in columns}
    row, line = b.past
    item = b.events.item[line]
    kind = kinds.code_V[item]
    known = kind > 0
    if kinds.since_V is not None:
        known &= kinds.since_V[item] < b.cutoff[row]
    row, line, kind, weight = row[known], line[known], kind[known], _weight(b, told.half_life_days)[known]
    local, count = _numbered(b, kinds)
    base = np.cumsum(count[b.person]) - count[b.person]  # cells of each row: a kind each that its customer ever buys
    cell = base[row] + local[line]
    held = np.bincount(cell, weight, int(count[b.person].sum()))
    owner = np.repeat(np.arange(n), count[b.person])
    whole = np.bincount(row, weight, n)
    most = np.zeros(n)
    np.maximum.at(most, owner, held)
    newest = np.full(n, -1)
    newest[row] = cell  # pairs of a row are in order of time: the last one stays
    found = {
        f"{name}_affinity": ratio(most, whole),
        f"{name}_affinity_number": ratio(whole**2, np.bincount(owner, held**2, n)),
        f"{name}_affinity_newest": ratio(np.where(newest >= 0, np.append(held, 0.0)[newest], 0.0), whole),
    }
    for column, code in zip(named, kinds.named, strict=True):
        found[column] = ratio(np.bincount(row, weight * (kind == code), n), whole)
    return found


def _numbered(b: Block, kinds: Kinds) -> tuple[np.ndarray, np.ndarray]:
    """The kind of each purchase as a number from 0 among those of its customer, int64 (M,), and how many there are."""
    kind = kinds.code_V[b.events.item]
    rows = np.flatnonzero(b.bought & (kind > 0))
    key = b.owner[rows] * (int(kinds.code_V.max(initial=0)) + 1) + kind[rows]
    different, place = np.unique(key, return_inverse=True)
    owner = different // (int(kinds.code_V.max(initial=0)) + 1)
    count = np.bincount(owner, minlength=len(b.offsets) - 1)
    local = np.zeros(len(b.time), np.int64)
    local[rows] = place - (np.cumsum(count) - count)[b.owner[rows]]
    return local, count
