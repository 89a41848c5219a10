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

import copy
from pathlib import Path

import numpy as np
from scipy import sparse

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, check, nearest, number, or_null, whole
from shopkeeper.features.sessions import Sessions
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.programs.sessions import Near, informed, reached
from shopkeeper.programs.sums import Arrays
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import popularity_of_the_rest
from shopkeeper.recommenders.inside import ROOM, Fitted, Open, Settings, or_auto
from shopkeeper.schema import INTEREST_TYPES, event_codes

METHODS = ("vsknn", "vstan")
CELLS_AT_ONCE = 5_000_000  # requests x sessions, or x items, in one block
RULES = {
    "neighbours": whole(1),
    "sample": or_null(whole(1)),
    "half_life_days": or_null(number(above=True)),
    "half_life_places": number(above=True),
    "half_life_distance": number(above=True),
}
QUESTIONS = 1000  # asked for each option: long sessions are compared slowly
OPTIONS = {
    "half_life_places": (10.0, 2.0, 5.0, 25.0, 50.0),
    "half_life_distance": (25.0, 5.0, 100.0),
    "half_life_days": (30.0, 7.0, None),
    "neighbours": (500, 50, 200, 1000),
    "sample": (2000, 500, None),
}


class SessionKNN:
    """Sessions like the last one.

    Args:
        method: `vsknn` or `vstan`.
        neighbours: k. This number and those until `half_life_distance` may be `auto`.
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
        neighbours: int | str = 500,
        sample: int | str | None = 2000,
        half_life_days: float | str | None = 30.0,
        half_life_places: float | str = 10.0,
        half_life_distance: float | str = 25.0,
        idf: bool = True,
        gap_hours: float = 0.5,
        event_types: list[str] | None = None,
    ) -> None:
        if method not in METHODS:
            raise UserError(f"session_knn: there is no method '{method}'.{nearest(method, METHODS)}")
        told = {
            "neighbours": neighbours, "sample": sample, "half_life_days": half_life_days,
            "half_life_places": half_life_places, "half_life_distance": half_life_distance,
        }  # fmt: skip
        check(told, {name: or_auto(rule) for name, rule in RULES.items()}, "session_knn: model.")
        check({"gap_hours": gap_hours}, {"gap_hours": number(above=True, below=24 * 36525)}, "session_knn: model.")
        self.open = Open(told, OPTIONS)
        self.settings: Settings = self.open.first
        self.method, self.idf, self.gap_hours = method, idf, gap_hours
        self.types = event_codes(event_types or INTEREST_TYPES, "event_types")
        self.about = About(
            reads=("event_type", "timestamp", "session"),
            types=tuple(event_types or INTEREST_TYPES),
        )
        self.people = 0  # customers whose sessions these are
        self.place_SV = sparse.csr_array((0, 1), dtype=np.int32)  # 1 for a session's newest item, the oldest last
        self.end_S = np.zeros(0)  # day of its newest event; sessions stand in this order
        self.idf_V = np.ones(1, np.float32)
        self.fallback_V = np.zeros(1, np.float32)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Keep the sessions of the training rows, the most recent last."""
        of_places = ("half_life_places", "half_life_distance")
        nothing = dict.fromkeys(of_places, self.method != "vstan")
        nothing["half_life_days"] = prepared.events.timestamp is None
        self.settings = self.open.chosen(self._tried(fit), split, fit, nothing, QUESTIONS)
        self._keep(prepared, split, fit)
        return self.open.learned(self.settings)

    def _tried(self, fit: Fit) -> Fitted:
        """Gives models with other settings, none of which moves the sessions that are kept."""
        kept: dict[int, SessionKNN] = {}

        def fitted(some: Settings, split: Split) -> SessionKNN:
            if id(split) not in kept:
                kept[id(split)] = copy.copy(self)
                kept[id(split)]._keep(split.prepared, split, fit)
            model = copy.copy(kept[id(split)])
            model.settings = some
            return model

        return fitted

    def _keep(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        self.fallback_V = popularity_of_the_rest(split, fit.target_events)
        known_V = np.zeros(len(self.fallback_V), bool)
        known_V[split.known] = True
        trained = Requests(prepared.events, prepared.offsets[:-1], np.asarray(split.train_end))
        found = Sessions.of(trained, self.types, len(self.fallback_V), self.gap_hours)
        kept = known_V[found.item]
        self.people = len(np.unique(found.owner[kept]))
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
        arrays = self._arrays()
        for first in range(0, len(requests), block):
            reached_BV = self._reached(requests[first : first + block], arrays)
            scores_BV[first : first + len(reached_BV)] = np.where(reached_BV > 0, reached_BV, self.fallback_V)
        return scores_BV

    def _reached(self, requests: Requests, a: Arrays) -> np.ndarray:
        B, V = len(requests), len(self.fallback_V)
        asked = Sessions.of(requests, self.types, V, self.gap_hours).last(B)
        weight = informed(asked, B, a)
        x_BV = sparse.coo_array((weight, (asked.owner, asked.item)), shape=(B, V)).tocsr()
        s = self.place_SV
        holds_SV = sparse.csr_array((np.ones(s.nnz, np.float32), s.indices, s.indptr), s.shape)
        near_BS = (x_BV @ holds_SV.T).tocsr()
        near_BS.sort_indices()
        owner = np.repeat(np.arange(B), np.diff(near_BS.indptr))
        return reached(asked, Near(owner, near_BS.indices, near_BS.data), B, a)

    def program(self, timed: bool) -> Program:
        """The sessions, by session and by item, and the settings."""
        of_item = self.place_SV.T.tocsr()
        arrays = self._arrays() | {"of_item_indptr": of_item.indptr, "of_item_indices": of_item.indices}
        arrays["of_item_values"] = np.ones(of_item.nnz, np.float32)
        return Program("session_knn", arrays, needs_time=timed, columns=("session",), people=self.people)

    def _arrays(self) -> dict[str, np.ndarray]:
        # Of an item's place, and of its distance in the neighbour; 0: weights fall in a line.
        s, told = self.place_SV, self.settings
        half_lives = [told["half_life_places"], told["half_life_distance"]] if self.method == "vstan" else [0.0, 0.0]
        return {
            "indptr": s.indptr,
            "indices": s.indices,
            "place": s.data,
            "end": self.end_S,
            "idf": self.idf_V if self.idf else np.ones_like(self.idf_V),
            "fallback": self.fallback_V,
            "types": np.array(self.types, np.int8),
            "gap_hours": np.array([self.gap_hours]),
            "most": np.array([told["sample"] or 0, told["neighbours"]], np.int64),
            "half_life_days": np.array([told["half_life_days"] or 0.0]),
            "half_lives": np.array(half_lives),
        }

    def save(self, folder: Path) -> None:
        """Write the sessions, what items say, and the fallback as `weights.npz`."""
        s = self.place_SV
        arrays = {"indptr": s.indptr, "indices": s.indices, "place": s.data, "end": self.end_S, "idf": self.idf_V}
        arrays["people"] = np.array([self.people])
        save_arrays(folder, "session_knn", arrays | {"fallback": self.fallback_V} | self.open.arrays(self.settings))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "session_knn", ("indptr", "indices", "place", "end", "idf", "fallback", ROOM))
        shape = (len(a["end"]), len(a["fallback"]))
        self.place_SV = sparse.csr_array((a["place"], a["indices"], a["indptr"]), shape=shape)
        self.end_S, self.idf_V, self.fallback_V = a["end"], a["idf"], a["fallback"]
        self.people = int(a["people"][0]) if "people" in a else len(self.end_S)  # runs of before do not say
        self.settings = self.open.opened(a)
