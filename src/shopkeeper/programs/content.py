"""What items say of themselves against what a history's items say, by arrays.

Shapes: B requests, V = n_items + 1 columns, U tokens, E entries (an item has a token).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shopkeeper.data.requests import Requests


def content_affinity(requests: Requests, a: Mapping[str, np.ndarray]) -> np.ndarray:
    """Likeness of each item to the history, times its factor; else the fallback: float32 (B, V).

    `token`, `weight` (E,) and `item` (E,): of length 1 for each item; `factor`, `fallback` (V,); `types`, `half`: which
    events count, and after how many more one counts half.
    """
    V, n_tokens = len(a["fallback"]), int(a["token"].max(initial=-1)) + 1
    scores_BV = np.repeat(a["fallback"][None, :], len(requests), axis=0).astype(np.float32)
    offsets, rows = requests.flat(a["types"].tolist())
    item, end_V = requests.events.item[rows], np.searchsorted(a["item"], np.arange(V + 1))
    for b in range(len(requests)):
        own = item[offsets[b] : offsets[b + 1]]
        count = 0.5 ** (np.arange(len(own))[::-1] / float(a["half"]))
        inside = (own > 0) & (own < V)
        own, count = own[inside], count[inside]
        n = end_V[own + 1] - end_V[own]
        entry = np.repeat(end_V[own] - (np.cumsum(n) - n), n) + np.arange(n.sum())
        if not len(entry):
            continue
        profile_U = np.bincount(a["token"][entry], a["weight"][entry] * np.repeat(count, n), n_tokens)
        profile_U = profile_U / np.linalg.norm(profile_U)
        like_V = np.bincount(a["item"], a["weight"] * profile_U[a["token"]], V)
        scores_BV[b] = np.where(like_V > 0, 1 + like_V * a["factor"], a["below"])
    return scores_BV
