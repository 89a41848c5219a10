r"""Recency-weighted popularity: the same list for everyone, and the fallback of every other model.

    score(i) = \sum_{events e on i} w(type(e)) 2^{-(T - t_e) / h}

with half-life h in days and T the time of the last training row of the log (`relative_to: cutoff`; any common T gives
the same order) or of the event's own user (`relative_to: user`, which weighs how recent an event is in its customer's
life). Without a half-life every event counts as much as any other; with `window_days` those do that are at most so old,
and older ones only tell apart what they leave alike, as few days of few orders do with most items; `auto` asks earlier
windows of the training rows (`inside.py`). On data that has only an order all count alike.
Source of the baseline with time: Ji, Sun, Zhang & Li, "A Re-visit of the Popularity Baseline in Recommender
Systems", SIGIR 2020.

Shapes: B requests, V = n_items + 1 columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, check, nearest, number, or_null
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.inside import ROOM, Open, fitted_as, or_auto
from shopkeeper.schema import EVENT_TYPES, MICROSECONDS_PER_DAY, event_codes

if TYPE_CHECKING:
    from scipy import sparse

REFERENCES = ("cutoff", "user")
TIES = 0.01  # what the count of all time adds at most, in least weights of a window
OPTIONS = {
    "window_days": (30.0, 3.0, 7.0, 14.0, 60.0, 120.0, None),
    "half_life_days": (30.0, 3.0, 7.0, 14.0, 60.0, 120.0, None),
}


class Popularity:
    """Recommends what sold best of late. `event_weights` (type: weight) defaults to 1 for each target event.

    `half_life_days` and `window_days` are days, null for all time, or `auto`: what was right inside of the training
    rows.
    """

    about = About(reaches=True)

    def __init__(
        self,
        half_life_days: float | str | None = None,
        relative_to: str = "cutoff",
        event_weights: Mapping[str, float] | None = None,
        window_days: float | str | None = None,
    ) -> None:
        ages = {"half_life_days": half_life_days, "window_days": window_days}
        check(ages, dict.fromkeys(ages, or_auto(or_null(number(above=True)))), "popularity: model.")
        if relative_to not in REFERENCES:
            raise UserError(f"popularity: unknown relative_to '{relative_to}'.{nearest(relative_to, REFERENCES)}")
        self.relative_to = relative_to
        self.event_weights = event_weights
        self.open = Open({**ages, "relative_to": relative_to, "event_weights": event_weights}, OPTIONS)
        self.settings = self.open.first
        self.scores_V = np.zeros(1, np.float32)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Count the training rows."""
        nothing = dict.fromkeys(OPTIONS, prepared.events.timestamp is None)
        self.settings = self.open.chosen(fitted_as(Popularity, fit), split, fit, nothing)
        weights = self.event_weights or dict.fromkeys(fit.target_events, 1.0)
        how = (self.settings["half_life_days"], self.relative_to, self.settings["window_days"])
        self.scores_V = item_popularity(prepared, split, weights, *how)
        return self.open.learned(self.settings)

    def score(self, requests: Requests) -> np.ndarray:
        """The same scores for each request: float32 (B, V)."""
        return np.repeat(self.scores_V[None, :], len(requests), axis=0)

    @property
    def rest_V(self) -> np.ndarray:
        """The scores: no item is reached for one request and not for another."""
        return self.scores_V

    def reached(self, requests: Requests) -> sparse.csr_array:
        """Nothing: sparse (B, V)."""
        from scipy import sparse

        return sparse.csr_array((len(requests), len(self.scores_V)), dtype=np.float32)

    def program(self, timed: bool) -> Program:
        """The scores."""
        return Program("popularity", {"scores": self.scores_V})

    def save(self, folder: Path) -> None:
        """Write the scores as `weights.npz`."""
        save_arrays(folder, "popularity", {"scores": self.scores_V} | self.open.arrays(self.settings))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "popularity", ("scores", ROOM))
        self.scores_V, self.settings = a["scores"], self.open.opened(a)


def item_popularity(
    prepared: Prepared,
    split: Split,
    event_weights: Mapping[str, float],
    half_life_days: float | None = None,
    relative_to: str = "cutoff",
    window_days: float | None = None,
) -> np.ndarray:
    """Weighted count of each item's training rows: float32 (V,), 0 for padding and for what nobody took.

    With `window_days` at most a hundredth of the least weight inside of it is added, by the count of all time.
    `event_weights` maps names of event types to weights; types that are not named count nothing.
    """
    offsets, rows = split.training_rows()
    events = prepared.events
    weight = all_time = type_weights(event_weights)[events.event_type[rows]]
    if (half_life_days or window_days) and events.timestamp is not None and len(rows):
        at = events.timestamp[rows]
        if relative_to == "user":
            lengths = np.diff(offsets)
            last = np.repeat(at[offsets[1:][lengths > 0] - 1], lengths[lengths > 0])
        else:
            last = at.max()
        if window_days:
            weight = weight * (last - at <= window_days * MICROSECONDS_PER_DAY)
        if half_life_days:
            weight = weight * np.exp2((at - last) / (half_life_days * MICROSECONDS_PER_DAY))
    count_V = np.bincount(events.item[rows], weight, prepared.n_items + 1)
    if window_days and weight.any():
        all_V = np.bincount(events.item[rows], all_time, prepared.n_items + 1)
        count_V += all_V * (TIES * weight[weight > 0].min() / all_V.max())
    return count_V.astype(np.float32)


def popularity_of_the_rest(split: Split, target_events: Iterable[str]) -> np.ndarray:
    """An order of the items that a model does not reach, below all that it does: float32 (V,) in [-1, 0)."""
    popularity_V = item_popularity(split.prepared, split, dict.fromkeys(target_events, 1.0))
    return popularity_V / (popularity_V.max() + 1) - 1


def counted_types(weights: np.ndarray) -> tuple[str, ...] | None:
    """Names of the event types that have a weight (by code); None where weights are not known yet."""
    return None if len(weights) < 2 else tuple(EVENT_TYPES[code - 1] for code in np.flatnonzero(weights).tolist())


def type_weights(event_weights: Mapping[str, float], setting: str = "event_weights") -> np.ndarray:
    """Weight of each event type by code, float64; a `UserError` names an unknown type or a negative weight."""
    weights = np.zeros(len(EVENT_TYPES) + 1)
    for (name, value), code in zip(event_weights.items(), event_codes(event_weights, setting), strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
            raise UserError(f"event_weights.{name} is {value}; give a finite number of 0 or more")
        weights[code] = value
    return weights
