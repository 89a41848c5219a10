"""Items for each customer of an audience, with names and prices: a block of a message has so many of one kind.

Shapes: B customers, K items, V = n_items + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.campaigns.audience.lists import ItemLists, bought_again, bought_lately
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.schema import MICROSECONDS_PER_DAY

NAMES = ("name", "title", "product_name", "description")  # columns of item tables, the first that is there
Recommend = Callable[[Requests, int], np.ndarray]


@dataclass
class Goods:
    """What is known of items before an instant."""

    prepared: Prepared
    at: int

    @cached_property
    def names(self) -> pa.Array | None:
        """Text of each item from 1, null where not known by then; None where the dataset has none."""
        column = next((c for c in NAMES if c in self.prepared.items.column_names), None)
        if column is None:
            return None
        texts = self.prepared.items[column].combine_chunks().cast(pa.string())
        return self._known(column, texts)

    @cached_property
    def price(self) -> np.ndarray | None:
        """The newest price per unit before the instant, else that of the item table: float64 (V,), NaN: not known."""
        events = self.prepared.events
        found = np.full(self.prepared.n_items + 1, np.nan)
        if "price" in self.prepared.items.column_names:
            column = self.prepared.items["price"].combine_chunks()
            if not pa.types.is_floating(column.type) and not pa.types.is_integer(column.type):
                column = pa.nulls(len(column), pa.float64())
            found[1:] = self._known("price", column.cast(pa.float64())).to_numpy(zero_copy_only=False)
        elif events.price is None:
            return None
        if events.price is not None and events.timestamp is not None:
            rows = np.flatnonzero(np.isfinite(events.price) & (events.timestamp < self.at))
            rows = rows[np.argsort(events.timestamp[rows], kind="stable")]
            found[events.item[rows]] = events.price[rows]  # of several the last one stays
        return found

    @cached_property
    def first_seen(self) -> np.ndarray:
        """When each item's first event was, int64 (V,) µs; the largest number where there was none."""
        events = self.prepared.events
        assert events.timestamp is not None
        found = np.full(self.prepared.n_items + 1, np.iinfo(np.int64).max)
        np.minimum.at(found, events.item, np.asarray(events.timestamp))
        return found

    @cached_property
    def _again(self) -> dict[float, np.ndarray]:
        return {}

    def bought_again(self, days: float) -> np.ndarray:
        """Which items are usually bought again within so many days, see `lists.bought_again`: bool (V,)."""
        if days not in self._again:
            self._again[days] = bought_again(self.prepared, self.at, days)
        return self._again[days]

    def check_one_currency(self, other: str | None = None) -> None:
        """A `UserError` where the item table names several currencies, or another one than `other`, the costs': sums
        would mean nothing.
        """
        if "currency" not in self.prepared.items.column_names:
            return
        kinds = {str(x) for x in pc.unique(self.prepared.items["currency"]).to_pylist() if x is not None}
        if len(kinds) > 1:
            raise UserError(
                f"items have prices in {', '.join(sorted(kinds))}: currencies are mixed; convert them to one before "
                "they are prepared"
            )
        if other is not None and kinds - {other}:
            raise UserError(
                f"items have prices in {kinds.pop()} and the dataset's profit is in {other}: currencies are mixed; say "
                "what a customer is worth in the currency of the prices"
            )

    def _known(self, column: str, values: pa.Array) -> pa.Array:
        since = self.prepared.known_since("items", column)
        if since is None:
            return values
        return pc.if_else(pa.array(since[1 : len(values) + 1] < self.at), values, pa.scalar(None, values.type))


def requests_of(
    goods: Goods, customer: np.ndarray, basket: ItemLists | None = None, rest_days: float | None = None
) -> Requests:
    """Questions about customers at the goods' instant.

    What lies in a basket is not recommended to its customer, nor with `rest_days` what was bought in so many days
    before, unless it is usually bought again within them.
    """
    prepared, at = goods.prepared, goods.at
    time, offsets = prepared.events.timestamp, prepared.offsets
    assert time is not None
    first = offsets[customer - 1]
    end = lower_bound(time, first, offsets[customer], at)
    instant = np.full(len(customer), at, np.int64)
    asked = Requests(prepared.events, first, end, instant, customer.astype(np.int32))
    if rest_days is not None:
        owner, item = bought_lately(prepared, customer, at, rest_days, goods.bought_again(rest_days))
        if basket is not None:
            owner = np.append(owner, np.repeat(np.arange(len(customer)), np.diff(basket.offsets)))
            item = np.append(item, basket.item)
        basket = ItemLists.of(owner, item, np.zeros(len(owner)), len(customer))
    return asked if basket is None else replace(asked, barred=(basket.offsets, basket.item))


def recommended(
    recommend: Recommend, asked: Requests, k: int, goods: Goods, new_days: float | None = None
) -> np.ndarray:
    """The k best items of each, int32 (B, k), 0 where there are no more; with `new_days` only what came since then."""
    if new_days is None:
        return np.asarray(recommend(asked, k))
    since = goods.at - round(new_days * MICROSECONDS_PER_DAY)
    new_V = (goods.first_seen >= since) & (goods.first_seen < goods.at)
    items = np.flatnonzero(new_V)
    if not len(items):
        return np.zeros((len(asked), k), np.int32)
    offsets = np.arange(len(asked) + 1, dtype=np.int64) * len(items)
    among = replace(asked, candidates=(offsets, np.tile(items, len(asked)).astype(np.int32)))
    item_BK = np.asarray(recommend(among, k))
    return np.where(new_V[item_BK], item_BK, 0)  # a model of lists may not know of candidates


def columns_of(name: str, item_BK: np.ndarray, goods: Goods) -> dict[str, pa.Array]:
    """Columns of a table: `<name>_1`, `<name>_1_name`, `<name>_1_price`, …, null where there is no item."""
    ids = goods.prepared.items["item_id"].combine_chunks().cast(pa.string())
    found: dict[str, Any] = {}
    for k in range(item_BK.shape[1]):
        item = item_BK[:, k]
        place = pa.array(np.maximum(item - 1, 0), mask=item == 0)
        found[f"{name}_{k + 1}"] = ids.take(place)
        if goods.names is not None:
            found[f"{name}_{k + 1}_name"] = goods.names.take(place)
        if goods.price is not None:
            price = np.round(goods.price[item], 4)
            found[f"{name}_{k + 1}_price"] = pa.array(price, pa.float64(), mask=(item == 0) | ~np.isfinite(price))
    return found
