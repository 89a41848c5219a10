"""What a campaign brings that contacts those first whom a model puts first: by how many are contacted.

Judged on what is known of later: who left, or what was then bought of the items that a message would have shown. Where
scores are equal, which of them are contacted is by chance, so that the curve runs straight through them. Intervals are
over customers, drawn with replacement; the best share is found anew in each draw, so that its own interval says how
well it is known.

Shapes: n customers, K points, R draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shopkeeper.evaluation.profit import Profit
from shopkeeper.evaluation.resampling import drawn_rows

POINTS = 20


@dataclass(frozen=True)
class Sum:
    """A share of the customers that is contacted, and what it brings in all, with intervals."""

    share: float
    profit: float
    low: float
    high: float
    share_low: float | None = None  # of a share that was chosen by the data
    share_high: float | None = None


@dataclass(frozen=True)
class ProfitCurve:
    """Of n customers or requests; amounts in `currency`, of all of them together."""

    currency: str
    n: int
    share: np.ndarray  # float64 (K,): contacted, highest score first
    profit: np.ndarray  # float64 (K,)
    low: np.ndarray  # float64 (K,)
    high: np.ndarray
    threshold: float  # the score from which on a contact pays; NaN where scores are no probabilities
    by_probability: Sum  # contacting all from the threshold on, as far as the capacity goes; else everybody
    best: Sum  # the share that was best in hindsight, as far as the capacity goes: brings more than one can plan for
    everybody: Sum

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        found = {**vars(self), **{name: vars(getattr(self, name)) for name in ("by_probability", "best", "everybody")}}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def profit_curve(
    leaves: np.ndarray,
    probability: np.ndarray,
    customer: np.ndarray,
    profit: Profit,
    *,
    resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> ProfitCurve:
    """The curve of a campaign to keep customers, by one model.

    Args:
        leaves: 0 or 1 (n,).
        probability: of leaving, calibrated (n,).
        customer: whose each row is (n,): rows of one are drawn together.
        profit: the shop's values.
        resamples: R.
        confidence: of the intervals.
        seed: of the draws.
    """
    return contact_curve(
        profit.of_contact(leaves.astype(np.float64)), probability, customer, profit.currency,
        threshold=profit.threshold, capacity=profit.capacity, resamples=resamples, confidence=confidence, seed=seed,
    )  # fmt: skip


def contact_curve(
    brings: np.ndarray,
    score: np.ndarray,
    customer: np.ndarray,
    currency: str,
    *,
    threshold: float = float("nan"),
    capacity: float | None = None,
    resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> ProfitCurve:
    """The curve of any campaign.

    Args:
        brings: what contacting each row brings, its cost taken off (n,).
        score: by which rows are contacted, the highest first (n,).
        customer: whose each row is (n,): rows of one are drawn together.
        currency: of `brings`.
        threshold: of the score, from which on a contact pays; NaN: the score does not say.
        capacity: rows that can be contacted; None: all.
        resamples: R.
        confidence: of the intervals.
        seed: of the draws.
    """
    n = len(brings)
    order = np.argsort(-score, kind="stable")
    brings, p = brings[order], score[order]
    ends = np.flatnonzero(np.append(p[1:] != p[:-1], True))
    at_K = np.linspace(0, 1, POINTS + 1)
    most = min(1.0, (capacity or n) / n)
    chosen = (p[ends] >= threshold) | np.isnan(threshold)

    def curve(weight_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share contacted and what it brings, at the end of each run of equal probabilities, from none on."""
        share, total = np.cumsum(weight_n)[ends], np.cumsum(weight_n * brings)[ends]
        return np.append(0.0, share) / share[-1], np.append(0.0, total) * (n / share[-1])

    def summed(weight_n: np.ndarray) -> np.ndarray:
        """Profit at each point, at the threshold's share and there the share, at the best share and that, of all."""
        share, total = curve(weight_n)
        by_p = min(share[int(chosen.sum())], most)
        corners = np.append(share[share <= most], most)
        there = np.interp(corners, share, total)
        best = int(np.argmax(there))
        return np.concatenate(
            [
                np.interp(at_K, share, total),
                [np.interp(by_p, share, total), by_p, there[best], corners[best], total[-1]],
            ]
        )

    found = summed(np.ones(n))
    number = np.unique(customer, return_inverse=True)[1][order]
    again = np.array([summed(row) for block in drawn_rows(number, resamples, seed) for row in block])
    tail = (1 - confidence) / 2
    low, high = np.quantile(again, [tail, 1 - tail], axis=0)
    K = len(at_K)

    def of(place: int, share: float, own: int | None = None) -> Sum:
        ends_of = (None, None) if own is None else (float(low[own]), float(high[own]))
        return Sum(share, float(found[place]), float(low[place]), float(high[place]), *ends_of)

    return ProfitCurve(
        currency, n, at_K, found[:K], low[:K], high[:K], threshold,
        by_probability=of(K, float(found[K + 1])),
        best=of(K + 2, float(found[K + 3]), K + 3),
        everybody=of(K + 4, 1.0),
    )  # fmt: skip


def expected_profit(probability: np.ndarray, profit: Profit, confidence: float = 0.95) -> dict[str, Any]:
    """What contacting customers is expected to bring whose probabilities of leaving are told, as long as these hold.

    Returns:
        the shop's values, the threshold, and for all and for those from the threshold on (as far as the capacity
        goes): how many, what they bring, and the interval that comes of who of them leaves.
    """
    from scipy.special import ndtri

    p = np.sort(probability)[::-1]
    most = int(min(profit.capacity or len(p), len(p)))
    z = float(ndtri((1 + confidence) / 2))

    def of(some: np.ndarray) -> dict[str, Any]:
        spread = z * float(np.sqrt(np.sum(some * (1 - some)))) * (profit.kept + profit.wasted)
        value = float(profit.of_contact(some).sum())
        return {"customers": len(some), "profit": value, "low": value - spread, "high": value + spread}

    return {
        **profit.as_json(),
        "threshold": profit.threshold,
        "all": of(p),
        "best": of(p[:most][p[:most] >= profit.threshold]),
    }
