r"""Buy it again: what is due, by the intervals of the item and of the customer.

Of an item that u has taken n times, the last of them `age` days before a visit,

    p(u, i) = f_i \cdot c(n, x), \qquad x = \log age - \hat g_{ui}

\hat g_{ui}, the mean of the log gap, lies between u's own gaps of i and the item's usual one, each weighing as much as
it is known (normal prior; variances within and between customers from all gaps); the item's lies so between its gaps
and the shop's. c(n, x) is learned in bins: of all visits of training customers with such n and x, the share whose
basket held the item; where such visits are few, the share of gaps of that length among those that lasted until it
stands in. f_i is how many baskets held i again, against what c expects: what nearly nobody takes twice does not come
back. Everything else, and who has no history, gets the share of recent baskets that hold it, so all scores are chances
of one visit. After R. Bhagat, S. Muralidharan, A. Lobzhanidze and S. Vishwanath, "Buy It Again: Modeling Repeat
Purchase Recommendations", KDD 2018, who multiply an item's repeat rate and a Poisson-Gamma rate by customer.

`when: request` reads the moment of asking; `next_visit` does not, and asks about the customer's next expected visit,
his median gap after his last basket. On data that has only an order, days are baskets.

Shapes: B requests, V = n_items + 1 columns, R (basket, item) rows, G gaps, P pairs of a customer and an item.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError, nearest
from shopkeeper.features.baskets import Baskets
from shopkeeper.models.about import About
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.base import Fit
from shopkeeper.schema import EVENT_TYPES, MICROSECONDS_PER_DAY, NO_TIME, event_codes

WHEN = ("request", "next_visit")
SHORTEST_DAYS = 0.5  # gaps below count as this long: the same day, twice
LEAST_SPREAD = 0.05  # of log gaps: nobody is more regular than some 5 %
TIMES = np.array([2, 3, 4, 6, 10])  # n of c(n, x): 1, 2, 3, 4 to 5, 6 to 9, 10 and more
LATENESS = np.arange(-4, 4, 0.125) + 0.0625  # x of c(n, x), in natural logs: bins of 13 %, the middle one around 0
FEW = 3.0  # visits of a bin that weigh as much as the share of gaps
VISITS_AT_MOST = 20_000_000  # that are counted for c(n, x): of a larger log every so manieth customer's


class BuyItAgain:
    """Repeat purchases by learned intervals.

    Args:
        when: `request` or `next_visit`.
        prior: so many gaps of the shop, and baskets that held an item again, weigh as much as those of the item.
        half_life_days: of a basket in the share of recent baskets, for all that the customer never took.
    """

    def __init__(self, when: str = "request", prior: float = 3.0, half_life_days: float | None = 30.0) -> None:
        if when not in WHEN:
            raise UserError(f"buy_it_again: there is no when '{when}'.{nearest(when, WHEN)}")
        for name, value in (("prior", prior), ("half_life_days", half_life_days)):
            if value is not None and not value > 0:
                raise UserError(f"buy_it_again: {name} is {value}; give a number above 0")
        self.when, self.prior, self.half_life_days = when, prior, half_life_days
        self.types: list[int] = []
        self.rest_V = np.zeros(1, np.float32)  # share of recent baskets
        self.usual_V = np.zeros(1, np.float32)  # mean log gap in days
        self.factor_V = np.zeros(1, np.float32)  # f
        self.held: np.ndarray = np.zeros(
            (len(TIMES) + 1, len(LATENESS) + 1)
        )  # of c(n, x): visits whose basket held the item,
        self.visits: np.ndarray = np.zeros_like(self.held)  # all visits,
        self.ends = np.zeros(len(LATENESS) + 1)  # and the share of gaps that end in a bin of those that reach it
        self.shop = np.ones(3)  # variances of log gaps within and between customers, median days between baskets

    @property
    def about(self) -> About:
        """Its histories are orders; which event types those are, the data say."""
        types = tuple(EVENT_TYPES[code - 1] for code in self.types)
        instant = self.when == "request"
        return About(reads=("event_type", "timestamp", "order"), types=types, reads_instant=instant)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Learn who comes back for what, and when, from the training rows."""
        self.types = event_codes(list(fit.target_events))
        V = prepared.n_items + 1
        baskets = Baskets.of(
            Requests(prepared.events, prepared.offsets[:-1], np.asarray(split.train_end)), self.types, V
        )
        visits = Visits.of(baskets)
        self.rest_V = self._share_of_recent_baskets(baskets, visits, V)
        bought = Purchases.of(baskets, visits, V)
        gap = bought.next_log_gap
        ended = np.isfinite(gap)
        n_V, sum_V = np.bincount(bought.item[ended], minlength=V), np.bincount(bought.item[ended], gap[ended], V)
        _, days = visits.between()
        typical = float(np.median(days)) if len(days) else 1.0
        usual = sum_V.sum() / n_V.sum() if n_V.sum() else np.log(typical)
        self.usual_V = ((sum_V + self.prior * usual) / (n_V + self.prior)).astype(np.float32)
        self.shop = np.array([*bought.variances(self.usual_V), typical])

        mean = self._mean_log_gap(bought.item, bought.times - 1, bought.log_gaps)
        reached = np.bincount(lateness(np.where(ended, gap, bought.open_log_gap) - mean), minlength=len(self.ends))
        at_risk = np.cumsum(reached[::-1])[::-1]
        self.ends = np.bincount(lateness((gap - mean)[ended]), minlength=len(self.ends)) / np.maximum(at_risk, 1)

        purchase, log_age, held = bought.later_visits(visits)
        cell = times(bought.times[purchase]) * len(self.ends) + lateness(log_age - mean[purchase])
        self.visits = np.bincount(cell, np.ones(len(cell)), self.held.size).reshape(self.held.shape)
        self.held = np.bincount(cell, held, self.held.size).reshape(self.held.shape)
        item = bought.item[purchase]
        expected_V = np.bincount(item, self._chances().ravel()[cell], V)
        self.factor_V = ((np.bincount(item, held, V) + self.prior) / (expected_V + self.prior)).astype(np.float32)

    def _chances(self) -> np.ndarray:
        """c(n, x) of every bin: float64 (times, lateness)."""
        chances: np.ndarray = (self.held + FEW * self.ends) / (self.visits + FEW)
        return chances

    def _mean_log_gap(self, item: np.ndarray, gaps: np.ndarray, log_gaps: np.ndarray) -> np.ndarray:
        """What is expected of pairs with so many gaps that sum to `log_gaps`: float64, same length."""
        within, between, _ = self.shop
        mean: np.ndarray = (log_gaps / within + self.usual_V[item] / between) / (gaps / within + 1 / between)
        return mean

    def _share_of_recent_baskets(self, baskets: Baskets, visits: Visits, n_columns: int) -> np.ndarray:
        """Chance that a basket holds an item: float32 (V,); in order of what sold ever where nothing sold of late."""
        weight = np.ones(len(baskets.item))
        if self.half_life_days is not None and baskets.last is not None:
            day = baskets.last[baskets.owner] / MICROSECONDS_PER_DAY - baskets.age_days
            weight = np.exp2((day - day.max(initial=0)) / self.half_life_days)
        of_item = np.bincount(baskets.item, weight, n_columns) + 1e-6 * np.bincount(baskets.item, minlength=n_columns)
        return (of_item / (weight[visits.row].sum() + 1)).astype(np.float32)

    def score(self, requests: Requests) -> np.ndarray:
        """Chance that this visit's basket holds each item: float32 (B, V)."""
        scores_BV = np.repeat(self.rest_V[None, :], len(requests), axis=0)
        baskets = Baskets.of(requests, self.types, len(self.rest_V))
        visits = Visits.of(baskets)
        bought = Purchases.of(baskets, visits, len(self.rest_V))
        now = bought.newest()
        owner, item, n = bought.owner[now], bought.item[now], bought.times[now]
        since_B = self._days_since(requests, baskets, visits)
        age = np.maximum(ages(baskets)[bought.row[now]] + since_B[owner], SHORTEST_DAYS)
        x = lateness(np.log(age) - self._mean_log_gap(item, n - 1, bought.log_gaps[now]))
        scores_BV[owner, item] = np.minimum(self.factor_V[item] * self._chances()[times(n), x], 1)
        return scores_BV

    def _days_since(self, requests: Requests, baskets: Baskets, visits: Visits) -> np.ndarray:
        """Days from each history's newest basket to the visit that is asked about: float64 (B,)."""
        if baskets.last is None:
            return np.ones(len(requests))
        expected = medians(*visits.between(), len(requests), float(self.shop[2]))
        if self.when == "next_visit" or requests.instant is None:
            return expected
        days = (requests.instant - baskets.last) / MICROSECONDS_PER_DAY
        return np.where(requests.instant == NO_TIME, expected, np.maximum(days, 0))

    def save(self, folder: Path) -> None:
        """Write what was learned about items and the shop as `weights.npz`."""
        of_items = {"rest": self.rest_V, "usual": self.usual_V, "factor": self.factor_V}
        of_shop = {"held": self.held, "visits": self.visits, "ends": self.ends, "shop": self.shop}
        save_arrays(folder, "buy_it_again", of_items | of_shop | {"types": np.array(self.types, np.int8)})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        names = ("rest", "usual", "factor", "held", "visits", "ends", "shop", "types")
        a = load_arrays(folder, "buy_it_again", names)
        self.rest_V, self.usual_V, self.factor_V = a["rest"], a["usual"], a["factor"]
        self.held, self.visits, self.ends, self.shop = a["held"], a["visits"], a["ends"], a["shop"]
        self.types = a["types"].tolist()


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
