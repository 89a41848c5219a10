"""Of the items that models know, which may be recommended: products, or queries where searches are asked for.

Shapes: V = n_items + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from shopkeeper.data.queries import BUCKETS, CUSTOMERS

if TYPE_CHECKING:
    from shopkeeper.data.prepared import Prepared

PRODUCT, QUERY, HIDDEN = 0, 1, 2  # kinds of items: a product, a query with its text, a bucket of queries


def told_apart(
    prepared: Prepared, target_events: Sequence[str], known_V: np.ndarray, training: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The catalogue, and what histories hold beside it: int32, ascending, each; the latter None where nothing is.

    Args:
        prepared: says which items are queries.
        target_events: what is asked for; products unless it is `search`, where the log has queries.
        known_V: bool (V,), items that models may know.
        training: rows that are known, int64; a query is suggested where `queries.customers` have asked it in these.
            None: in the whole log.
    """
    kind_V = prepared.kind_V
    if kind_V is None:
        return np.flatnonzero(known_V).astype(np.int32), None
    offered_V = (kind_V == PRODUCT) & (set(target_events) != {"search"})
    if "search" in target_events:
        asked_V = kind_V == QUERY
        if training is not None:
            asked_V &= _customers(prepared, training[asked_V[prepared.events.item[training]]]) >= customers_wanted(
                prepared
            )
        offered_V = offered_V | asked_V
    catalogue, beside = np.flatnonzero(known_V & offered_V), np.flatnonzero(known_V & ~offered_V)
    return catalogue.astype(np.int32), beside.astype(np.int32)


def customers_wanted(prepared: Prepared) -> int:
    """How many customers must have asked a query that is suggested to others."""
    return int(((prepared.manifest.get("config") or {}).get("queries") or {}).get("customers", CUSTOMERS))


def buckets_of(prepared: Prepared) -> int | None:
    """How many buckets there are for queries that are not kept as text; None where the log has no queries."""
    if prepared.queries is None:
        return None
    return int(((prepared.manifest.get("config") or {}).get("queries") or {}).get("buckets", BUCKETS))


def _customers(prepared: Prepared, rows: np.ndarray) -> np.ndarray:
    """How many different customers these rows show of each item: int64 (V,)."""
    width = prepared.n_items + 1
    pairs = np.unique(prepared.event_user[rows].astype(np.int64) * width + prepared.events.item[rows])
    return np.bincount(pairs % width, minlength=width)
