r"""EASE: a linear item-item model without self-similarity, in closed form.

With the 0/1 matrix X of users and items and the ridge weight \lambda,

    \hat P = (X^T X + \lambda I)^{-1}, \qquad
    B_{ij} = -\hat P_{ij} / \hat P_{jj} \ (i \ne j), \quad B_{jj} = s, \qquad
    score(b, j) = \sum_{i in history of b} 2^{-place(i) / h} B_{ij}

with place(i) the events since i was taken last; with `every_time` the sum is over the events of b, so that what was
taken five times counts five times. H. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, has
s = 0, each item once, and no half-life h. Where people buy again, s is most of the answer, where they have staples,
how often, and where histories are long, h; left open (`auto`), they and \lambda are what was right inside of the
training rows (`inside.py`), there for the items that most people took. The inverse is dense, over the items that have
training rows; all others score 0. It is found in 32 bits where the most taken item was taken by at most `NARROW`
\lambda users, else in 64: what rounding a count costs is its share of the smallest pivot, which is at least \lambda.
An empty history gets the popular items.

What it costs, for A items: 4 A^2 bytes in 32 bits and 12 A^2 in 64, said before they are asked for, and about A^3
operations. In 32 bits one thread of a cloud machine took 3 s and .2 GiB more at 6,000 items, 18 s and .7 GiB at 12,000,
59 s and 1.4 GiB at 18,000 (`benchmarks/ease_sizes.py`); by the same rule some 3 minutes and 2.6 GiB at `max_items` =
25,000. In 64 bits three times the memory. The wide products use all threads.

Shapes: B requests, V = n_items + 1 columns, U users, A items with training rows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import sparse

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import TooManyItemsError, UserError, check, number, or_null
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import counted_types, item_popularity, type_weights
from shopkeeper.recommenders.inside import ROOM, Fitted, Open, Settings, or_auto
from shopkeeper.recommenders.item_pairs.counted import CELLS, counts_together, each_once
from shopkeeper.schema import INTEREST_TYPES
from shopkeeper.shapes import SWITCH

log = logging.getLogger(__name__)
REQUESTS_AT_ONCE = 1024
BLOCK = 256  # rows that are inverted at once
NARROW = 32  # weights then differ from those of 64 bits by less than 1e-5: 4e-6 on ml_1m, where it is 14
BESIDE = 4  # blocks of BLOCK x A cells beside the inverse: two blocks and their product
TOLD_GIB = 0.5  # from which on it is said what the inverse takes
ENOUGH = 2000  # items, to choose a setting by
RULES = {
    "l2": number(above=True),
    "half_life_events": or_null(number(above=True)),
    "self_similarity": or_null(number()),
    "every_time": SWITCH,
}
OPTIONS = {
    "self_similarity": (None, 0.1, 0.3, 3.0),  # first: with 1 of one's own a half-life hides what it is worth
    "half_life_events": (None, 1.0, 2.0, 5.0, 10.0, 25.0, 100.0),
    "every_time": (False, True),  # after the half-life: where the last time matters, without it often looks like lately
    "l2": (250.0, 1000.0, 4000.0),  # last: it alone takes new inverses
}


class EASE:
    """A linear item-item model in closed form.

    Args:
        l2: \\lambda; may be `auto`.
        event_types: what counts as interest; null: all that show it.
        max_items: bounds the inverse.
        half_life_events: h; null: all events of a history count alike.
        self_similarity: s; null: 1 where seen items may be recommended, else 0.
        every_time: whether an item counts as often as it was taken; else once, as of the last time. This, s and h may
            be `auto`, too.
    """

    def __init__(
        self,
        l2: float | str = 250.0,
        event_types: list[str] | None = None,
        max_items: int = 25_000,
        half_life_events: float | str | None = None,
        self_similarity: float | str | None = 0.0,
        every_time: bool | str = False,
    ) -> None:
        told = {"l2": l2, "half_life_events": half_life_events, "self_similarity": self_similarity}
        told |= {"every_time": every_time}
        check(told, {name: or_auto(rule) for name, rule in RULES.items()}, "ease: model.")
        self.open = Open(told, OPTIONS, again=("half_life_events", "self_similarity"))
        self.settings: Settings = self.open.first
        self.max_items = max_items
        self.event_types = event_types
        weights: Mapping[str, float] = dict.fromkeys(event_types or INTEREST_TYPES, 1)
        self.counts_type = type_weights(weights, "event_types") > 0
        self.about = About(reads=("event_type",), types=counted_types(self.counts_type))
        self.weight_AA = np.zeros((0, 0), np.float32)
        self.items_A = np.zeros(0, np.int32)
        self.fallback_V = np.zeros(1, np.float32)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Invert the items' co-occurrence in the training rows."""
        nothing = {"self_similarity": fit.filter_seen}
        x_UA = self._counted(prepared, split, fit)  # first: what is too large is refused before anything is asked
        settings = self.open.chosen(self._tried(fit), split, fit, nothing)
        self.weight_AA = ease_weights(x_UA, settings["l2"])
        self._use(settings, fit)
        return self.open.learned(self.settings)

    def _tried(self, fit: Fit) -> Fitted:
        """Gives models with other settings, of which l2 alone moves the inverse."""
        kept: dict[int, tuple[EASE, sparse.csr_array]] = {}

        def fitted(some: Settings, split: Split) -> EASE:
            if id(split) not in kept:
                one = EASE(some["l2"], self.event_types, self.max_items)
                kept[id(split)] = one, one._counted(split.prepared, split, fit, ENOUGH)
            one, x_UA = kept[id(split)]
            if one.settings["l2"] != some["l2"] or not len(one.weight_AA):
                one.weight_AA = ease_weights(x_UA, some["l2"])
            one._use(some, fit)
            return one

        return fitted

    def _use(self, settings: Settings, fit: Fit) -> None:
        own = settings["self_similarity"]
        if own is None:
            own = 0.0 if fit.filter_seen else 1.0
        self.settings = settings
        np.fill_diagonal(self.weight_AA, own)

    def _counted(self, prepared: Prepared, split: Split, fit: Fit, most: int | None = None) -> sparse.csr_array:
        """Who took what, 0/1 (U, A), if there is room for the inverse; with `most`, the items that most people took."""
        import torch

        from shopkeeper.training.devices.memory import available

        offsets, rows = split.training_rows()
        user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        shown = self.counts_type[prepared.events.event_type[rows]]
        user, item = user[shown], prepared.events.item[rows][shown]
        if most is not None:
            often = np.argsort(-np.bincount(item, minlength=prepared.n_items + 1), kind="stable")[:most]
            some = np.isin(item, often)
            user, item = user[some], item[some]
        self.items_A = np.flatnonzero(np.bincount(item, minlength=1)).astype(item.dtype)
        place_V = np.zeros(prepared.n_items + 1, np.int32)
        place_V[self.items_A] = np.arange(len(self.items_A))
        A, U = len(self.items_A), len(offsets) - 1
        x_UA = each_once(np.searchsorted(user, np.arange(U + 1)), place_V[item], A)
        size = _cell(x_UA, self.settings["l2"]).itemsize  # of an open l2 the smallest stands first
        pair = size if size == 4 else size + 4  # weights of 32 bits take the place of an inverse of 32 bits
        needed = max(pair * A**2 + BESIDE * size * BLOCK * A, size * A**2 + 5 * min(U * A, CELLS))
        gib = needed / 2**30
        if len(self.items_A) > self.max_items:
            raise TooManyItemsError(
                f"ease: {len(self.items_A):,} items need a dense inverse, about {gib:.1f} GiB; filter rare items, "
                f"raise model.max_items, or take model=item_knn"
            )
        if needed > (free := available(torch.device("cpu"))):  # before the system ends the process without a word
            raise UserError(
                f"ease: {len(self.items_A):,} items need about {gib:.1f} GiB and {free / 2**30:.1f} GiB are free; "
                f"filter rare items, or take model=item_knn"
            )
        if gib >= TOLD_GIB:
            log.info("memory: ease inverts a matrix of %d items, about %.1f GiB", len(self.items_A), gib)
        self.fallback_V = item_popularity(prepared, split, dict.fromkeys(fit.target_events, 1.0))
        return x_UA

    def score(self, requests: Requests) -> np.ndarray:
        """Summed weights of the items of each history, decayed: float32 (B, V)."""
        scores_BV = np.zeros((len(requests), len(self.fallback_V)), np.float32)
        if len(self.items_A) == 0:
            scores_BV[:] = self.fallback_V
            return scores_BV
        for first in range(0, len(requests), REQUESTS_AT_ONCE):
            block = requests[first : first + REQUESTS_AT_ONCE]
            x_BA = self._history(block)
            scores = np.zeros((len(block), len(self.fallback_V)), np.float32)
            scores[:, self.items_A] = x_BA @ self.weight_AA
            scores[np.diff(x_BA.indptr) == 0] = self.fallback_V
            scores_BV[first : first + len(block)] = scores
        return scores_BV

    def _history(self, requests: Requests) -> sparse.csr_array:
        """Weight of each item with training rows in each history, by its newest event or all: float32 sparse (B, A)."""
        offsets, rows = requests.flat(np.flatnonzero(self.counts_type).tolist())
        request = np.repeat(np.arange(len(requests)), np.diff(offsets))
        item = requests.events.item[rows]
        column = np.minimum(np.searchsorted(self.items_A, item), len(self.items_A) - 1)
        known = np.flatnonzero(self.items_A[column] == item)[::-1]  # the newest first, which `unique` keeps
        row = known
        if not self.settings["every_time"]:
            row = known[np.unique(request[known] * len(self.items_A) + column[known], return_index=True)[1]]
        place, half_life = offsets[1:][request[row]] - 1 - row, self.settings["half_life_events"]
        weight = np.exp2(-place / half_life) if half_life else np.ones(len(row))
        shape = (len(requests), len(self.items_A))
        return sparse.coo_array((weight.astype(np.float32), (request[row], column[row])), shape=shape).tocsr()

    def program(self, timed: bool) -> Program:
        """The item weights and the fallback."""
        arrays: dict[str, np.ndarray] = {"weight": self.weight_AA, "items": self.items_A, "fallback": self.fallback_V}
        arrays |= {"counts_type": self.counts_type}
        arrays |= {"half_life_events": np.array([self.settings["half_life_events"] or 0.0])}
        return Program("ease", arrays | {"every_time": np.array([bool(self.settings["every_time"])])})

    def save(self, folder: Path) -> None:
        """Write the item weights and the fallback as `weights.npz`."""
        arrays = {"weight": self.weight_AA, "items": self.items_A, "fallback": self.fallback_V}
        save_arrays(folder, "ease", arrays | self.open.arrays(self.settings))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        arrays = load_arrays(folder, "ease", ("weight", "items", "fallback", ROOM))
        self.weight_AA, self.items_A, self.fallback_V = arrays["weight"], arrays["items"], arrays["fallback"]
        self.settings = self.open.opened(arrays)


