"""Neighbours of items (SLIM) and of customers (user-kNN), as arrays and the NumPy that reads them.

Formulas and sources stand with the models (`recommenders/item_pairs/slim.py`, `recommenders/knn/user_knn.py`).

Shapes: B requests, U training customers, V = n_items + 1 columns.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.programs.sums import Arrays, added, best_of_each, in_blocks, own_items


def slim(requests: Requests, a: Arrays) -> np.ndarray:
    """Weights of the history's items added up, where they reach; else the fallback: float32 (B, V)."""
    V = len(a["fallback"])
    owner, item, weight = own_items(requests, a, V)
    reached_BV = added(owner, item, np.minimum(weight, 1), a, "", (len(requests), V))
    return np.where(reached_BV > 0, reached_BV, a["fallback"])


def user_knn(requests: Requests, a: Arrays) -> np.ndarray:
    """Own weights, and the mean of those of similar training customers: float32 (B, V)."""
    return in_blocks(requests, a, len(a["norm"]), _user_knn)


def _user_knn(requests: Requests, a: Arrays) -> np.ndarray:
    B, U, V = len(requests), len(a["norm"]), len(a["fallback"])
    owner, item, weight = own_items(requests, a, V)
    weight = np.minimum(weight, 1)
    own_BV = np.zeros((B, V), np.float32)
    own_BV[owner, item] = weight * a["own"][0]
    both_BU = added(owner, item, weight, a, "of_item_", (B, U))
    b, u = np.nonzero(both_BU)
    near = both_BU[b, u] / (np.sqrt(_sums(owner, weight**2, B))[b] * a["norm"][u] + a["shrinkage"][0])
    kept = best_of_each(b, u, near, int(a["neighbours"][0]))
    b, u, near = b[kept], u[kept], near[kept]
    share_B = 1 / np.maximum(_sums(b, near, B), np.float32(1e-30))
    reached_BV = own_BV + share_B[:, None] * added(b, u, near, a, "", (B, V))
    return np.where(reached_BV > 0, reached_BV, a["fallback"])


def _sums(owner: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Sums of 32 bits by owner: float32 (n,)."""
    total = np.zeros(n, np.float32)
    np.add.at(total, owner, values)
    return total
