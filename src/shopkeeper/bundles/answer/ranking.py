"""Recommenders as plain arrays and the NumPy that reads them: one function per family, and the best k of its scores.

Formulas and sources stand with the models (`recommenders/`); what is here is held to them when a bundle is written.

Shapes: B requests, V = n_items + 1 columns, A items with training rows, K list length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.schema import MICROSECONDS_PER_DAY

Arrays = Mapping[str, np.ndarray]


def ease(requests: Requests, a: Arrays) -> np.ndarray:
    """Summed weights of the distinct items of each history: float32 (B, V)."""
    items_A, weight_AA = a["items"], a["weight"]
    scores_BV = np.zeros((len(requests), len(a["fallback"])), np.float32)
    offsets, rows = requests.flat(np.flatnonzero(a["counts_type"]).tolist())
    for b, (first, end) in enumerate(pairwise(offsets.tolist())):
        column = np.flatnonzero(np.isin(items_A, requests.events.item[rows[first:end]]))
        if len(column):
            scores_BV[b, items_A] = weight_AA[column].sum(axis=0)
        else:
            scores_BV[b] = a["fallback"]
    return scores_BV


def recency(requests: Requests, a: Arrays) -> np.ndarray:
    """Newest items of the history first, then the rest: float32 (B, V)."""
    scores_BV = np.repeat(a["rest"][None, :], len(requests), axis=0)
    offsets, rows = requests.flat(a["types"].tolist())
    owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
    place = np.arange(len(rows)) - offsets[owner]
    # Rows run from old to new, and of several values for one cell NumPy keeps the last.
    scores_BV[owner, requests.events.item[rows]] = place + 1
    return scores_BV


def personal_frequency(requests: Requests, a: Arrays) -> np.ndarray:
    """Own items by decayed count, then the rest: float32 (B, V)."""
    V = len(a["rest"])
    _, rows, owner, weight = _weights(requests, a)
    cell = owner * V + requests.events.item[rows]
    own_BV = np.bincount(cell, weight, len(requests) * V).reshape(-1, V)
    # Asked before the cast: an old item whose weight is too small for float32 is the customer's own all the same.
    return a["rest"] + np.where(own_BV > 0, 1 + own_BV.astype(np.float32), np.float32(0))


def item_knn(requests: Requests, a: Arrays) -> np.ndarray:
    """Neighbour lists of the history's items added up, where they reach; else the fallback: float32 (B, V)."""
    V = len(a["fallback"])
    offsets, rows, owner, weight = _weights(requests, a)
    if a["half_life_events"][0] > 0:
        age = offsets[owner + 1] - 1 - np.arange(len(rows))
        weight = weight * np.exp2(-age / a["half_life_events"][0])
    first, end = a["indptr"][requests.events.item[rows]], a["indptr"][requests.events.item[rows] + 1]
    length = end - first
    before = np.cumsum(length) - length
    place = np.arange(length.sum()) + np.repeat(first - before, length)
    cell = np.repeat(owner * V, length) + a["indices"][place]
    value = np.repeat(weight.astype(np.float32), length) * a["values"][place]
    reached_BV = np.bincount(cell, value, len(requests) * V).reshape(-1, V).astype(np.float32)
    return np.where(reached_BV > 0, reached_BV, a["fallback"])


def _weights(requests: Requests, a: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Offsets (B+1,), rows, whose they are and their weight by type and, with a half-life in days, by age."""
    offsets, rows = requests.flat()
    owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
    weight = a["weight_of_type"][requests.events.event_type[rows]]
    at = requests.events.timestamp
    if a["half_life_days"][0] > 0 and at is not None and len(rows):
        age = at[rows] - at[rows[offsets[owner + 1] - 1]]
        weight = weight * np.exp2(age / (a["half_life_days"][0] * MICROSECONDS_PER_DAY))
    return offsets, rows, owner, weight


SCORERS: dict[str, Callable[[Requests, Arrays], np.ndarray]] = {
    "ease": ease,
    "item_knn": item_knn,
    "personal_frequency": personal_frequency,
    "recency": recency,
}


def best(
    scores_BV: np.ndarray, catalogue: np.ndarray, hidden: Sequence[Sequence[int]], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of the catalogue that are not hidden and their scores, (B, K); equal scores: lower id first.

    Where fewer may be shown, the rest is item 0 with score -inf: as the graphs of other models answer.
    """
    items_BK = np.zeros((len(scores_BV), k), np.int64)
    scores_BK = np.full((len(scores_BV), k), -np.inf, np.float32)
    for b, scores_V in enumerate(scores_BV):
        shown = np.setdiff1d(catalogue, np.asarray(hidden[b], catalogue.dtype))  # ascending
        scores = scores_V[shown]
        if len(shown) > k:
            near = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
            shown, scores = shown[near], scores[near]
        order = np.argsort(-scores, kind="stable")[:k]
        items_BK[b, : len(order)], scores_BK[b, : len(order)] = shown[order], scores[order]
    return items_BK, scores_BK
