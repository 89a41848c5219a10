"""The own items of queries, while training and when asked, and what is known of the items at the training end.

Shapes: Q queries, R pairs of a query and an own item, M training rows, V items + 1, B requests, T snapshots, S
half-lives of demand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shopkeeper.data.own import COUNTS, SHORTEST_DAYS, TIMES, OwnRows
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.nn.own import HALF_LIVES, OwnShape, OwnTerm
from shopkeeper.schema import EVENT_TYPES, MICROSECONDS_PER_DAY, NO_TIME
from shopkeeper.training.batching.blocks import training_blocks

TABLES, CELLS = 400, 20_000_000  # of demand, one a day: at most so many, and so many values in all
FEWEST = 32  # of them: in a log of hours none would know anything, and the network would first meet demand when asked
AT_ONCE = 1_024  # pairs of requests: what the hidden layers give of these stays in the cache
NOT_YET = -30.0  # of items that came later
KINDS = np.eye(len(EVENT_TYPES) + 1, dtype=np.float32)
PRIOR = 3.0  # gaps of the shop that weigh as much as those of the item


def own_shape(n_items: int, width: int, history: str) -> OwnShape:
    """The shape of a term that reads what is here."""
    n = {"kernel": len(COUNTS) + len(HALF_LIVES) + len(TIMES), "frequency": len(COUNTS) + len(HALF_LIVES)}
    return OwnShape(n_items, width, history, n.get(history, 0), COUNTS.index("taken"))


@dataclass(frozen=True)
class Pairs:
    """Own items of some queries, sorted by query: what the term is computed from."""

    query_R: Tensor  # int64
    item_R: Tensor  # int64
    told_RF: Tensor  # float32: features, and a column for each type that the newest event on the item may be of

    @classmethod
    def of(
        cls,
        own: OwnRows,
        row_Q: np.ndarray,
        at_Q: np.ndarray | None,
        term: OwnTerm,
        demand_RS: Any,
        number_Q: np.ndarray | None = None,
    ) -> Pairs:
        """Of queries after the rows `row_Q`, asked at `at_Q` (µs); `demand_RS(query, item)`: demand of the pairs.

        `number_Q`: what queries are called in `query_R`; None: their positions.
        """
        query, row = own.pairs(row_Q)
        item, history = own.item[row], term.shape.history
        columns = []
        if history != "copy":
            columns += [own.counts(query, row, row_Q), demand_RS(query, item)]
        else:
            columns = [np.zeros((len(query), 0), np.float32)]
        if history == "kernel":
            assert at_Q is not None
            columns.append(own.times(query, row, row_Q, at_Q, term.usual_V.numpy(force=True)))
        query = query if number_Q is None else number_Q[query]
        q_R, i_R = (torch.from_numpy(c.astype(np.int64, copy=False)) for c in (query, item))
        return cls(q_R, i_R, torch.from_numpy(np.concatenate([*columns, KINDS[own.kind[row]]], 1)))

    def only(self, keep_R: np.ndarray) -> Pairs:
        """Those of a mask, bool (R,)."""
        if keep_R.all():
            return self
        at = torch.from_numpy(np.flatnonzero(keep_R)).to(self.query_R.device)
        return Pairs(*(getattr(self, f.name)[at] for f in fields(self)))

    def rows(self, which: slice) -> Pairs:
        """Those at consecutive places; nothing is copied."""
        return Pairs(self.query_R[which], self.item_R[which], self.told_RF[which])

    def to(self, device: torch.device) -> Pairs:
        """On a device."""
        return Pairs(*(getattr(self, f.name).to(device) for f in fields(self)))

    def logits(self, term: OwnTerm, h_QD: Tensor, item_VD: Tensor) -> Tensor:
        """The logit of each, but for demand and what `near` takes of the products: float32 (R,)."""
        out: Tensor = term(self.told_RF, self.item_R, self.query_R, h_QD, item_VD)
        return out


@dataclass(frozen=True)
class RequestPairs:
    """The pairs of requests: queries are the requests that have a usable history."""

    pairs: Pairs
    request_R: np.ndarray  # int64, ascending
    demand_TSV: np.ndarray  # float32, of each night that is asked in; one where it is that of the training end
    table_B: np.ndarray  # int64: which of them holds for each request

    @classmethod
    def of(
        cls,
        requests: Requests,
        known_V: np.ndarray,
        types: Sequence[int] | None,
        targets: list[int],
        term: OwnTerm,
        nightly: bool = False,
    ) -> RequestPairs:
        """Events of known items and of these types (None: all) are read; `targets`: codes of target events.

        `nightly`: demand is that of the night before each request (`Requests.nightly`).
        """
        events = requests.events
        check_time(events.timestamp, term.shape.history, "this history")
        offsets, rows = requests.flat(types)
        item = events.item[rows]
        known = known_V[np.minimum(item, len(known_V) - 1)] & (item < len(known_V))  # the padding, 0, is never known
        if not known.all():
            offsets, rows, item = np.append(0, np.cumsum(known))[offsets], rows[known], item[known]
        columns = (None if c is None else c[rows] for c in (events.timestamp, events.order, events.session))
        own = OwnRows.of(offsets, item, events.event_type[rows], targets, *columns)
        asked = np.flatnonzero(offsets[1:] > offsets[:-1])
        row_Q = offsets[asked + 1] - 1
        at_Q = None
        if own.time is not None:
            at_Q = own.time[row_Q]
            if requests.instant is not None:
                told = requests.instant[asked]
                at_Q = np.where(told == NO_TIME, at_Q, told)
        demand_TSV, table_B = term.demand_SV.numpy(force=True)[None], np.zeros(len(requests), np.int64)
        if nightly and requests.nightly is not None and requests.instant is not None and len(requests):
            night, table_B = np.unique(requests.nightly.nights(requests.instant), return_inverse=True)
            demand_TSV = np.stack([requests.nightly.table(int(n), demand_of, len(known_V)) for n in night])
        table_Q = table_B[asked]
        pairs = Pairs.of(own, row_Q, at_Q, term, lambda query, item: demand_TSV[table_Q[query], :, item], asked)
        return cls(pairs, pairs.query_R.numpy(), demand_TSV, table_B)

    def put(self, score_BV: np.ndarray, vector_BD: np.ndarray, item_VD: np.ndarray, term: OwnTerm) -> None:
        """Put what the term gives own items, and add demand, into scores float32 (B, V)."""
        h_BD, weight_VD = torch.from_numpy(vector_BD), torch.from_numpy(item_VD)
        logit_R = np.empty(len(self.request_R), np.float32)
        step = AT_ONCE if term.copy is None else len(logit_R) or 1  # which projects all vectors each time
        with torch.inference_mode():
            for low in range(0, len(logit_R), step):
                rows = slice(low, low + step)
                logit_R[rows] = self.pairs.rows(rows).logits(term, h_BD, weight_VD).numpy()
        cell = self.request_R, self.pairs.item_R.numpy()
        if term.near is not None:
            logit_R = logit_R + term.near.numpy(force=True) * score_BV[cell]
        score_BV[cell] = logit_R
        demand_TV = self.demand_TSV[:, 0]
        demand_BV = demand_TV if len(demand_TV) == 1 else demand_TV[self.table_B]
        score_BV += term.trust.numpy(force=True) * demand_BV


def check_time(time: np.ndarray | None, history: str, name: str) -> None:
    """A `UserError` where the term reads a clock and there is none."""
    if time is None and history == "kernel":
        raise UserError(
            f"model.history=kernel reads how long ago events were, and {name} has only their order; choose "
            f"model.history=frequency or copy, or give each event its time"
        )


def training_own(split: Split, types: list[int] | None, targets: list[int], history: str) -> OwnRows:
    """The training rows (of these types), numbered as in a `TrainingView` of the same."""
    time, order, session = (getattr(split.prepared.events, name) for name in ("timestamp", "order", "session"))
    check_time(time, history, split.prepared.name)
    names = tuple(name for name, c in (("timestamp", time), ("session", session)) if c is not None)
    blocks = list(training_blocks(split, types, names))
    base = np.cumsum([0, *(len(b.item) for b in blocks)])
    offsets = np.concatenate([[0], *(b.offsets[1:] + n for b, n in zip(blocks, base[:-1], strict=True))])
    return OwnRows.of(
        offsets.astype(np.int64),
        np.concatenate([b.item for b in blocks]),
        np.concatenate([b.event_type for b in blocks]),
        targets,
        None if time is None else np.concatenate([b.columns["timestamp"] for b in blocks]),
        None if order is None else np.concatenate([b.order for b in blocks if b.order is not None]),
        None if session is None else np.concatenate([b.columns["session"] for b in blocks]),
    )


def demand(
    own: OwnRows, targets: list[int], catalogue: np.ndarray, n_columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log demand day by day, and at the end: since when each holds (int64 µs, T), float32 (T, C, S), float32 (S, V).

    A log of fewer than `FEWEST` days has that many tables at equal distances.

    log((decayed count + 1/2) / (their mean + 1/2)), the count halved in each of `HALF_LIVES`. Nothing from a table's
    instant on is in it, but for which items are seen first after the table's time: `NOT_YET`.
    """
    taken = np.isin(own.kind, np.asarray(targets, np.int8))
    item = own.item[taken]
    if own.time is None:
        now_SV = _log(np.tile(np.bincount(item, minlength=n_columns).astype(float), (len(HALF_LIVES), 1)))
        return np.full(1, np.iinfo(np.int64).min), now_SV.T[None, catalogue], now_SV
    time = own.time[taken]
    order = np.argsort(time, kind="stable")
    time, item = time[order], item[order]
    begin, end = (int(time[0]), int(time[-1]) + 1) if len(time) else (0, 1)
    most = max(min(TABLES, CELLS // (len(HALF_LIVES) * len(catalogue))), 1)
    step = max(min(MICROSECONDS_PER_DAY, -(-(end - begin) // FEWEST)), -(-(end - begin) // most))
    start_T = end - np.arange(-(-(end - begin) // step), -1, -1, dtype=np.int64) * step
    first_V = np.full(n_columns, np.iinfo(np.int64).max)
    np.minimum.at(first_V, own.item, own.time)
    half_S = np.array(HALF_LIVES)[:, None]
    count_SV, low, now_SV = np.zeros((len(half_S), n_columns)), 0, np.zeros((len(half_S), n_columns), np.float32)
    table_TCS = np.empty((len(start_T) - 1, len(catalogue), len(half_S)), np.float32)
    for t, start in enumerate(start_T):
        if t:
            count_SV *= 2 ** (-step / MICROSECONDS_PER_DAY / half_S)
        high = int(np.searchsorted(time, start))
        count_SV += _decayed(time[low:high], item[low:high], int(start), n_columns)
        now_SV, low = _log(count_SV), high
        if t < len(table_TCS):
            table_TCS[t] = np.where(first_V >= start_T[t + 1], NOT_YET, now_SV)[:, catalogue].T
    return start_T[:-1], table_TCS, now_SV


def demand_of(at: np.ndarray, item: np.ndarray, night: int, n_columns: int) -> np.ndarray:
    """Log demand at an instant from the target events before it, as in `demand`: float32 (S, V)."""
    return _log(_decayed(at, item, night, n_columns))


def _decayed(at: np.ndarray, item: np.ndarray, now: int, n_columns: int) -> np.ndarray:
    """Events of each item before an instant, an event counting half after each half-life: float64 (S, V)."""
    age = (now - at) / MICROSECONDS_PER_DAY
    return np.stack([np.bincount(item, np.exp2(-age / days), n_columns) for days in HALF_LIVES])


def _log(count_SV: np.ndarray) -> np.ndarray:
    return np.log((count_SV + 0.5) / (count_SV[:, 1:].mean(1, keepdims=True) + 0.5)).astype(np.float32)


def usual_gaps(own: OwnRows, n_columns: int) -> np.ndarray:
    """Mean days between a customer's purchases of an item, leaning on all items': float32 (V,); 1 without time."""
    if own.time is None:
        return np.ones(n_columns, np.float32)
    newest = np.flatnonzero((own.following > len(own.item)) & (own.taken > 1))
    days = (own.time[own.last_taken[newest]] - own.time[own.first_taken[newest]]) / MICROSECONDS_PER_DAY
    gaps_V = np.bincount(own.item[newest], own.taken[newest] - 1, n_columns)
    span_V = np.bincount(own.item[newest], days, n_columns)
    overall = span_V.sum() / max(gaps_V.sum(), 1)
    return np.maximum((span_V + PRIOR * overall) / (gaps_V + PRIOR), SHORTEST_DAYS).astype(np.float32)
