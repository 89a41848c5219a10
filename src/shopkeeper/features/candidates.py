"""What several models propose for each request: the union of their best items, and each model's score and place of it.

A model's answers come dense, a cell for every item, or as a sparse table of the items that it reaches and one order for
the rest: then nothing of the catalogue's width is made, and the same items are found (`metrics.best` settles ties).

Shapes: B requests, V = n_items + 1 columns, K items that a model proposes, P pairs of a request and a candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.metrics.best import best_columns, best_entries

if TYPE_CHECKING:
    from scipy import sparse


CELLS = 1_000_000  # 4 MB of seats


@dataclass(frozen=True)
class Reached:
    """Scores of the items that a model reaches, above 0 and above all of the rest, and those of the rest."""

    table_BV: sparse.csr_array
    rest_V: np.ndarray


Scored = np.ndarray | Reached  # float32 (B, V), or the sparse form


def candidates(
    requests: Requests, scored: Sequence[Scored], catalogue: np.ndarray, per_model: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates of each request, by request and item: (P,), (P,); score and place by each model: float32 (P, 2 M).

    They are the best `per_model` items of the catalogue by each model, and all that stands in the history; of requests
    with a list of their own (`Requests.candidates`, the page of a category) the best of that list. The place of what a
    model does not propose is K.
    """
    n = len(requests)
    open_V = np.zeros(width, bool)
    open_V[catalogue] = True
    offsets, rows = requests.flat()
    own_item = requests.events.item[rows]
    own = np.repeat(np.arange(n), np.diff(offsets)) * width + own_item
    known = own[(own_item < width) & open_V[np.minimum(own_item, width - 1)]]
    k, seat = min(per_model, width - 1), np.empty(max(1, CELLS // width) * width, np.int32)
    if requests.candidates is None:
        best = [(_cells(best_items(one, open_V, k), width), np.tile(np.arange(k), n)) for one in scored]
    else:
        offsets, listed = requests.candidates
        page = np.unique((np.repeat(np.arange(n), np.diff(offsets)) * width + listed)[open_V[listed]])
        known = known[np.isin(known, page)]
        best = [_best_of_page(one, page, n, width, k, seat) for one in scored]
    pair = np.unique(np.concatenate([known, *(cell for cell, _ in best)]))
    owner, item = pair // width, pair % width
    told_PF = np.empty((len(pair), 2 * len(scored)), np.float32)
    for number, (one, (cell, place)) in enumerate(zip(scored, best, strict=True)):
        told_PF[:, 2 * number] = _at(one, pair, seat) if isinstance(one, Reached) else one[owner, item]
        told_PF[:, 2 * number + 1] = k
        told_PF[np.searchsorted(pair, cell), 2 * number + 1] = place
    return owner, item, told_PF


def _cells(best_BK: np.ndarray, width: int) -> np.ndarray:
    """Keys `request * V + item` of the best of each request: int64 (B K,)."""
    cells: np.ndarray = (np.arange(len(best_BK))[:, None] * width + best_BK).ravel()
    return cells


def _best_of_page(
    scored: Scored, page: np.ndarray, n: int, width: int, k: int, seat: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the keys of pages (ascending) the k best of each of n requests, and their places: int64, int64."""
    request, item = page // width, page % width
    value = _at(scored, page, seat) if isinstance(scored, Reached) else scored[request, item].astype(np.float32)
    found = best_entries(np.searchsorted(request, np.arange(n + 1)), item, value, k)
    count_B = np.bincount(request[found], minlength=n)
    return page[found], np.arange(len(found)) - np.repeat(np.cumsum(count_B) - count_B, count_B)


def best_items(scored: Scored, open_V: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k best open items (bool (V,)) of each request, best first: int64 (B, min(k, V - 1))."""
    k = min(k, len(open_V) - 1)
    if not isinstance(scored, Reached):
        return best_columns(np.where(open_V, scored, -np.inf), k)
    table, n = scored.table_BV, scored.table_BV.shape[0]
    value = np.where(open_V[table.indices] & (table.data > 0), table.data, -np.inf).astype(np.float32, copy=False)
    place = best_entries(table.indptr, table.indices, value, k)
    place = place[value[place] > -np.inf]
    owner = np.searchsorted(table.indptr, place, side="right") - 1
    count_B = np.bincount(owner, minlength=n)
    best_BK = np.zeros((n, k), np.int64)
    best_BK[owner, np.arange(len(owner)) - (np.cumsum(count_B) - count_B)[owner]] = table.indices[place]
    short = np.flatnonzero(count_B < k)
    if len(short):  # the rest in its order, without what stands there already: 2 K of it are enough
        order_W = best_columns(np.where(open_V, scored.rest_V, -np.inf)[None, :], min(2 * k, len(open_V)))[0]
        turn_V = np.full(len(open_V), -1)
        turn_V[order_W] = np.arange(len(order_W))
        free_bW = np.ones((len(short), len(order_W)), bool)
        b, at = np.nonzero(np.arange(k) < count_B[short, None])
        turn = turn_V[best_BK[short[b], at]]
        free_bW[b[turn >= 0], turn[turn >= 0]] = False
        free_bW &= np.cumsum(free_bW, axis=1) <= (k - count_B[short])[:, None]
        b, at = np.nonzero(free_bW)
        nth = np.arange(len(b)) - np.searchsorted(b, b)
        best_BK[short[b], count_B[short[b]] + nth] = order_W[at]
    return best_BK


def _at(scored: Reached, pair: np.ndarray, seat: np.ndarray) -> np.ndarray:
    """Scores of the pairs (keys `request * V + item`, ascending): float32 (P,).

    `seat` holds anything: a cell's entry is right where the entry that it names is of that cell. So it need not be
    filled; and it has cells of a few requests, so that it stays near the processor.
    """
    table, width = scored.table_BV, len(scored.rest_V)
    found: np.ndarray = scored.rest_V[pair % width].astype(np.float32)
    at_once = len(seat) // width
    firsts = np.arange(0, table.shape[0], at_once)
    bounds = np.append(np.searchsorted(pair, firsts * width), len(pair)).tolist()
    for first, start, end in zip(firsts.tolist(), bounds, bounds[1:], strict=False):
        indptr = table.indptr[first : first + at_once + 1]
        low, high = int(indptr[0]), int(indptr[-1])
        if low == high:
            continue
        cell = np.repeat(np.arange(len(indptr) - 1) * width, np.diff(indptr)) + table.indices[low:high]
        wanted, value = pair[start:end] - first * width, table.data[low:high]
        seat[cell] = np.arange(len(cell), dtype=np.int32)
        named = np.clip(seat[wanted], 0, len(cell) - 1)
        there = np.flatnonzero((cell[named] == wanted) & (value[named] > 0))
        found[start + there] = value[named[there]]
    return found