def _cell(x_UA: sparse.csr_array, l2: float) -> np.dtype:
    """In how many bits the inverse is found: float32 where that is near enough, else float64."""
    most = np.bincount(x_UA.indices, minlength=1).max()
    return np.dtype(np.float32 if most <= NARROW * l2 else np.float64)


def ease_weights(x_UA: sparse.csr_array, l2: float, block: int = BLOCK) -> np.ndarray:
    """B of the closed form from who took what, 0/1; float32 (A, A)."""
    return weights_of_counts(counts_together(x_UA, _cell(x_UA, l2).type), l2, block)


def weights_of_counts(gram_AA: np.ndarray, l2: float, block: int = BLOCK) -> np.ndarray:
    r"""B of the closed form from X^T X, float32 or float64 (A, A), which is overwritten; float32 (A, A).

    The inverse is found in place by sweeping `block` rows after the other: with pivot rows P, D = A_PP^{-1} and
    W = A_{:P},

        A \leftarrow A - W D W^T, \qquad A_{:P} \leftarrow W D, \qquad A_{PP} \leftarrow -D,

    which ends in -A^{-1} (J. H. Goodnight, "A Tutorial on the SWEEP Operator", The American Statistician 1979; every
    pivot block is a Schur complement, so positive definite). A is symmetric, so blocks above the diagonal are left
    alone until the end. LAPACK sees `block` x `block` and BLAS `block` x A, so no library counts the cells of a large
    catalogue in 32 bits, and nothing of the matrix' size is held beside it.
    """
    import torch

    n = len(gram_AA)
    pieces = [slice(first, min(first + block, n)) for first in range(0, n, block)]
    gram_AA[np.diag_indices(n)] += l2
    swept_AA = torch.from_numpy(gram_AA)  # the same cells; its products add to a part of a matrix where that lies
    for p in pieces:
        inverse_PP = torch.cholesky_inverse(torch.linalg.cholesky(swept_AA[p, p]))
        w_AP = torch.cat([swept_AA[p, : p.start].T, swept_AA[p.start :, p]])
        d_PA = inverse_PP @ w_AP.T
        for rows in pieces:
            swept_AA[rows, : rows.stop].addmm_(w_AP[rows], d_PA[:, : rows.stop], alpha=-1)
        swept_AA[p, : p.start], swept_AA[p.stop :, p] = d_PA[:, : p.start], d_PA[:, p.stop :].T
        swept_AA[p, p] = -inverse_PP
    below_A = -np.diag(gram_AA)
    weight_AA = gram_AA if gram_AA.dtype == np.float32 else np.empty((n, n), np.float32)
    for at, rows in enumerate(pieces):
        for columns in pieces[: at + 1]:
            both = gram_AA[rows, columns].copy()  # of a block on the diagonal both halves are true
            np.divide(both.T, below_A[rows], out=weight_AA[columns, rows], casting="same_kind")
            np.divide(both, below_A[columns], out=weight_AA[rows, columns], casting="same_kind")
    np.fill_diagonal(weight_AA, 0.0)
    return weight_AA
