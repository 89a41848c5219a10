"""Segments by rule, from what was known of each customer before the instant: recency, frequency and money; lifecycle;
value tiers.

Shapes: n customers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shopkeeper.campaigns.segments.settings import Lifecycle, Value
from shopkeeper.errors import UserError

Columns = Mapping[str, np.ndarray]  # features by name, float64 (n,)
FIFTHS = 5
NO_ORDER = "no order yet"


def fifths(values: np.ndarray, best_is_low: bool = False) -> np.ndarray:
    """Score of each customer from 1 to 5 by rank, 5 the best: int8 (n,). Equal values have equal scores.

    The place of a value is the share of customers below it plus half of the share that has it, and score s holds
    places from (s-1)/5 to s/5. With many ties some scores are therefore held by nobody, and none splits equals.

    >>> fifths(np.array([10.0, 20.0, 30.0, 40.0, 50.0]))
    array([1, 2, 3, 4, 5], dtype=int8)
    >>> fifths(np.array([1.0, 1.0, 1.0, 1.0, 9.0]))  # the four have place 2/5
    array([3, 3, 3, 3, 5], dtype=int8)
    >>> fifths(np.array([3.0, 3.0, 3.0]), best_is_low=True)
    array([3, 3, 3], dtype=int8)
    """
    _, code, count = np.unique(-values if best_is_low else values, return_inverse=True, return_counts=True)
    twice = 2 * np.cumsum(count) - count  # of the customers below, and once those who are equal: whole numbers
    return np.minimum(1 + FIFTHS * twice // max(2 * len(values), 1), FIFTHS)[code].astype(np.int8)


def rfm(column: Columns, has_money: bool) -> dict[str, np.ndarray]:
    """Scores of recency, frequency and, where the log has prices, net money, and the three as one name like `R5F3M4`.

    All customers must have ordered.
    """
    found = {
        "recency": fifths(column["days_since_order"], best_is_low=True),
        "frequency": fifths(column["orders"]),
        **({"money": fifths(net_money(column))} if has_money else {}),
    }
    name = np.full(len(column["orders"]), "", object)
    for word, score in found.items():
        name = name + np.array([f"{word[0].upper()}{s}" for s in range(FIFTHS + 1)], object)[score]
    return {**found, "rfm": name}


def net_money(column: Columns) -> np.ndarray:
    """What was paid for purchases less what came back of it until the instant: float64 (n,), not below 0."""
    back = np.nan_to_num(column["money_returned_share"])
    return np.maximum(column["money"] * (1 - back), 0)


def usual_gap(column: Columns, rules: Lifecycle) -> float:
    """The shop's usual days between two orders: the setting's, else the median over customers of their mean gap.

    Raises:
        UserError: nobody has ordered twice.
    """
    if rules.usual_days is not None:
        return float(rules.usual_days)
    known = column["gap_mean"][column["gap_mean"] > 0]
    if len(known) == 0:
        raise UserError(
            "nobody has ordered on two days before the instant, so that no gap between orders is known; set "
            "segmentation.lifecycle.usual_days, or choose a later instant"
        )
    return float(np.median(known))


def lifecycle(column: Columns, rules: Lifecycle, shop_gap: float) -> np.ndarray:
    """Where each customer stands: str object (n,).

    A customer's usual gap is the mean over that customer's gaps between orders and `rules.weight` gaps of the shop's.
    *new*: one order; *active*: several; *at risk*: `rules.at_risk` usual gaps or more without an order; *lapsed*:
    `rules.lapsed` or more; *won back*: the last order ended such a lapse (the gap before it is `rules.lapsed` or more
    of what was usual until then, and counts no longer), and none of the former holds; *no order yet*: only looked.
    """
    orders, since = column["orders"], column["days_since_order"]
    n_gaps, last = np.maximum(orders - 1, 0), np.nan_to_num(column["gap_last"])
    total = np.nan_to_num(column["gap_mean"]) * n_gaps
    usual = (total + rules.weight * shop_gap) / np.maximum(n_gaps + rules.weight, 1e-9)
    n_before = np.maximum(n_gaps - 1, 0) + rules.weight
    before = np.where(n_before > 0, (total - last + rules.weight * shop_gap) / np.maximum(n_before, 1e-9), np.inf)
    usual[n_gaps + rules.weight == 0] = shop_gap  # of one order, where the shop's gap weighs nothing
    came_back = (n_gaps > 0) & (last >= rules.lapsed * before)
    late = since / np.where(came_back, before, usual)
    kinds = [orders == 0, late >= rules.lapsed, late >= rules.at_risk, came_back, orders == 1]
    return np.select(kinds, [NO_ORDER, "lapsed", "at risk", "won back", "new"], "active").astype(object)


def value_tiers(money: np.ndarray, rules: Value) -> np.ndarray:
    """Tier of each customer by net money, str object (n,): top, middle, low, none.

    Those who bring most come first; whoever crosses the border of a tier is still in it, and equals are together.

    >>> value_tiers(np.array([50.0, 20.0, 20.0, 10.0, 0.0]), Value(top=0.5, middle=0.8)).tolist()
    ['top', 'middle', 'middle', 'low', 'none']
    """
    kinds, code = np.unique(-money, return_inverse=True)
    of_kind = np.bincount(code, money)
    above = np.concatenate([[0.0], np.cumsum(of_kind)[:-1]]) / max(of_kind.sum(), 1e-300)
    borders = [kinds >= 0, above < rules.top - 1e-12, above < rules.middle - 1e-12]
    tier = np.select(borders, ["none", "top", "middle"], "low")
    return tier.astype(object)[code]
