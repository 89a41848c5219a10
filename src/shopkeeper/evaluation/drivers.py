"""What drives a model's scores: how much each feature moves them, and in which direction.

Shapes: n customers, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shopkeeper.models.shares import Contributions

CLEAR = 0.3  # rank correlation from which on a direction is named


@dataclass(frozen=True)
class Driver:
    """One feature."""

    feature: str
    moves: float  # mean of what it adds to or takes from a score, without the sign
    share: float  # of what all of them move
    direction: int  # 1: more of it, a higher score; -1: a lower one; 0: neither, or now this and now that


def drivers(found: Contributions, features_nF: np.ndarray, names: Sequence[str]) -> list[Driver]:
    """Every feature that moves a score, the strongest first.

    >>> shares = np.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> drivers(Contributions(0.0, shares), np.array([[3.0, 1.0], [2.0, 5.0]]), ["bought", "visits"])
    [Driver(feature='bought', moves=1.0, share=1.0, direction=1)]
    """
    from scipy.stats import spearmanr

    moves_F = np.abs(found.share).mean(axis=0)
    told = []
    for f in np.argsort(-moves_F, kind="stable"):
        if moves_F[f] <= 0:
            break
        value, share = features_nF[:, f], found.share[:, f]
        known = ~np.isnan(value)
        direction = 0
        if known.sum() > 1 and len(np.unique(value[known])) > 1 and len(np.unique(share[known])) > 1:
            r = float(spearmanr(value[known], share[known]).statistic)
            direction = 0 if abs(r) < CLEAR else int(np.sign(r))
        told.append(Driver(names[f], float(moves_F[f]), float(moves_F[f] / moves_F.sum()), direction))
    return told
