r"""Item-item cosine neighbours: what do the people who took these also take?

With x_{ui} in [0, 1] the summed event weights of user u on item i, cut at 1,

    s_{ij} = \frac{\sum_u x_{ui} x_{uj}}{\|x_i\| \|x_j\| + \lambda}, \qquad
    score(b, j) = \sum_{p in history of b} a_{bp} s_{i_p j}

where each item i keeps its `neighbours` largest s_{ij}, \lambda is `shrinkage` (it takes weight from pairs seen by
few), and a_{bp} halves with every `half_life_events` positions and `half_life_days` days before the last event of the
history. Item 0..V-1 that no neighbour list reaches stands below all reached ones, in order of popularity; so does
everything after an empty history. Deshpande & Karypis, "Item-based top-N recommendation algorithms", TOIS 2004.

Shapes: B requests, V = n_items + 1 columns, U users, E neighbour pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import sparse

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import counted_types, item_popularity, type_weights
from shopkeeper.recommenders.item_pairs.counted import strongest, strongest_of_all
from shopkeeper.recommenders.reached import reached_or_rest
from shopkeeper.schema import INTEREST_TYPES, MICROSECONDS_PER_DAY


class ItemKNN:
    """Item-item cosine with shrinkage. `event_weights` defaults to 1 for every type that shows interest.

    `self_similarity` is what an item of the history gives itself: null means 1 where seen items may be recommended
    (shops: people buy again), else 0.
    """

    def __init__(
        self,
        neighbours: int = 50,
        shrinkage: float = 10.0,
        half_life_events: float | None = 2.0,
        half_life_days: float | None = None,
        self_similarity: float | None = None,
        event_weights: Mapping[str, float] | None = None,
    ) -> None:
        if neighbours < 1:
            raise UserError(f"item_knn: neighbours is {neighbours}; give at least 1")
        if not shrinkage >= 0:
            raise UserError(f"item_knn: shrinkage is {shrinkage}; give 0 or more")
        for name, value in (("half_life_events", half_life_events), ("half_life_days", half_life_days)):
            if value is not None and not value > 0:
                raise UserError(f"item_knn: {name} is {value}; give a number above 0, or null to leave it out")
        self.neighbours = neighbours
        self.shrinkage = shrinkage
        self.half_life_events = half_life_events
        self.half_life_days = half_life_days
        self.self_similarity = self_similarity
        self.event_weights = event_weights or dict.fromkeys(INTEREST_TYPES, 1.0)
        self.weight_of_type = type_weights(self.event_weights)
        reads = ("event_type",) if half_life_days is None else ("event_type", "timestamp")
        self.about = About(reads=reads, types=counted_types(self.weight_of_type), reaches=True)
        self.similarity_VV = sparse.csr_array((1, 1), dtype=np.float32)
        self.rest_V = np.zeros(1, np.float32)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Count which items the same users took in their training rows."""
        offsets, rows = split.training_rows()
        user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        weight = self.weight_of_type[prepared.events.event_type[rows]].astype(np.float32)
        shape = (len(offsets) - 1, prepared.n_items + 1)
        x_UV = sparse.coo_array((weight, (user, prepared.events.item[rows])), shape=shape).tocsr()
        x_UV.sum_duplicates()
        x_UV.data = np.minimum(x_UV.data, 1)
        x_UV.eliminate_zeros()
        own = self.self_similarity
        if own is None:
            own = 0.0 if fit.filter_seen else 1.0
        self.similarity_VV = cosine_neighbours(x_UV, self.neighbours, self.shrinkage, own)
        popularity_V = item_popularity(prepared, split, dict.fromkeys(fit.target_events, 1.0))
        self.rest_V = popularity_V / (popularity_V.max() + 1) - 1  # in [-1, 0): below every reached item

    def score(self, requests: Requests) -> np.ndarray:
        """Weighted similarities to the history: float32 (B, V), positive where a neighbour list reaches."""
        return reached_or_rest(self, requests)

    def reached(self, requests: Requests) -> sparse.csr_array:
        """Weighted similarities of the items that a neighbour list reaches: float32 sparse (B, V)."""
        return (self._history(requests) @ self.similarity_VV).tocsr()

    def _history(self, requests: Requests) -> sparse.csr_array:
        """Weight of each item in each history: float32 sparse (B, V)."""
        offsets, rows = requests.flat()
        events = requests.events
        lengths = np.diff(offsets)
        end = np.repeat(offsets[1:], lengths)
        weight = self.weight_of_type[events.event_type[rows]]
        if self.half_life_events is not None:
            weight = weight * np.exp2(-(end - 1 - np.arange(len(rows))) / self.half_life_events)
        if self.half_life_days is not None and events.timestamp is not None:
            at = events.timestamp[rows]
            weight = weight * np.exp2((at - at[end - 1]) / (self.half_life_days * MICROSECONDS_PER_DAY))
        item = events.item[rows]
        weight = np.where(item < len(self.rest_V), weight, 0)  # items newer than the model say nothing
        item = np.where(item < len(self.rest_V), item, 0)
        shape = (len(requests), len(self.rest_V))
        return sparse.csr_array((weight.astype(np.float32), item, offsets), shape=shape)

    def program(self, timed: bool) -> Program:
        """Neighbour lists, weights of event types, half-lives (0: none) and the fallback."""
        s, half_life = self.similarity_VV, self.half_life_days if timed else None
        arrays = {"indptr": s.indptr, "indices": s.indices, "values": s.data, "fallback": self.rest_V}
        arrays |= {"weight_of_type": self.weight_of_type, "half_life_days": np.array([half_life or 0.0])}
        arrays["half_life_events"] = np.array([self.half_life_events or 0.0])
        return Program("item_knn", arrays, needs_time=half_life is not None)

    def save(self, folder: Path) -> None:
        """Write the neighbour lists and the fallback as `weights.npz`."""
        s = self.similarity_VV
        arrays = {"indptr": s.indptr, "indices": s.indices, "values": s.data, "fallback": self.rest_V}
        save_arrays(folder, "item_knn", arrays)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "item_knn", ("indptr", "indices", "values", "fallback"))
        width = len(a["fallback"])
        self.similarity_VV = sparse.csr_array((a["values"], a["indices"], a["indptr"]), shape=(width, width))
        self.rest_V = a["fallback"]


def cosine_neighbours(
    x_UV: sparse.csr_array, neighbours: int, shrinkage: float, self_similarity: float
) -> sparse.csr_array:
    """The `neighbours` most similar items of each item (ties: lower id first): float32 sparse (V, V)."""
    norm_V = np.sqrt(x_UV.power(2).sum(axis=0))

    def cosine(i: np.ndarray, j: np.ndarray, both: np.ndarray) -> np.ndarray:
        return both / (norm_V[i] * norm_V[j] + shrinkage)

    near_VV = strongest_of_all(x_UV, neighbours, cosine)
    if near_VV is None:
        near_VV = strongest(x_UV, x_UV, neighbours, cosine)
    if self_similarity > 0:
        known = np.flatnonzero(norm_V > 0)
        own = np.full(len(known), self_similarity, np.float32)
        near_VV = (near_VV + sparse.coo_array((own, (known, known)), shape=near_VV.shape)).tocsr()
    return near_VV
