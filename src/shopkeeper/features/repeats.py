"""Purchases of one item after another: gaps between them, and the visits between. What "buy it again" counts in.

Shapes: R (basket, item) rows, G gaps, P pairs of a customer and an item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.features.baskets import Baskets

SHORTEST_DAYS = 0.5  # gaps below count as this long: the same day, twice
LEAST_SPREAD = 0.05  # of log gaps: nobody is more regular than some 5 %
TIMES = np.array([2, 3, 4, 6, 10])  # n of c(n, x): 1, 2, 3, 4 to 5, 6 to 9, 10 and more
LATENESS = np.arange(-4, 4, 0.125) + 0.0625  # x of c(n, x), in natural logs: bins of 13 %, the middle one around 0
VISITS_AT_MOST = 20_000_000  # that are counted for c(n, x): of a larger log every so manieth customer's


def times(n: np.ndarray) -> np.ndarray:
    """Bin of a number of purchases."""
    return np.searchsorted(TIMES, n, side="right")


def lateness(x: np.ndarray) -> np.ndarray:
    """Bin of log age less the expected log gap."""
    return np.searchsorted(LATENESS, x)


def ages(baskets: Baskets) -> np.ndarray:
    """Days of each row before its history's newest basket, or baskets where there is no time: float64 (R,)."""
    return baskets.age_days if baskets.last is not None else baskets.basket.astype(np.float64)


@dataclass(frozen=True)
class Visits:
    """Every basket of every history, by history and from the newest."""

    owner: np.ndarray  # int64
    age: np.ndarray  # float64, days before the history's newest one
    row: np.ndarray  # int64, one of its rows
    first: np.ndarray  # int64 (B,): each history's newest one

    @classmethod
    def of(cls, baskets: Baskets) -> Visits:
        """The baskets of some rows."""
        order = np.lexsort((baskets.basket, baskets.owner))
        owner, basket = baskets.owner[order], baskets.basket[order]
        new = np.ones(len(order), bool)
        new[1:] = (owner[1:] != owner[:-1]) | (basket[1:] != basket[:-1])
        first = np.cumsum(baskets.n_baskets) - baskets.n_baskets
        return cls(owner[new], ages(baskets)[order[new]], order[new], first)

    def between(self) -> tuple[np.ndarray, np.ndarray]:
        """Whose each two baskets are that follow one another, and the days between them: both (G,), by history."""
        same = self.owner[1:] == self.owner[:-1]
        return self.owner[1:][same], np.maximum(np.diff(self.age), SHORTEST_DAYS)[same]


@dataclass(frozen=True)
class Purchases:
    """Rows of baskets by history and item, the oldest first, each with what is known of its pair when it happens."""

    row: np.ndarray  # int64 (R,) of the baskets
    owner: np.ndarray  # int64 (R,)
    item: np.ndarray  # int32 (R,)
    basket: np.ndarray  # int64 (R,): 0 = the newest of the history
    until: np.ndarray  # int64 (R,): basket in which the pair's next purchase is; -1: none
    times: np.ndarray  # int64 (R,): 1 for the pair's first
    log_gaps: np.ndarray  # float64 (R,): sum over the pair's gaps until it
    next_log_gap: np.ndarray  # float64 (R,): NaN where none follows
    open_log_gap: np.ndarray  # float64 (R,): until the history's newest basket

    @classmethod
    def of(cls, baskets: Baskets, visits: Visits, n_columns: int) -> Purchases:
        """All purchases of some baskets."""
        order = np.lexsort((-baskets.basket, baskets.item, baskets.owner))
        owner, item, basket = baskets.owner[order], baskets.item[order], baskets.basket[order]
        key, age = owner * n_columns + item, visits.age[visits.first[owner] + basket]
        again = np.zeros(len(key), bool)  # its pair has an earlier one
        again[1:] = key[1:] == key[:-1]
        gap = np.zeros(len(key))
        gap[1:] = np.log(np.maximum(age[:-1] - age[1:], SHORTEST_DAYS))
        gap[~again] = 0
        start = np.maximum.accumulate(np.where(again, 0, np.arange(len(key))))
        total = np.cumsum(gap)
        follows = np.append(again[1:], False)[: len(key)]
        return cls(
            order,
            owner,
            item,
            basket,
            np.where(follows, np.append(basket[1:], -1)[: len(key)], -1),
            np.arange(len(key)) - start + 1,
            total - total[start],
            np.where(follows, np.append(gap[1:], np.nan)[: len(key)], np.nan),
            np.log(np.maximum(age, SHORTEST_DAYS)),
        )

    def usual_log_gaps(self, n_columns: int, prior: float, otherwise: float) -> np.ndarray:
        """Mean log gap of each item, `prior` gaps of the shop's own among them: float32 (V,).

        `otherwise`: the shop's, where nobody has taken anything twice.
        """
        ended = np.isfinite(self.next_log_gap)
        gap, item = self.next_log_gap[ended], self.item[ended]
        n_V, sum_V = np.bincount(item, minlength=n_columns), np.bincount(item, gap, n_columns)
        usual = sum_V.sum() / n_V.sum() if n_V.sum() else otherwise
        found: np.ndarray = ((sum_V + prior * usual) / (n_V + prior)).astype(np.float32)
        return found

    def newest(self) -> np.ndarray:
        """Each pair's newest purchase: int64 (P,)."""
        return np.flatnonzero(self.until < 0)

    def variances(self, usual_V: np.ndarray) -> tuple[float, float]:
        """Of log gaps: within a customer's gaps of one item, and of customers' means around the item's usual one."""
        at = np.flatnonzero((self.until < 0) & (self.times > 1))
        if not len(at):
            return 1.0, 1.0
        gaps, mean = self.times[at] - 1, self.log_gaps[at] / (self.times[at] - 1)
        first = at - gaps
        squares = np.concatenate([[0.0], np.cumsum(np.nan_to_num(self.next_log_gap) ** 2)])
        within = (squares[at] - squares[first] - gaps * mean**2)[gaps > 1].sum() / max((gaps - 1).sum(), 1)
        within = max(float(within), LEAST_SPREAD**2)
        between = float(((mean - usual_V[self.item[at]]) ** 2 - within / gaps).mean())
        return within, max(between, LEAST_SPREAD**2)

    def later_visits(self, visits: Visits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Visits after each purchase up to the pair's next one: the purchase, log days between, whether it is that."""
        count = self.basket - np.maximum(self.until, 0)
        if (step := -(-int(count.sum()) // VISITS_AT_MOST)) > 1:
            count = np.where(self.owner % step == 0, count, 0)
        purchase = np.repeat(np.arange(len(count)), count)
        place = np.arange(len(purchase)) - np.repeat(np.cumsum(count) - count, count)
        visit = self.basket[purchase] - 1 - place
        first = visits.first[self.owner[purchase]]
        days = visits.age[first + self.basket[purchase]] - visits.age[first + visit]
        return purchase, np.log(np.maximum(days, SHORTEST_DAYS)), visit == self.until[purchase]


def medians(owner: np.ndarray, value: np.ndarray, n: int, otherwise: float) -> np.ndarray:
    """Lower median of each owner's values, float64 (n,); `otherwise` for those who have none."""
    order = np.lexsort((value, owner))
    count = np.bincount(owner, minlength=n)
    middle = np.cumsum(count) - count + (count - 1) // 2
    found = np.full(n, otherwise)
    found[count > 0] = value[order][middle[count > 0]]
    return found
