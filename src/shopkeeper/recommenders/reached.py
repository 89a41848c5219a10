"""Models that reach some items of each request and have one order for all the rest: scores as sparse tables.

Such a model says `About(reaches=True)` and has

    reached(requests)   scores of the items that it reaches: sparse (B, V), each above every score of the rest
    rest_V              scores float32 (V,) of the rest, the same for all requests

so that where a catalogue is wide, its best items are found without a cell for every item (`features.candidates`).
Scores that are not above 0 count as not reached.

Shapes: B requests, V = n_items + 1 columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from shopkeeper.data.requests import Requests

if TYPE_CHECKING:
    from scipy import sparse

REQUESTS_AT_ONCE, CELLS_AT_ONCE = 1024, 20_000_000  # of a block: bounds the memory


class Reaching(Protocol):
    """What a model that says `About(reaches=True)` has beside `score`."""

    @property
    def rest_V(self) -> np.ndarray:
        """Scores of all items that are not reached: float32 (V,)."""

    def reached(self, requests: Requests) -> sparse.csr_array:
        """Scores of the items that are reached: float32 sparse (B, V)."""


def reached_or_rest(model: Reaching, requests: Requests, beside: int = 0) -> np.ndarray:
    """Scores of all items: float32 (B, V); `beside`: rows of training that each request is compared with."""
    scores_BV = np.repeat(model.rest_V.astype(np.float32)[None, :], len(requests), axis=0)
    block = max(1, min(REQUESTS_AT_ONCE, CELLS_AT_ONCE // max(len(model.rest_V), beside)))
    for first in range(0, len(requests), block):
        found = model.reached(requests[first : first + block]).tocoo()
        above = found.data > 0
        scores_BV[first + found.row[above], found.col[above]] = found.data[above]
    return scores_BV
