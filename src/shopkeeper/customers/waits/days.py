r"""Days until the next order, of which a window shows only those that end in it.

Of a customer who does not order in a window of H days nobody has seen the wait; all that is known is that it is longer.
Labels are therefore min(wait, H), and all that is said is about that: since quantiles go through increasing functions,
the quantile of min(wait, H) is min(quantile, H), and its pinball loss is a proper score (J. Powell, Censored regression
quantiles, J. Econometrics 32, 1986). A quantile of H says "not in this window".

Shapes: n rows, Q levels, K instants of a distribution function.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.state import labels_of, with_blanks

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
MEDIAN = LEVELS.index(0.5)
UNSHIFTED = (0.0,) * len(LEVELS)


def orders_seen(cohort: Cohort) -> int:
    """In how many windows an order came, as far as the labels know."""
    return int((labels_of(cohort) < cohort.horizon_days).sum())


def why_untrainable(cohort: Cohort, min_positives: int) -> str:
    """Why waits cannot be learnt from a cohort, "" where they can: too few of them end in their window."""
    seen = orders_seen(cohort)
    few = seen < max(min_positives, 1)
    return f"too few waits that end in their window in training ({seen} of at least {min_positives})" if few else ""


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


class Shift:
    """Days that are added to each quantile and to the mean, so that a later cohort's waits lie below as they should.

    A quantile is shifted by that of what it is off: Y. Romano, E. Patterson and E. Candès, Conformalized quantile
    regression, NeurIPS 2019, for each level alone.
    """

    def __init__(self, of_quantile: Any = UNSHIFTED, of_mean: float = 0.0) -> None:
        self.of_quantile, self.of_mean = np.asarray(of_quantile, np.float64), float(of_mean)

    def learn(self, quantile_nQ: np.ndarray, mean: np.ndarray, label: np.ndarray) -> None:
        """From what was said of rows that the model was not fitted on, and their labels."""
        off_nQ = label[:, None] - quantile_nQ
        columns = zip(off_nQ.T, LEVELS, strict=True)
        self.of_quantile = np.array([np.quantile(off, level, method="inverted_cdf") for off, level in columns])
        self.of_mean = float(label.mean() - mean.mean())

    def said(self, quantile_nQ: np.ndarray, mean: np.ndarray, cohort: Cohort) -> Predictions:
        """What is said of a cohort: in the window, and no quantile below a lower one."""
        H = cohort.horizon_days
        found = with_blanks(cohort, np.clip(mean + self.of_mean, 0, H))
        quantile = np.sort(np.clip(quantile_nQ + self.of_quantile, 0, H), axis=1)
        return replace(found, quantile=np.where(np.isnan(found.value)[:, None], np.nan, quantile))

    def as_json(self) -> dict[str, Any]:
        """For `Shift(**…)` again."""
        return {"of_quantile": self.of_quantile.tolist(), "of_mean": self.of_mean}


def blank(cohort: Cohort, reason: str) -> Predictions:
    """Nothing is said of anybody, for a reason."""
    found = with_blanks(cohort, np.full(len(cohort), np.nan), reason)
    return replace(found, quantile=np.full((len(cohort), len(LEVELS)), np.nan))
