r"""How good probabilities of a yes/no label are: ranking (AUROC, average precision) and proper scores.

Every aggregate takes labels, probabilities and optional row weights. Weights are (n,), or (R, n) for R answers at
once (one per bootstrap resample), which cost one sort. Rows with equal scores are one block: no result depends on
the order of the rows. With only one class (under the weights) AUROC is NaN; without positives so is average
precision. Scores that are NaN or infinite, and labels other than 0 and 1, are refused.

Shapes: n rows, R sets of weights, K blocks of equal scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shopkeeper.errors import UserError

SMALLEST = float(np.finfo(np.float64).eps)  # log loss clips here, as scikit-learn does


class Blocks(NamedTuple):
    """Rows summed over blocks of equal scores, highest score first."""

    score_K: np.ndarray
    positive_RK: np.ndarray  # weight of label 1 per block
    negative_RK: np.ndarray  # weight of label 0 per block


def check(label: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (n,); `UserError` for lengths that differ, labels other than 0 / 1, or scores not finite."""
    y, p = np.asarray(label, np.float64), np.asarray(probability, np.float64)
    if y.shape != p.shape or y.ndim != 1:
        raise UserError(f"labels {y.shape} and probabilities {p.shape} must be two lists of the same length")
    if not np.isfinite(p).all():
        raise UserError(f"{int((~np.isfinite(p)).sum())} probabilities are NaN or infinite; drop blank scores first")
    if not np.isin(y, (0.0, 1.0)).all():
        raise UserError(f"labels must be 0 or 1, found {y[~np.isin(y, (0.0, 1.0))][0]}")
    return y, p


def weights_RN(weight: np.ndarray | None, n: int) -> np.ndarray:
    """Weights as (R, n); None is one row of ones."""
    return np.ones((1, n)) if weight is None else np.atleast_2d(np.asarray(weight, np.float64))


