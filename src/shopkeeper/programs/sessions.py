"""Session-kNN: what was taken in the training sessions that are most like a history's last one.

Formula and sources stand with the model (`recommenders/knn/session_knn.py`), which answers with `reached`, too.

Shapes: B requests, S training sessions, V = n_items + 1 columns, P pairs of a request and a session.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.features.sessions import Sessions
from shopkeeper.programs.sums import Arrays, added, best_of_each, in_blocks


@dataclass(frozen=True)
class Near:
    """Pairs of a request and a session with an item in common, by request and then by session."""

    owner: np.ndarray  # int64 (P,) requests
    session: np.ndarray  # int (P,) rows; the higher, the more recent
    value: np.ndarray  # float (P,)

    def only(self, kept: np.ndarray) -> Near:
        """The pairs at these places."""
        return Near(self.owner[kept], self.session[kept], self.value[kept])


def session_knn(requests: Requests, a: Arrays) -> np.ndarray:
    """Summed similarities of the sessions that hold an item: float32 (B, V), the fallback where none does."""
    return in_blocks(requests, a, len(a["end"]), _session_knn)


def _session_knn(requests: Requests, a: Arrays) -> np.ndarray:
    B, S, V = len(requests), len(a["end"]), len(a["fallback"])
    asked = Sessions.of(requests, a["types"].tolist(), V, float(a["gap_hours"][0])).last(B)
    both_BS = added(asked.owner, asked.item, informed(asked, B, a), a, "of_item_", (B, S))
    owner, session = np.nonzero(both_BS)
    reached_BV = reached(asked, Near(owner, session, both_BS[owner, session]), B, a)
    return np.where(reached_BV > 0, reached_BV, a["fallback"])


def informed(asked: Sessions, n: int, a: Arrays) -> np.ndarray:
    """w_b(i) idf(i) of the rows of n sessions: float32, above 0."""
    weight = _weight(asked.place, asked.lengths(n)[asked.owner], a) * a["idf"][asked.item]
    return weight.astype(np.float32)


def reached(asked: Sessions, near: Near, n: int, a: Arrays) -> np.ndarray:
    """Similarities of the nearest sessions added up over the items that they hold: float64 (n, V).

    Args:
        asked: the last session of each of n requests.
        near: with the sums of `informed` over the items in common.
        a: the model's arrays.
    """
    sample, neighbours = a["most"].tolist()
    norm_B = np.sqrt(np.bincount(asked.owner, _weight(asked.place, asked.lengths(n)[asked.owner], a) ** 2, n))
    if sample:  # the most recent: the last of each request's pairs
        end_B = np.searchsorted(near.owner, np.arange(n), side="right")
        near = near.only(end_B[near.owner] - np.arange(len(near.owner)) <= sample)
    size_S = np.sqrt(np.maximum(np.diff(a["indptr"]), 1))
    value = near.value / (norm_B[near.owner] * size_S[near.session])
    if a["half_life_days"][0] > 0:
        age = np.maximum(asked.end[near.owner] - a["end"][near.session], 0)
        value = value * np.exp2(-age / a["half_life_days"][0])
    near = Near(near.owner, near.session, value)
    nearest = best_of_each(near.owner, near.session, near.value, neighbours)
    return _held_by(near.only(nearest), asked, n, a)


def _weight(place: np.ndarray, length: np.ndarray, a: Arrays) -> np.ndarray:
    """w of an item at its place in a session of this length: float64, above 0."""
    half_life = a["half_lives"][0]
    weight: np.ndarray = np.exp2(-place / half_life) if half_life > 0 else 1 - place / length
    return weight


def _held_by(near: Near, asked: Sessions, n: int, a: Arrays) -> np.ndarray:
    V = len(a["fallback"])
    size_P = np.diff(a["indptr"])[near.session]
    start_P = np.cumsum(size_P) - size_P
    pair = np.repeat(np.arange(len(size_P)), size_P)
    if not len(pair):
        return np.zeros((n, V))
    at = np.arange(len(pair)) - start_P[pair] + a["indptr"][near.session][pair]
    item, place = a["indices"][at], a["place"][at].astype(np.int64)
    place_BV = np.full((n, V), V + 1, np.int64)
    place_BV[asked.owner, asked.item] = asked.place
    # The newest common item: the lowest place in b, and with it its place in s.
    far = 1 + int(a["place"].max(initial=0))
    newest_P = np.minimum.reduceat(place_BV[near.owner[pair], item] * far + place, start_P)
    value = near.value[pair].astype(np.float64)
    if a["half_lives"][0] > 0:
        value *= np.exp2(-np.abs(place - (newest_P % far)[pair]) / a["half_lives"][1])
    else:
        value *= _weight(newest_P // far, asked.lengths(n)[near.owner], a)[pair]
    return np.bincount(near.owner[pair] * V + item, value, n * V).reshape(n, V)
