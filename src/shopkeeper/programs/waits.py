"""From what is known of a wait, period by period of a window, to what is said of it: quantiles of days and their mean.

Shapes: n rows, Q levels, K instants of a distribution function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from shopkeeper.programs.processes import WAITS
from shopkeeper.programs.scoring import lasting
from shopkeeper.programs.trees import COLUMNS, tree_sums

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
MEAN = "mean"
AIMS = {
    MEAN: None,
    **{f"at_{100 * level:.0f}": level for level in LEVELS},
}  # of `quantile_trees`: a set of trees for each
Arrays = Mapping[str, np.ndarray]
Said = tuple[np.ndarray, np.ndarray]  # quantiles (n, Q) and mean (n,)


def from_distribution(cdf_nK: np.ndarray, at_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (n, Q) and mean (n,) of waits that are cut off at the last instant.

    Args:
        cdf_nK: that the order has come by each instant, not falling along a row.
        at_K: days, ascending; the last one is the end of the window. Straight lines lie between them, from 0 at 0.
    """
    at, cdf = np.append(0.0, at_K), np.column_stack([np.zeros(len(cdf_nK)), np.maximum.accumulate(cdf_nK, axis=1)])
    quantile = np.empty((len(cdf), len(LEVELS)))
    for q, level in enumerate(LEVELS):
        k = np.clip((cdf < level).sum(axis=1), 1, len(at_K))  # the first instant by which so many have come
        low, high = (np.take_along_axis(cdf, place[:, None], axis=1)[:, 0] for place in (k - 1, k))
        part = np.divide(level - low, high - low, out=np.ones(len(cdf)), where=high > low)
        quantile[:, q] = at[k - 1] + np.clip(part, 0, 1) * (at[k] - at[k - 1])
    mean = ((1 - (cdf[:, 1:] + cdf[:, :-1]) / 2) * np.diff(at)).sum(axis=1)
    return quantile, mean


def shifted(
    quantile_nQ: np.ndarray, mean_n: np.ndarray, shift: Mapping[str, Any], horizon_days: float
) -> tuple[np.ndarray, np.ndarray]:
    """Both with the days added that `shift` says (`of_quantile`, `of_mean`): in the window, none below a lower one."""
    quantile = np.sort(np.clip(quantile_nQ + np.asarray(shift["of_quantile"]), 0, horizon_days), axis=1)
    return quantile, np.clip(mean_n + shift["of_mean"], 0, horizon_days)


def of_hazards(logit_nK: np.ndarray, shift: Mapping[str, Any], horizon_days: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles and mean from the logit of each equal period's hazard: that the wait ends there, having lasted."""
    lasts_nK = np.exp(-np.logaddexp(0, np.asarray(logit_nK, np.float64)).cumsum(axis=1))
    ends_K = horizon_days * np.arange(1, lasts_nK.shape[1] + 1) / lasts_nK.shape[1]
    return shifted(*from_distribution(1 - lasts_nK, ends_K), shift, horizon_days)


def hazards_days(features_nF: np.ndarray, arrays: Arrays) -> Said:
    """From trees for the hazard of each period."""
    lasts_nK, horizon = lasting(features_nF, arrays), float(arrays["horizon_days"][0])
    return from_distribution(1 - lasts_nK, horizon * np.arange(1, lasts_nK.shape[1] + 1) / lasts_nK.shape[1])


def quantile_trees(features_nF: np.ndarray, arrays: Arrays) -> Said:
    """From a set of trees for each level, and one for the mean."""
    parts = {aim: {name: arrays[f"{aim}.{name}"] for name in COLUMNS} for aim in AIMS}
    said = [tree_sums(features_nF, part) for part in parts.values()]
    mean, *quantile = np.clip(said, 0, float(arrays["horizon_days"][0]))
    return np.stack(quantile, axis=1), mean


def process_days(
    next_order: Callable[[np.ndarray, Arrays], tuple[np.ndarray, np.ndarray]], features_nF: np.ndarray, arrays: Arrays
) -> Said:
    """From the distribution of the next order, as `processes.WAITS` has it."""
    return from_distribution(*next_order(features_nF, arrays))


# Programs of a bundle that say when, by name; what they say is then shifted.
WAIT_SCORERS: dict[str, Callable[[np.ndarray, Arrays], Said]] = {
    "hazards_days": hazards_days,
    "quantile_trees": quantile_trees,
    **{name: partial(process_days, next_order) for name, next_order in WAITS.items()},
}
