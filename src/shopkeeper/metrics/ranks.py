"""Where targets stand in the full list of candidates: what counting gives (`ranker.py`), ranks under each policy, and
the blocks of tied candidates that list metrics are made from (`ranking.py`).

The rank of a target is one plus the number of better candidates. Candidates are the items of the catalogue without
those already seen.

Shapes: B requests, N target items in all, K length of the list, G blocks of tied targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from shopkeeper.errors import UserError, nearest

TIES = ("expected", "optimistic", "pessimistic")


class Flat(NamedTuple):
    """Lists of items one after another: those of row b are `item[offsets[b]:offsets[b + 1]]`."""

    offsets: np.ndarray  # int64 (B+1,)
    item: np.ndarray  # integer (N,), internal item ids

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Flat:
        """From a list of lists, for tests and small uses."""
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return cls(offsets, np.array([x for xs in lists for x in xs], np.int64))

    def rows(self, first: int, last: int) -> Flat:
        """The lists of rows first..last-1."""
        span = self.offsets[first : last + 1]
        return Flat(span - span[0], self.item[span[0] : span[-1]])


class Ranked(NamedTuple):
    """What counting gives, per target and per request."""

    better: np.ndarray  # int64 (N,): candidates with a better score; -1: the target is no candidate (no rank)
    tied: np.ndarray  # int64 (N,): other candidates with the same score
    candidates: np.ndarray  # int64 (B,): number of items ranked
    top_item: np.ndarray  # int32 (B, K): best first, equal scores by item id; 0 where candidates ran out
    top_score: np.ndarray  # float32 (B, K); -inf where candidates ran out


class NonFiniteScoreError(UserError):
    """A score is NaN or infinite; `request` is the position in the batch, `item` the internal id."""

    def __init__(self, request: int, item: int, value: float):
        self.request, self.item, self.value = request, item, value
        super().__init__(f"request {request} gets the score {value} for item {item}: scores must be finite numbers")


def positions(better: np.ndarray, tied: np.ndarray, offsets: np.ndarray, ties: str = "expected") -> np.ndarray:
    """Ranks from 1, float64 (N,); NaN where a target has none.

    Under `expected` a target gets the mean place of its tied block, `better + 1 + tied / 2`. Under `optimistic` the
    targets of a request stand before everything they tie with, under `pessimistic` behind it; several targets in one
    block take one place each, so that the ranks are those of a list that exists.

    >>> positions(np.array([3]), np.array([2]), np.array([0, 1]))
    array([5.])
    >>> positions(np.array([3, 3]), np.array([2, 2]), np.array([0, 2]), "pessimistic")
    array([5., 6.])
    """
    if ties not in TIES:
        raise UserError(f"ties '{ties}' is not a policy.{nearest(ties, TIES)}")
    rank = better + 1.0
    if ties == "expected":
        rank = rank + tied / 2
    else:
        place, fellows = _within_block(better, offsets)
        rank = rank + place if ties == "optimistic" else rank + tied - (fellows - 1 - place)
    return np.where(better < 0, np.nan, rank)


def _within_block(better: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each target: its place among the targets that it ties with in its request, and how many they are."""
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((np.arange(len(better)), better, request))
    new = np.ones(len(better), bool)
    new[1:] = (np.diff(request[order]) != 0) | (np.diff(better[order]) != 0)
    block = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    place = np.empty(len(better), np.int64)
    place[order] = np.arange(len(better)) - first[block] if len(better) else 0
    fellows = np.empty(len(better), np.int64)
    fellows[order] = np.bincount(block, minlength=len(first))[block] if len(better) else 0
    return place, fellows


def rank_in_lists(list_BK: np.ndarray, targets: Flat, n_candidates: int) -> Ranked:
    """Ranks for a model that only makes lists (item ids, best first, 0 = nothing): none for a target not listed."""
    request = np.repeat(np.arange(len(list_BK)), np.diff(targets.offsets))
    hit_NK = (list_BK[request] == targets.item[:, None]) & (targets.item[:, None] > 0)
    better = np.where(hit_NK.any(1), hit_NK.argmax(1), -1).astype(np.int64)
    score = np.where(list_BK > 0, -np.arange(list_BK.shape[1], dtype=np.float32), -np.inf).astype(np.float32)
    count = np.full(len(list_BK), n_candidates, np.int64)
    return Ranked(better, np.zeros(len(better), np.int64), count, list_BK.astype(np.int32), score)


