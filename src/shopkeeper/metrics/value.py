r"""How good forecasts of money and counts are: point forecasts, rankings by value, and whole distributions.

Per-row scores (`crps_samples`, `crps_counts`, `pit_samples`, `pit_counts`) give one value per row; averages and
intervals of them are made in `evaluation/`. Aggregates take row weights (n,), or (R, n) for R answers at once (one per
bootstrap resample). No result depends on the order of the rows: equal forecasts are one block.

Shapes: n rows, R sets of weights, K blocks of equal forecasts, S samples of a forecast, C values of a count 0..C-1.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.errors import UserError
from shopkeeper.metrics.classification import one_or_many, weights_RN


def mae(actual: np.ndarray, forecast: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Mean absolute error, in the unit of the data: $\frac{1}{\sum w_i} \sum_i w_i |\hat y_i - y_i|$.

    It rewards the median: on data that are mostly 0 a forecast of 0 for everybody does well, so read it beside
    `total_bias`. Willmott and Matsuura, Climate Research 30 (2005).

    >>> float(mae(np.array([0, 10, 20]), np.array([1, 8, 20])))
    1.0
    """
    y, x = check(actual, forecast)
    w_RN = weights_RN(weight, len(y))
    return one_or_many(_ratio(w_RN @ np.abs(x - y), w_RN.sum(axis=1)), weight)


