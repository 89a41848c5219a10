"""What steps know of a shop's items, as it was known when a request was asked: arrays alone, so that bundles hold them.

Shapes: V = n_items + 1 columns, B requests, N candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from shopkeeper.errors import UserError, nearest
from shopkeeper.ids.spelling import normal_id
from shopkeeper.schema import MICROSECONDS_PER_DAY, NO_TIME

NEVER = np.iinfo(np.int64).max
Kind = Literal["codes", "numbers", "ranks", "ages"]
Need = tuple[Kind, str]  # what a step asks of which attribute; `ages` are of none


@dataclass(frozen=True)
class Facts:
    """What was needed of the items (`known.facts_of` reads it from a prepared dataset), read once."""

    item_ids: Sequence[str]
    name: str  # of the dataset, for messages
    code_V: Mapping[str, np.ndarray] = field(default_factory=dict)
    names: Mapping[str, list[str]] = field(default_factory=dict)
    number_V: Mapping[str, np.ndarray] = field(default_factory=dict)
    share_V: Mapping[str, np.ndarray] = field(default_factory=dict)
    since_V: Mapping[str, np.ndarray] = field(default_factory=dict)  # of attributes that an event has shown
    first_V: np.ndarray | None = None  # µs of each item's first event

    def codes(self, attribute: str) -> tuple[np.ndarray, list[str]]:
        """Which value each item has, int64 (V,), 0 = unknown, and the values as text, by code from 1."""
        return self.code_V[attribute], self.names[attribute]

    def numbers(self, attribute: str) -> np.ndarray:
        """An attribute as a number: float64 (V,), NaN where unknown."""
        return self.number_V[attribute]

    def ranks(self, attribute: str) -> np.ndarray:
        """Share of the items known at the training cutoff that have less of a number: float64 (V,), 0 where unknown."""
        return self.share_V[attribute]

    def known(self, attribute: str, item_BN: np.ndarray, instant_B: np.ndarray | None) -> np.ndarray:
        """Whether it had been shown by an event before the request: bool (B, N); what comes from a table always had."""
        since_V = self.since_V.get(attribute)
        if since_V is None or instant_B is None:
            return np.ones(item_BN.shape, bool)
        found: np.ndarray = since_V[item_BN] < np.where(instant_B == NO_TIME, NEVER, instant_B)[:, None]
        return found

    def age_days(self, item_BN: np.ndarray, instant_B: np.ndarray | None) -> np.ndarray:
        """Days from an item's first event to the request: float64 (B, N); 0 where it has had none by then."""
        if self.first_V is None or instant_B is None:
            raise UserError(f"rerank: how new an item is, needs the instant that {self.name} is asked at; say as_of")
        return np.maximum(instant_B[:, None] - np.minimum(self.first_V[item_BN], instant_B[:, None]), 0) / (
            MICROSECONDS_PER_DAY
        )

    def items(self, ids: list[str]) -> list[int]:
        """Internal ids of external ones; a `UserError` names one that nobody knows."""
        internal = {item_id: i for i, item_id in enumerate(self.item_ids, start=1)}
        if unknown := [i for i in ids if normal_id(i) not in internal and i not in internal]:
            raise UserError(f"rerank: {self.name} has no item '{unknown[0]}'.{nearest(unknown[0], self.item_ids)}")
        return [internal.get(i) or internal[normal_id(i)] for i in ids]

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it but the ids, by name: what `of_arrays` reads."""
        found = {f"{what}/{name}": np.asarray(v) for what in KEPT for name, v in getattr(self, what).items()}
        return found if self.first_V is None else found | {"first": self.first_V}

    @classmethod
    def of_arrays(cls, a: Mapping[str, np.ndarray], item_ids: Sequence[str], name: str) -> Facts:
        """What `arrays` gave; a `KeyError` or `ValueError` where it is something else."""
        found: dict[str, dict[str, np.ndarray]] = {what: {} for what in KEPT}
        for key, values in a.items():
            if key != "first":
                what, _, attribute = key.partition("/")
                found[what][attribute] = values
        names = {attribute: list(map(str, values)) for attribute, values in found.pop("names").items()}
        return cls(item_ids, name, names=names, first_V=a.get("first"), **found)


KEPT = ("code_V", "names", "number_V", "share_V", "since_V")


def merged(needs: Iterable[Iterable[Need]]) -> list[Need]:
    """Each need once, in the order of their first appearance."""
    return list(dict.fromkeys(need for some in needs for need in some))
