r"""SLIM: a sparse linear item-item model, each item explained by the others with non-negative weights.

With x_{ui} in [0, 1] the summed event weights of user u on item i, cut at 1, and each item j on its own,

    \min_{w \ge 0, \ w_j = 0} \frac12 |x_j - X w|^2 + \lambda_1 |w|_1 + \frac{\lambda_2}{2} |w|^2, \qquad
    score(b, .) = \sum_{i in history of b} a_{bi} w_i

over the `candidates` items that are nearest to j by cosine (fsSLIM of the paper: little is lost, and all is quick). The
elastic net is found by coordinate descent on X^T X, many items at once; EASE is the closed form of the same without
sign and sparsity. a_{bi} halves with every `half_life_days` before the history's last event, and is cut at 1. Items
that no weight reaches stand below in order of popularity; so does all after an empty history.
X. Ning and G. Karypis, "SLIM: sparse linear methods for top-N recommender systems", ICDM 2011.

Shapes: B requests, V = n_items + 1 columns, U users, J items at once, C candidates of each.
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
from shopkeeper.recommenders.knn.item_knn import cosine_neighbours
from shopkeeper.recommenders.knn.similar import in_catalogue
from shopkeeper.recommenders.reached import reached_or_rest
from shopkeeper.schema import INTEREST_TYPES

CELLS_AT_ONCE = 4_000_000  # of J x C x C
DENSE_CELLS = 256 * 2**20  # of X^T X as a matrix: 1 GiB
SWEEPS = 100  # the limit
TOLERANCE = 1e-4  # largest change of a weight in the last sweep
RULES = {
    "l1": number(),
    "l2": number(above=True),
    "candidates": whole(1),
    "half_life_days": or_null(number(above=True)),
    "self_similarity": or_null(number()),
}


class SLIM:
    """Elastic net per item.

    Args:
        l1: lambda_1, in customers: makes weights zero.
        l2: lambda_2, in customers.
        candidates: C.
        half_life_days: of an event of the history; null: all alike.
        self_similarity: what an item of the history gives itself; null: 1 where seen items may come back, else 0.
        event_weights: type: weight; null: 1 for each type that shows interest.
    """

    def __init__(
        self,
        l1: float = 1.0,
        l2: float = 200.0,
        candidates: int = 100,
        half_life_days: float | None = 30.0,
        self_similarity: float | None = None,
        event_weights: Mapping[str, float] | None = None,
    ) -> None:
        told = {"l1": l1, "l2": l2, "candidates": candidates, "half_life_days": half_life_days}
        check({**told, "self_similarity": self_similarity}, RULES, "slim: model.")
        self.l1, self.l2, self.candidates = l1, l2, candidates
        self.half_life_days, self.self_similarity = half_life_days, self_similarity
        self.weight_of_type = type_weights(event_weights or dict.fromkeys(INTEREST_TYPES, 1.0))
        reads = ("event_type",) if half_life_days is None else ("event_type", "timestamp")
        self.about = About(reads=reads, types=counted_types(self.weight_of_type), reaches=True)
        self.weight_VV = sparse.csr_array((1, 1), dtype=np.float32)
        self.rest_V = np.zeros(1, np.float32)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Explain each item by its neighbours in the training rows."""
        self.rest_V = popularity_of_the_rest(split, fit.target_events)
        trained = Requests(prepared.events, prepared.offsets[:-1], np.asarray(split.train_end))
        x_UV = in_catalogue(own_counts(trained, prepared.n_items + 1, self.weight_of_type), split)
        x_UV.data = np.minimum(x_UV.data, 1)
        weight_VV = slim_weights(x_UV, self.l1, self.l2, self.candidates)
        own = self.self_similarity
        if own is None:
            own = 0.0 if fit.filter_seen else 1.0
        known = np.bincount(x_UV.indices, minlength=x_UV.shape[1]) > 0
        self.weight_VV = (weight_VV + sparse.diags_array(own * known)).tocsr().astype(np.float32)
        self.weight_VV.eliminate_zeros()

    def score(self, requests: Requests) -> np.ndarray:
        """Summed weights of the history's items: float32 (B, V), positive where any reaches, else below 0."""
        return reached_or_rest(self, requests)

    def reached(self, requests: Requests) -> sparse.csr_array:
        """Summed weights of the items that any of the history's reaches: float32 sparse (B, V)."""
        x_BV = own_counts(requests, len(self.rest_V), self.weight_of_type, self.half_life_days)
        x_BV.data = np.minimum(x_BV.data, 1)
        return (x_BV @ self.weight_VV).tocsr()

    def program(self, timed: bool) -> Program:
        """The weights, those of event types, the half-life (0: none) and the fallback."""
        w, half_life = self.weight_VV, self.half_life_days if timed else None
        arrays = {"indptr": w.indptr, "indices": w.indices, "values": w.data, "fallback": self.rest_V}
        arrays |= {"weight_of_type": self.weight_of_type, "half_life_days": np.array([half_life or 0.0])}
        return Program("slim", arrays, needs_time=half_life is not None)

    def save(self, folder: Path) -> None:
        """Write the weights and the fallback as `weights.npz`."""
        w = self.weight_VV
        arrays = {"indptr": w.indptr, "indices": w.indices, "values": w.data, "fallback": self.rest_V}
        save_arrays(folder, "slim", arrays)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "slim", ("indptr", "indices", "values", "fallback"))
        width = len(a["fallback"])
        self.weight_VV = sparse.csr_array((a["values"], a["indices"], a["indptr"]), shape=(width, width))
        self.rest_V = a["fallback"]