def rmse(actual: np.ndarray, forecast: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Root of the mean squared error, in the unit of the data: $\sqrt{\sum w_i (\hat y_i - y_i)^2 / \sum w_i}$.

    It rewards the mean, and hangs on the few largest values. Hyndman and Koehler, Int. J. Forecasting 22 (2006).

    >>> float(rmse(np.array([0, 0, 0, 10]), np.array([0, 0, 0, 6])))
    2.0
    """
    y, x = check(actual, forecast)
    w_RN = weights_RN(weight, len(y))
    return one_or_many(np.sqrt(_ratio(w_RN @ (x - y) ** 2, w_RN.sum(axis=1))), weight)


def poisson_deviance_rows(actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    r"""How far a forecast is from a count or an amount, as fits means: float64 (n,), 0 where it is right.

    $$2 \left(y \ln \frac{y}{\hat y} - y + \hat y\right)$$
    which of a Poisson count says how unlikely it is. Its mean is least where forecasts are means, whatever the
    distribution, also that of amounts: absolute error is least at medians, squared error hangs on the few largest. It
    has the unit of the data, so that another currency changes no order of forecasts above 0. One below 1e-6 counts as
    that: nobody is sure of nothing. McCullagh and Nelder, Generalized Linear Models (1989); Gneiting, Making and
    evaluating point forecasts, JASA 106 (2011).

    >>> [round(float(d), 4) for d in poisson_deviance_rows(np.array([0, 2, 3]), np.array([0.5, 2, 1]))]
    [1.0, 0.0, 2.5917]
    """
    y, x = check(actual, forecast)
    mean = np.maximum(x, 1e-6)
    return 2 * (np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / mean), 0.0) - y + mean)


def total_bias(actual: np.ndarray, forecast: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Error of the sum: $\sum_i w_i \hat y_i \big/ \sum_i w_i y_i - 1$; -.1 misses a tenth. NaN if the sum is 0.

    Fader, Hardie and Lee, Marketing Science 24 (2005), who track cumulative sales in this way.

    >>> round(float(total_bias(np.array([10, 30]), np.array([12, 24]))), 4)
    -0.1
    """
    y, x = check(actual, forecast)
    w_RN = weights_RN(weight, len(y))
    return one_or_many(_ratio(w_RN @ x, w_RN @ y) - 1, weight)


def normalised_gini(actual: np.ndarray, forecast: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""How much of the value the ranking by forecast gathers early: 1 is the best ranking, 0 a random one.

    With $L(q)$ the share of all value held by the share q of customers with the highest forecasts, and $L^*$ the same
    for the ranking by the value itself,

    $$\frac{\int_0^1 L(q)\,dq - \frac12}{\int_0^1 L^*(q)\,dq - \frac12} .$$

    Frees, Meyers and Cummings, JASA 106 (2011); as used for customer value by Wang, Liu and Miao (arXiv 1912.07753).
    NaN when the values sum to 0 or are all equal. Here the two best are swapped:

    >>> round(float(normalised_gini(np.array([0, 1, 3]), np.array([0.1, 0.9, 0.5]))), 4)
    0.3333
    """
    y, x = check(actual, forecast)
    return one_or_many(_ratio(_area(y, x, weight), _area(y, y, weight)), weight)


def spearman(actual: np.ndarray, forecast: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Spearman's rank correlation: Pearson's correlation of the ranks, equal values sharing their middle rank.

    Spearman, Am. J. Psychol. 15 (1904). NaN when either side is constant.

    >>> float(spearman(np.array([1, 2, 3]), np.array([10, 30, 20])))
    0.5
    """
    y, x = check(actual, forecast)
    w_RN = weights_RN(weight, len(y))
    a_RN, b_RN = _ranks(y, w_RN), _ranks(x, w_RN)
    total_R1 = w_RN.sum(axis=1, keepdims=True)
    a_RN = a_RN - (w_RN * a_RN).sum(axis=1, keepdims=True) / total_R1
    b_RN = b_RN - (w_RN * b_RN).sum(axis=1, keepdims=True) / total_R1
    below_R = np.sqrt((w_RN * a_RN**2).sum(axis=1) * (w_RN * b_RN**2).sum(axis=1))
    return one_or_many(_ratio((w_RN * a_RN * b_RN).sum(axis=1), below_R), weight)


def decile_mape(actual: np.ndarray, forecast: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Calibration of value: mean relative error of the sums in the tenths of customers sorted by forecast.

    $$\frac{1}{10}\sum_{d=1}^{10}
    \frac{\left|\sum_{i \in d} w_i (\hat y_i - y_i)\right|}{\left|\sum_{i \in d} w_i y_i\right|}$$

    Wang, Liu and Miao (arXiv 1912.07753). Equal forecasts share the tenth of their middle, and tenths left empty by
    that do not count; NaN when a tenth has no value to be relative to (many customers without any).

    >>> round(float(decile_mape(np.arange(1, 11) * 10.0, np.arange(1, 11) * 11.0)), 4)
    0.1
    """
    y, x = check(actual, forecast)
    order, first_K = _blocks(x)
    w_RN = weights_RN(weight, len(y))[:, order]
    w_RK, actual_RK, forecast_RK = (
        np.add.reduceat(v, first_K, axis=1) for v in (w_RN, w_RN * y[order], w_RN * x[order])
    )
    middle_RK = (np.cumsum(w_RK, axis=1) - w_RK / 2) / np.maximum(w_RK.sum(axis=1, keepdims=True), 1e-300)
    tenth_RK = np.clip(np.floor(np.round(middle_RK * 10, 9)).astype(np.int64), 0, 9)
    flat = (tenth_RK + 10 * np.arange(len(w_RK))[:, None]).ravel()

    def per_tenth(values_RK: np.ndarray) -> np.ndarray:
        return np.bincount(flat, values_RK.ravel(), minlength=10 * len(w_RK)).reshape(-1, 10)

    used = per_tenth(w_RK) > 0
    error = _ratio(np.abs(per_tenth(forecast_RK - actual_RK)), np.abs(per_tenth(actual_RK)))
    return one_or_many(np.where(used, error, 0).sum(axis=1) / used.sum(axis=1), weight)


def crps_samples(actual: np.ndarray, samples: np.ndarray) -> np.ndarray:
    r"""Continuous ranked probability score of a forecast given as samples (n, S): float64 (n,), lower is better.

    $$\int \left(\hat F(z) - [z \ge y]\right)^2 dz = \frac1S \sum_s |x_s - y| - \frac{1}{2 S^2} \sum_{s,t} |x_s - x_t|$$

    a proper score in the unit of the data, which for one sample is the absolute error. Gneiting and Raftery, JASA 102
    (2007). Half a chance of 0 and of 2 when 1 comes: (1 + 1) / 2 - (2 + 2) / 8.

    >>> crps_samples(np.array([1.0]), np.array([[0.0, 2.0]])).tolist()
    [0.5]
    """
    x_nS = np.sort(np.asarray(samples, np.float64), axis=1)
    y = np.asarray(actual, np.float64)
    _finite(y, x_nS)
    S = x_nS.shape[1]
    spread_n = x_nS @ (2 * np.arange(1, S + 1) - S - 1) / S**2  # half the mean distance of two samples
    return np.abs(x_nS - y[:, None]).mean(axis=1) - spread_n


def crps_counts(actual: np.ndarray, cdf: np.ndarray) -> np.ndarray:
    r"""Ranked probability score of a count: `cdf[i, k]` = P(Y_i <= k), (n, C): float64 (n,), lower is better.

    $$\sum_{k \ge 0} \left(F(k) - [k \ge y]\right)^2$$
    Epstein, J. Appl. Meteor. 8 (1969); the CRPS of a count. Beyond the last column F counts as 1.

    >>> crps_counts(np.array([1]), np.array([[0.5, 0.5, 1.0]])).tolist()
    [0.5]
    """
    y, F_nC = _counts(actual, cdf)
    C = F_nC.shape[1]
    return ((F_nC - (np.arange(C) >= y[:, None])) ** 2).sum(axis=1) + np.maximum(y - C, 0)


def pit_samples(actual: np.ndarray, samples: np.ndarray, seed: int = 0) -> np.ndarray:
    r"""Probability integral transform of a forecast given as samples (n, S): uniform on (0, 1) if it is right.

    $$u = \frac{\#\{s: x_s < y\} + V (1 + \#\{s: x_s = y\})}{S + 1}, \quad V \sim U(0, 1)$$
    with seeded V, exactly uniform when y is one more draw from the same distribution. Dawid, JRSS A 147 (1984).

    >>> bool(0.5 < pit_samples(np.array([2.5]), np.array([[1.0, 2.0, 3.0]]))[0] < 0.75)
    True
    """
    y, x_nS = np.asarray(actual, np.float64)[:, None], np.asarray(samples, np.float64)
    _finite(y, x_nS)
    v = np.random.default_rng(seed).random(len(y))
    return ((x_nS < y).sum(axis=1) + v * (1 + (x_nS == y).sum(axis=1))) / (x_nS.shape[1] + 1)


def pit_counts(actual: np.ndarray, cdf: np.ndarray, seed: int = 0) -> np.ndarray:
    r"""Randomised probability integral transform of a count; `cdf` (n, C) as in `crps_counts`.

    $$u = F(y - 1) + V \left(F(y) - F(y - 1)\right), \quad V \sim U(0, 1)$$
    Czado, Gneiting and Held, Biometrics 65 (2009). Without the V counts would pile up, most of all at 0.

    >>> bool(0.2 < pit_counts(np.array([1]), np.array([[0.2, 0.7, 1.0]]))[0] < 0.7)
    True
    """
    y, F_nC = _counts(actual, cdf)
    row = np.arange(len(y))
    padded = np.concatenate([np.zeros((len(y), 1)), F_nC, np.ones((len(y), 1))], axis=1)
    k = np.minimum(y, F_nC.shape[1])
    below, at = padded[row, k], padded[row, k + 1]
    return below + np.random.default_rng(seed).random(len(y)) * (at - below)


def ks_distance(pit: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Kolmogorov-Smirnov distance of PIT values to the uniform distribution: $\sup_u |\hat F(u) - u|$.

    0 is calibrated; n values from a right forecast show about $0.87 / \sqrt{n}$. Massey, JASA 46 (1951).

    >>> round(float(ks_distance(np.array([0.1, 0.2, 0.3, 0.4]))), 4)
    0.6
    """
    u = np.asarray(pit, np.float64)
    _finite(u)
    order = np.argsort(u, kind="stable")
    w_RN = weights_RN(weight, len(u))[:, order]
    after_RN = np.cumsum(w_RN, axis=1)
    total_R1 = after_RN[:, -1:]
    before_RN = (after_RN - w_RN) / total_R1
    return one_or_many(np.maximum(after_RN / total_R1 - u[order], u[order] - before_RN).max(axis=1), weight)


def coverage(actual: np.ndarray, low: np.ndarray, high: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Share of rows inside their interval, ends included: $\frac{1}{\sum w_i}\sum_i w_i [l_i \le y_i \le h_i]$.

    To be read against the interval's nominal level, and beside its width. For counts an interval with ends included
    covers at least its level even when it is exactly right. Christoffersen, Int. Econ. Rev. 39 (1998).

    >>> round(float(coverage(np.array([1, 5, 9]), np.array([0, 0, 0]), np.array([5, 5, 5]))), 4)
    0.6667
    """
    y, lower = check(actual, low)
    _, upper = check(actual, high)
    if np.any(lower > upper):
        raise UserError(f"{int(np.sum(lower > upper))} intervals end before they begin; swap low and high")
    w_RN = weights_RN(weight, len(y))
    return one_or_many(_ratio(w_RN @ ((lower <= y) & (y <= upper)).astype(np.float64), w_RN.sum(axis=1)), weight)


def check(actual: np.ndarray, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (n,); `UserError` for lengths that differ and values that are NaN or infinite."""
    y, x = np.asarray(actual, np.float64), np.asarray(forecast, np.float64)
    if y.shape != x.shape or y.ndim != 1:
        raise UserError(f"actual values {y.shape} and forecasts {x.shape} must be two lists of the same length")
    _finite(y, x)
    return y, x


def _finite(*arrays: np.ndarray) -> None:
    for values in arrays:
        if not np.isfinite(values).all():
            raise UserError(f"{int((~np.isfinite(values)).sum())} values are NaN or infinite; drop blank rows first")


def _counts(actual: np.ndarray, cdf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts as int64 (n,) and cumulative probabilities as float64 (n, C); `UserError` where they are none."""
    y, F_nC = np.asarray(actual), np.asarray(cdf, np.float64)
    _finite(y, F_nC)
    if np.any(y < 0) or np.any(y != np.floor(y)):
        raise UserError("counts must be whole numbers from 0")
    if np.any(np.diff(F_nC, axis=1) < -1e-9) or F_nC.min(initial=0) < -1e-9 or F_nC.max(initial=0) > 1 + 1e-9:
        raise UserError("cdf must rise along each row and stay in [0, 1]: give P(Y <= k), not P(Y = k)")
    return y.astype(np.int64), np.clip(F_nC, 0, 1)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.abs(below) > 1e-12)


def _blocks(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order with the highest score first, and where each block of equal scores begins in it."""
    order = np.argsort(-score, kind="stable")
    return order, np.flatnonzero(np.append(True, np.diff(score[order]) != 0))[: len(score)]


def _area(value: np.ndarray, score: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Area between the curve of gathered value (highest score first) and the diagonal: (R,)."""
    order, first_K = _blocks(score)
    w_RN = weights_RN(weight, len(score))[:, order]
    people_RK = np.add.reduceat(w_RN, first_K, axis=1)
    value_RK = np.add.reduceat(w_RN * value[order], first_K, axis=1)
    gathered_RK = np.cumsum(value_RK, axis=1) - value_RK / 2  # straight inside a block
    below_R = people_RK.sum(axis=1) * value_RK.sum(axis=1)
    return _ratio((people_RK * gathered_RK).sum(axis=1), below_R) - 0.5


def _ranks(values: np.ndarray, w_RN: np.ndarray) -> np.ndarray:
    """Middle rank of each row's block of equal values, counting rows by weight: (R, n)."""
    _, block = np.unique(values, return_inverse=True)
    order = np.argsort(block, kind="stable")
    first_K = np.flatnonzero(np.append(True, np.diff(block[order]) != 0))
    size_RK = np.add.reduceat(w_RN[:, order], first_K, axis=1)
    return (np.cumsum(size_RK, axis=1) - size_RK / 2)[:, block]
