r"""From means to intervals that hold what they promise: conformal predictive distributions of counts and amounts.

On rows whose answers came from models that had not seen them (of a later cohort, or cross-fitted over customers),
labels are set beside the means. Rows are grouped by their mean, equally many in each group; of a new row whose group
has n known labels (in units of the mean; counts below a mean of 1 as they are) the label lies below the k-th with
probability

$$\frac{k - 1}{n + 1} \le P(y < y_{(k)}) \le \frac{k}{n + 1} ,$$

whatever the labels' distribution, as long as the new row could have been any of them. V. Vovk, A. Gammerman and
G. Shafer, Algorithmic Learning in a Random World (2005), chapters 2 and 4 (Mondrian); V. Vovk and others, Nonparametric
predictive distributions based on conformal prediction, Machine Learning 108 (2019).

Shapes: n rows, G groups, C values of a count 0..C-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

GROUP = 100  # rows of a group, at least
MOST_GROUPS = 20
ROUNDING = 1e-9  # a level such as .8 is no binary fraction


@dataclass(frozen=True)
class Conformal:
    """Known labels by group of means; a group is [edge, next edge)."""

    edges: np.ndarray  # float64 (G - 1,)
    sizes: np.ndarray  # int64 (G,)
    ratio: np.ndarray  # float64 (sum of sizes,): labels over units, ascending in each group
    whole: bool = False  # counts: answers are whole numbers

    def interval(self, mean: np.ndarray, level: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest label within the level: float64 (n,) each, NaN where the mean is."""
        low, high = np.full(len(mean), np.nan), np.full(len(mean), np.nan)
        for rows, known in self._groups(mean):
            n = len(known)
            first = int(np.floor((n + 1) * (1 - level) / 2 + ROUNDING))
            last = int(np.ceil((n + 1) * (1 + level) / 2 - ROUNDING))
            unit = _unit(mean[rows], self.whole)
            low[rows] = unit * known[first - 1] if first >= 1 else 0.0
            high[rows] = unit * known[last - 1] if last <= n else np.inf
        if self.whole:
            low, high = np.rint(low), np.rint(high)
        return low, high

    def cdf(self, mean: np.ndarray, C: int) -> np.ndarray:
        """P(Y <= c) of counts: float64 (n, C), as `metrics.value.pit_counts` reads it."""
        F_nC = np.empty((len(mean), C))
        for rows, known in self._groups(mean):
            count = np.rint(_unit(mean[rows], self.whole)[:, None] * known[None, :])
            below = np.stack([(count <= c).sum(axis=1) for c in range(C)], axis=1)
            F_nC[rows] = (below + 0.5) / (len(known) + 1)
        return F_nC

    def _groups(self, mean: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        group = np.where(np.isnan(mean), -1, np.searchsorted(self.edges, mean, "right"))
        parts = np.split(self.ratio, np.cumsum(self.sizes)[:-1])
        return [(np.flatnonzero(group == g), known) for g, known in enumerate(parts)]

    def as_json(self) -> dict[str, Any]:
        """For `conformal_from` again."""
        lists = {name: getattr(self, name).tolist() for name in ("edges", "sizes", "ratio")}
        return {**lists, "whole": self.whole}


def fit_conformal(mean: np.ndarray, label: np.ndarray, whole: bool) -> Conformal:
    """From means (n,) of models that had not seen the labels (n,); `whole`: they are counts."""
    order = np.argsort(mean, kind="stable")
    sorted_mean = mean[order]
    n_groups = int(np.clip(len(mean) // GROUP, 1, MOST_GROUPS))
    edges = np.unique(sorted_mean[np.arange(1, n_groups) * len(mean) // n_groups])
    edges = edges[edges > sorted_mean[0]]
    group = np.searchsorted(edges, sorted_mean, "right")
    ratio = label[order] / _unit(sorted_mean, whole)
    in_group = np.lexsort((ratio, group))
    return Conformal(edges, np.bincount(group, minlength=len(edges) + 1), ratio[in_group], whole)


def _unit(mean: np.ndarray, whole: bool) -> np.ndarray:
    return np.maximum(mean, 1.0 if whole else 1e-6)


def conformal_from(state: dict[str, Any]) -> Conformal:
    """What `as_json` gave."""
    edges, ratio = (np.array(state[name], np.float64) for name in ("edges", "ratio"))
    return Conformal(edges, np.array(state["sizes"], np.int64), ratio, bool(state["whole"]))
