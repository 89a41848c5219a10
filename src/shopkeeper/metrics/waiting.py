r"""How good is what was said of waits: quantiles against what came, and the order in which customers come.

Waits are cut off at the end of the window in which they were watched (`customers/waits/days.py`).

Shapes: n rows, Q levels, R sets of weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shopkeeper.metrics.classification import one_or_many, weights_RN
from shopkeeper.metrics.value import check


def pinball_rows(actual: np.ndarray, quantile_nQ: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    r"""Pinball loss of each row, the mean over its levels, in the unit of the data: float64 (n,), lower is better.

    $$\frac1Q \sum_q \max\left(\tau_q (y - x_q),\ (\tau_q - 1)(y - x_q)\right)$$

    least where x is the quantile at $\tau$. R. Koenker and G. Bassett, Regression quantiles, Econometrica 46 (1978).
    At .9 an order three days later than said costs 2.7, three days earlier .3:

    >>> pinball_rows(np.array([8.0, 2.0]), np.array([[5.0], [5.0]]), [0.9]).round(4).tolist()
    [2.7, 0.3]
    """
    off_nQ, level = np.asarray(actual, np.float64)[:, None] - quantile_nQ, np.asarray(levels)
    return np.asarray(np.maximum(level * off_nQ, (level - 1) * off_nQ).mean(axis=1))


def concordance(actual: np.ndarray, forecast: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Of two customers who come at different times, how often the earlier one was expected earlier; half for a tie.

    $$C = \frac{\sum_{i,j: y_i < y_j} w_i w_j \left([x_i < x_j] + \tfrac12 [x_i = x_j]\right)}
    {\sum_{i,j: y_i < y_j} w_i w_j}$$

    F. Harrell and others, Evaluating the yield of medical tests, JAMA 247 (1982). Two who do not come in the window
    have the same y, its length, and say nothing: with one window for all, this is what censoring leaves to compare.
    NaN where all come at once. Here the one who never came was rightly expected last, the others the wrong way round:

    >>> round(float(concordance(np.array([3, 5, 90]), np.array([20, 10, 60]))), 4)
    0.6667

    Pairs are counted by the bits of the ranks of y: two ranks differ first in one bit, so each pair is met once.
    """
    y, x = check(actual, forecast)
    w_RN = weights_RN(weight, len(y))
    rank, place = (np.unique(values, return_inverse=True)[1].astype(np.int64) for values in (y, x))
    right_R, pairs_R = np.zeros(len(w_RN)), np.zeros(len(w_RN))
    for bit in range(int(rank.max(initial=0)).bit_length()):
        key = (rank >> (bit + 1)) * (len(y) + 1) + place  # rows whose ranks agree above the bit, by what was said
        order = np.argsort(key, kind="stable")
        sorted_key, later = key[order], (rank[order] >> bit & 1).astype(bool)
        earlier_RN = np.concatenate([np.zeros((len(w_RN), 1)), np.cumsum(w_RN[:, order] * ~later, axis=1)], axis=1)
        group = sorted_key // (len(y) + 1)
        row = np.flatnonzero(later)
        first, last = (np.searchsorted(group, group[row], side) for side in ("left", "right"))
        below, until = (np.searchsorted(sorted_key, sorted_key[row], side) for side in ("left", "right"))
        w = w_RN[:, order[row]]
        before_RK = (earlier_RN[:, below] + earlier_RN[:, until]) / 2 - earlier_RN[:, first]
        right_R += (w * before_RK).sum(axis=1)
        pairs_R += (w * (earlier_RN[:, last] - earlier_RN[:, first])).sum(axis=1)
    return one_or_many(np.divide(right_R, pairs_R, out=np.full(len(w_RN), np.nan), where=pairs_R > 0), weight)
