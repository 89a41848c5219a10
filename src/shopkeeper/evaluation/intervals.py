"""Bootstrap intervals for means, resampling users: a user's requests come and go together.

Resampling rows would take several requests of one person for independent evidence and give intervals that are too
narrow. Sources: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 14;
C. A. Field and A. H. Welsh, Bootstrapping clustered data, JRSS B 69(3), 2007.

Shapes: n requests, U users, M metrics, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.errors import UserError, nearest
from shopkeeper.evaluation.resampling import drawn

METHODS = ("percentile", "bca")
_BLOCK_BYTES = 64 << 20  # memory for the weights of one block of resamples


@dataclass(frozen=True)
class Interval:
    """A mean per metric, float64 (M,), and its interval; `n` counts the requests that have a value."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray  # int64 (M,)

    def as_dicts(self) -> list[dict[str, float | int | None]]:
        """One `{"value", "low", "high", "n"}` per metric, as `metrics.json` holds them; None where not a number."""
        columns = zip(self.value, self.low, self.high, self.n, strict=True)
        return [
            {"value": finite(v), "low": finite(low), "high": finite(high), "n": int(n)} for v, low, high, n in columns
        ]


def mean_interval(
    values: np.ndarray,
    user: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    method: str = "percentile",
    seed: int = 0,
    shares: np.ndarray | None = None,
) -> Interval:
    """Means of the columns of `values` (n, M) and their intervals by bootstrap over users (n,).

    NaN is "no value" and left out. One user, or none, gives an interval of NaN: nothing can be said. Where all values
    are equal, resamples are, too, which says nothing of others: a metric that lies between 0 and 1 (`shares`, bool
    (M,)) gets the interval of C. J. Clopper and E. S. Pearson (Biometrika 26, 1934) for 0 or 1 in all users, any other
    one NaN.
    """
    if method not in METHODS:
        raise UserError(f"there is no interval method '{method}'.{nearest(method, METHODS)}")
    values = np.atleast_2d(np.asarray(values, np.float64).T).T
    sums, counts = per_user(values, user)
    total, number = sums.sum(0), np.broadcast_to(counts.sum(0), sums.shape[1:])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / number
    n = number.astype(np.int64)
    if len(sums) < 2:
        blank = np.full(len(mean), np.nan)
        return Interval(mean, blank, blank, n)
    resampled = resampled_means(sums, counts, resamples, seed)
    resampled[:, number == 0] = 0.0  # a metric without any value: its limits are blanked below
    tail = (1 - confidence) / 2
    if method == "percentile":
        low, high = np.nanquantile(resampled, [tail, 1 - tail], axis=0)
    else:
        low, high = _bca(resampled, mean, sums, counts, tail)
    for m in np.flatnonzero(np.isclose(low, high, rtol=1e-9, atol=0) & (number > 0)):
        if (value := np.nanmin(values[:, m])) == np.nanmax(values[:, m]):
            there = len(np.unique(np.asarray(user)[~np.isnan(values[:, m])]))
            known = shares is not None and shares[m] and there > 1 and value in (0, 1)
            width = 1 - tail ** (1 / there)
            low[m], high[m] = (max(value - width, 0), min(value + width, 1)) if known else (np.nan, np.nan)
    empty = np.isnan(mean)
    return Interval(mean, np.where(empty, np.nan, low), np.where(empty, np.nan, high), n)


def finite(value: float) -> float | None:
    """A float for JSON: None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None


def per_user(values: np.ndarray, user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums (U, M) and counts of values per user: counts (U, 1) when nothing is missing, else (U, M)."""
    _, code = np.unique(np.asarray(user), return_inverse=True)
    n_users = int(code.max(initial=-1)) + 1
    missing = np.isnan(values)
    filled = np.where(missing, 0.0, values) if missing.any() else values
    sums = np.stack([np.bincount(code, filled[:, m], minlength=n_users) for m in range(values.shape[1])], axis=1)
    if missing.any():
        present = ~missing
        counts = [np.bincount(code, present[:, m], minlength=n_users) for m in range(values.shape[1])]
        return sums, np.stack(counts, axis=1)
    return sums, np.bincount(code, minlength=n_users).astype(np.float64)[:, None]


def resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means (R, M) over users drawn with replacement, from sums (U, M) and counts (U, 1 or M)."""
    n_users, n_metrics = sums.shape
    both = np.concatenate([sums, counts], axis=1)
    block = int(np.clip(_BLOCK_BYTES // (8 * n_users), 1, resamples))
    means = np.empty((resamples, n_metrics))
    first = 0
    for weight in drawn(n_users, resamples, seed, block):
        total = weight @ both
        with np.errstate(invalid="ignore", divide="ignore"):
            means[first : first + len(weight)] = total[:, :n_metrics] / total[:, n_metrics:]
        first += len(weight)
    return means


def _bca(
    resampled: np.ndarray, mean: np.ndarray, sums: np.ndarray, counts: np.ndarray, tail: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bias-corrected and accelerated limits; acceleration from the jackknife over users (Efron 1987)."""
    from scipy.special import ndtr, ndtri

    share = ((resampled < mean).mean(0) + (resampled <= mean).mean(0)) / 2
    least = 0.5 / len(resampled)
    bias = ndtri(np.clip(share, least, 1 - least))
    with np.errstate(invalid="ignore", divide="ignore"):
        without = (sums.sum(0) - sums) / (counts.sum(0) - counts)
        deviation = np.nanmean(without, axis=0) - without
        acceleration = np.nansum(deviation**3, 0) / (6 * np.nansum(deviation**2, 0) ** 1.5)
    acceleration = np.nan_to_num(acceleration)
    limits = []
    for z in (ndtri(tail), ndtri(1 - tail)):
        at = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        limits.append(np.array([np.nanquantile(resampled[:, m], at[m]) for m in range(len(mean))]))
    return limits[0], limits[1]