@dataclass(frozen=True)
class Hits:
    """Where the distinct targets of each request stand: better and tied candidates, and how many were ranked."""

    offsets: np.ndarray  # int64 (B+1,)
    better: np.ndarray  # int64 (N,), -1: cannot be ranked
    tied: np.ndarray  # int64 (N,): other candidates with the same score
    candidates: np.ndarray  # int64 (B,)
    source: np.ndarray | None = None  # int64: which of these rows each target that was given to `of` became

    @classmethod
    def of(cls, ranked: Ranked, offsets: np.ndarray, item: np.ndarray, ties: str = "expected") -> Hits:
        """From counted ranks; an item that is twice among the targets of a request counts once."""
        request = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
        key = request * (int(item.max(initial=0)) + 1) + item
        _, index, inverse = np.unique(key, return_index=True, return_inverse=True)
        once = np.sort(index)
        source = np.argsort(np.argsort(index, kind="stable"), kind="stable")[inverse]
        better, tied = ranked.better[once], ranked.tied[once]
        kept = np.concatenate([[0], np.cumsum(np.bincount(request[once], minlength=len(offsets) - 1))]).astype(np.int64)
        if ties != "expected":
            rank = positions(better, tied, kept, ties)
            better, tied = np.where(np.isnan(rank), 0, rank).astype(np.int64) - 1, np.zeros_like(tied)
        return cls(kept, better, tied, ranked.candidates, source)

    @classmethod
    def at(cls, ranks: Sequence[Sequence[int]], candidates: int = 100, tied: int = 0) -> Hits:
        """From lists of ranks (0: cannot be ranked), for examples: each target ties with `tied` others."""
        flat = np.array([r for rs in ranks for r in rs], np.int64)
        offsets = np.cumsum([0, *map(len, ranks)], dtype=np.int64)
        return cls(offsets, flat - 1, np.full(len(flat), tied), np.full(len(ranks), candidates, np.int64))

    @property
    def n_relevant(self) -> np.ndarray:
        """R, int64 (B,)."""
        return np.diff(self.offsets)

    @cached_property
    def request(self) -> np.ndarray:
        """Position of each target's request, int64 (N,)."""
        return np.repeat(np.arange(len(self.n_relevant), dtype=np.int64), self.n_relevant)

    @cached_property
    def blocks(self) -> Blocks:
        """The tied blocks that hold a target, best first within a request."""
        some = self.better >= 0
        request, better, size = self.request[some], self.better[some], self.tied[some] + 1
        order = np.lexsort((better, request))
        request, better, size = request[order], better[order], size[order]
        new = np.ones(len(request), bool)
        new[1:] = (np.diff(request) != 0) | (np.diff(better) != 0)
        first = np.flatnonzero(new)
        targets = np.diff(np.append(first, len(request)))
        request = request[first]
        leading = np.ones(len(first), bool)
        leading[1:] = np.diff(request) != 0
        total = np.cumsum(targets) - targets
        before = total - np.maximum.accumulate(np.where(leading, total, 0))
        return Blocks(request, better[first], size[first], targets, before, leading)

    def per_request(self, request: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Sum values by request; NaN for a request without targets."""
        total = np.bincount(request, weights=value, minlength=len(self.n_relevant))
        return np.where(self.n_relevant > 0, total, np.nan)


@dataclass(frozen=True)
class Blocks:
    """Tied blocks that hold targets, (G,) each: `targets` of `size` candidates, standing behind `better` others."""

    request: np.ndarray
    better: np.ndarray
    size: np.ndarray
    targets: np.ndarray
    before: np.ndarray  # targets of the same request in better blocks
    first: np.ndarray  # bool: the request's best block

    def inside(self, k: int | np.ndarray | None) -> np.ndarray:
        """How many places of each block lie within the first k: float64 (G,)."""
        if k is None:
            return self.size.astype(np.float64)
        return np.clip(k - self.better, 0, self.size).astype(np.float64)
