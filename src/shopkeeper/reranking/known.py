"""Reads what steps need to know of items from a prepared dataset.

Shapes: V = n_items + 1 columns.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError, nearest
from shopkeeper.reranking.facts import NEVER, Facts, Need


def facts_of(prepared: Prepared, needs: Iterable[Need], until: int | None = None) -> Facts:
    """The facts that steps need.

    Args:
        prepared: it.
        needs: of the steps (`Step.needs`).
        until: µs UTC, the training cutoff, before which values count when items are set in order.

    Raises:
        UserError: no item has such an attribute, one has several values of it, it is text where numbers are compared,
            the log has no times where ages are asked for.
    """
    codes: dict[str, np.ndarray] = {}
    names: dict[str, list[str]] = {}
    numbers: dict[str, np.ndarray] = {}
    shares: dict[str, np.ndarray] = {}
    since: dict[str, np.ndarray] = {}
    first = None
    for kind, attribute in needs:
        if kind == "ages":
            first = _first(prepared)
            continue
        if kind == "codes":
            codes[attribute], names[attribute] = _codes(prepared, attribute)
        else:
            numbers[attribute] = _numbers(prepared, attribute)
        since_V = prepared.known_since("items", attribute)
        if since_V is not None:
            since[attribute] = since_V
        if kind == "ranks":
            shares[attribute] = _shares(numbers[attribute], since_V, until)
    ids = prepared.items["item_id"].to_pylist()
    return Facts(ids, prepared.name, codes, names, numbers, shares, since, first)


def _codes(prepared: Prepared, attribute: str) -> tuple[np.ndarray, list[str]]:
    """Which value each item has, int64 (V,), 0 = unknown, and the values as text, by code from 1."""
    values = _column(prepared, attribute).cast(pa.string()).to_pylist()
    known = [i for i, value in enumerate(values, start=1) if value is not None and value.strip()]
    names, place = np.unique(np.array([values[i - 1] for i in known], object), return_inverse=True)
    code_V = np.zeros(prepared.n_items + 1, np.int64)
    code_V[known] = place + 1
    return code_V, [str(name) for name in names]


def _numbers(prepared: Prepared, attribute: str) -> np.ndarray:
    column = _column(prepared, attribute)
    try:
        values = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        kind = column.type
        what = "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)
        raise UserError(
            f"rerank: the items' '{attribute}' is {what}, and this step compares numbers; name another"
        ) from None
    number_V = np.full(prepared.n_items + 1, np.nan)
    number_V[1:] = values.to_numpy(zero_copy_only=False)
    return number_V


def _shares(number_V: np.ndarray, since_V: np.ndarray | None, until: int | None) -> np.ndarray:
    """Share of the items known at `until` that have less of a number: float64 (V,), 0 where unknown."""
    there = ~np.isnan(number_V)
    if since_V is not None and until is not None:
        there &= since_V[: len(there)] < until
    sorted_numbers = np.sort(number_V[there])
    share_V = np.searchsorted(sorted_numbers, number_V) / max(len(sorted_numbers) - 1, 1)
    return np.where(np.isnan(number_V), 0.0, np.minimum(share_V, 1.0))


def _first(prepared: Prepared) -> np.ndarray:
    """When each item's first event was, int64 (V,) µs; `NEVER` where there is none."""
    events = prepared.events
    if events.timestamp is None:
        raise UserError(f"rerank: how new an item is, needs times, and {prepared.name} has only an order")
    first_V = np.full(prepared.n_items + 1, NEVER)
    np.minimum.at(first_V, events.item, np.asarray(events.timestamp))
    return first_V


def _column(prepared: Prepared, attribute: str) -> pa.ChunkedArray:
    table = prepared.items
    there = [name for name in table.column_names if name not in ("item", "item_id")]
    if attribute not in there:
        lacks = f"rerank: items have no '{attribute}'"
        if not there:
            raise UserError(
                f"{lacks}, and nothing is known of them; give conf/dataset/{prepared.name}.yaml a table of items "
                f"(items.file), or columns of the log (items.from_events)"
            )
        raise UserError(f"{lacks}; they have {', '.join(there)}.{nearest(attribute, there)}")
    if pa.types.is_nested(table[attribute].type):
        raise UserError(
            f"rerank: an item has several '{attribute}', and a step looks at one; put the one that counts into a "
            f"column of its own in the table of items"
        )
    return table[attribute]
