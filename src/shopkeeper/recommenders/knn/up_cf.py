r"""UP-CF: what one took in one's last baskets, and what those like oneself took in theirs.

With \pi_u(i) the share of u's r newest baskets that hold i, and the asymmetric cosine \omega of these vectors,

    score(u, .) = \pi_u + \sum_{v \in N_k(u)} \omega(u, v)^q \pi_v

over training customers v: as published u is its own neighbour with \omega = 1, and here it is so for strangers, too.
A large q (locality) leaves only the customers who are nearly the same. With `half_life_days` a basket weighs half for
so many days before the customer's newest one. Items without a score stand below in order of popularity; so does all
after an empty history. G. Faggioli, M. Polato and F. Aiolli, "Recency aware collaborative filtering for next basket
recommendation", UMAP 2020.

Shapes: B requests, U training customers, V = n_items + 1 columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import check, number, or_null, share, whole
from shopkeeper.features.baskets import Baskets, newest_weights
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import popularity_of_the_rest
from shopkeeper.recommenders.knn.similar import asymmetric_cosine, best_of_each_row, in_catalogue
from shopkeeper.recommenders.reached import reached_or_rest
from shopkeeper.schema import EVENT_TYPES, event_codes

RULES = {
    "last_baskets": or_null(whole(1)),
    "neighbours": or_null(whole(1)),
    "locality": number(above=True, below=1000),  # beyond, no two customers are alike in 64 bits
    "asymmetry": share(),
    "half_life_days": or_null(number(above=True)),
}


class UPCF:
    """Recency-windowed popularity of one's own, and of similar customers.

    Args:
        last_baskets: r, the newest baskets that count; null: all.
        locality: q, power of the similarity.
        asymmetry: alpha, from 0 to 1.
        neighbours: k, customers that are looked at; null: all who share an item, as published.
        half_life_days: of a basket; null: all r alike, as published.
    """

    def __init__(
        self,
        last_baskets: int | None = 25,
        locality: float = 5.0,
        asymmetry: float = 0.25,
        neighbours: int | None = None,
        half_life_days: float | None = None,
    ) -> None:
        told = {"last_baskets": last_baskets, "neighbours": neighbours, "locality": locality}
        check({**told, "asymmetry": asymmetry, "half_life_days": half_life_days}, RULES, "up_cf: model.")
        self.last_baskets, self.locality, self.asymmetry = last_baskets, locality, asymmetry
        self.neighbours, self.half_life_days = neighbours, half_life_days
        self.types: list[int] = []
        self.x_UV = sparse.csr_array((0, 1), dtype=np.float32)
        self.rest_V = np.zeros(1, np.float32)

    @property
    def about(self) -> About:
        """Its histories are orders; which event types those are, the data say."""
        types = tuple(EVENT_TYPES[code - 1] for code in self.types)
        return About(reads=("event_type", "timestamp", "order"), types=types, reaches=True)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Keep the vectors of the customers who have target events among their training rows."""
        self.types = event_codes(list(fit.target_events))
        self.rest_V = popularity_of_the_rest(split, fit.target_events)
        trained = Requests(prepared.events, prepared.offsets[:-1], np.asarray(split.train_end))
        self.x_UV = in_catalogue(self.vectors(trained), split)

    def vectors(self, requests: Requests) -> sparse.csr_array:
        """Share of each history's newest baskets that hold each item: float32 sparse (B, V)."""
        baskets = Baskets.of(requests, self.types, len(self.rest_V))
        weight = newest_weights(baskets, self.last_baskets or 0, self.half_life_days or 0.0)
        counted = weight > 0
        shape = (len(requests), len(self.rest_V))
        cell = (baskets.owner[counted], baskets.item[counted])
        return sparse.coo_array((weight[counted], cell), shape=shape).tocsr().astype(np.float32)

    def score(self, requests: Requests) -> np.ndarray:
        """Own and neighbours' shares float32 (B, V), positive where anybody took the item; below 0 for the rest."""
        return reached_or_rest(self, requests, self.x_UV.shape[0])

    def reached(self, requests: Requests) -> sparse.csr_array:
        """Own and neighbours' shares: float32 sparse (B, V)."""
        own_BV = self.vectors(requests)
        near_BU = asymmetric_cosine(own_BV, self.x_UV, self.asymmetry)
        near_BU = best_of_each_row(near_BU.power(self.locality), self.neighbours)
        return (own_BV + near_BU @ self.x_UV).tocsr()

    def program(self, timed: bool) -> Program:
        """Customers' vectors by customer and by item, and the squares of their lengths."""
        x, of_item = self.x_UV, self.x_UV.T.tocsr()
        arrays = {"indptr": x.indptr, "indices": x.indices, "values": x.data, "fallback": self.rest_V}
        arrays |= {"of_item_indptr": of_item.indptr, "of_item_indices": of_item.indices, "of_item_values": of_item.data}
        arrays |= {"square": x.power(2).sum(axis=1), "types": np.array(self.types, np.int8)}
        arrays |= {"newest": np.array([self.last_baskets or 0, self.half_life_days or 0.0])}
        arrays |= {"similar": np.array([self.asymmetry, self.locality, self.neighbours or 0])}
        return Program("up_cf", arrays, needs_time=timed, columns=("order",), people=x.shape[0])

    def save(self, folder: Path) -> None:
        """Write the customers' vectors, the types that are read and the fallback as `weights.npz`."""
        x = self.x_UV
        arrays = {"indptr": x.indptr, "indices": x.indices, "values": x.data, "fallback": self.rest_V}
        save_arrays(folder, "up_cf", arrays | {"types": np.array(self.types, np.int8)})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "up_cf", ("indptr", "indices", "values", "fallback", "types"))
        shape = (len(a["indptr"]) - 1, len(a["fallback"]))
        self.x_UV = sparse.csr_array((a["values"], a["indices"], a["indptr"]), shape=shape)
        self.rest_V, self.types = a["fallback"], a["types"].tolist()