def one_or_many(values_R: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """A 0-d array where the weights were (n,) or None, else (R,)."""
    return values_R if weight is not None and np.ndim(weight) == 2 else values_R[0]


def blocks(label: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> Blocks:
    """Weight of positives and negatives per block of equal scores, highest score first."""
    w_RN = weights_RN(weight, len(score))
    if np.any(score[1:] > score[:-1]):  # rows that come sorted, as a bootstrap's do, are not moved about again
        order = np.argsort(-score, kind="stable")
        score, label, w_RN = score[order], label[order], w_RN[:, order]
    last_K = np.flatnonzero(np.append(np.diff(score) != 0, True)) if len(score) else np.zeros(0, np.int64)
    first_K = np.append(0, last_K[:-1] + 1)[: len(last_K)]
    positive_RN = w_RN * label
    if len(last_K) == len(score):  # no ties
        return Blocks(score, positive_RN, w_RN - positive_RN)
    positive_RK = np.add.reduceat(positive_RN, first_K, axis=1)
    return Blocks(score[last_K], positive_RK, np.add.reduceat(w_RN, first_K, axis=1) - positive_RK)


def auroc(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Area under the ROC curve: the chance that a random positive scores above a random negative.

    $$\mathrm{AUROC} = \frac{\sum_{i: y_i=1} \sum_{j: y_j=0} w_i w_j \left([p_i > p_j] + \tfrac12 [p_i = p_j]\right)}
    {\sum_{i: y_i=1} w_i \, \sum_{j: y_j=0} w_j}$$

    Hanley and McNeil, Radiology 143 (1982). Here the positive at .8 beats both negatives, the one at .4 beats one:

    >>> float(auroc(np.array([1, 0, 1, 0]), np.array([0.8, 0.6, 0.4, 0.1])))
    0.75
    """
    y, p = check(label, probability)
    b = blocks(y, p, weight)
    above_RK = np.cumsum(b.positive_RK, axis=1) - b.positive_RK / 2
    won_R = np.einsum("rk,rk->r", above_RK, b.negative_RK)
    pairs_R = b.positive_RK.sum(axis=1) * b.negative_RK.sum(axis=1)
    return one_or_many(np.divide(won_R, pairs_R, out=np.full(len(won_R), np.nan), where=pairs_R > 0), weight)


def average_precision(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Average precision over the thresholds, to be read beside the base rate, which random scores reach.

    $$\mathrm{AP} = \sum_k (R_k - R_{k-1}) P_k$$ with precision $P_k$ and recall $R_k$ above the k-th distinct score
    (no interpolation). Davis and Goadrich, ICML 2006. Positives at ranks 1 and 3: (1/1 + 2/3) / 2.

    >>> round(float(average_precision(np.array([1, 0, 1, 0]), np.array([0.8, 0.6, 0.4, 0.1]))), 4)
    0.8333
    """
    y, p = check(label, probability)
    b = blocks(y, p, weight)
    tp_RK, fp_RK = np.cumsum(b.positive_RK, axis=1), np.cumsum(b.negative_RK, axis=1)
    shown_RK = tp_RK + fp_RK
    precision_RK = np.divide(tp_RK, shown_RK, out=np.zeros_like(tp_RK), where=shown_RK > 0)
    total_R = b.positive_RK.sum(axis=1)
    ap_R = np.einsum("rk,rk->r", b.positive_RK, precision_RK)
    return one_or_many(np.divide(ap_R, total_R, out=np.full(len(ap_R), np.nan), where=total_R > 0), weight)


def log_loss_rows(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Log loss of each row in nats (n,): what `log_loss` averages."""
    y, p = check(label, probability)
    p = np.clip(p, SMALLEST, 1 - SMALLEST)
    return -np.where(y > 0.5, np.log(p), np.log1p(-p))


def log_loss(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Mean negative log-likelihood in nats, a proper score.

    $$-\frac{1}{\sum w_i}\sum_i w_i \left(y_i \ln p_i + (1-y_i) \ln (1-p_i)\right)$$
    Good, JRSS B 14 (1952). Half sure of everything costs ln 2:

    >>> round(float(log_loss(np.array([1, 0]), np.array([0.5, 0.5]))), 4)
    0.6931
    """
    return _mean(log_loss_rows(label, probability), weight)


def brier_rows(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Squared error of each row (n,): what `brier` averages."""
    y, p = check(label, probability)
    return (p - y) ** 2


def brier(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Brier score, a proper score: $\frac{1}{\sum w_i}\sum_i w_i (p_i - y_i)^2$. Brier, MWR 78 (1950).

    >>> round(float(brier(np.array([1, 0]), np.array([0.9, 0.3]))), 4)
    0.05
    """
    return _mean(brier_rows(label, probability), weight)


class BrierParts(NamedTuple):
    """Brier score = miscalibration - discrimination + uncertainty."""

    miscalibration: float
    discrimination: float
    uncertainty: float


def brier_decomposition(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> BrierParts:
    r"""What of the Brier score is wrong probabilities, what is telling people apart, and what is the task itself.

    $$\mathrm{BS} = \underbrace{\mathrm{BS}(p) - \mathrm{BS}(\hat p)}_{\text{miscalibration} \ge 0} -
    \underbrace{(\mathrm{BS}(\bar y) - \mathrm{BS}(\hat p))}_{\text{discrimination} \ge 0} +
    \underbrace{\mathrm{BS}(\bar y)}_{\text{uncertainty} = \bar y (1 - \bar y)}$$

    with $\hat p$ the isotonic (pool-adjacent-violators) recalibration of p: Murphy's decomposition (J. Appl. Meteor.
    12, 1973) without its bins, by Dimitriadis, Gneiting and Jordan (PNAS 118, 2021). Weights (n,). These scores are
    the wrong way round, so that the best monotone recalibration is a constant:

    >>> parts = brier_decomposition(np.array([1, 0]), np.array([0.2, 0.6]))
    >>> [round(float(x), 4) for x in parts]
    [0.25, 0.0, 0.25]
    """
    y, p = check(label, probability)
    b = blocks(y, p, weight)
    w_K, positive_K = (b.positive_RK + b.negative_RK)[0], b.positive_RK[0]
    used = w_K > 0
    w, rate, score = w_K[used], positive_K[used] / w_K[used], b.score_K[used]
    mean = np.average(rate, weights=w)
    recalibrated = increasing_fit(rate[::-1], w[::-1])[::-1]

    def score_of(forecast: np.ndarray | float) -> float:
        return float(np.average(rate * (1 - forecast) ** 2 + (1 - rate) * np.asarray(forecast) ** 2, weights=w))

    uncertainty = score_of(mean)
    return BrierParts(score_of(score) - score_of(recalibrated), uncertainty - score_of(recalibrated), uncertainty)


def increasing_fit(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted least-squares fit of a non-decreasing sequence (pool adjacent violators)."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(values, weights=weight).x)


def _mean(rows_n: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    w_RN = weights_RN(weight, len(rows_n))
    total_R = w_RN.sum(axis=1)
    return one_or_many(np.divide(w_RN @ rows_n, total_R, out=np.full(len(w_RN), np.nan), where=total_R > 0), weight)
