"""From what is known of a wait, period by period of a window, to what is said of it: quantiles of days and their mean.

Shapes: n rows, Q levels, K instants of a distribution function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


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
