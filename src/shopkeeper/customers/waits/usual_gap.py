r"""The usual gap again: the next order comes one median gap after the last one, as it did for others so expected.

A customer's usual gap is the median between his orders so far, the shop's where he has but one. Who is later than that
is expected to begin anew. What came of such expectations in training gives the quantiles: rows are grouped by the days
that were expected, equally many in each group. It is what any model of dates has to beat.

Shapes: n rows, G groups, Q levels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.state import labels_of, read_state, write_state
from shopkeeper.customers.waits import days as waiting
from shopkeeper.customers.window import own_events
from shopkeeper.errors import check, whole
from shopkeeper.features.customer.block import order_starts
from shopkeeper.models.about import DAYS, About
from shopkeeper.models.fit import Fit
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY

GROUP, MOST_GROUPS = 50, 20  # rows of a group, at least; groups


class UsualGap:
    """Days until the next order, from a customer's own rhythm alone.

    Args:
        min_positives: waits that end in their window, below which every score is blank.
    """

    about = About(
        answers=DAYS,
        reads=("event_type", "timestamp", "order"),
        reads_instant=True,
        not_exported="it is a yardstick: who answers can count on from the last order without a model",
    )

    def __init__(self, min_positives: int = 20) -> None:
        check({"min_positives": min_positives}, {"min_positives": whole(1)}, "model.")
        self.min_positives = min_positives
        self.shop_gap = np.nan  # median of all usual gaps, days
        self.edges, self.quantile, self.mean = np.zeros(0), np.zeros((1, len(waiting.LEVELS))), np.zeros(1)
        self.untrainable = "not fitted"

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> None:
        """Group what came of what was expected, on the newest rows as well."""
        self.untrainable = waiting.why_untrainable(train, self.min_positives)
        if self.untrainable:
            return
        cohorts = [c for c in (train, calibration) if c is not None]
        found = [gaps_and_recency(c) for c in cohorts]
        gap = np.concatenate([one for one, _ in found])
        known = ~np.isnan(gap)
        self.shop_gap = float(np.median(gap[known])) if known.any() else train.horizon_days
        expected = np.concatenate([self._expected(*one) for one in found])
        label = np.concatenate([labels_of(c) for c in cohorts])
        groups = int(np.clip(len(label) // GROUP, 1, MOST_GROUPS))
        ordered = np.sort(expected)
        edges = np.unique(ordered[np.arange(1, groups) * len(label) // groups])
        self.edges = edges[edges > ordered[0]]
        group = np.searchsorted(self.edges, expected, "right")
        own = [label[group == g] for g in range(len(self.edges) + 1)]
        self.quantile = np.stack([np.quantile(some, waiting.LEVELS, method="inverted_cdf") for some in own])
        self.mean = np.array([some.mean() for some in own])

    def predict(self, cohort: Cohort) -> Predictions:
        """What came of such expectations."""
        if self.untrainable:
            return waiting.blank(cohort, self.untrainable)
        group = np.searchsorted(self.edges, self._expected(*gaps_and_recency(cohort)), "right")
        return waiting.Shift().said(self.quantile[group], self.mean[group], cohort)

    def save(self, folder: Path) -> None:
        """Write `model.json`."""
        arrays = {name: getattr(self, name).tolist() for name in ("edges", "quantile", "mean")}
        state = {"shop_gap": None if np.isnan(self.shop_gap) else self.shop_gap, "untrainable": self.untrainable}
        write_state(folder, "usual_gap", arrays | state)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = read_state(folder, "usual_gap", ("edges", "quantile", "mean", "shop_gap", "untrainable"))
        self.edges, self.quantile, self.mean = (np.array(state[key]) for key in ("edges", "quantile", "mean"))
        self.shop_gap = np.nan if state["shop_gap"] is None else float(state["shop_gap"])
        self.untrainable = str(state["untrainable"])

    def _expected(self, gap: np.ndarray, recency: np.ndarray) -> np.ndarray:
        """Days until the next order; a whole gap where it is overdue. float64 (n,)."""
        usual = np.where(np.isnan(gap), self.shop_gap, gap)
        left = usual - np.nan_to_num(recency)
        return np.where(left > 0, left, usual)


def gaps_and_recency(cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Days of the median gap between a row's orders before its cutoff, and since the last one: float64 (n,) each.

    NaN where there are too few: two for a gap, one for the last. Of an even number of gaps it is the lower middle one.
    """
    events, offsets = own_events(cohort.events, cohort.start, cohort.end)
    assert events.timestamp is not None
    owner = np.repeat(np.arange(len(cohort)), np.diff(offsets))
    bought = events.event_type == EVENT_CODE["purchase"]
    row = np.flatnonzero(order_starts(bought, owner, events.order, events.timestamp))
    whose, time = owner[row], events.timestamp[row]
    recency, gap = np.full(len(cohort), np.nan), np.full(len(cohort), np.nan)
    recency[whose] = (cohort.cutoff[whose] - time) / MICROSECONDS_PER_DAY  # the last of equal indices stays
    follows = whose[1:] == whose[:-1]
    who, days = whose[1:][follows], np.diff(time)[follows] / MICROSECONDS_PER_DAY
    order = np.lexsort((days, who))
    people, first, n = np.unique(who[order], return_index=True, return_counts=True)
    gap[people] = days[order][first + (n - 1) // 2]
    return gap, recency
