r"""Recency: what the customer looked at or bought last, newest first, then what sold best in the last days.

    score(b, i) = 1 + position of the newest event on i in the history      for items of the history
                = popularity(i) / (2 max_j popularity(j))                   for all others

The baseline that repeat customers set ("the same again"); where items seen before are left out it is what is selling
right now. After an empty history it is that, too. Source of the baseline: M. Li, S. Jullien, M. Ariannezhad and
M. de Rijke, "A next basket recommendation reality check", TOIS 41(4), 2023.

Shapes: B requests, V = n_items + 1 columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.reached import reached_or_rest
from shopkeeper.schema import INTEREST, INTEREST_TYPES

if TYPE_CHECKING:
    from scipy import sparse


class Recency:
    """Recommends the customer's own newest items, then what sold best of late (`half_life_days`; null: all time)."""

    about = About(reads=("event_type",), types=INTEREST_TYPES, reaches=True)

    def __init__(self, half_life_days: float | None = 7.0) -> None:
        self.popularity = Popularity(half_life_days)
        self.rest_V = np.zeros(1, np.float32)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Count what sold of late; the customers' own items come with each request."""
        self.popularity.fit(prepared, split, fit)
        scores_V = self.popularity.scores_V
        self.rest_V = scores_V / np.float32(2 * max(float(scores_V.max()), 1e-30))

    def score(self, requests: Requests) -> np.ndarray:
        """Above 1 for items of the history, below for all others: float32 (B, V)."""
        return reached_or_rest(self, requests)

    def reached(self, requests: Requests) -> sparse.csr_array:
        """Place in the history of the newest event on each of its items: float32 sparse (B, V), 1 and more."""
        from scipy import sparse

        offsets, rows = requests.flat(list(INTEREST))
        width = len(self.rest_V)
        owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
        place = (np.arange(len(rows)) - offsets[owner] + 1).astype(np.float32)
        item = requests.events.item[rows]
        known = np.flatnonzero(item < width)[::-1]  # the newest first, which `unique` keeps
        cell, newest = np.unique(owner[known] * width + item[known], return_index=True)
        values = (place[known][newest], (cell // width, cell % width))
        return sparse.csr_array(values, shape=(len(requests), width))

    def program(self, timed: bool) -> Program:
        """The scores of the rest, and what shows interest."""
        return Program("recency", {"rest": self.rest_V, "types": np.array(list(INTEREST), np.int8)})

    def save(self, folder: Path) -> None:
        """Write the scores of the rest as `weights.npz`."""
        save_arrays(folder, "recency", {"rest": self.rest_V})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.rest_V = load_arrays(folder, "recency", ("rest",))["rest"]
