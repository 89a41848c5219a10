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

from pathlib import Path

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, check, nearest, number, or_null
from shopkeeper.features.baskets import Baskets
from shopkeeper.features.repeats import LATENESS, TIMES, Purchases, Visits, lateness, times
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.again import buy_it_again, chances, mean_log_gap
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.schema import EVENT_TYPES, MICROSECONDS_PER_DAY, event_codes

WHEN = ("request", "next_visit")


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
        rules = {"prior": number(above=True), "half_life_days": or_null(number(above=True))}
        check({"prior": prior, "half_life_days": half_life_days}, rules, "buy_it_again: model.")
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
        _, days = visits.between()
        typical = float(np.median(days)) if len(days) else 1.0
        self.usual_V = bought.usual_log_gaps(V, self.prior, float(np.log(typical)))
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
        return chances(self._arrays())

    def _mean_log_gap(self, item: np.ndarray, gaps: np.ndarray, log_gaps: np.ndarray) -> np.ndarray:
        return mean_log_gap(self._arrays(), item, gaps, log_gaps)

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
        return buy_it_again(requests, self._arrays())

    def _arrays(self) -> dict[str, np.ndarray]:
        """All that `programs.again` reads."""
        of_items = {"rest": self.rest_V, "usual": self.usual_V, "factor": self.factor_V}
        of_shop = {"held": self.held, "visits": self.visits, "ends": self.ends, "shop": self.shop}
        types = {"types": np.array(self.types, np.int8), "at_request": np.array([self.when == "request"])}
        return of_items | of_shop | types

    def program(self, timed: bool) -> Program:
        """What was learned."""
        at_request = timed and self.when == "request"
        return Program("buy_it_again", self._arrays(), needs_time=timed, needs_instant=at_request, columns=("order",))

    def save(self, folder: Path) -> None:
        """Write what was learned about items and the shop as `weights.npz`."""
        save_arrays(folder, "buy_it_again", self._arrays())

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        names = ("rest", "usual", "factor", "held", "visits", "ends", "shop", "types")
        a = load_arrays(folder, "buy_it_again", names)
        self.rest_V, self.usual_V, self.factor_V = a["rest"], a["usual"], a["factor"]
        self.held, self.visits, self.ends, self.shop = a["held"], a["visits"], a["ends"], a["shop"]
        self.types = a["types"].tolist()
