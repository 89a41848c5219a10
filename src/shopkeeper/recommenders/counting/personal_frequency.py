r"""Personal frequency: what the customer took most often, then what sold best of late (GP-TopFreq).

    score(b, i) = 1 + \sum_{events e on i in history of b} w(type(e)) 2^{-(T_b - t_e) / h} + p(i)    for own items
                = p(i)                                                                             for all others

with T_b the time of the history's last event (so the request's instant is not read), h a half-life in days (none:
every event counts as much as any other) and p(i) in [0, 1/2] the recent popularity, which tells equal counts apart.
Half-lives that say `auto` are those that were right inside of the training rows (`inside.py`).
The baseline that repeat customers set at wholesalers and grocers. Source: M. Li, S. Jullien, M. Ariannezhad and
M. de Rijke, "A next basket recommendation reality check", TOIS 41(4), 2023.

Shapes: B requests, V = n_items + 1 columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import sparse

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import check, number, or_null
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import Popularity, counted_types, type_weights
from shopkeeper.recommenders.inside import ROOM, Open, Settings, fitted_as, or_auto
from shopkeeper.recommenders.reached import reached_or_rest
from shopkeeper.schema import MICROSECONDS_PER_DAY

OPTIONS = {
    "half_life_days": (None, 14.0, 30.0, 60.0, 120.0, 240.0),
    "popularity_half_life_days": (30.0, 3.0, 7.0, 14.0, 60.0, 120.0, None),
}


class PersonalFrequency:
    """The customer's own items by decayed count. `event_weights` (type: weight) defaults to 1 for each target event."""

    def __init__(
        self,
        half_life_days: float | str | None = None,
        popularity_half_life_days: float | str | None = 30.0,
        event_weights: Mapping[str, float] | None = None,
    ) -> None:
        lives = {"half_life_days": half_life_days, "popularity_half_life_days": popularity_half_life_days}
        check(lives, dict.fromkeys(lives, or_auto(or_null(number(above=True)))), "model.")
        self.event_weights = event_weights
        self.open = Open({**lives, "event_weights": event_weights}, OPTIONS)
        self.settings: Settings = self.open.first
        self.weight_of_type = np.zeros(1)
        self.rest_V = np.zeros(1, np.float32)

    @property
    def about(self) -> About:
        """Counts the event types that have a weight, which target events have where none is set."""
        reads = ("event_type",) if self.settings["half_life_days"] is None else ("event_type", "timestamp")
        return About(reads=reads, types=counted_types(self.weight_of_type), reaches=True)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Count what sold of late; the customers' own counts come with each request."""
        untimed = prepared.events.timestamp is None
        nothing = {"half_life_days": untimed or fit.filter_seen, "popularity_half_life_days": untimed}
        self.settings = self.open.chosen(fitted_as(PersonalFrequency, fit), split, fit, nothing)
        self.weight_of_type = type_weights(self.event_weights or dict.fromkeys(fit.target_events, 1.0))
        popularity = Popularity(self.settings["popularity_half_life_days"], event_weights=self.event_weights)
        popularity.fit(prepared, split, fit)
        scores_V = popularity.scores_V
        self.rest_V = scores_V / np.float32(2 * max(float(scores_V.max()), 1e-30))
        return self.open.learned(self.settings)

    def score(self, requests: Requests) -> np.ndarray:
        """Above 1 for items of the history, at most 1/2 for all others: float32 (B, V)."""
        return reached_or_rest(self, requests)

    def reached(self, requests: Requests) -> sparse.csr_array:
        """The items of the history: float32 sparse (B, V), above 1."""
        own_BV = own_counts(requests, len(self.rest_V), self.weight_of_type, self.settings["half_life_days"])
        own_BV.data = self.rest_V[own_BV.indices] + (1 + own_BV.data)
        return own_BV

    def program(self, timed: bool) -> Program:
        """The weights of event types, the half-life (0: none) and the scores of the rest."""
        half_life = self.settings["half_life_days"] if timed else None
        arrays: dict[str, np.ndarray] = {"rest": self.rest_V, "weight_of_type": self.weight_of_type}
        arrays["half_life_days"] = np.array([half_life or 0.0])
        return Program("personal_frequency", arrays, needs_time=half_life is not None)

    def save(self, folder: Path) -> None:
        """Write the weights of event types and the scores of the rest as `weights.npz`."""
        arrays: dict[str, np.ndarray] = {"rest": self.rest_V, "weight_of_type": self.weight_of_type}
        save_arrays(folder, "personal_frequency", arrays | self.open.arrays(self.settings))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "personal_frequency", ("rest", "weight_of_type", ROOM))
        self.rest_V, self.weight_of_type, self.settings = a["rest"], a["weight_of_type"], self.open.opened(a)


def own_counts(
    requests: Requests, n_columns: int, weight_of_type: np.ndarray, half_life_days: float | None = None
) -> sparse.csr_array:
    """Decayed count of each item in each history: float32 sparse (B, n_columns), without explicit zeros.

    Ages are measured from the history's last event; on data that has only an order nothing decays. Items that are
    newer than `n_columns` are left out.
    """
    offsets, rows = requests.flat()
    events = requests.events
    lengths = np.diff(offsets)
    item = events.item[rows]
    weight = np.where(item < n_columns, weight_of_type[events.event_type[rows]], 0.0)
    if half_life_days is not None and events.timestamp is not None and len(rows):
        at = events.timestamp[rows]
        last = at[np.repeat(offsets[1:], lengths) - 1]
        weight = weight * np.exp2((at - last) / (half_life_days * MICROSECONDS_PER_DAY))
    kept = weight > 0
    owner = np.repeat(np.arange(len(requests)), lengths)[kept]
    counts = sparse.coo_array((weight[kept], (owner, item[kept])), shape=(len(requests), n_columns))
    return counts.tocsr().astype(np.float32)
