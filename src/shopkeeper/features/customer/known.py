"""What a prepared dataset says of its shop, for features of customers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.features.customer.shop import Kinds, Shop


def shop_of(prepared: Prepared) -> Shop:
    """What a prepared dataset says of its shop."""
    codes = item_categories(prepared)
    category = None if codes is None else Kinds(codes, prepared.known_since("items", "category"))
    return Shop(prepared.zone, channel_names(prepared.manifest), category)


def item_categories(prepared: Prepared) -> np.ndarray | None:
    """Category code of every item, int32 (n_items + 1,), from the item table's column `category`; None without one.

    0 where it is unknown: that is no category.
    """
    if "items" not in prepared.__dict__ and not (prepared.place / "items.parquet").is_file():
        return None
    table = prepared.items
    if "category" not in table.column_names:
        return None
    column = table["category"].to_pylist()
    known = np.array([i for i, x in enumerate(column) if x is not None and str(x).strip()], np.int64)
    codes = np.zeros(max(len(column), prepared.n_items) + 1, np.int32)  # an item without a row has no category
    names = np.array([str(column[i]) for i in known])
    codes[table["item"].to_numpy()[known]] = np.unique(names, return_inverse=True)[1] + 1
    return codes


MOST_CHANNELS = 127  # a feature each; a column with more values is hardly a channel


def channel_names(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Channels of a dataset that features tell apart, in the order of their codes: the first that occurred."""
    return tuple(str(c) for c in (manifest.get("channels") or ())[:MOST_CHANNELS])
