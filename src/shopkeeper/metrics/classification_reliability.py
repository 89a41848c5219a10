r"""Do 30 % of those who got 30 % do it? Expected calibration error, and the reliability diagram's numbers.

Bins are equal-mass: rows sorted by probability are cut where the weight passes 1/10, 2/10, … Rows with equal
probabilities stay together in the bin of their middle, so that no number depends on the order of the rows; a model
that gives everybody the same probability has one bin.

Shapes: n rows, R sets of weights, K blocks of equal scores, B bins, S simulations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shopkeeper.metrics.classification import blocks, check, one_or_many

BINS = 10
Z95 = 1.959963984540054


def ece(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None, bins: int = BINS) -> np.ndarray:
    r"""Expected calibration error with equal-mass bins.

    $$\mathrm{ECE} = \sum_b \frac{W_b}{W} \left| \bar y_b - \bar p_b \right|$$
    Naeini, Cooper and Hauskrecht, AAAI 2015; equal mass after Nixon et al., CVPR workshops 2019. It is above 0 for
    finite n even when every probability is right: read it beside `ece_if_calibrated`. Two bins here, each off by .1:

    >>> round(float(ece(np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.9, 0.9]), bins=2)), 4)
    0.1
    """
    y, p = check(label, probability)
    b = blocks(y, p, weight)
    w_RK = b.positive_RK + b.negative_RK
    bin_RK = _bins(w_RK, bins)
    flat = (bin_RK + bins * np.arange(len(w_RK))[:, None]).ravel()
    off = np.bincount(flat, (w_RK * b.score_K - b.positive_RK).ravel(), minlength=bins * len(w_RK))
    total_R = w_RK.sum(axis=1)
    error_R = np.abs(off).reshape(len(w_RK), bins).sum(axis=1)
    return one_or_many(np.divide(error_R, total_R, out=np.full(len(error_R), np.nan), where=total_R > 0), weight)


class Expected(NamedTuple):
    """Mean of a simulated statistic and the interval that holds 95 % of its values."""

    value: float
    low: float
    high: float


def ece_if_calibrated(probability: np.ndarray, simulations: int = 500, seed: int = 0, bins: int = BINS) -> Expected:
    """The ECE of a model whose probabilities are exactly right, at this n: labels are drawn from the probabilities.

    An observed ECE above `high` says that the probabilities are off; one inside says nothing against them.
    Vaicenavicius et al., AISTATS 2019 (consistency resampling, after Broecker and Smith 2007).

    >>> expected = ece_if_calibrated(np.full(100, 0.5))
    >>> bool(0.03 < expected.value < 0.05)  # mean |share of heads in 100 throws - 1/2| is .0796 / 2
    True
    """
    _, p = check(np.zeros(len(probability)), probability)
    p = np.sort(p)[::-1]  # blocks() takes the same order
    first = np.flatnonzero(np.append(True, np.diff(p) != 0))[: len(p)]
    size_K = np.diff(np.append(first, len(p))).astype(np.float64)
    bin_n = np.repeat(_bins(size_K[None, :], bins)[0], size_K.astype(np.int64))
    member_nB = (bin_n[:, None] == np.arange(bins)).astype(np.float32)
    rng = np.random.default_rng(seed)
    values: list[np.ndarray] = []
    chunk = max(1, 5_000_000 // max(len(p), 1))
    for done in range(0, simulations, chunk):
        drawn_Sn = rng.random((min(chunk, simulations - done), len(p)), dtype=np.float32) < p
        values.append(np.abs(((drawn_Sn - p).astype(np.float32) @ member_nB).astype(np.float64)).sum(axis=1))
    ece_S = np.concatenate(values) / len(p)
    return Expected(float(ece_S.mean()), *(float(x) for x in np.quantile(ece_S, (0.025, 0.975))))


class ReliabilityCurve(NamedTuple):
    """One entry per non-empty bin, lowest probabilities first; draw `rate` with its interval over `probability`."""

    probability: np.ndarray  # mean probability given
    rate: np.ndarray  # share of label 1 seen
    low: np.ndarray  # 95 % Wilson interval of the share
    high: np.ndarray
    n: np.ndarray  # rows


def reliability_curve(label: np.ndarray, probability: np.ndarray, bins: int = BINS) -> ReliabilityCurve:
    r"""Mean probability against observed share, with Wilson's 95 % interval, per equal-mass bin.

    $$\frac{\hat y + \frac{z^2}{2n} \pm z\sqrt{\frac{\hat y (1-\hat y)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}$$
    Wilson, JASA 22 (1927).

    >>> curve = reliability_curve(np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.9, 0.9]), bins=2)
    >>> curve.rate.tolist(), curve.n.tolist()
    ([0.0, 1.0], [2, 2])
    """
    y, p = check(label, probability)
    b = blocks(y, p)
    w_K = (b.positive_RK + b.negative_RK)[0]
    bin_K = bins - 1 - _bins(w_K[None, :], bins)[0]  # blocks come highest first
    n = np.bincount(bin_K, w_K, minlength=bins)
    used = n > 0
    mean = np.bincount(bin_K, w_K * b.score_K, minlength=bins)[used] / n[used]
    rate = np.bincount(bin_K, b.positive_RK[0], minlength=bins)[used] / n[used]
    low, high = wilson(rate, n[used])
    return ReliabilityCurve(mean, rate, low, high, n[used].astype(np.int64))


def wilson(rate: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of a share seen in n rows."""
    centre = rate + Z95**2 / (2 * n)
    half = Z95 * np.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n**2))
    return np.maximum((centre - half) / (1 + Z95**2 / n), 0.0), np.minimum((centre + half) / (1 + Z95**2 / n), 1.0)


def _bins(w_RK: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each block, 0 first, by the middle of its weight: int64 (R, K)."""
    end_RK = np.cumsum(w_RK, axis=1)
    middle_RK = (end_RK - w_RK / 2) / np.maximum(end_RK[:, -1:], 1e-300)
    # Rounded, so that a middle of exactly 3/10 lands in the same bin whatever the rounding of the running total.
    return np.clip(np.floor(np.round(middle_RK * bins, 9)).astype(np.int64), 0, bins - 1)
