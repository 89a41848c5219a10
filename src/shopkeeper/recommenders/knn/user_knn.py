r"""User-kNN: what do the customers who took these also take?

With x_{ui} in [0, 1] the summed event weights of customer u on item i, each halved for every `half_life_days` before
the customer's last event, cut at 1,

    s_{bu} = \frac{x_b x_u}{\|x_b\| \|x_u\| + \lambda}, \qquad
    score(b, .) = a x_b + \frac{\sum_{u \in N_k(b)} s_{bu} x_u}{\sum_{u \in N_k(b)} s_{bu}}

over the k training customers who are most alike; \lambda is `shrinkage`, a `own_weight`. Items without a score stand
below in order of popularity; so does all after an empty history. J. L. Herlocker, J. A. Konstan, A. Borchers and
J. Riedl, "An algorithmic framework for performing collaborative filtering", SIGIR 1999.

Shapes: B requests, U training customers, V = n_items + 1 columns.
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
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.personal_frequency import own_counts
from shopkeeper.recommenders.counting.popularity import counted_types, popularity_of_the_rest, type_weights
from shopkeeper.recommenders.knn.similar import best_of_each_row, in_catalogue
from shopkeeper.recommenders.reached import reached_or_rest
from shopkeeper.schema import INTEREST_TYPES

RULES = {
    "neighbours": whole(1),
    "shrinkage": number(),
    "half_life_days": or_null(number(above=True)),
    "own_weight": or_null(number()),
}


class UserKNN:
    """Customers like the one that asks.

    Args:
        neighbours: k.
        shrinkage: lambda, takes weight from customers with few items.
        half_life_days: of an event; null: all alike.
        own_weight: of the history's own items; null: 1 where seen items may come back, else 0.
        event_weights: type: weight; null: 1 for each type that shows interest.
    """

    def __init__(
        self,
        neighbours: int = 100,
        shrinkage: float = 5.0,
        half_life_days: float | None = 30.0,
        own_weight: float | None = None,
        event_weights: Mapping[str, float] | None = None,
    ) -> None:
        told = {"neighbours": neighbours, "shrinkage": shrinkage, "half_life_days": half_life_days}
        check({**told, "own_weight": own_weight}, RULES, "user_knn: model.")
        self.neighbours, self.shrinkage = neighbours, shrinkage
        self.half_life_days, self.own_weight = half_life_days, own_weight
        self.weight_of_type = type_weights(event_weights or dict.fromkeys(INTEREST_TYPES, 1.0))
        reads = ("event_type",) if half_life_days is None else ("event_type", "timestamp")
        types = counted_types(self.weight_of_type)
        self.about = About(reads=reads, types=types, reaches=True)
        self.own = np.ones(1, np.float32)
        self.x_UV = sparse.csr_array((0, 1), dtype=np.float32)
        self.rest_V = np.zeros(1, np.float32)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Keep the vectors of the customers who have training rows."""
        self.rest_V = popularity_of_the_rest(split, fit.target_events)
        trained = Requests(prepared.events, prepared.offsets[:-1], np.asarray(split.train_end))
        self.x_UV = in_catalogue(self.vectors(trained), split)
        own = self.own_weight
        if own is None:
            own = 0.0 if fit.filter_seen else 1.0
        self.own = np.array([own], np.float32)

    def vectors(self, requests: Requests) -> sparse.csr_array:
        """Decayed weights of each history: float32 sparse (B, V)."""
        x_BV = own_counts(requests, len(self.rest_V), self.weight_of_type, self.half_life_days)
        x_BV.data = np.minimum(x_BV.data, 1)
        return x_BV

    def score(self, requests: Requests) -> np.ndarray:
        """Own and neighbours' weights float32 (B, V), positive where anybody took the item; below 0 for the rest."""
        return reached_or_rest(self, requests, self.x_UV.shape[0])

    def reached(self, requests: Requests) -> sparse.csr_array:
        """Own and neighbours' weights: float32 sparse (B, V)."""
        own_BV = self.vectors(requests)
        near_BU = (own_BV @ self.x_UV.T).tocsr()
        row = np.repeat(np.arange(near_BU.shape[0]), np.diff(near_BU.indptr))
        norm_B = np.sqrt(own_BV.power(2).sum(axis=1))
        near_BU.data = near_BU.data / (norm_B[row] * self._norms()[near_BU.indices] + np.float32(self.shrinkage))
        near_BU = best_of_each_row(near_BU, self.neighbours)
        share_B = 1 / np.maximum(near_BU.sum(axis=1), np.float32(1e-30))
        mean_BV = sparse.diags_array(share_B.astype(np.float32)) @ (near_BU @ self.x_UV)
        return (own_BV * self.own[0] + mean_BV).tocsr()

    def program(self, timed: bool) -> Program:
        """Customers' vectors by customer and by item, their lengths, and the settings."""
        x, of_item, half_life = self.x_UV, self.x_UV.T.tocsr(), self.half_life_days if timed else None
        arrays = {"indptr": x.indptr, "indices": x.indices, "values": x.data, "fallback": self.rest_V}
        arrays |= {"of_item_indptr": of_item.indptr, "of_item_indices": of_item.indices, "of_item_values": of_item.data}
        arrays |= {"norm": self._norms(), "own": self.own, "shrinkage": np.array([self.shrinkage], np.float32)}
        arrays |= {"neighbours": np.array([self.neighbours]), "weight_of_type": self.weight_of_type}
        arrays["half_life_days"] = np.array([half_life or 0.0])
        return Program("user_knn", arrays, needs_time=half_life is not None, people=x.shape[0])

    def _norms(self) -> np.ndarray:
        norm_U: np.ndarray = np.sqrt(self.x_UV.power(2).sum(axis=1))
        return norm_U

    def save(self, folder: Path) -> None:
        """Write the customers' vectors, the own weight and the fallback as `weights.npz`."""
        x = self.x_UV
        arrays = {"indptr": x.indptr, "indices": x.indices, "values": x.data, "fallback": self.rest_V}
        save_arrays(folder, "user_knn", arrays | {"own": self.own})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "user_knn", ("indptr", "indices", "values", "fallback", "own"))
        shape = (len(a["indptr"]) - 1, len(a["fallback"]))
        self.x_UV = sparse.csr_array((a["values"], a["indices"], a["indptr"]), shape=shape)
        self.rest_V, self.own = a["fallback"], a["own"]
