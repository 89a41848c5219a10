r"""Items that say of themselves what the customer's items say: brand, category, words; new ones a little ahead.

    score(b, i) = 1 + cos(\sum_{e in history} 2^{-n_e / h} x_{i_e}, x_i) (1 + f 2^{-age_i / a})

x_i holds the item's tokens (`features.content`), each weighed by log(items / items with it); n_e counts the later
events of the history. age_i are the days from the item's first training event to the training end, 0 where it has none:
so new items are reached before anybody has asked for them. Items that nothing of the history is like stand below, as
they sell. Source: M. Pazzani & D. Billsus, "Content-Based Recommendation Systems", in
The Adaptive Web, 2007.

Shapes: B requests, V = n_items + 1 columns, E entries (an item has a token).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import Rule, check, number
from shopkeeper.features.content import item_content
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.programs.content import content_affinity
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import item_popularity
from shopkeeper.schema import INTEREST, INTEREST_TYPES, MICROSECONDS_PER_DAY

NAMES = ("token", "weight", "item", "factor", "fallback", "below", "types", "half")
CONTENT: Rule = (
    "must be all, or a list of columns of the item table such as [category, brand]",
    lambda x: isinstance(x, str) or (isinstance(x, Sequence) and all(isinstance(name, str) for name in x)),
)


class ContentAffinity:
    """Args:
    content: columns of the item table, or `all`.
    half_life_events: events of a history after which one counts half.
    fresh: how much more an item counts that is new at the training end (f).
    fresh_days: days after which that is half as much (a).
    """

    about = About(reads=("event_type",), types=INTEREST_TYPES)

    def __init__(
        self,
        content: Sequence[str] | str = "all",
        half_life_events: float = 10.0,
        fresh: float = 0.1,
        fresh_days: float = 30.0,
    ) -> None:
        said = {"content": content, "half_life_events": half_life_events, "fresh": fresh, "fresh_days": fresh_days}
        positive = number(above=True)
        rules = {"content": CONTENT, "half_life_events": positive, "fresh": number(), "fresh_days": positive}
        check(said, rules, "model.")
        self.content, self.half_life_events, self.fresh, self.fresh_days = content, half_life_events, fresh, fresh_days
        self.arrays: dict[str, np.ndarray] = {}

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Read what the items are, as known at the training cutoff; no customer is learned from."""
        V, (_, rows) = prepared.n_items + 1, split.training_rows()
        events, until = prepared.events, (split.timeline.get("cutoffs") or {}).get("validation", {}).get("us")
        trained_V = np.bincount(events.item[rows], minlength=V) > 0
        found = item_content(prepared, self.content, until, trained_V)
        item = np.repeat(np.arange(V), np.diff(np.append(found.offset_V, len(found.token_E))))
        having_U = np.bincount(found.token_E, minlength=len(found.key_U))
        idf_U = np.log(max(len(np.unique(item)), 1) / np.maximum(having_U, 1))
        weight = found.weight_E * idf_U[found.token_E]
        length_V = np.sqrt(np.bincount(item, weight**2, V))
        kept = weight > 0  # what all items have tells nothing
        item, token, weight = item[kept], found.token_E[kept], weight[kept]
        popular_V = item_popularity(prepared, split, dict.fromkeys(fit.target_events, 1.0))
        self.arrays = {
            "token": token,
            "weight": (weight / length_V[item]).astype(np.float32),
            "item": item.astype(np.int32),
            "factor": (1 + self.fresh * self._freshness(split, rows, V)).astype(np.float32),
            "fallback": popular_V,
            "below": popular_V / np.float32(2 * max(float(popular_V.max()), 1e-30)),
            "types": np.array(list(INTEREST), np.int8),
            "half": np.array(self.half_life_events),
        }

    def _freshness(self, split: Split, rows: np.ndarray, n_columns: int) -> np.ndarray:
        """1 of items that training has not seen, the less the longer it has: float64 (V,)."""
        events, fresh_V = split.prepared.events, np.ones(n_columns)
        if not len(rows):
            return fresh_V
        if events.timestamp is None:
            fresh_V[events.item[rows]] = 0
            return fresh_V
        at, first_V = events.timestamp[rows], np.full(n_columns, np.iinfo(np.int64).max)
        np.minimum.at(first_V, events.item[rows], at)
        seen = first_V < np.iinfo(np.int64).max
        age = (int(at.max()) - first_V[seen]) / MICROSECONDS_PER_DAY
        fresh_V[seen] = 2 ** (-age / self.fresh_days)
        return fresh_V

    def score(self, requests: Requests) -> np.ndarray:
        """Likeness to the history: float32 (B, V)."""
        return content_affinity(requests, self.arrays)

    def program(self, timed: bool) -> Program:
        """The arrays."""
        return Program("content_affinity", self.arrays)

    def save(self, folder: Path) -> None:
        """Write the arrays as `weights.npz`."""
        save_arrays(folder, "content_affinity", self.arrays)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.arrays = load_arrays(folder, "content_affinity", NAMES)
