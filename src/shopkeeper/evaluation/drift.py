r"""Whether those who are asked today are like those a model has learned from.

Of each feature the population stability index: rows of then cut into bins of equal number (what is not known is a bin
of its own), and

    PSI = \sum_b (p_b - q_b) \log(p_b / q_b)

with the shares p_b of now and q_b of then, half a row added to each bin. Where nothing has changed it is about
(1/n + 1/m) times a chi-square variable with one degree of freedom less than bins (B. Yurdakul and J. Naranjo,
"Statistical properties of the population stability index", Journal of Risk Model Validation 14, 2020), so that what
chance explains depends on the numbers of rows, and no fixed threshold serves.

Of all features together the two-sample classifier (D. Lopez-Paz and M. Oquab, "Revisiting classifier two-sample tests",
ICLR 2017): trees learn to tell rows of now from those of then, and are asked about customers whom they have not seen.
An AUROC of .5 says that they cannot.

Shapes: n rows of then, m of now, F features, B bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shopkeeper.evaluation.resampling import drawn_rows
from shopkeeper.metrics.classification import auroc

BINS = 10
MOST = 20_000  # rows of each side that the classifier sees
FOLDS = 3
FEWEST = 50  # rows of a side, below which nothing is said
TREES = {"objective": "binary", "num_leaves": 7, "learning_rate": 0.1, "min_data_in_leaf": 20, "verbose": -1,
         "num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": 0}  # fmt: skip


@dataclass(frozen=True)
class Shift:
    """One feature, then and now."""

    feature: str
    psi: float
    by_chance: float  # what 19 of 20 features that have not changed stay below
    then: float  # medians of what is known; NaN: nothing
    now: float
    unknown_then: float  # shares
    unknown_now: float

    @property
    def moved(self) -> bool:
        """Whether it is more than chance explains."""
        return self.psi > self.by_chance


def stability_index(then: np.ndarray, now: np.ndarray, bins: int = BINS) -> tuple[float, float]:
    """PSI of one feature (n,), (m,), and what chance would bring in one case of twenty.

    >>> rng = np.random.default_rng(0)
    >>> psi, chance = stability_index(rng.normal(size=5000), rng.normal(size=5000))
    >>> psi < chance < 0.01, stability_index(rng.normal(size=5000), rng.normal(1, 1, 5000))[0] > 0.5
    (True, True)
    """
    from scipy.stats import chi2

    known = then[~np.isnan(then)]
    edges = np.unique(np.quantile(known, np.arange(1, bins) / bins)) if len(known) else np.zeros(0)

    def counted(x: np.ndarray) -> np.ndarray:
        place = np.where(np.isnan(x), len(edges) + 1, np.searchsorted(edges, x, side="left"))
        return np.bincount(place, minlength=len(edges) + 2)

    n_B, m_B = counted(then), counted(now)
    used = (n_B + m_B) > 0
    q, p = ((count[used] + 0.5) / (count[used] + 0.5).sum() for count in (n_B, m_B))
    chance = float(chi2.ppf(0.95, max(int(used.sum()) - 1, 1))) * (1 / max(len(then), 1) + 1 / max(len(now), 1))
    return float(np.sum((p - q) * np.log(p / q))), chance


def shifts(then_nF: np.ndarray, now_mF: np.ndarray, names: Sequence[str]) -> list[Shift]:
    """Every feature, the one that has moved most first."""
    found = []
    for name, then, now in zip(names, then_nF.T, now_mF.T, strict=True):
        psi, chance = stability_index(then, now)
        medians = [float(np.median(known)) if len(known := x[~np.isnan(x)]) else float("nan") for x in (then, now)]
        found.append(Shift(name, psi, chance, *medians, *(float(np.isnan(x).mean()) for x in (then, now))))
    return sorted(found, key=lambda s: -s.psi)


@dataclass(frozen=True)
class ToldApart:
    """How well rows of now are told from those of then."""

    auroc: float
    low: float
    high: float
    rows: int
    by: tuple[str, ...]  # features that tell most, the first most


def told_apart(
    then_nF: np.ndarray,
    now_mF: np.ndarray,
    customer_then: np.ndarray,
    customer_now: np.ndarray,
    names: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> ToldApart | None:
    """The two-sample classifier, asked by customer about those of other folds; None of fewer than `FEWEST` rows."""
    if min(len(then_nF), len(now_mF)) < FEWEST:
        return None
    import lightgbm

    rng = np.random.default_rng(seed)
    some = [np.sort(rng.choice(n, min(n, MOST), replace=False)) for n in (len(then_nF), len(now_mF))]
    x_RF = np.concatenate([then_nF[some[0]], now_mF[some[1]]])
    y = np.repeat([0.0, 1.0], [len(some[0]), len(some[1])])
    _, who = np.unique(np.concatenate([customer_then[some[0]], customer_now[some[1]]]), return_inverse=True)
    fold = rng.integers(0, FOLDS, int(who.max()) + 1)[who]
    said, gain = np.zeros(len(y)), np.zeros(len(names))
    for f in range(FOLDS):
        learn = fold != f
        if len(np.unique(y[learn])) < 2 or learn.all():
            return None
        booster = lightgbm.train(TREES, lightgbm.Dataset(x_RF[learn], y[learn]), num_boost_round=40)
        said[~learn] = booster.predict(x_RF[~learn], num_threads=1)
        gain += booster.feature_importance("gain")
    drawn = np.concatenate([auroc(y, said, weight) for weight in drawn_rows(who, resamples, seed)])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    top = [names[f] for f in np.argsort(-gain, kind="stable")[:3] if gain[f] > 0]
    return ToldApart(float(auroc(y, said)), float(low), float(high), len(y), tuple(top))
