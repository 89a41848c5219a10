r"""Session-kNN: what was taken in the sessions that are most like this one (V-SKNN, VSTAN).

The last session of a request's history is compared with training sessions s. With place 0 for its newest item,

    sim(b, s) = \frac{\sum_{i \in b \cap s} w_b(i) idf(i)}{\|w_b\| \sqrt{|s|}} 2^{-age(s) / h_{days}}, \qquad
    score(b, i) = \sum_{s \in N_k(b), i \in s} sim(b, s) g(b, s, i)

    vsknn   w_b(i) = 1 - place(i) / |b|          g = w_b(i^*)
    vstan   w_b(i) = 2^{-place(i) / h_{places}}   g = 2^{-|pos_s(i) - pos_s(i^*)| / h_{distance}}

with i^* the newest item of b that s holds, and N_k(b) the k highest of the `sample` most recent sessions that share an
item. Unlike the publications all similarities are cosines, and ages are in days and halve. Items without a score stand
below in order of popularity; so does all after an empty history.
A session is what the log calls one; where it has none, events less than `gap_hours` apart; without times the whole
history. M. Ludewig and D. Jannach, "Evaluation of session-based recommendation algorithms", UMUAI 28, 2018 (V-SKNN);
M. Ludewig, N. Mauro, S. Latifi and D. Jannach, "Empirical analysis of session-based recommendation algorithms", UMUAI
31, 2021 (VSTAN), after D. Garg et al., "Sequence and time aware neighborhood for session-based recommendations", SIGIR
2019.

Shapes: B requests, S training sessions, V = n_items + 1 columns, P pairs of a request and a neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError, nearest
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.knn.similar import best_of_each_row
from shopkeeper.recommenders.popularity import item_popularity
from shopkeeper.schema import INTEREST_TYPES, MICROSECONDS_PER_DAY, event_codes

METHODS = ("vsknn", "vstan")
CELLS_AT_ONCE = 5_000_000  # requests x sessions, or x items, in one block


class SessionKNN:
    """Sessions like the last one.

    Args:
        method: `vsknn` or `vstan`.
        neighbours: k.
        sample: most recent sessions with a common item that are looked at; null: all.
        half_life_days: of a session; null: all alike.
        half_life_places: h of `vstan`, items back in the session that asks.
        half_life_distance: h of `vstan`, items apart in the neighbour.
        idf: whether rare items say more.
        gap_hours: without session ids, a longer pause begins a session.
        event_types: what counts; null: each that shows interest.
    """

    def __init__(
        self,
        method: str = "vstan",
        neighbours: int = 200,
        sample: int | None = 2000,
        half_life_days: float | None = 30.0,
        half_life_places: float = 10.0,
        half_life_distance: float = 10.0,
        idf: bool = True,
        gap_hours: float = 0.5,
        event_types: list[str] | None = None,
    ) -> None:
        if method not in METHODS:
            raise UserError(f"session_knn: there is no method '{method}'.{nearest(method, METHODS)}")
        for name, count in (("neighbours", neighbours), ("sample", sample)):
            if count is not None and count < 1:
                raise UserError(f"session_knn: {name} is {count}; give at least 1")
        for name, value in (
            ("half_life_days", half_life_days), ("half_life_places", half_life_places),
            ("half_life_distance", half_life_distance), ("gap_hours", gap_hours),
        ):  # fmt: skip
            if value is not None and not value > 0:
                raise UserError(f"session_knn: {name} is {value}; give a number above 0")
        self.method, self.neighbours, self.sample = method, neighbours, sample
        self.half_life_days, self.half_life_places = half_life_days, half_life_places
        self.half_life_distance, self.idf, self.gap_hours = half_life_distance, idf, gap_hours
        self.types = event_codes(event_types or INTEREST_TYPES, "event_types")
        self.about = About(
            reads=("event_type", "timestamp", "session"),
            types=tuple(event_types or INTEREST_TYPES),
            not_exported="no program answers for it yet",
        )
        self.place_SV = sparse.csr_array((0, 1), dtype=np.int32)  # 1 for a session's newest item, the oldest last
        self.end_S = np.zeros(0)  # day of its newest event; sessions stand in this order
        self.idf_V = np.ones(1, np.float32)
        self.fallback_V = np.zeros(1, np.float32)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Keep the sessions of the training rows, the most recent last."""
        popularity_V = item_popularity(prepared, split, dict.fromkeys(fit.target_events, 1.0))
        self.fallback_V = popularity_V / (popularity_V.max() + 1) - 1  # in [-1, 0): below every reached item
        known_V = np.zeros(len(self.fallback_V), bool)
        known_V[split.catalogue] = True
        trained = Requests(prepared.events, prepared.offsets[:-1], np.asarray(split.train_end))
        found = Sessions.of(trained, self.types, len(self.fallback_V), self.gap_hours)
        kept = known_V[found.item]
        order = np.argsort(found.end, kind="stable")
        row_of = np.empty(len(order), np.int64)
        row_of[order] = np.arange(len(order))
        cells = (row_of[found.session[kept]], found.item[kept])
        shape = (len(order), len(self.fallback_V))
        self.place_SV = sparse.coo_array((found.place[kept].astype(np.int32) + 1, cells), shape=shape).tocsr()
        self.end_S = found.end[order]
        held_V = np.bincount(found.item[kept], minlength=len(self.fallback_V))
        self.idf_V = np.log1p(len(order) / np.maximum(held_V, 1)).astype(np.float32)

    def score(self, requests: Requests) -> np.ndarray:
        """Summed similarities of the sessions that hold an item: float32 (B, V), below 0 where none does."""
        scores_BV = np.empty((len(requests), len(self.fallback_V)), np.float32)
        block = max(1, CELLS_AT_ONCE // max(len(self.end_S), len(self.fallback_V), 1))
        for first in range(0, len(requests), block):
            reached_BV = self._reached(requests[first : first + block])
            scores_BV[first : first + len(reached_BV)] = np.where(reached_BV > 0, reached_BV, self.fallback_V)
        return scores_BV

    def _reached(self, requests: Requests) -> np.ndarray:
        B, V = len(requests), len(self.fallback_V)
        asked = Sessions.of(requests, self.types, V, self.gap_hours).last(B)
        place_BV = np.full((B, V), V + 1, np.int64)
        place_BV[asked.owner, asked.item] = asked.place
        weight = self._weight(asked.place, asked.lengths(B)[asked.owner])
        norm_B = np.sqrt(np.bincount(asked.owner, weight**2, B))
        informed = weight * self.idf_V[asked.item] if self.idf else weight
        x_BV = sparse.coo_array((informed.astype(np.float32), (asked.owner, asked.item)), shape=(B, V)).tocsr()
        holds_SV = sparse.csr_array(
            (np.ones(self.place_SV.nnz, np.float32), self.place_SV.indices, self.place_SV.indptr), self.place_SV.shape
        )
        near_BS = (x_BV @ holds_SV.T).tocsr()
        if self.sample is not None:  # the most recent: those with the highest row
            recent_BS = best_of_each_row(
                sparse.csr_array((near_BS.indices + 1.0, near_BS.indices, near_BS.indptr), near_BS.shape), self.sample
            )
            recent_BS.data[:] = 1
            near_BS = near_BS.multiply(recent_BS).tocsr()
        owner = np.repeat(np.arange(B), np.diff(near_BS.indptr))
        size_S = np.sqrt(np.maximum(np.diff(self.place_SV.indptr), 1))
        near_BS.data = near_BS.data / (norm_B[owner] * size_S[near_BS.indices])
        if self.half_life_days is not None:
            age = np.maximum(asked.end[owner] - self.end_S[near_BS.indices], 0)
            near_BS.data = near_BS.data * np.exp2(-age / self.half_life_days)
        near_BS = best_of_each_row(near_BS, self.neighbours)
        return self._held_by(near_BS, place_BV, asked)

    def _weight(self, place: np.ndarray, length: np.ndarray) -> np.ndarray:
        """w of an item at its place in a session of this length: float64, above 0."""
        weight: np.ndarray = 1 - place / length if self.method == "vsknn" else np.exp2(-place / self.half_life_places)
        return weight

    def _held_by(self, near_BS: sparse.csr_array, place_BV: np.ndarray, asked: Sessions) -> np.ndarray:
        """Similarities of the neighbours added up over the items that they hold: float64 (B, V)."""
        B, V = place_BV.shape
        size_P = np.diff(self.place_SV.indptr)[near_BS.indices]
        owner_P = np.repeat(np.arange(B), np.diff(near_BS.indptr))
        start_P = np.cumsum(size_P) - size_P
        pair = np.repeat(np.arange(len(size_P)), size_P)
        at = np.arange(len(pair)) - start_P[pair] + self.place_SV.indptr[near_BS.indices][pair]
        item, place = self.place_SV.indices[at], self.place_SV.data[at].astype(np.int64)
        if not len(pair):
            return np.zeros((B, V))
        # The newest common item: the lowest place in b, and with it its place in s.
        far = 1 + int(self.place_SV.data.max(initial=0))
        newest_P = np.minimum.reduceat(place_BV[owner_P[pair], item] * far + place, start_P)
        value = near_BS.data[pair].astype(np.float64)
        if self.method == "vstan":
            value *= np.exp2(-np.abs(place - (newest_P % far)[pair]) / self.half_life_distance)
        else:
            value *= self._weight(newest_P // far, asked.lengths(B)[owner_P])[pair]
        return np.bincount(owner_P[pair] * V + item, value, B * V).reshape(B, V)

    def save(self, folder: Path) -> None:
        """Write the sessions, what items say, and the fallback as `weights.npz`."""
        s = self.place_SV
        arrays = {"indptr": s.indptr, "indices": s.indices, "place": s.data, "end": self.end_S, "idf": self.idf_V}
        save_arrays(folder, "session_knn", arrays | {"fallback": self.fallback_V})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "session_knn", ("indptr", "indices", "place", "end", "idf", "fallback"))
        shape = (len(a["end"]), len(a["fallback"]))
        self.place_SV = sparse.csr_array((a["place"], a["indices"], a["indptr"]), shape=shape)
        self.end_S, self.idf_V, self.fallback_V = a["end"], a["idf"], a["fallback"]


@dataclass(frozen=True)
class Sessions:
    """Histories cut into sessions: one row per session and item, at the item's newest event."""

    session: np.ndarray  # int64 (R,), by history, the oldest first
    item: np.ndarray  # int32 (R,)
    place: np.ndarray  # int64 (R,) events before the session's end; 0 = the newest
    owner: np.ndarray  # int64 (R,): which history
    end: np.ndarray  # float64, per session: day of its newest event; 0 without time

    @classmethod
    def of(cls, requests: Requests, types: list[int], n_columns: int, gap_hours: float) -> Sessions:
        """The events of these types (codes) on items below `n_columns`."""
        offsets, rows = requests.flat(types)
        events = requests.events
        owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
        known = events.item[rows] < n_columns
        rows, owner = rows[known], owner[known]
        new = np.ones(len(rows), bool)
        day = np.zeros(len(rows)) if events.timestamp is None else events.timestamp[rows] / MICROSECONDS_PER_DAY
        new[1:] = owner[1:] != owner[:-1]
        if events.session is not None:
            session = events.session[rows]
            new[1:] |= session[1:] != session[:-1]
        else:
            new[1:] |= np.diff(day) > gap_hours / 24
        number = np.cumsum(new) - 1
        last = np.append(np.flatnonzero(new)[1:] - 1, len(rows) - 1)[: number[-1] + 1 if len(rows) else 0]
        place = last[number] - np.arange(len(rows))
        key = number * n_columns + events.item[rows]
        newest = len(rows) - 1 - np.unique(key[::-1], return_index=True)[1]
        return cls(number[newest], events.item[rows][newest], place[newest], owner[newest], day[last])

    def lengths(self, n: int) -> np.ndarray:
        """Events of each of the n histories from the first that counts here: int64 (n,)."""
        length = np.zeros(n, np.int64)
        np.maximum.at(length, self.owner, self.place + 1)
        return length

    def last(self, n: int) -> Sessions:
        """Only the last session of each of the n histories; `end` by history."""
        latest = np.full(n, -1)
        np.maximum.at(latest, self.owner, self.session)
        kept = self.session == latest[self.owner]
        end = np.where(latest >= 0, np.append(self.end, 0.0)[latest], 0.0)
        return Sessions(self.session[kept], self.item[kept], self.place[kept], self.owner[kept], end)
