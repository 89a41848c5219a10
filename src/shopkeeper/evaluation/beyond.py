"""Columns of the per-request table beyond accuracy and for shops, from what the data has: categories, prices, margins.

At cut-off k: `novelty@k popularity@k serendipity@k`; with categories `diversity@k miscalibration@k`; where seen items
may come back `repeat_share@k`, `ndcg_repeat@k` and `ndcg_explore@k` (which add up to `ndcg@k`); with prices
`price_ndcg@k` and `revenue@k`; with an item column `cost` beside prices, or `margin` (both money per unit),
`margin_ndcg@k` and `margin@k`, what the shop earned on what stood among the first k: what was paid less the cost, so
that a sale counts, else the margin; with a boolean item column `available` `unavailable@k`. Popularity and the obvious
list of serendipity are counted on training rows.
The same for every model, since it is about what was asked for: with orders `basket_size`, where seen items may come
back `bought_before`, and there, where the log tells of carts, `in_cart` (shares of the targets).

Shapes: B requests, N targets, V = n_items + 1, F categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.metrics import beyond_accuracy, commerce
from shopkeeper.metrics.ranks import Flat, Hits
from shopkeeper.metrics.sorted_keys import among
from shopkeeper.schema import CATEGORY_COLUMNS, EVENT_CODE, event_codes

PUT_IN = EVENT_CODE["add_to_cart"]
CART_EVENTS = (PUT_IN, EVENT_CODE["remove_from_cart"], EVENT_CODE["purchase"])


@dataclass(frozen=True)
class Shop:
    """What is known of the items of a split, for lists to be judged by. Columns that the data lacks are None."""

    popularity_V: np.ndarray  # int64: training rows of target events
    place_V: np.ndarray  # int64: place in the catalogue by that, from 0; its size for items outside it
    category_VF: np.ndarray | None
    margin_V: np.ndarray | None
    cost_V: np.ndarray | None
    available_V: np.ndarray | None
    target_codes: tuple[int, ...]
    filter_seen: bool
    carts: bool  # whether the log tells what is put into carts, and something else is asked for
    priced: bool  # whether any target event tells its price: of views alone it is not known what was spent

    @classmethod
    def of(cls, split: Split, filter_seen: bool) -> Shop:
        """Read from a split's training rows and its item table."""
        prepared = split.prepared
        names = split.timeline.get("spec", {}).get("target_events")
        codes = tuple(event_codes(list(names))) if names else ()
        _, rows = split.training_rows(list(codes) or None)
        count = np.bincount(prepared.events.item[rows], minlength=prepared.n_items + 1)
        place = np.full(len(count), len(split.catalogue), np.int64)
        place[split.catalogue[np.argsort(-count[split.catalogue], kind="stable")]] = np.arange(len(split.catalogue))
        return cls(
            count,
            place,
            categories(prepared),
            _numbers(prepared, "margin"),
            _numbers(prepared, "cost"),
            _flags(prepared, "available"),
            codes,
            filter_seen,
            PUT_IN not in codes and bool((prepared.events.event_type == PUT_IN).any()),
            _priced(prepared, codes),
        )

    def columns(
        self, requests: Requests, targets: Targets, list_BK: np.ndarray, hits: Hits, k: Sequence[int]
    ) -> dict[str, np.ndarray]:
        """Metric columns for a chunk of requests, float64 (B,) each."""
        wanted = Flat(targets.offsets, targets.item)
        offsets, rows = requests.flat()
        history = Flat(offsets, requests.events.item[rows])
        money, price = self._money(requests, targets, hits)
        kept = self._kept(requests, targets, hits)
        if not self.filter_seen:
            offsets, rows = requests.flat(self.target_codes or None)
            bought = Flat(offsets, requests.events.item[rows])
            again = self._among(targets, hits, np.sort(self._keys(bought)))
        found: dict[str, np.ndarray] = {}
        whole_orders = requests.barred is None and requests.candidates is None
        if whole_orders and requests.events.order is not None:
            found["basket_size"] = commerce.basket_size(targets.offsets, requests.events.order[targets.row])
        if not self.filter_seen:
            found["bought_before"] = hits.per_request(hits.request, again.astype(np.float64)) / hits.n_relevant
            if self.carts:
                put = self._among(targets, hits, self._in_carts(requests))
                found["in_cart"] = hits.per_request(hits.request, put.astype(np.float64)) / hits.n_relevant
        for cut in k:
            top = list_BK[:, :cut]
            found[f"novelty@{cut}"] = beyond_accuracy.novelty(top, self.popularity_V)
            found[f"popularity@{cut}"] = beyond_accuracy.average_popularity(top, self.popularity_V)
            expected = beyond_accuracy.obvious(top, self.place_V, cut, history if self.filter_seen else None)
            found[f"serendipity@{cut}"] = beyond_accuracy.serendipity(top, wanted, expected)
            if self.category_VF is not None:
                found[f"diversity@{cut}"] = beyond_accuracy.intra_list_diversity(top, self.category_VF)
                found[f"miscalibration@{cut}"] = beyond_accuracy.miscalibration(top, history, self.category_VF)
            if not self.filter_seen:
                found[f"repeat_share@{cut}"] = commerce.repeat_share(top, bought)
                found[f"ndcg_repeat@{cut}"] = commerce.ndcg_share(hits, again, cut)
                found[f"ndcg_explore@{cut}"] = commerce.ndcg_share(hits, ~again, cut)
            if price is not None and money is not None:
                found[f"price_ndcg@{cut}"] = commerce.weighted_ndcg(hits, price, cut)
                found[f"revenue@{cut}"] = commerce.revenue(hits, money, cut)
            if kept is not None:
                found[f"margin_ndcg@{cut}"] = commerce.weighted_ndcg(hits, kept[1], cut)
                found[f"margin@{cut}"] = commerce.revenue(hits, kept[0], cut)
            if self.available_V is not None:
                found[f"unavailable@{cut}"] = commerce.unavailable_share(top, self.available_V)
        return found

    def _money(self, requests: Requests, targets: Targets, hits: Hits) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Money spent on each distinct target, all its lines, and its price per unit."""
        if not self.priced:
            return None, None
        assert hits.source is not None
        n = len(hits.better)
        money = np.bincount(hits.source, targets.money(requests.events), minlength=n)
        highest = np.zeros(n)
        np.maximum.at(highest, hits.source, np.nan_to_num(targets.price(requests.events)))
        return money, highest

    def _keys(self, items: Flat) -> np.ndarray:
        """One number for each request and item, int64."""
        owner = np.repeat(np.arange(len(items.offsets) - 1, dtype=np.int64), np.diff(items.offsets))
        return owner * len(self.popularity_V) + items.item

    def _in_carts(self, requests: Requests) -> np.ndarray:
        """Ascending keys of what stands in carts: put in, and since then neither bought nor taken out."""
        offsets, rows = requests.flat(CART_EVENTS)
        key = self._keys(Flat(offsets, requests.events.item[rows]))
        order = np.argsort(key, kind="stable")
        key, last = key[order], requests.events.event_type[rows][order]
        newest = np.append(key[1:] != key[:-1], True)[: len(key)]
        return key[newest & (last == PUT_IN)]

    def _among(self, targets: Targets, hits: Hits, keys: np.ndarray) -> np.ndarray:
        """Whether each distinct target is among these ascending keys, bool."""
        assert hits.source is not None
        found = np.zeros(len(hits.better), bool)
        found[hits.source] = among(keys, targets.request * len(self.popularity_V) + targets.item)
        return found

    def _kept(self, requests: Requests, targets: Targets, hits: Hits) -> tuple[np.ndarray, np.ndarray] | None:
        """What the shop earns on each distinct target, all its lines, and on one unit of it; unknown counts 0.

        None where neither costs beside prices nor margins are known.
        """
        assert hits.source is not None
        events, n = requests.events, len(hits.better)
        if self.cost_V is not None and self.priced:
            cost = self.cost_V[targets.item]
            each, earned = targets.price(events) - cost, targets.earned(events, cost)
        elif self.margin_V is not None:
            each = self.margin_V[targets.item]
            earned = np.nan_to_num(each * targets.units(events))
        else:
            return None
        of_unit = np.full(n, np.nan)
        of_unit[hits.source] = each
        return np.bincount(hits.source, earned, minlength=n), of_unit


def categories(prepared: Prepared) -> np.ndarray | None:
    """Item categories as 0 / 1, float32 (V, F), from the first of `category, main_category, department, genres`."""
    name = next((c for c in CATEGORY_COLUMNS if c in prepared.items.column_names), None)
    if name is None:
        return None
    column = prepared.items[name].combine_chunks()
    if pa.types.is_list(column.type):
        item = pc.list_parent_indices(column).to_numpy() + 1
        value = pc.list_flatten(column)
    else:
        item, value = np.arange(1, len(column) + 1), column
    known = value.is_valid().to_numpy(zero_copy_only=False)
    code = value.drop_null().cast(pa.string()).dictionary_encode()
    flags = np.zeros((prepared.n_items + 1, len(code.dictionary)), np.float32)
    flags[np.asarray(item)[known], code.indices.to_numpy()] = 1.0
    return flags if flags.any() else None


def _priced(prepared: Prepared, codes: tuple[int, ...]) -> bool:
    """Whether any event of these kinds (none: of any) has a price."""
    events = prepared.events
    if events.price is None:
        return False
    price = events.price[np.isin(events.event_type, codes)] if codes else events.price
    return bool(np.isfinite(price).any())


def _numbers(prepared: Prepared, name: str) -> np.ndarray | None:
    if name not in prepared.items.column_names:
        return None
    kind = prepared.items[name].type
    if not pa.types.is_integer(kind) and not pa.types.is_floating(kind) and not pa.types.is_decimal(kind):
        raise UserError(
            f"the column '{name}' of the items of dataset={prepared.name} is {kind}, not money per unit; give numbers, "
            "or leave it out"
        )
    values = prepared.items[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.concatenate([[0.0], values])


def _flags(prepared: Prepared, name: str) -> np.ndarray | None:
    if name not in prepared.items.column_names or not pa.types.is_boolean(prepared.items[name].type):
        return None
    values = pc.fill_null(prepared.items[name], False).to_numpy(zero_copy_only=False)
    return np.concatenate([[False], values])


def list_matrix(table: pa.Table) -> np.ndarray:
    """The `top_items` of a per-request table as int32 (B, K), 0 where a list is shorter."""
    lists = table["top_items"].combine_chunks()
    length = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    items = np.zeros((len(lists), int(length.max(initial=0))), np.int32)
    row = np.repeat(np.arange(len(lists)), length)
    place = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    items[row, place] = pc.list_flatten(lists).to_numpy()
    return items


def set_statistics(table: pa.Table, k: Sequence[int], n_catalogue: int) -> dict[str, dict[str, float | int | None]]:
    """`coverage@k` and `gini@k` of a table's lists: they have no bootstrap interval, compare them at equal n."""
    from shopkeeper.evaluation.intervals import finite

    items = list_matrix(table)
    found: dict[str, dict[str, float | int | None]] = {}
    for cut in k:
        if items.shape[1] == 0:
            continue
        shown = beyond_accuracy.exposure(items[:, :cut], int(items.max(initial=0)) + 1)
        values = {
            "coverage": beyond_accuracy.coverage(shown, n_catalogue),
            "gini": beyond_accuracy.gini(shown, n_catalogue),
        }
        for name, value in values.items():
            found[f"{name}@{cut}"] = {"value": finite(value), "low": None, "high": None, "n": table.num_rows}
    return found


def rarefaction(table: pa.Table, k: int, n_catalogue: int, points: int = 20) -> dict[str, list[float]]:
    """Coverage@k expected at growing numbers of requests: {"n": […], "coverage": […]}, for tables of different size."""
    items = list_matrix(table)[:, :k]
    sizes = np.unique(np.geomspace(1, max(len(items), 1), points).round().astype(int))
    curve = beyond_accuracy.rarefied_coverage(items, n_catalogue, sizes.tolist())
    return {"n": sizes.tolist(), "coverage": curve.tolist()}
