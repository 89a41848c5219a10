"""How customers are drawn anew, for every interval and p-value: with replacement, with a fair sign each, or dealt out
to the arms of a test once more.

A customer is drawn with all rows, and in all models and metrics alike. The draws depend on the seed and the number of
customers alone: what is asked of the same customers is resampled alike, however the draws are cut into blocks.

Shapes: U customers, R resamples, n rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

CELLS = 200_000  # rows x resamples worked on at once: stays in the cache
STEPS = 12  # by which an end of an interval is found


def drawn(n_users: int, resamples: int, seed: int, block: int) -> Iterator[np.ndarray]:
    """How often each customer is drawn with replacement: blocks of float64 (up to `block`, U), R rows in all.

    A block is overwritten by the next one.
    """
    rng = np.random.default_rng(seed)
    weight = np.empty((min(block, resamples), n_users))
    for first in range(0, resamples, block):
        rows = weight[: min(block, resamples - first)]
        for row in rows:
            row[:] = np.bincount(rng.integers(0, n_users, n_users), minlength=n_users)
        yield rows


def drawn_rows(customer: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row is drawn, by the number of its customer, int (n,) from 0 without gaps: blocks of (rows, n)."""
    n_customers = int(customer.max()) + 1
    block = max(1, CELLS // max(len(customer), n_customers))
    for weight in drawn(n_customers, resamples, seed, block):
        yield weight[:, customer]


def flipped(n_users: int, resamples: int, seed: int, block: int) -> Iterator[np.ndarray]:
    """One fair coin per customer, 1 for plus: blocks of uint8 (up to `block`, U), R rows in all.

    `block` is a multiple of eight, by which the coins are the same however they are cut.
    """
    assert block % 8 == 0
    rng = np.random.default_rng([seed, 1])
    for first in range(0, resamples, block):
        rows = min(block, resamples - first)
        bits = np.frombuffer(rng.bytes(rows * (-(-n_users // 8))), np.uint8).reshape(rows, -1)
        yield np.unpackbits(bits, axis=1, count=n_users)


def _orders(n: int, block: int) -> np.ndarray:
    """Some orders of n customers, int64 (max(1, CELLS // n), n)."""
    rng = np.random.default_rng([0, 2, block])
    return rng.permuted(np.tile(np.arange(n), (max(1, CELLS // n), 1)), axis=1)


kept_orders = lru_cache(maxsize=8)(_orders)


@dataclass(frozen=True)
class Redealt:
    r"""Two arms, and what their customers would show if they were dealt out anew: an interval of the difference.

    Of an effect \delta that is the same for everybody, values less \delta of the treated are those of customers whom
    the arms do nothing to, and the deal that was is one of many that are alike: \delta is refused where the studentised
    difference of that deal is one of the most extreme. All that are not refused are the interval. Where nobody is
    moved it therefore excludes 0 as seldom as it says, in arms of any size and of amounts however skewed; where
    customers are moved differently it holds for arms of some size (studentised: A. Janssen, "Studentized permutation
    tests for non-i.i.d. hypotheses", Statistics & Probability Letters 36(1), 1997; E. Chung and J. Romano, "Exact and
    asymptotically robust permutation tests", Annals of Statistics 41(2), 2013).

    Of R deals, sums over the smaller arm; values are less their mean.
    """

    value: float  # treatment minus control
    error: float  # Welch's
    small: int  # customers of the smaller arm
    sign: int  # 1: it is the treatment
    total: np.ndarray  # float64 (4,): over all customers of y, y^2, w, y w, with w 1 for the treated
    sums: np.ndarray  # float64 (4, R): the same over the smaller arm
    n: int

    @classmethod
    def of(cls, value_n: np.ndarray, treated_n: np.ndarray, value: float, error: float, draws: int) -> Redealt:
        """Deal `draws` times. The deals depend on the values and the sizes of the arms alone, not on the rows' order.

        `value` and `error`: the difference that was found and its standard error.
        """
        order = np.lexsort((value_n, treated_n))
        y, w = value_n[order] - value_n.mean(), treated_n[order].astype(np.float64)
        columns = np.stack([y, y * y, w, y * w])
        n, small = len(y), int(min(w.sum(), len(y) - w.sum()))
        at_once = n // small  # sets of the smaller arm's size that one order of all customers holds
        orders = kept_orders if n <= CELLS else _orders  # else one fills a block, of which there are many
        sums = np.empty((4, draws))
        for block, first in enumerate(range(0, draws, max(1, CELLS // n) * at_once)):
            deals = orders(n, block)[:, : at_once * small].reshape(-1, small)[: draws - first]
            for column, of in zip(columns, sums, strict=True):
                of[first : first + len(deals)] = column[deals].sum(axis=1)
        return cls(value, error, small, 1 if 2 * w.sum() <= n else -1, columns.sum(axis=1), sums, n)

    def ends(self, level: float) -> tuple[float, float]:
        """Both ends; 0 is between them where it is not refused."""
        found = []
        for side in (1, -1):  # the lower end, and the upper one
            end = self.value
            for _ in range(STEPS):
                before, end = end, self.value - side * self._quantile(end, side, level) * self.error
                if abs(end - before) <= 1e-3 * self.error:
                    break
            if side * end > 0 and not self._refused(0.0, side, level):
                end = 0.0
            found.append(end)
        return min(found[0], self.value), max(found[1], self.value)

    def _studentised(self, effect: float) -> np.ndarray:
        """Of each deal, were the effect this one: float64 (R,)."""

        def of(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            y, yy, w, yw = sums
            return y - effect * w, yy - 2 * effect * yw + effect**2 * w

        (one, one_2), (all_, all_2), k = of(self.sums), of(self.total), self.small
        other, m = all_ - one, self.n - k
        spread = [np.maximum(one_2 - one**2 / k, 0.0), np.maximum(all_2 - one_2 - other**2 / m, 0.0)]
        flat = np.minimum(*spread) <= 1e-12 * all_2  # says nothing of its spread, see `online_test.difference`
        common = (spread[0] + spread[1]) / (self.n - 2)
        parts = [np.where(flat, common, s / (size - 1)) / size for s, size in zip(spread, (k, m), strict=True)]
        error = np.sqrt(parts[0] + parts[1])
        found = np.divide(one / k - other / m, error, out=np.zeros_like(one), where=error > 0)
        return self.sign * found

    def _quantile(self, effect: float, side: int, level: float) -> float:
        """How far out the deal may lie that an effect is not refused for, in standard errors."""
        found = np.sort(side * self._studentised(effect))
        return float(found[len(found) - max(int((len(found) + 1) * level / 2), 1)])

    def _refused(self, effect: float, side: int, level: float) -> bool:
        further = side * self._studentised(effect) >= side * (self.value - effect) / self.error - 1e-9
        return bool(1 + further.sum() <= (len(further) + 1) * level / 2)
