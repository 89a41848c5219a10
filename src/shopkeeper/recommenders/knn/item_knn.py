r"""Item-item cosine neighbours: what do the people who took these also take?

With x_{ui} in [0, 1] the summed event weights of user u on item i, cut at 1,

    s_{ij} = \frac{\sum_u x_{ui} x_{uj}}{\|x_i\| \|x_j\| + \lambda}, \qquad
    score(b, j) = \sum_{p in history of b} a_{bp} s_{i_p j}

where each item i keeps its `neighbours` largest s_{ij}, \lambda is `shrinkage` (it takes weight from pairs seen by
few), and a_{bp} halves with every `half_life_events` positions and `half_life_days` days before the last event of the
history. What is left open (`auto`) is what was right inside of the training rows (`inside.py`). Item 0..V-1 that no
neighbour list reaches stands below all reached ones, in order of popularity; so does everything after an empty history.
Deshpande & Karypis, "Item-based top-N recommendation algorithms", TOIS 2004.

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
from shopkeeper.errors import check, number, or_null, whole
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import counted_types, popularity_of_the_rest, type_weights
from shopkeeper.recommenders.inside import ROOM, Fitted, Open, Settings, or_auto
from shopkeeper.recommenders.item_pairs.counted import each_once, strongest, strongest_of_all
from shopkeeper.recommenders.reached import reached_or_rest
from shopkeeper.schema import INTEREST_TYPES, MICROSECONDS_PER_DAY

OPTIONS = {
    "half_life_events": (2.0, 0.5, 1.0, 5.0, 10.0, 25.0, None),
    "half_life_days": (None, 30.0, 90.0),
    "self_similarity": (None, 0.3, 3.0, 10.0),
    "shrinkage": (10.0, 1.0, 100.0),
    "neighbours": (50, 400),
}
RULES = {
    "neighbours": whole(1),
    "shrinkage": number(),
    **dict.fromkeys(("half_life_events", "half_life_days"), or_null(number(above=True))),
    "self_similarity": or_null(number()),
}
WIDE = 100_000  # items of which it is asked whether 400 neighbours each are better: .3 GiB of them, and 1 GiB to make
Near = dict[tuple[int, int, float], tuple[sparse.csr_array, np.ndarray]]  # by split, neighbours and shrinkage


class ItemKNN:
    """Item-item cosine with shrinkage. `event_weights` defaults to 1 for every type that shows interest.

    `self_similarity` is what an item of the history gives itself: null means 1 where seen items may be recommended
    (shops: people buy again), else 0. Every number may be `auto`.
    """

    def __init__(
        self,
        neighbours: int | str = 50,
        shrinkage: float | str = 10.0,
        half_life_events: float | str | None = 2.0,
        half_life_days: float | str | None = None,
        self_similarity: float | str | None = None,
        event_weights: Mapping[str, float] | None = None,
    ) -> None:
        told = {
            "neighbours": neighbours, "shrinkage": shrinkage, "half_life_events": half_life_events,
            "half_life_days": half_life_days, "self_similarity": self_similarity,
        }  # fmt: skip
        check(told, {name: or_auto(rule) for name, rule in RULES.items()}, "item_knn: model.")
        # With a short half-life one's own items are worth little, and without one they need much: neither moves alone.
        self.open = Open(told, OPTIONS, again=("half_life_events", "self_similarity"))
        self.settings: Settings = self.open.first
        self.event_weights = event_weights or dict.fromkeys(INTEREST_TYPES, 1.0)
        self.weight_of_type = type_weights(self.event_weights)
        self.similarity_VV = sparse.csr_array((1, 1), dtype=np.float32)
        self.rest_V = np.zeros(1, np.float32)

    @property
    def about(self) -> About:
        """Reads times where weights halve with them."""
        reads = ("event_type",) if self.settings["half_life_days"] is None else ("event_type", "timestamp")
        return About(reads=reads, types=counted_types(self.weight_of_type), reaches=True)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Count which items the same users took in their training rows."""
        nothing = {"self_similarity": fit.filter_seen, "half_life_days": prepared.events.timestamp is None}
        nothing["neighbours"] = prepared.n_items > WIDE
        self._learn(split, fit, self.open.chosen(self._tried(fit), split, fit, nothing), {})
        return self.open.learned(self.settings)

    def _tried(self, fit: Fit) -> Fitted:
        """Makes models with other settings; pairs of items are counted anew only where those move them."""
        near: Near = {}

        def fitted(some: Settings, split: Split) -> ItemKNN:
            model = ItemKNN(**some, event_weights=self.event_weights)
            model._learn(split, fit, some, near)
            return model

        return fitted

    def _learn(self, split: Split, fit: Fit, settings: Settings, near: Near) -> None:
        """With settings of which none is open; `near`: neighbours that were counted before."""
        self.settings = settings
        key = (id(split), settings["neighbours"], settings["shrinkage"])
        if key not in near:
            x_UV = self._taken(split)
            near_VV = cosine_neighbours(x_UV, settings["neighbours"], settings["shrinkage"])
            near[key] = near_VV, np.flatnonzero(np.bincount(x_UV.indices))
        own = settings["self_similarity"]
        if own is None:
            own = 0.0 if fit.filter_seen else 1.0
        self.similarity_VV = with_itself(*near[key], own)
        self.rest_V = popularity_of_the_rest(split, fit.target_events)

    def _taken(self, split: Split) -> sparse.csr_array:
        """What each customer took in the training rows: float32 sparse (U, V), at most 1."""
        offsets, rows = split.training_rows()
        events = split.prepared.events
        U, V = len(offsets) - 1, split.prepared.n_items + 1
        weighs = self.weight_of_type > 0
        if (self.weight_of_type[weighs] >= 1).all():  # one event is as much as many
            counts = weighs[events.event_type[rows]]
            if not counts.all():
                offsets, rows = np.searchsorted(np.flatnonzero(counts), offsets), rows[counts]
            return each_once(offsets, events.item[rows], V)
        weight = self.weight_of_type.astype(np.float32)[events.event_type[rows]]
        x_UV = sparse.csr_array((weight, events.item[rows], offsets), shape=(U, V))
        x_UV.sum_duplicates()
        x_UV.data = np.minimum(x_UV.data, 1)
        x_UV.eliminate_zeros()
        return x_UV

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
        half_life_events, half_life_days = self.settings["half_life_events"], self.settings["half_life_days"]
        weight = self.weight_of_type[events.event_type[rows]]
        if half_life_events is not None:
            weight = weight * np.exp2(-(end - 1 - np.arange(len(rows))) / half_life_events)
        if half_life_days is not None and events.timestamp is not None:
            at = events.timestamp[rows]
            weight = weight * np.exp2((at - at[end - 1]) / (half_life_days * MICROSECONDS_PER_DAY))
        item = events.item[rows]
        weight = np.where(item < len(self.rest_V), weight, 0)  # items newer than the model say nothing
        item = np.where(item < len(self.rest_V), item, 0)
        shape = (len(requests), len(self.rest_V))
        return sparse.csr_array((weight.astype(np.float32), item, offsets), shape=shape)

    def program(self, timed: bool) -> Program:
        """Neighbour lists, weights of event types, half-lives (0: none) and the fallback."""
        s, half_life = self.similarity_VV, self.settings["half_life_days"] if timed else None
        arrays = {"indptr": s.indptr, "indices": s.indices, "values": s.data, "fallback": self.rest_V}
        arrays |= {"weight_of_type": self.weight_of_type, "half_life_days": np.array([half_life or 0.0])}
        arrays["half_life_events"] = np.array([self.settings["half_life_events"] or 0.0])
        return Program("item_knn", arrays, needs_time=half_life is not None)

    def save(self, folder: Path) -> None:
        """Write the neighbour lists and the fallback as `weights.npz`."""
        s = self.similarity_VV
        arrays = {"indptr": s.indptr, "indices": s.indices, "values": s.data, "fallback": self.rest_V}
        save_arrays(folder, "item_knn", arrays | self.open.arrays(self.settings))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "item_knn", ("indptr", "indices", "values", "fallback", ROOM))
        width = len(a["fallback"])
        self.similarity_VV = sparse.csr_array((a["values"], a["indices"], a["indptr"]), shape=(width, width))
        self.rest_V, self.settings = a["fallback"], self.open.opened(a)


def cosine_neighbours(x_UV: sparse.csr_array, neighbours: int, shrinkage: float) -> sparse.csr_array:
    """The `neighbours` most similar items of each item (ties: lower id first): float32 sparse (V, V)."""
    norm_V = np.sqrt(x_UV.power(2).sum(axis=0))

    def cosine(i: np.ndarray, j: np.ndarray, both: np.ndarray) -> np.ndarray:
        return both / (norm_V[i] * norm_V[j] + shrinkage)

    near_VV = strongest_of_all(x_UV, neighbours, cosine)
    return strongest(x_UV, x_UV, neighbours, cosine) if near_VV is None else near_VV


def with_itself(near_VV: sparse.csr_array, known: np.ndarray, similarity: float) -> sparse.csr_array:
    """The same with what each known item gives itself: float32 sparse (V, V)."""
    if similarity <= 0:
        return near_VV
    own = np.full(len(known), similarity, np.float32)
    return (near_VV + sparse.coo_array((own, (known, known)), shape=near_VV.shape)).tocsr()
