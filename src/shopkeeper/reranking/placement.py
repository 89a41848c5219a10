"""A place in a shop as one recommender: a model's best, filtered and put in order, and who answers where it cannot.

Shapes: B requests, K list length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.models.about import LISTS, About
from shopkeeper.reranking.lists import filled
from shopkeeper.reranking.model import Reranked


class Placed:
    """The first recommender's lists; who has no history gets the next one's, which also fill places that are left.

    Args:
        first: the model with the place's filter and order.
        fallback: others with its filter, in this order.
    """

    def __init__(self, first: Reranked, fallback: Sequence[Reranked] = ()) -> None:
        self.first, self.fallback = first, list(fallback)

    @property
    def about(self) -> About:
        """The first one's; the instant, and what else one of them needs, is read where one of them reads it."""
        about = self.first.about
        return replace(
            about,
            answers=LISTS,
            needs=tuple(dict.fromkeys(need for one in (self.first, *self.fallback) for need in one.about.needs)),
            reads_instant=about.reads_instant or any(one.about.reads_instant for one in self.fallback),
            not_exported="a bundle answers with the model's own lists; a placement is not in it",
        )

    def recommend(self, requests: Requests, k: int) -> np.ndarray:
        """Internal ids int32 (B, K), best first, each once; 0 where there are no more."""
        return self.filled(requests, k)[0]

    def filled(self, requests: Requests, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The same, and how many of each list every fallback gave, int64 (B, fallbacks)."""
        given_BF = np.zeros((len(requests), len(self.fallback)), np.int64)
        item_BK = self.first.recommend(requests, k)
        if self.fallback:
            item_BK[requests.lengths == 0] = 0  # what a model says of nobody is a fallback of its own
        for number, other in enumerate(self.fallback):
            there = np.count_nonzero(item_BK, axis=1)
            if (short := np.flatnonzero(there < item_BK.shape[1])).size:
                item_BK[short] = filled(item_BK[short], other.recommend(requests.take(short), k))
                given_BF[:, number] = np.count_nonzero(item_BK, axis=1) - there
        return item_BK, given_BF

    def save(self, folder: Path) -> None:
        """Write the first model; the rest stands in the run's settings."""
        self.first.save(folder)
