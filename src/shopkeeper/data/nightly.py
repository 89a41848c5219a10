"""What a nightly job would know of the items when a request comes: target events until the midnight before it.

A model that reads it must say so (`nightly`): its figures are those of a shop that counts anew every night, in its own
time zone, while the model itself stays as it was trained. Nothing of the request's own day is in it, and nothing of
customers whose consent was not in force at the cutoff.

Shapes: B requests, R target events of all customers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import instant_of, local

if TYPE_CHECKING:
    from shopkeeper.data.prepared import Prepared


@dataclass(frozen=True)
class Nightly:
    """The target events of a log by time, read when they are first asked for."""

    read: Callable[[], tuple[np.ndarray, np.ndarray]]  # at, int64 (R,) µs ascending; item, int32 (R,)
    zone: str = "UTC"  # the shop's, whose midnights count

    @classmethod
    def of(cls, prepared: Prepared, types: list[int], cutoff: int | None = None) -> Nightly | None:
        """Of a prepared dataset; None where its events have no time. `types`: codes of target events."""
        events = prepared.events
        if events.timestamp is None:
            return None

        def read() -> tuple[np.ndarray, np.ndarray]:
            assert events.timestamp is not None
            kept = np.isin(events.event_type, np.asarray(types, np.int8))
            if prepared.consent is not None and cutoff is not None:
                kept &= prepared.consent.holds(prepared.event_user, cutoff)
            rows = np.flatnonzero(kept)
            rows = rows[np.argsort(events.timestamp[rows], kind="stable")]
            return np.asarray(events.timestamp[rows], np.int64), np.asarray(events.item[rows], np.int32)

        return cls(read, prepared.zone)

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Instants and items of all of them."""
        return self.read()

    @cached_property
    def _kept(self) -> dict[Any, np.ndarray]:
        return {}

    def nights(self, instant_B: np.ndarray) -> np.ndarray:
        """The midnight (µs) at or before each instant, on the shop's clocks: int64 (B,)."""
        day, which = np.unique(local(instant_B, self.zone) // MICROSECONDS_PER_DAY, return_inverse=True)
        begins = [instant_of(int(d) * MICROSECONDS_PER_DAY, self.zone) for d in day]
        return np.array(begins, np.int64)[which]

    def until(self, night: int) -> tuple[np.ndarray, np.ndarray]:
        """Instants and items strictly before a midnight."""
        at, item = self.rows
        end = int(np.searchsorted(at, night))
        return at[:end], item[:end]

    def table(self, night: int, make: Callable[..., np.ndarray], n_columns: int) -> np.ndarray:
        """`make(at, item, night, n_columns)` of what was known then, made once for each night."""
        key = (make, night, n_columns)
        if key not in self._kept:
            self._kept[key] = make(*self.until(night), night, n_columns)
        return self._kept[key]

    def changed_from(self, night: int, n_items: int, rng: np.random.Generator) -> Nightly:
        """The same until a midnight, and other items from then on: for the audit."""
        at, item = self.rows
        other = item.copy()
        later = at >= night
        other[later] = (item[later] - 1 + rng.integers(1, max(n_items, 2), int(later.sum()))) % n_items + 1
        return Nightly(lambda: (at, other), self.zone)
