"""Buy it again: the chance that a visit's basket holds an item, from what was learned of gaps between purchases.

The formula and its source stand with the model (`recommenders/counting/buy_it_again.py`), which answers with this, too.

Shapes: B requests, V = n_items + 1 columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.features.baskets import Baskets
from shopkeeper.features.repeats import SHORTEST_DAYS, Purchases, Visits, ages, lateness, medians, times
from shopkeeper.schema import MICROSECONDS_PER_DAY, NO_TIME

Arrays = Mapping[str, np.ndarray]
FEW = 3.0  # visits of a bin that weigh as much as the share of gaps


def buy_it_again(requests: Requests, a: Arrays) -> np.ndarray:
    """Chance that this visit's basket holds each item: float32 (B, V)."""
    scores_BV = np.repeat(a["rest"][None, :], len(requests), axis=0)
    baskets = Baskets.of(requests, a["types"].tolist(), len(a["rest"]))
    visits = Visits.of(baskets)
    bought = Purchases.of(baskets, visits, len(a["rest"]))
    now = bought.newest()
    owner, item, n = bought.owner[now], bought.item[now], bought.times[now]
    since_B = _days_since(requests, baskets, visits, a)
    age = np.maximum(ages(baskets)[bought.row[now]] + since_B[owner], SHORTEST_DAYS)
    x = lateness(np.log(age) - mean_log_gap(a, item, n - 1, bought.log_gaps[now]))
    scores_BV[owner, item] = np.minimum(a["factor"][item] * chances(a)[times(n), x], 1)
    return scores_BV


def chances(a: Arrays) -> np.ndarray:
    """c(n, x) of every bin: float64 (times, lateness)."""
    found: np.ndarray = (a["held"] + FEW * a["ends"]) / (a["visits"] + FEW)
    return found


def mean_log_gap(a: Arrays, item: np.ndarray, gaps: np.ndarray, log_gaps: np.ndarray) -> np.ndarray:
    """What is expected of pairs with so many gaps that sum to `log_gaps`: float64, same length."""
    within, between, _ = a["shop"]
    mean: np.ndarray = (log_gaps / within + a["usual"][item] / between) / (gaps / within + 1 / between)
    return mean


def _days_since(requests: Requests, baskets: Baskets, visits: Visits, a: Arrays) -> np.ndarray:
    """Days from each history's newest basket to the visit that is asked about: float64 (B,)."""
    if baskets.last is None:
        return np.ones(len(requests))
    expected = medians(*visits.between(), len(requests), float(a["shop"][2]))
    if not a["at_request"][0] or requests.instant is None:
        return expected
    days = (requests.instant - baskets.last) / MICROSECONDS_PER_DAY
    return np.where(requests.instant == NO_TIME, expected, np.maximum(days, 0))