def slim_weights(x_UV: sparse.csr_array, l1: float, l2: float, candidates: int) -> sparse.csr_array:
    """Weight from the row's item to the column's: float32 sparse (V, V)."""
    V = x_UV.shape[1]
    near_VV = cosine_neighbours(x_UV.astype(np.float32), candidates, 0.0)
    gram_VV = (x_UV.T @ x_UV).tocsr()
    dense_VV = gram_VV.toarray() if V**2 <= DENSE_CELLS else None  # many times as quick to read from
    count_V = np.diff(near_VV.indptr)
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    order = np.argsort(count_V, kind="stable")
    order = order[count_V[order] > 0]
    while len(order):  # items with about as many candidates together
        width = int(count_V[order[-1]])
        here = order[-max(1, CELLS_AT_ONCE // width**2) :]
        order = order[: -len(here)]
        gram_JCC, target_JC = np.zeros((len(here), width, width)), np.zeros((len(here), width))
        item_JC = np.zeros((len(here), width), np.int64)
        for n, item in enumerate(here.tolist()):
            own = near_VV.indices[near_VV.indptr[item] : near_VV.indptr[item + 1]]
            asked = np.append(own, item)
            part = dense_VV[np.ix_(own, asked)] if dense_VV is not None else gram_VV[own][:, asked].toarray()
            gram_JCC[n, : len(own), : len(own)], target_JC[n, : len(own)] = part[:, :-1], part[:, -1]
            item_JC[n, : len(own)] = own
        weight_JC = descend(gram_JCC, target_JC, l1, l2)
        j, c = np.nonzero(weight_JC)
        parts.append((item_JC[j, c], here[j], weight_JC[j, c]))
    row, column, value = (np.concatenate(x) for x in zip(*parts, strict=True))
    return sparse.coo_array((value, (row, column)), shape=(V, V)).tocsr().astype(np.float32)


def descend(gram_JCC: np.ndarray, target_JC: np.ndarray, l1: float, l2: float) -> np.ndarray:
    """Non-negative elastic nets by cyclic coordinate descent, all J at once: float64 (J, C); zero where padded."""
    weight_JC = np.zeros_like(target_JC)
    square_JC = np.einsum("jcc->jc", gram_JCC)
    for _ in range(SWEEPS):
        before_JC = weight_JC.copy()
        for c in range(weight_JC.shape[1]):
            rest_J = target_JC[:, c] - (gram_JCC[:, c] * weight_JC).sum(axis=1) + square_JC[:, c] * weight_JC[:, c]
            weight_JC[:, c] = np.maximum(rest_J - l1, 0) / (square_JC[:, c] + l2)
        if np.abs(weight_JC - before_JC).max(initial=0) < TOLERANCE:
            break
    return weight_JC
