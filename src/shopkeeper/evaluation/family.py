r"""Several mean differences judged together: intervals and p-values from one joint resampling of their maximum.

Every difference is studentised, $t = \bar d / se$ over the customers, and one resampling that treats a customer's
differences alike gives the distribution of the largest $|t|$ when nothing differs: its upper quantile $c$ makes the
intervals $\bar d \pm c \, se$, its tail beyond an observed $|t|$ that difference's adjusted p-value. So an interval
excludes 0 exactly when its adjusted p-value is at or below the level; all intervals hold together, also for the model
that was chosen because it came out best; and however many differences there are, the smallest adjusted p-value is one
over the number of resamples. Sources: P. H. Westfall and S. S. Young, Resampling-Based Multiple Testing (1993),
chapter 2 (single-step max-T); J. P. Romano and M. Wolf, Exact and approximate stepdown methods for multiple hypothesis
testing, JASA 100, 2005. The step-down form finds a little more, but has no intervals that say so. So that few customers
of one difference do not hide another, t is brought to the scale of a normal deviate first: D. L. Wallace, Bounds on
normal approximations to Student's and the chi-square distributions, Ann. Math. Statist. 30, 1959.

Of k resamples beyond, $(1 + \sqrt k)^2$ are counted: two standard errors more, so that the resampling's own noise makes
no finding. At a level of .05 a family of equals then has one in .043 of all cases (`benchmarks/sentences.py`).

Resampled are the signs of the customers' deviations from the mean (randomisation; for few customers and heavy tails
close to exact: R. Davidson and E. Flachaire, The wild bootstrap, tamed at last, J. Econometrics 146, 2008), or the
customers (bootstrap). Without assumptions k customers whose values differ at all cannot give a p-value below
$2^{1-k}$ (all signs alike), so none is given, and an interval of fewer than six of them holds 0 at a level of 5 %.

Shapes: U customers, M columns, P differences, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from shopkeeper.evaluation import resampling

METHOD = {
    "randomisation": "joint sign flips of customers, largest |t| of the family",
    "bootstrap": "joint bootstrap of customers, largest |t| of the family",
}
BEYOND = 200  # resamples beyond the level at least: its noise is then a fourteenth of it
LEAST = 2000  # so that the smallest p-value is below what is shown, 0.001
FEW = 16  # customers whose values differ: up to here their number alone may decide
_BLOCK_BYTES = 64 << 20  # of the customers' draws
_CACHED_BYTES = 2 << 20  # of a block's deviates: what is done to them one by one finds them in the cache
_FLAT = 1e-24  # squared deviations below this share of the squared values are rounding


@dataclass(frozen=True)
class Part:
    """Differences over the same customers: the columns themselves, or second minus first of each of `pairs`."""

    sums: np.ndarray  # float64 (U, M), a customer's summed values
    counts: np.ndarray  # float64 (U, 1), or (U, M) where values are missing; then `pairs` must be None
    pairs: tuple[np.ndarray, np.ndarray] | None = None  # columns, int (P,) each
    users: np.ndarray | None = None  # int (U,): which of all customers these are; None: all


@dataclass(frozen=True)
class Joint:
    """What is known of P differences together; NaN where fewer than two customers have a value."""

    mean: np.ndarray
    error: np.ndarray  # standard error
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray  # of each alone
    p_adjusted: np.ndarray  # for all of them
    n_users: np.ndarray
    n_differing: np.ndarray  # users whose difference is not 0
    critical: float  # how many standard errors an interval reaches, with many customers
    resamples: int


def judge(
    parts: Sequence[Part],
    n_users: int,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    test: str = "randomisation",
    seed: int = 0,
) -> Joint:
    """Judge the differences of all parts as one family.

    Args:
        parts: what is compared; a customer has one sign (or weight) in all of them.
        n_users: customers in all parts together.
        confidence: of all intervals together.
        resamples: at least so many; more where `BEYOND` asks for them.
        test: `randomisation` or `bootstrap`.
        seed: of the resampling.
    """
    level = 1 - confidence
    resamples = max(resamples, LEAST, ceil(BEYOND / level))
    columns = [_Columns(part) for part in parts]
    mean, error, n, differ = (
        np.concatenate([np.zeros(0), *(getattr(c, k) for c in columns)]) for k in ("mean", "error", "n", "differ")
    )
    least = least_p(differ)
    for c in columns:
        c.bound(level, len(mean))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.where(mean == 0, 0.0, (mean / error) ** 2)
    most = np.concatenate([np.zeros(0), *(c.most for c in columns)])
    observed = np.minimum(_normal(observed, n), most) * (1 - 1e-9)  # what is reached by rounding is reached
    largest, reached = np.zeros(resamples), np.zeros(len(mean))
    first = 0
    draws = resampling.flipped if test == "randomisation" else resampling.drawn
    for drawn in draws(n_users, resamples, seed, _block(n_users, len(mean), resamples)):
        rows = slice(first, first + len(drawn))
        at = 0
        for c in columns:
            squared = c.flipped(drawn) if test == "randomisation" else c.redrawn(drawn)
            reached[at : at + len(c.mean)] += (squared >= observed[at : at + len(c.mean)]).sum(0)
            largest[rows] = np.maximum(largest[rows], squared.max(axis=1, initial=0.0))
            at += len(c.mean)
        first = rows.stop
    p_value, p_adjusted, furthest = verdict(largest, observed, reached, least, level)
    critical = float(np.sqrt(furthest))
    with np.errstate(invalid="ignore"):
        reach = np.where(error == 0, 0.0, np.sqrt(_student(critical**2, n)) * error)
    low, high = bounds(mean, reach, p_adjusted > level)
    for values in (p_value, p_adjusted, low, high):
        values[n < 2] = np.nan
    return Joint(mean, error, low, high, p_value, p_adjusted, n, differ, critical, resamples)


def verdict(
    largest_R: np.ndarray, observed: np.ndarray, reached: np.ndarray, least: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """P-values of P deviates, alone and in their family, and the deviate that the family's intervals reach.

    Args:
        largest_R: of the family in each resample.
        observed: (P,), in the same unit.
        reached: (P,), resamples in which the same difference came out as far.
        least: (P,), the smallest p-value that there can be.
        level: of the family.
    """
    resamples, ordered = len(largest_R), np.sort(largest_R)
    beyond = resamples - np.searchsorted(ordered, observed)
    alone, adjusted = (np.maximum((1 + np.sqrt(k)) ** 2 / (resamples + 1), least) for k in (reached, beyond))
    allowed = floor((np.sqrt(level * (resamples + 1)) - 1) ** 2 + 1e-9)  # how many p-values at the level are beyond
    return np.minimum(1.0, alone), np.minimum(1.0, adjusted), float(ordered[resamples - 1 - allowed])


def bounds(difference: np.ndarray, reach: np.ndarray, unclear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of this reach; those of what is unclear hold 0."""
    reach = np.where(unclear, np.maximum(reach, np.abs(difference)), reach)
    return difference - reach, difference + reach


