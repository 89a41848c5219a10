"""What RecBole's early stopping follows: the figures of a split's validation requests, as all models are measured.

Shapes: B requests, V = n_items + 1 columns, N targets in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.metrics.plain_ranker import PlainRanker
from shopkeeper.metrics.ranks import Flat, positions
from shopkeeper.models.fit import Fit
from shopkeeper.training.validation import means, per_request

CELLS_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class Validation:
    """Some validation requests, always the same ones."""

    requests: Requests
    offsets: np.ndarray  # int64 (B+1,)
    item: np.ndarray  # int32 (N,)
    ranker: PlainRanker
    filter_seen: bool
    k: int

    @classmethod
    def of(cls, split: Split, fit: Fit, limit: int) -> Validation | None:
        """None where there are none, or `limit` is 0."""
        requests, targets = split.part("validation")
        if len(requests) == 0 or limit == 0:
            return None
        chosen = np.arange(len(requests))
        if len(requests) > limit:
            chosen = np.sort(np.random.default_rng(0).permutation(len(requests))[:limit])
        offsets, item = _targets_of(targets, chosen)
        ranker = PlainRanker(split.prepared.n_items + 1, split.catalogue)
        return cls(requests.take(chosen), offsets, item, ranker, fit.filter_seen, fit.k)

    @property
    def headline(self) -> str:
        """The figure that chooses the epoch."""
        return f"ndcg@{self.k}"

    def __call__(self, score: Callable[[Requests], np.ndarray]) -> dict[str, float]:
        """Means over all requests of `score`'s answers."""
        step, rows = max(1, CELLS_AT_ONCE // self.ranker.n_columns), []
        for first in range(0, len(self.requests), step):
            asked = self.requests[first : first + step]
            wanted = Flat(self.offsets, self.item).rows(first, first + len(asked))
            hidden = asked.hidden(self.filter_seen)
            seen = None if hidden is None else Flat(*hidden)
            candidates = None if asked.candidates is None else Flat(*asked.candidates)
            ranked = self.ranker.rank_scores(score(asked), wanted, seen, candidates)
            rank = positions(ranked.better, ranked.tied, wanted.offsets)
            rows.append(per_request(np.where(np.isnan(rank), math.inf, rank), wanted.offsets, self.k))
        return means(np.concatenate(rows), self.k)


def _targets_of(targets: Targets, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counts = np.diff(targets.offsets)[chosen]
    offsets = np.append(0, np.cumsum(counts))
    at = np.arange(offsets[-1]) + np.repeat(targets.offsets[chosen] - offsets[:-1], counts)
    return offsets, targets.item[at]
