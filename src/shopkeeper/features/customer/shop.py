"""What features read beside a customer's own events: facts of items and of the shop, as they were known.

What the shop is like is said of days: a row is answered by the newest one that is not after its cutoff (a bundle, that
is asked later than its log ends, by the last of them).

Shapes: n rows (customer, cutoff), M events, V = n_items + 1 columns, T instants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Events
from shopkeeper.schema import EVENT_CODE

LEAST_OFF = 0.05  # share of the usual price that a discount takes off at least


@dataclass(frozen=True)
class Kinds:
    """A kind of every item, such as its category."""

    code_V: np.ndarray  # int32, 0 = unknown, which counts as none
    # int64 µs: the event in which an item's kind was first written; before the end of that instant it is unknown.
    since_V: np.ndarray | None = None  # None: known from the start
    named: tuple[int, ...] = ()  # codes of those that are declared by name


@dataclass(frozen=True)
class Told:
    """What the shop is like on some days."""

    when: np.ndarray  # int64 (T,) µs, ascending
    values: np.ndarray  # float64 (T, …)

    def row(self, cutoff: np.ndarray) -> np.ndarray:
        """Which day answers each cutoff: int64 (n,)."""
        return np.maximum(np.searchsorted(self.when, cutoff, "right") - 1, 0)


@dataclass(frozen=True)
class UsualPrices:
    """The highest price at which anybody bought an item so far, as it rose."""

    item: np.ndarray  # int32 (R,), ascending
    time: np.ndarray  # int64 (R,) µs, ascending within an item
    price: np.ndarray  # float64 (R,)

    @classmethod
    def of(cls, events: Events) -> UsualPrices:
        """From all purchases of a log."""
        assert events.price is not None
        assert events.timestamp is not None
        rows = np.flatnonzero((events.event_type == EVENT_CODE["purchase"]) & (np.nan_to_num(events.price) > 0))
        rows = rows[np.lexsort((events.price[rows], events.timestamp[rows], events.item[rows]))]
        item, time, price = events.item[rows], events.timestamp[rows], np.asarray(events.price[rows], np.float64)
        kinds, rank = np.unique(price, return_inverse=True)
        place = np.cumsum(np.concatenate([[0], item[1:] != item[:-1]]))[: len(item)]
        highest = np.maximum.accumulate(place * len(kinds) + rank)
        rises = np.append(True, highest[1:] > highest[:-1])[: len(item)]
        return cls(item[rises], time[rises], price[rises])

    def marks(self, events: Events) -> tuple[np.ndarray, np.ndarray]:
        """Which purchases are below the item's usual price, and of which it is known: bool (M,) each.

        The usual price of a line is the highest at which anybody bought the item strictly before; of its first sale,
        and of lines without a price, nothing is known. So no later row changes what is said of a line.
        """
        discounted, known = np.zeros(len(events.item), bool), np.zeros(len(events.item), bool)
        if events.price is None or not len(self.item):
            return discounted, known
        assert events.timestamp is not None
        rows = np.flatnonzero((events.event_type == EVENT_CODE["purchase"]) & (np.nan_to_num(events.price) > 0))
        low = np.searchsorted(self.item, events.item[rows], "left")
        last = lower_bound(
            self.time, low, np.searchsorted(self.item, events.item[rows], "right"), events.timestamp[rows]
        )
        there = last > low
        usual = self.price[np.maximum(last - 1, 0)]
        known[rows] = there
        discounted[rows] = there & (events.price[rows] <= usual * (1 - LEAST_OFF))
        return discounted, known


def below_usual(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """`UsualPrices.marks` of a log whose own purchases say what is usual; nothing is known without prices or times."""
    if events.price is None or events.timestamp is None:
        return np.zeros(len(events.item), bool), np.zeros(len(events.item), bool)
    return UsualPrices.of(events).marks(events)


@dataclass(frozen=True)
class Shop:
    """The shop in which events happen; what it does not know, features do not know."""

    zone: str = "UTC"  # a day is one of its days
    channels: tuple[str, ...] = ()  # code c of a log's column is `channels[c - 1]`
    category: Kinds | None = None
    brand: Kinds | None = None
    usual: UsualPrices | None = None
    prices: Told | None = None  # (T, levels - 1): prices that divide all lines before a day into levels
    season: Told | None = None  # (T, 2): orders that followed a year ago, over those before; 1 where the log is so old
    positions: Told | None = None  # (T, features, quantiles): of active customers
    vectors: np.ndarray | None = None  # float32 (V, D), each of length 1 or 0: of items
    # Of users (n,) at instants (n,): columns by name, float64 (n,); None: nobody knows, as in a bundle
    attributes: Callable[[np.ndarray, np.ndarray], Mapping[str, np.ndarray]] | None = None


NO_SHOP = Shop()
FACTS = ("brand", "usual", "prices", "season", "positions", "vectors")


def numbered_anew(shop: Shop, user: np.ndarray) -> Shop:
    """The same for a log whose user i is user[i - 1] of the shop."""
    asked = shop.attributes
    return shop if asked is None else replace(shop, attributes=lambda own, cutoff: asked(user[own - 1], cutoff))


def as_arrays(shop: Shop) -> dict[str, np.ndarray]:
    """What a bundle keeps of a shop beside its zone, its channels and the items' categories."""
    found: dict[str, np.ndarray] = {}
    for name in FACTS:
        fact = getattr(shop, name)
        parts = {} if fact is None else {"": fact} if isinstance(fact, np.ndarray) else vars(fact)
        found |= {f"shop.{name}.{part}".rstrip("."): np.asarray(v) for part, v in parts.items() if v is not None}
    if shop.category is not None and shop.category.named:
        found["shop.category.named"] = np.array(shop.category.named)
    return found


def named_categories(arrays: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Codes of the categories that are declared by name, in what `as_arrays` gave."""
    return tuple(arrays.get("shop.category.named", np.zeros(0, np.int64)).tolist())


def from_arrays(arrays: Mapping[str, np.ndarray], strangers: int) -> Shop:
    """What `as_arrays` gave, with so many items more, of which nothing is known."""

    def longer(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.zeros((strangers, *values.shape[1:]), values.dtype)])

    def parts(name: str) -> dict[str, np.ndarray]:
        start = f"shop.{name}."
        return {key.removeprefix(start): values for key, values in arrays.items() if key.startswith(start)}

    brand = None
    if said := parts("brand"):
        since = said.get("since_V")
        brand = Kinds(longer(said["code_V"]), None if since is None else longer(since), tuple(said["named"].tolist()))
    told = {name: Told(**said) for name in ("prices", "season", "positions") if (said := parts(name))}
    usual = parts("usual")
    vectors = arrays.get("shop.vectors")
    return Shop(
        brand=brand,
        usual=UsualPrices(**usual) if usual else None,
        vectors=None if vectors is None else longer(vectors),
        prices=told.get("prices"),
        season=told.get("season"),
        positions=told.get("positions"),
    )
