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
from shopkeeper.errors import UserError, nearest
from shopkeeper.features.baskets import Baskets, basket_weights, nearest_rows
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.popularity import item_popularity
from shopkeeper.schema import EVENT_TYPES, event_codes

DECAYS = ("groups", "calendar")
CELLS_AT_ONCE = 20_000_000  # requests x customers, or x items, in one block: bounds the memory


class TIFUKNN:
    """Personal and neighbours' decayed frequencies, mixed.

    Args:
        neighbours: k, customers that are looked at.
        own_share: alpha, weight of the customer's own frequencies.
        decay: `groups` (as published) or `calendar`.
        basket_decay: r_b, of a basket within its group.
        group_decay: r_g, of a group.
        group_size: m, baskets of a group.
        half_life_days: h of `decay: calendar`.
    """

    def __init__(
        self,
        neighbours: int = 100,
        own_share: float = 0.7,
        decay: str = "calendar",
        basket_decay: float = 0.9,
        group_decay: float = 0.7,
        group_size: int = 7,
        half_life_days: float = 90.0,
    ) -> None:
        if decay not in DECAYS:
            raise UserError(f"tifu_knn: there is no decay '{decay}'.{nearest(decay, DECAYS)}")
        for name, value in (("own_share", own_share), ("basket_decay", basket_decay), ("group_decay", group_decay)):
            if not 0 <= value <= 1:
                raise UserError(f"tifu_knn: {name} is {value}; give a number from 0 to 1")
        for name, value in (("neighbours", neighbours), ("group_size", group_size)):
            if value < 1:
                raise UserError(f"tifu_knn: {name} is {value}; give at least 1")
        if not half_life_days > 0:
            raise UserError(f"tifu_knn: half_life_days is {half_life_days}; give a number above 0")
        self.neighbours, self.own_share, self.decay = neighbours, own_share, decay
        self.basket_decay, self.group_decay, self.group_size = basket_decay, group_decay, group_size
        self.half_life_days = half_life_days
        self.types: list[int] = []
        self.x_UV = sparse.csr_array((0, 1), dtype=np.float32)
        self.fallback_V = np.zeros(1, np.float32)

    @property
    def about(self) -> About:
        """Its histories are orders; which event types those are, the data say."""
        return About(
            reads=("event_type", "timestamp", "order"),
            types=tuple(EVENT_TYPES[code - 1] for code in self.types),
        )

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Keep the vectors of the customers who have target events among their training rows."""
        self.types = event_codes(list(fit.target_events))
        popularity_V = item_popularity(prepared, split, dict.fromkeys(fit.target_events, 1.0))
        self.fallback_V = popularity_V / (popularity_V.max() + 1) - 1  # in [-1, 0): below every reached item
        in_catalogue = np.zeros(len(self.fallback_V), np.float32)
        in_catalogue[split.catalogue] = 1
        x_UV = self.vectors(Requests(prepared.events, prepared.offsets[:-1], split.train_end))
        x_UV = (x_UV @ sparse.diags_array(in_catalogue)).tocsr()
        x_UV.eliminate_zeros()
        self.x_UV = x_UV[np.diff(x_UV.indptr) > 0].astype(np.float32)

    def vectors(self, requests: Requests) -> sparse.csr_array:
        """Decayed frequencies of each history: float32 sparse (B, V)."""
        baskets = Baskets.of(requests, self.types, len(self.fallback_V))
        weight = basket_weights(baskets, *self._decay())
        shape = (len(requests), len(self.fallback_V))
        x_BV = sparse.coo_array((weight, (baskets.owner, baskets.item)), shape=shape).tocsr()
        x_BV.eliminate_zeros()
        return x_BV.astype(np.float32)

    def _decay(self) -> tuple[float, float, float, int]:
        """What `basket_weights` takes."""
        days = self.half_life_days if self.decay == "calendar" else 0.0
        return days, self.basket_decay, self.group_decay, self.group_size

    def score(self, requests: Requests) -> np.ndarray:
        """Mixed frequencies float32 (B, V), positive where anybody took the item; below 0 for the rest."""
        scores_BV = np.empty((len(requests), len(self.fallback_V)), np.float32)
        block = max(1, CELLS_AT_ONCE // max(self.x_UV.shape[0], len(self.fallback_V), 1))
        for first in range(0, len(requests), block):
            own_BV = self.vectors(requests[first : first + block])
            reached_BV = (self.own_share * own_BV + (1 - self.own_share) * self._neighbours(own_BV)).toarray()
            reached_BV[np.diff(own_BV.indptr) == 0] = 0.0  # nobody is near to an empty history
            scores_BV[first : first + len(reached_BV)] = np.where(reached_BV > 0, reached_BV, self.fallback_V)
        return scores_BV

    def _neighbours(self, own_BV: sparse.csr_array) -> sparse.csr_array:
        """Mean vector of the nearest training customers: float32 sparse (B, V)."""
        n = self.x_UV.shape[0]
        if n == 0:
            return own_BV * np.float32(0)
        # |a - b|^2 = |a|^2 - 2 ab + |b|^2, of which |a|^2 is the same for all b.
        near_BU = 2 * (own_BV @ self.x_UV.T).toarray() - self.x_UV.power(2).sum(axis=1)[None, :]
        chosen_BK = nearest_rows(near_BU, self.neighbours)
        b, k = chosen_BK.shape
        row = np.repeat(np.arange(b), k)
        mean_BU = sparse.csr_array((np.full(b * k, 1 / k, np.float32), (row, chosen_BK.ravel())), shape=(b, n))
        return (mean_BU @ self.x_UV).tocsr()

    def program(self, timed: bool) -> Program:
        """Customers' vectors by customer and by item, and the squares of their lengths."""
        x, of_item = self.x_UV, self.x_UV.T.tocsr()
        arrays = {"indptr": x.indptr, "indices": x.indices, "values": x.data, "fallback": self.fallback_V}
        arrays |= {"of_item_indptr": of_item.indptr, "of_item_indices": of_item.indices, "of_item_values": of_item.data}
        arrays |= {"square": x.power(2).sum(axis=1), "decay": np.array(self._decay())}
        arrays |= {"types": np.array(self.types, np.int8), "neighbours": np.array([self.neighbours])}
        arrays["own_share"] = np.array([self.own_share])
        # Where the log has times, they say which lines are one basket, too.
        return Program("tifu_knn", arrays, needs_time=timed, columns=("order",), people=x.shape[0])

    def save(self, folder: Path) -> None:
        """Write the customers' vectors, the types that are read and the fallback as `weights.npz`."""
        x = self.x_UV
        arrays = {"indptr": x.indptr, "indices": x.indices, "values": x.data, "fallback": self.fallback_V}
        save_arrays(folder, "tifu_knn", arrays | {"types": np.array(self.types, np.int8)})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "tifu_knn", ("indptr", "indices", "values", "fallback", "types"))
        shape = (len(a["indptr"]) - 1, len(a["fallback"]))
        self.x_UV = sparse.csr_array((a["values"], a["indices"], a["indptr"]), shape=shape)
        self.fallback_V, self.types = a["fallback"], a["types"].tolist()
