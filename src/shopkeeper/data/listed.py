"""Which items a shop's own table lists, whether anybody has ever asked for them or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from shopkeeper.data.prepared import Prepared


def attributes_of(table: pa.Table) -> list[str]:
    """The columns of an item table that say something of the items."""
    return [name for name in table.column_names if name not in ("item", "item_id")]


def told(prepared: Prepared, attribute: str, until: int | None) -> np.ndarray:
    """Which items have a value of an attribute that was known before an instant (µs): bool (n_items + 1,).

    None: what events have shown does not count, since nobody can say when.
    """
    values, since_V = prepared.items[attribute], prepared.known_since("items", attribute)
    there_V = np.zeros(prepared.n_items + 1, bool)
    there_V[1 : len(values) + 1] = pc.is_valid(values).to_numpy()
    if since_V is not None:
        there_V &= (since_V[: len(there_V)] < until) if until is not None else False
    return there_V


def listed(prepared: Prepared, until: int | None) -> np.ndarray:
    """Which items the item table says anything of that was known before an instant: bool (n_items + 1,).

    Items that no event of the whole log shows have no number and are not among them.
    """
    listed_V = np.zeros(prepared.n_items + 1, bool)
    for attribute in attributes_of(prepared.items):
        listed_V |= told(prepared, attribute, until)
    return listed_V
