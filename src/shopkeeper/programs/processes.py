"""Buy till you die as a program: from five features and fitted parameters to what is said of a customer.

Arrays: `columns` int64 (5,), the places of `READ` among the features; `orders` and `value`, the parameters of the
process and of Gamma-Gamma; `horizon_days`; `turned`, 1 where the probability that nothing is ordered is asked for.

Shapes: n customers, F features, K instants of the window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from shopkeeper.programs import bg_nbd, pareto_nbd
from shopkeeper.programs.bg_nbd import GammaGamma, expected_order_value

NO_ORDER = "no order by then"  # the reason where nothing is said
INSTANTS = 16  # of a window at which the distribution of the next order is computed, the last one its end
READ = ("orders", "days_since_order", "days_since_first_order", "money", "money_returned_share")
Arrays = Mapping[str, np.ndarray]


class Process(NamedTuple):
    """What follows from the parameters of one way to order and to leave."""

    parameters: Callable[..., Any]
    p_alive: Callable[..., np.ndarray]
    p_order: Callable[..., np.ndarray]
    expected_orders: Callable[..., np.ndarray]


BG_NBD = Process(bg_nbd.BGNBD, bg_nbd.p_alive, bg_nbd.p_order, bg_nbd.expected_orders)
PARETO_NBD = Process(pareto_nbd.ParetoNBD, pareto_nbd.p_alive, pareto_nbd.p_order, pareto_nbd.expected_orders)


def columns_of(names: Sequence[str]) -> np.ndarray:
    """Where `READ` stands among the features' names: int64."""
    return np.array([names.index(name) for name in READ if name in names], np.int64)


def of_window(names: Sequence[str], horizon_days: float, turned: bool) -> dict[str, np.ndarray]:
    """The arrays that are of what is asked, and of no fit."""
    return {
        "columns": columns_of(names),
        "horizon_days": np.array([horizon_days]),
        "turned": np.array([turned]),
    }


def summary(features_nF: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Repeat orders, age at the last order and age in days, all orders, and what one brought, returns taken off."""
    orders, since_last, age, money, back = (features_nF[:, place] for place in columns.tolist())
    mean = money * (1 - np.clip(np.nan_to_num(back), 0, 1)) / np.maximum(orders, 1)
    return orders - 1, np.maximum(age - since_last, 0), age, orders, mean


def _asked(
    formula: Callable[..., np.ndarray], process: Process, features_nF: np.ndarray, arrays: Arrays, *t: float
) -> np.ndarray:
    """What a formula of the process says: float64 (n,), NaN where there is no order."""
    x, t_x, age, _, _ = summary(features_nF, arrays["columns"])
    parameters = process.parameters(*arrays["orders"].tolist())
    said = formula(parameters, np.maximum(x, 0), np.nan_to_num(t_x), np.nan_to_num(age), *t)
    return np.where(x >= 0, said, np.nan)


def alive(process: Process, features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """The probability that each has not left for good: float64 (n,); NaN where there is no order."""
    return _asked(process.p_alive, process, features_nF, arrays)


def probability(process: Process, features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Of an order in the window, or that there is none: float64 (n,); NaN where there is no order."""
    p = _asked(process.p_order, process, features_nF, arrays, float(arrays["horizon_days"][0]))
    return 1 - p if arrays["turned"][0] else p


def orders(process: Process, features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """The mean number of orders in the window: float64 (n,)."""
    return _asked(process.expected_orders, process, features_nF, arrays, float(arrays["horizon_days"][0]))


def money(process: Process, features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """The mean amount in the window: float64 (n,)."""
    _, _, _, n, mean = summary(features_nF, arrays["columns"])
    value = expected_order_value(GammaGamma(*arrays["value"].tolist()), n, mean)
    return orders(process, features_nF, arrays) * value


def next_order(process: Process, features_nF: np.ndarray, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """That the next order has come by each of some instants (n, K), and those (K,), in days."""
    at = float(arrays["horizon_days"][0]) * np.arange(1, INSTANTS + 1) / INSTANTS
    cdf = np.stack([_asked(process.p_order, process, features_nF, arrays, t) for t in at.tolist()], axis=1)
    return np.clip(np.nan_to_num(cdf), 0, 1), at


# Programs of a bundle by name: of probabilities, counts and amounts, and of waits.
SCORERS = {
    f"{name}{what}": partial(answer, process)
    for name, process in (("bg_nbd", BG_NBD), ("pareto_nbd", PARETO_NBD))
    for what, answer in (("", probability), ("_alive", alive), ("_orders", orders), ("_money", money))
}
WAITS = {"bg_nbd_days": partial(next_order, BG_NBD), "pareto_nbd_days": partial(next_order, PARETO_NBD)}
