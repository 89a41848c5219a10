r"""Days until the next order, of which a window shows only those that end in it.

Of a customer who does not order in a window of H days nobody has seen the wait; all that is known is that it is longer.
Labels are therefore min(wait, H), and all that is said is about that: since quantiles go through increasing functions,
the quantile of min(wait, H) is min(quantile, H), and its pinball loss is a proper score (J. Powell, Censored regression
quantiles, J. Econometrics 32, 1986). A quantile of H says "not in this window".

Shapes: n rows, Q levels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.state import labels_of, with_blanks
from shopkeeper.programs.waits import LEVELS, from_distribution, shifted

__all__ = ["LEVELS", "MEDIAN", "Shift", "blank", "from_distribution", "orders_seen", "why_untrainable"]
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
        quantile, mean = shifted(quantile_nQ, mean, vars(self), cohort.horizon_days)
        found = with_blanks(cohort, mean)
        return replace(found, quantile=np.where(np.isnan(found.value)[:, None], np.nan, quantile))

    def as_json(self) -> dict[str, Any]:
        """For `Shift(**…)` again."""
        return {"of_quantile": self.of_quantile.tolist(), "of_mean": self.of_mean}


def blank(cohort: Cohort, reason: str) -> Predictions:
    """Nothing is said of anybody, for a reason."""
    found = with_blanks(cohort, np.full(len(cohort), np.nan), reason)
    return replace(found, quantile=np.full((len(cohort), len(LEVELS)), np.nan))
