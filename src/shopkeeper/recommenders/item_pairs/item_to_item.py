r"""Item to item: what goes with the last order, and what was bought by those who had looked at the same.

    score(u, i) = \sum_{j in anchors(u)} w_j  n(j -> i) / (n(j) + shrinkage) / share(i)^{lift}

`relation` says which anchors there are and what n(j -> i) counts. It is not symmetric: a case goes with a camera more
often than a camera with a case.

    together      lines of the last order; orders that hold both
    after         lines of the last order; orders with j whose next one, within `days`, holds i
    complement    lines of the last order; either of the two
    alternative   what was seen since the last order (w = decay^place, newest first); orders of i that j was seen before

With `lift` 0 the score is a conditional probability, with 1 the lift of association rules (R. Agrawal, T. Imielinski
and A. Swami, SIGMOD 1993; S. Brin et al., SIGMOD 1997). Items that no anchor reaches stand below by popularity.

Shapes: B requests, S steps (orders of all customers), V = n_items + 1 columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, check, nearest, number, or_null, share, whole
from shopkeeper.features.steps import Steps
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import popularity_of_the_rest
from shopkeeper.recommenders.item_pairs.counted import strongest
from shopkeeper.recommenders.reached import reached_or_rest
from shopkeeper.schema import event_codes

RELATIONS = ("together", "after", "complement", "alternative")
RULES = {
    **dict.fromkeys(("anchors", "neighbours"), whole(1)),
    **dict.fromkeys(("decay", "lift"), share()),
    "shrinkage": number(),
    "days": or_null(number(above=True)),
}


class ItemToItem:
    """Directed item-to-item rules from the last order, or from what was seen since.

    Args:
        relation: `together`, `after`, `complement` or `alternative`.
        days: the next order counts within these; null: whenever it came.
        anchors: newest items seen that are looked at (`alternative`).
        decay: weight of each further one of them.
        shrinkage: of rare anchors, in orders.
        lift: 0 conditional probability, 1 lift.
        neighbours: rules kept per item.
    """

    about = About(reads=("event_type", "timestamp", "order"), reaches=True)

    def __init__(
        self,
        relation: str = "complement",
        days: float | None = 30.0,
        anchors: int = 10,
        decay: float = 0.8,
        shrinkage: float = 5.0,
        lift: float = 0.0,
        neighbours: int = 200,
    ) -> None:
        if relation not in RELATIONS:
            raise UserError(f"item_to_item: there is no relation '{relation}'.{nearest(relation, RELATIONS)}")
        told = {"days": days, "anchors": anchors, "decay": decay, "shrinkage": shrinkage, "lift": lift}
        check({**told, "neighbours": neighbours}, RULES, "item_to_item: model.")
        self.relation, self.days, self.anchors, self.decay = relation, days, anchors, decay
        self.shrinkage, self.lift, self.neighbours = shrinkage, lift, neighbours
        self.types: list[int] = []
        self.rules_VV = sparse.csr_array((1, 1), dtype=np.float32)
        self.rest_V = np.zeros(1, np.float32)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Count the rules in the training rows."""
        self.types = event_codes(list(fit.target_events))
        self.rest_V = popularity_of_the_rest(split, fit.target_events)
        n = len(self.rest_V)
        steps = Steps.of(Requests(prepared.events, prepared.offsets[:-1], np.asarray(split.train_end)), self.types, n)
        bought_SV = steps.bought()
        parts = []
        if self.relation in ("together", "complement"):
            parts.append((bought_SV, bought_SV))
        if self.relation in ("after", "complement"):
            parts.append((steps.before(bought_SV, self.days), bought_SV))
        if self.relation == "alternative":
            parts.append((steps.seen(self.anchors, 1.0), bought_SV))
        count_V = (parts[0][0] if self.relation == "alternative" else bought_SV).sum(axis=0)
        anchor_SV = sparse.vstack([a for a, _ in parts]).tocsr()
        then_SV = sparse.vstack([b for _, b in parts]).tocsr()
        orders_V = bought_SV.sum(axis=0)
        share_V = orders_V / max(orders_V.sum(), 1)
        self.rules_VV = strongest(
            anchor_SV,
            then_SV,
            self.neighbours,
            lambda j, i, both: both / (count_V[j] + self.shrinkage) / share_V[i] ** self.lift,
        )

    def score(self, requests: Requests) -> np.ndarray:
        """Summed rules of the anchors: float32 (B, V), positive where a rule reaches, else below 0 by popularity."""
        return reached_or_rest(self, requests)

    def reached(self, requests: Requests) -> sparse.csr_array:
        """Summed rules of the items that a rule reaches: float32 sparse (B, V)."""
        return (self._anchors(requests) @ self.rules_VV).tocsr()

    def _anchors(self, requests: Requests) -> sparse.csr_array:
        """Weight of each anchor of each request: float32 sparse (B, V)."""
        steps = Steps.of(requests, self.types, len(self.rest_V))
        if self.relation == "alternative":
            return steps.seen(self.anchors, self.decay)[steps.last + 1]
        return steps.bought()[np.maximum(steps.last, steps.first)]

    def program(self, timed: bool) -> Program:
        """The rules, the types of orders, how many seen items are looked at (0: the last order is) and the fallback."""
        r, seen = self.rules_VV, self.relation == "alternative"
        arrays = {"indptr": r.indptr, "indices": r.indices, "values": r.data, "fallback": self.rest_V}
        arrays |= {"types": np.array(self.types, np.int8), "anchors": np.array([self.anchors if seen else 0])}
        arrays["decay"] = np.array([self.decay])
        return Program("item_to_item", arrays, needs_time=timed, columns=("order",))

    def save(self, folder: Path) -> None:
        """Write the rules, the types that are read and the fallback as `weights.npz`."""
        r = self.rules_VV
        arrays = {"indptr": r.indptr, "indices": r.indices, "values": r.data, "fallback": self.rest_V}
        save_arrays(folder, "item_to_item", arrays | {"types": np.array(self.types, np.int8)})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "item_to_item", ("indptr", "indices", "values", "fallback", "types"))
        width = len(a["fallback"])
        self.rules_VV = sparse.csr_array((a["values"], a["indices"], a["indptr"]), shape=(width, width))
        self.rest_V, self.types = a["fallback"], a["types"].tolist()
