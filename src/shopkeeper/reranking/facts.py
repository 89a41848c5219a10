"""What a shop knows of its items, as it was known when a request was asked.

Shapes: V = n_items + 1 columns, B requests, N candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError, nearest
from shopkeeper.identifiers import normal_id
from shopkeeper.schema import MICROSECONDS_PER_DAY, NO_TIME

NEVER = np.iinfo(np.int64).max


@dataclass
class Facts:
    """Attributes of the items of a prepared dataset, read once each."""

    prepared: Prepared
    until: int | None = None  # µs UTC: the training cutoff, before which values count when items are set in order
    _codes: dict[str, tuple[np.ndarray, list[str]]] = field(default_factory=dict)
    _numbers: dict[str, np.ndarray] = field(default_factory=dict)
    _first: np.ndarray | None = None

    def codes(self, attribute: str) -> tuple[np.ndarray, list[str]]:
        """Which value each item has, int64 (V,), 0 = unknown, and the values as text, by code from 1.

        Raises:
            UserError: no item has such an attribute.
        """
        if attribute not in self._codes:
            values = self._column(attribute).cast(pa.string()).to_pylist()
            known = [i for i, value in enumerate(values, start=1) if value is not None and value.strip()]
            names, place = np.unique(np.array([values[i - 1] for i in known], object), return_inverse=True)
            code_V = np.zeros(self.prepared.n_items + 1, np.int64)
            code_V[known] = place + 1
            self._codes[attribute] = code_V, [str(name) for name in names]
        return self._codes[attribute]

    def numbers(self, attribute: str) -> np.ndarray:
        """An attribute as a number: float64 (V,), NaN where unknown; a `UserError` where it is text."""
        if attribute not in self._numbers:
            try:
                values = self._column(attribute).cast(pa.float64())
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                kind = self._column(attribute).type
                what = "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)
                raise UserError(
                    f"rerank: the items' '{attribute}' is {what}, and this step compares numbers; name another"
                ) from None
            number_V = np.full(self.prepared.n_items + 1, np.nan)
            number_V[1:] = values.to_numpy(zero_copy_only=False)
            self._numbers[attribute] = number_V
        return self._numbers[attribute]

    def ranks(self, attribute: str) -> np.ndarray:
        """Share of the items known at the training cutoff that have less of a number: float64 (V,), 0 where unknown."""
        number_V = self.numbers(attribute)
        there = ~np.isnan(number_V)
        since_V = self.prepared.known_since("items", attribute)
        if since_V is not None and self.until is not None:
            there &= since_V[: len(there)] < self.until
        sorted_numbers = np.sort(number_V[there])
        share_V = np.searchsorted(sorted_numbers, number_V) / max(len(sorted_numbers) - 1, 1)
        return np.where(np.isnan(number_V), 0.0, np.minimum(share_V, 1.0))

    def known(self, attribute: str, item_BN: np.ndarray, instant_B: np.ndarray | None) -> np.ndarray:
        """Whether it had been shown by an event before the request: bool (B, N); what comes from a table always had."""
        since_V = self.prepared.known_since("items", attribute)
        if since_V is None or instant_B is None:
            return np.ones(item_BN.shape, bool)
        found: np.ndarray = since_V[item_BN] < np.where(instant_B == NO_TIME, NEVER, instant_B)[:, None]
        return found

    def age_days(self, item_BN: np.ndarray, instant_B: np.ndarray | None) -> np.ndarray:
        """Days from an item's first event to the request: float64 (B, N); 0 where it has had none by then."""
        events = self.prepared.events
        if events.timestamp is None or instant_B is None:
            raise UserError(f"rerank: how new an item is, needs times, and {self.prepared.name} has only an order")
        if self._first is None:
            self._first = np.full(self.prepared.n_items + 1, NEVER)
            np.minimum.at(self._first, events.item, np.asarray(events.timestamp))
        return np.maximum(instant_B[:, None] - np.minimum(self._first[item_BN], instant_B[:, None]), 0) / (
            MICROSECONDS_PER_DAY
        )

    def items(self, ids: list[str]) -> list[int]:
        """Internal ids of external ones; a `UserError` names one that nobody knows."""
        known = self.prepared.items["item_id"].to_pylist()
        internal = {item_id: i for i, item_id in enumerate(known, start=1)}
        if unknown := [i for i in ids if normal_id(i) not in internal and i not in internal]:
            raise UserError(f"rerank: {self.prepared.name} has no item '{unknown[0]}'.{nearest(unknown[0], known)}")
        return [internal.get(i) or internal[normal_id(i)] for i in ids]

    def _column(self, attribute: str) -> pa.ChunkedArray:
        table = self.prepared.items
        there = [name for name in table.column_names if name not in ("item", "item_id")]
        if attribute not in there:
            what = f"; they have {', '.join(there)}" if there else "; attributes.items of the dataset adds some"
            raise UserError(f"rerank: items have no '{attribute}'{what}.{nearest(attribute, there)}")
        if pa.types.is_nested(table[attribute].type):
            raise UserError(
                f"rerank: an item has several '{attribute}', and a step looks at one; put the one that counts into a "
                f"column of its own in the table of items"
            )
        return table[attribute]
