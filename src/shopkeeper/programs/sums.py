"""Weights of a history's events, and rows of a sparse table added up: what programs have in common.

Shapes: B requests, V = n_items + 1 columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.metrics.best import best_entries
from shopkeeper.schema import MICROSECONDS_PER_DAY

Arrays = Mapping[str, np.ndarray]
CELLS = 20_000_000  # requests x customers, or x items, of one block: bounds the memory


def in_blocks(
    requests: Requests, a: Arrays, people: int, answer: Callable[[Requests, Arrays], np.ndarray]
) -> np.ndarray:
    """What `answer` gives for some requests at a time, each beside so many people: float32 (B, V)."""
    V = len(a["fallback"])
    scores_BV = np.empty((len(requests), V), np.float32)
    step = max(1, CELLS // max(people, V, 1))
    for first in range(0, len(requests), step):
        part = requests[first : first + step]
        scores_BV[first : first + len(part)] = answer(part, a)
    return scores_BV


def weights(requests: Requests, a: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Offsets (B+1,), rows, whose they are and their weight by type and, with a half-life in days, by age."""
    offsets, rows = requests.flat()
    owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
    weight = a["weight_of_type"][requests.events.event_type[rows]]
    at = requests.events.timestamp
    if a["half_life_days"][0] > 0 and at is not None and len(rows):
        age = at[rows] - at[rows[offsets[owner + 1] - 1]]
        weight = weight * np.exp2(age / (a["half_life_days"][0] * MICROSECONDS_PER_DAY))
    return offsets, rows, owner, weight


def own_items(requests: Requests, a: Arrays, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct items of each history that weigh anything, by history and then by item: whose, which, float32."""
    _, rows, owner, weight = weights(requests, a)
    cell, of_cell = np.unique(owner * width + requests.events.item[rows], return_inverse=True)
    weight = np.bincount(of_cell, weight, len(cell)).astype(np.float32)
    return cell[weight > 0] // width, cell[weight > 0] % width, weight[weight > 0]


def added(
    owner: np.ndarray, row: np.ndarray, weight: np.ndarray, a: Arrays, name: str, shape: tuple[int, int]
) -> np.ndarray:
    """Rows of a sparse table (`<name>indptr`, …), each times its weight, added up by owner: float32, of that shape.

    Sums of 32 bits in the order given, as SciPy's sparse product adds.
    """
    indptr, indices, values = (a[name + part] for part in ("indptr", "indices", "values"))
    first, end = indptr[row], indptr[row + 1]
    length = end - first
    before = np.cumsum(length) - length
    place = np.arange(length.sum()) + np.repeat(first - before, length)
    total = np.zeros(shape[0] * shape[1], np.float32)
    np.add.at(total, np.repeat(owner * shape[1], length) + indices[place], np.repeat(weight, length) * values[place])
    return total.reshape(shape)


def best_of_each(owner: np.ndarray, column: np.ndarray, value: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest values of each owner, ties to the lower column, in the order given; 0: all of them."""
    if not k:
        return np.arange(len(owner))
    indptr = np.searchsorted(owner, np.arange(int(owner[-1]) + 2 if len(owner) else 1))
    return np.sort(best_entries(indptr, column, value, k))
