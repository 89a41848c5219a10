r"""TIFU-KNN: how often and how lately one took it, and how often and how lately those like oneself did.

A customer's vector is the mean over groups of m baskets of the mean over the group's baskets, newest weighing most:

    x_u(i) = \frac{1}{G} \sum_g r_g^{g} \frac{1}{|g|} \sum_{b \in g} r_b^{b} [i \in b]        (decay: groups)
    x_u(i) = \frac{1}{n} \sum_b 2^{-age(b) / h} [i \in b]                                     (decay: calendar)
    score(u, .) = \alpha x_u + (1 - \alpha) \frac{1}{k} \sum_{v \in N_k(u)} x_v

with b and g counted from the newest, ages in days before the newest basket, and N_k(u) the k training customers whose
vectors are nearest (Euclid). Items without a score stand below in order of popularity; so does all after an empty
history. H. Hu, X. He, J. Gao and Z.-L. Zhang, "Modeling personalized item frequency information for next-basket
recommendation", SIGIR 2020; decay by calendar time: S. Naumov et al., "Time-aware item weighting for the next basket
recommendations", RecSys 2023.

Shapes: B requests, U training customers, V = n_items + 1 columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, check, nearest, number, or_null, share, whole
from shopkeeper.features.baskets import Baskets, basket_weights
from shopkeeper.metrics.best import best_entries
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import popularity_of_the_rest
from shopkeeper.recommenders.inside import ROOM, Open, Settings, fitted_as, or_auto
from shopkeeper.recommenders.reached import reached_or_rest
from shopkeeper.schema import EVENT_TYPES, event_codes

DECAYS = ("groups", "calendar")
OPTIONS = {"half_life_days": (90.0, 30.0, 240.0)}
QUESTIONS = 1000  # asked for each option: customers are compared slowly
RULES = {
    **dict.fromkeys(("own_share", "basket_decay", "group_decay"), share()),
    **dict.fromkeys(("neighbours", "group_size"), whole(1)),
    "customers": or_null(whole(1)),
    "half_life_days": or_auto(number(above=True)),
}


class TIFUKNN:
    """Personal and neighbours' decayed frequencies, mixed.

    Args:
        neighbours: k, customers that are looked at.
        own_share: alpha, weight of the customer's own frequencies.
        decay: `groups` (as published) or `calendar`.
        basket_decay: r_b, of a basket within its group.
        group_decay: r_g, of a group.
        group_size: m, baskets of a group.
        half_life_days: h of `decay: calendar`; `auto`: what was right inside of the training rows (`inside.py`).
        customers: training customers among whom neighbours are looked for, those who were there last; null: all.
    """

    def __init__(
        self,
        neighbours: int = 100,
        own_share: float = 0.7,
        decay: str = "calendar",
        basket_decay: float = 0.9,
        group_decay: float = 0.7,
        group_size: int = 7,
        half_life_days: float | str = 90.0,
        customers: int | None = 20_000,
    ) -> None:
        if decay not in DECAYS:
            raise UserError(f"tifu_knn: there is no decay '{decay}'.{nearest(decay, DECAYS)}")
        told = {"own_share": own_share, "basket_decay": basket_decay, "group_decay": group_decay,
                "neighbours": neighbours, "group_size": group_size, "customers": customers,
                "half_life_days": half_life_days}  # fmt: skip
        check(told, RULES, "tifu_knn: model.")
        self.neighbours, self.own_share, self.decay = neighbours, own_share, decay
        self.basket_decay, self.group_decay, self.group_size = basket_decay, group_decay, group_size
        self.customers = customers
        self.open = Open({**told, "decay": decay}, OPTIONS)
        self.settings: Settings = self.open.first
        self.types: list[int] = []
        self.x_UV = sparse.csr_array((0, 1), dtype=np.float32)
        self.x_VU = sparse.csr_array((1, 0), dtype=np.float32)
        self.rest_V = np.zeros(1, np.float32)

    @property
    def about(self) -> About:
        """Its histories are orders; which event types those are, the data say."""
        return About(
            reads=("event_type", "timestamp", "order"),
            types=tuple(EVENT_TYPES[code - 1] for code in self.types),
            reaches=True,
        )

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Keep the vectors of the customers who have target events among their training rows."""
        nothing = {"half_life_days": self.decay != "calendar" or prepared.events.timestamp is None}
        self.settings = self.open.chosen(fitted_as(TIFUKNN, fit), split, fit, nothing, QUESTIONS)
        self.types = event_codes(list(fit.target_events))
        self.rest_V = popularity_of_the_rest(split, fit.target_events)
        known_V = np.zeros(len(self.rest_V), np.float32)
        known_V[split.known] = 1
        trained = Requests(prepared.events, prepared.offsets[:-1], np.asarray(split.train_end))
        x_UV = self.vectors(trained)
        x_UV = (x_UV @ sparse.diags_array(known_V)).tocsr()
        x_UV.eliminate_zeros()
        known = np.flatnonzero(np.diff(x_UV.indptr))
        if self.customers is not None and len(known) > self.customers:
            known = np.sort(_latest(trained, known, self.customers))
        self._keep(x_UV[known].astype(np.float32))
        return self.open.learned(self.settings)

    def _keep(self, x_UV: sparse.csr_array) -> None:
        self.x_UV = x_UV
        self.x_VU = x_UV.T.tocsr()

    def vectors(self, requests: Requests) -> sparse.csr_array:
        """Decayed frequencies of each history: float32 sparse (B, V)."""
        baskets = Baskets.of(requests, self.types, len(self.rest_V))
        weight = basket_weights(baskets, *self._decay())
        shape = (len(requests), len(self.rest_V))
        x_BV = sparse.coo_array((weight, (baskets.owner, baskets.item)), shape=shape).tocsr()
        x_BV.eliminate_zeros()
        return x_BV.astype(np.float32)

    def _decay(self) -> tuple[float, float, float, int]:
        """What `basket_weights` takes."""
        days = self.settings["half_life_days"] if self.decay == "calendar" else 0.0
        return days, self.basket_decay, self.group_decay, self.group_size

    def score(self, requests: Requests) -> np.ndarray:
        """Mixed frequencies float32 (B, V), positive where anybody took the item; below 0 for the rest."""
        return reached_or_rest(self, requests, self.x_UV.shape[0])

    def reached(self, requests: Requests) -> sparse.csr_array:
        """Mixed frequencies of the items that the customer or a neighbour took: float32 sparse (B, V)."""
        own_BV = self.vectors(requests)
        return (self.own_share * own_BV + (1 - self.own_share) * self._neighbours(own_BV)).tocsr()

    def _neighbours(self, own_BV: sparse.csr_array) -> sparse.csr_array:
        """Mean vector of the nearest training customers, empty after an empty history: float32 sparse (B, V)."""
        b, n = own_BV.shape[0], self.x_UV.shape[0]
        k = min(self.neighbours, n)
        if n == 0:
            return own_BV * np.float32(0)
        # |a - b|^2 = |a|^2 - 2 ab + |b|^2, of which |a|^2 is the same for all b. Where nothing is in common it is
        # |b|^2 alone, so that of those the k shortest vectors are near enough.
        square_U = self.x_UV.power(2).sum(axis=1)
        both_BU = (own_BV @ self.x_VU).tocsr()
        both_BU.data = 2 * both_BU.data - square_U[both_BU.indices]
        place = best_entries(both_BU.indptr, both_BU.indices, both_BU.data, k)
        row, column = np.searchsorted(both_BU.indptr, place, side="right") - 1, both_BU.indices[place]
        short_K = np.argsort(square_U, kind="stable")[:k]
        other_BK = np.ones((b, k), bool)  # short ones that have nothing in common with the history
        turn_U = np.full(n, -1)
        turn_U[short_K] = np.arange(k)
        common = np.flatnonzero(turn_U[both_BU.indices] >= 0)
        other_BK[np.searchsorted(both_BU.indptr, common, side="right") - 1, turn_U[both_BU.indices[common]]] = False
        other_BK[np.diff(own_BV.indptr) == 0] = False  # nobody is near to an empty history
        more, turn = np.nonzero(other_BK)
        row, column = np.concatenate([row, more]), np.concatenate([column, short_K[turn]])
        value = np.concatenate([both_BU.data[place], -square_U[short_K[turn]]])
        by_row = np.argsort(row, kind="stable")
        row, column, value = row[by_row], column[by_row], value[by_row]
        best = best_entries(np.searchsorted(row, np.arange(b + 1)), column, value, k)
        near = (np.full(len(best), 1 / k, np.float32), (row[best], column[best]))
        mean_BU = sparse.csr_array(near, shape=(b, n))
        mean_BU.sort_indices()
        return (mean_BU @ self.x_UV).tocsr()

    def program(self, timed: bool) -> Program:
        """Customers' vectors by customer and by item, and the squares of their lengths."""
        x, of_item = self.x_UV, self.x_VU
        arrays = {"indptr": x.indptr, "indices": x.indices, "values": x.data, "fallback": self.rest_V}
        arrays |= {"of_item_indptr": of_item.indptr, "of_item_indices": of_item.indices, "of_item_values": of_item.data}
        arrays |= {"square": x.power(2).sum(axis=1), "decay": np.array(self._decay())}
        arrays |= {"types": np.array(self.types, np.int8), "neighbours": np.array([self.neighbours])}
        arrays["own_share"] = np.array([self.own_share])
        # Where the log has times, they say which lines are one basket, too.
        return Program("tifu_knn", arrays, needs_time=timed, columns=("order",), people=x.shape[0])

    def save(self, folder: Path) -> None:
        """Write the customers' vectors, the types that are read and the fallback as `weights.npz`."""
        x = self.x_UV
        arrays = {"indptr": x.indptr, "indices": x.indices, "values": x.data, "fallback": self.rest_V}
        arrays |= {"types": np.array(self.types, np.int8)} | self.open.arrays(self.settings)
        save_arrays(folder, "tifu_knn", arrays)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "tifu_knn", ("indptr", "indices", "values", "fallback", "types", ROOM))
        shape = (len(a["indptr"]) - 1, len(a["fallback"]))
        self._keep(sparse.csr_array((a["values"], a["indices"], a["indptr"]), shape=shape))
        self.rest_V, self.types = a["fallback"], a["types"].tolist()
        self.settings = self.open.opened(a)


def _latest(requests: Requests, rows: np.ndarray, count: int) -> np.ndarray:
    """Those `count` of the rows whose histories ended last: by time, else the longest."""
    at = requests.events.timestamp
    ended = requests.lengths[rows] if at is None else at[requests.end[rows] - 1]
    return rows[np.argsort(-ended, kind="stable")[:count]]