def least_p(differing: np.ndarray | int) -> np.ndarray:
    """The smallest p-value that so many customers can give without assumptions: all of their signs are alike."""
    return 2.0 ** (1 - np.minimum(differing, 1000))


class _Columns:
    """A part's means, and its customers' deviations from them."""

    def __init__(self, part: Part) -> None:
        self.sums = sums = part.sums
        self.counts, self.pairs, self.users = part.counts, part.pairs, part.users
        total, n = self.counts.sum(0), (self.counts > 0).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.mean = sums.sum(0) / total
        self.deviation = sums - np.nan_to_num(self.mean) * self.counts
        size = (sums**2).sum(0)
        if self.pairs is None:
            self.square, self.differ = (self.deviation**2).sum(0), _differing(sums, np.abs(sums).max(0, initial=0))
        else:
            assert self.counts.shape[1] == 1, "pairs of columns need the same customers in both"
            a, b = self.pairs
            self.mean, size = self.mean[b] - self.mean[a], size[a] + size[b]
            self.square, self.differ = np.empty(len(a)), np.empty(len(a), np.int64)
            for p, (i, j) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
                self.square[p] = ((self.deviation[:, j] - self.deviation[:, i]) ** 2).sum()
                self.differ[p] = _differing(sums[:, j] - sums[:, i], np.abs(sums[:, j]).max(initial=0))
        shape = self.mean.shape
        self.n, total = np.broadcast_to(n, shape), np.broadcast_to(total, shape)
        self.square[self.square <= _FLAT * size] = 0.0
        self.mean[np.abs(self.mean) * total <= 1e-13 * np.sqrt(size * self.n)] = 0.0
        with np.errstate(invalid="ignore", divide="ignore"):
            self.error = np.sqrt(self.square * self.n / (self.n - 1.0)) / total

    def bound(self, level: float, family: int) -> None:
        """What takes part in the maximum, and how far a column may come out by chance.

        What differs for too few to be found at all takes no part. Nothing is less likely than that all signs agree, and
        below Bonferroni's share of that nothing need be told apart.
        """
        from scipy.special import ndtri

        few = np.flatnonzero((self.differ > 0) & (self.differ <= FEW))
        if self.pairs is None:
            small = self.sums[:, few]
        else:
            small = self.sums[:, self.pairs[1][few]] - self.sums[:, self.pairs[0][few]]
        rows = np.flatnonzero((small != 0).any(axis=1))
        self.few, self.few_rows, self.small = few, rows, small[rows]
        self.idle = (self.differ == 0) | (self.n < 2) | (least_p(self.differ) > level)
        self.most = ndtri(2.0 ** -np.clip(self.n, 1, 1000) / max(family, 1)) ** 2

    def flipped(self, heads: np.ndarray) -> np.ndarray:
        """Squared deviates (rows, P) with a sign per customer: `heads` uint8 (rows, U), 1 for plus."""
        own = heads if self.users is None else heads.take(self.users, axis=1)
        moved = own.astype(np.float64) @ self.deviation  # deviations add up to 0: twice this is the signed sum
        if self.pairs is not None:
            moved = moved[:, self.pairs[1]] - moved[:, self.pairs[0]]
        moved *= 2
        moved *= moved
        found = self._squared_deviate(moved, self.n, self.n * self.square - moved)
        if len(self.few):  # the deviations of a few say too little: as likely as the worse of them and the values
            total, square = self.small.sum(0), (self.small**2).sum(0)
            moved = (2 * (own.take(self.few_rows, axis=1).astype(np.float64) @ self.small) - total) ** 2
            n, most = self.n[self.few], self.most[self.few]
            with np.errstate(divide="ignore", invalid="ignore"):
                plain = _normal((n - 1.0) * moved / np.maximum(n * square * (1 + 1e-12) - moved, 0.0), n)
            plain[:, self.idle[self.few]] = 0.0
            found[:, self.few] = np.maximum(found[:, self.few], np.minimum(plain, most))
        return found

    def redrawn(self, weight: np.ndarray) -> np.ndarray:
        """Squared deviates (rows, P) around the mean: `weight` float64 (rows, U), how often a customer is drawn."""
        own = weight if self.users is None else weight.take(self.users, axis=1)
        deviation = self.deviation
        if self.pairs is not None:
            deviation = deviation[:, self.pairs[1]] - deviation[:, self.pairs[0]]
        count = np.broadcast_to(self.counts, deviation.shape)
        moved, n = own @ deviation, own @ (count > 0).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            off = moved / (own @ count)
            square = own @ deviation**2 - 2 * off * (own @ (deviation * count)) + off**2 * (own @ count**2)
        return self._squared_deviate(moved**2, n, n * square)

    def _squared_deviate(self, squared_sum: np.ndarray, n: np.ndarray, variance: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = _normal((n - 1.0) * squared_sum / np.maximum(variance, 0.0), self.n)
        found[:, self.idle | (self.square == 0)] = 0.0
        return np.minimum(np.nan_to_num(found, copy=False, nan=0.0, posinf=np.inf), self.most, out=found)


def _normal(squared_t: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Square of the normal deviate that is as unlikely as t with n - 1 degrees of freedom (Wallace 1959)."""
    freedom = np.maximum(n - 1.0, 1.0)
    return ((8 * freedom + 1) / (8 * freedom + 3)) ** 2 * freedom * np.log1p(squared_t / freedom)


def _student(squared_deviate: float, n: np.ndarray) -> np.ndarray:
    """The inverse of `_normal`."""
    freedom = np.maximum(n - 1.0, 1.0)
    return freedom * np.expm1(squared_deviate * ((8 * freedom + 3) / (8 * freedom + 1)) ** 2 / freedom)


def _differing(difference: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """Customers whose difference is not 0, up to rounding of values of this scale."""
    return (np.abs(difference) > 1e-12 * scale).sum(0)


def _block(n_users: int, family: int, resamples: int) -> int:
    """Rows of a block of draws: a multiple of eight, few enough for the cache."""
    block = min(_BLOCK_BYTES // (8 * max(n_users, 1)), _CACHED_BYTES // (8 * max(family, 1)), resamples)
    return max(8, block // 8 * 8)
