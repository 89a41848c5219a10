r"""What a campaign gets out of a ranking: gains and lift by decile, lift quality, expected maximum profit.

Everything is a function of the gains curve: the share of all positives among the share q of customers with the
highest scores. Inside a block of equal scores the curve is a straight line, the expected value over the orders of
that block.

Shapes: n rows, R sets of weights, K blocks of equal scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shopkeeper.metrics.classification import auroc, blocks, check, increasing_fit


class GainsCurve(NamedTuple):
    """Corners of the gains curve, from (0, 0) to (1, 1)."""

    contacted: np.ndarray  # share of customers, highest scores first
    reached: np.ndarray  # share of all positives among them


def gains_curve(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> GainsCurve:
    r"""Cumulative gains: $G(q) = \Pr(\text{score among the top } q \mid y = 1)$. NaN without positives. Weights (n,).

    Blattberg, Kim and Neslin, Database Marketing (2008), chapter 10.

    >>> curve = gains_curve(np.array([1, 0, 1, 0]), np.array([0.8, 0.6, 0.4, 0.1]))
    >>> curve.contacted.tolist(), curve.reached.tolist()
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    y, p = check(label, probability)
    b = blocks(y, p, weight)
    positive_K, all_K = b.positive_RK[0], (b.positive_RK + b.negative_RK)[0]
    n_positive = positive_K.sum()
    reached = np.cumsum(positive_K) / n_positive if n_positive > 0 else np.full(len(positive_K), np.nan)
    return GainsCurve(np.append(0, np.cumsum(all_K) / all_K.sum()), np.append(0, reached))


class Deciles(NamedTuple):
    """Tenths of the customers, highest scores first; each array has ten entries."""

    gain: np.ndarray  # share of all positives in this tenth and those above
    lift: np.ndarray  # rate of positives in this tenth over the base rate
    cumulative_lift: np.ndarray  # the same for this tenth and those above


def deciles(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> Deciles:
    r"""Lift and gains by decile: $\mathrm{lift}_d = \frac{G(d/10) - G((d-1)/10)}{1/10}$. Weights (n,).

    The first entry of `lift` is the top-decile lift of the churn literature (Neslin et al., JMR 43, 2006). Here the
    two positives are in the first and the third tenth:

    >>> deciles(np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 0]), np.linspace(1, 0, 10)).lift.round(6).tolist()[:4]
    [5.0, 0.0, 5.0, 0.0]
    """
    curve = gains_curve(label, probability, weight)
    q = np.arange(1, 11) / 10
    gain = np.interp(q, curve.contacted, curve.reached)
    return Deciles(gain, np.diff(gain, prepend=0.0) * 10, gain / q)


def lift_quality(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    r"""Lift quality as marketing tools report it: 0 is random, 1 is perfect, below 0 worse than random.

    The area between the gains curve and the diagonal, over the same area of the perfect ranking:

    $$\frac{\int_0^1 G(q)\,dq - \frac12}{\left(1 - \frac{\pi}{2}\right) - \frac12} = 2\,\mathrm{AUROC} - 1$$

    with base rate $\pi$ (area under the lift chart: Vuk and Curk, Metodoloski zvezki 3, 2006). The usual reading:
    below .2 poor, below .4 fair, below .6 good, from .6 excellent. Weights as for `auroc`.

    >>> float(lift_quality(np.array([1, 0, 1, 0]), np.array([0.8, 0.6, 0.4, 0.1])))
    0.5
    """
    return 2 * auroc(label, probability, weight) - 1


class MaximumProfit(NamedTuple):
    """Expected maximum profit per customer of the base, and the share of customers to contact for it."""

    profit: float
    contacted: float


def expected_maximum_profit(
    label: np.ndarray,
    probability: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    alpha: float,
    beta: float,
    clv: float,
    incentive: float,
    contact: float,
) -> MaximumProfit:
    r"""Expected maximum profit of a retention campaign (EMPC), in the currency of `clv`, per customer of the base.

    Customers above a threshold are contacted at cost f and offered an incentive of cost d. A churner accepts with
    probability $\gamma$ and stays, worth CLV; a non-churner always takes the incentive. With $\delta = d / CLV$,
    $\phi = f / CLV$, base rate $\pi_0$ of churners and $\pi_1 = 1 - \pi_0$, and $F_0, F_1$ the shares of churners
    and non-churners that are contacted,

    $$P(t; \gamma) = CLV\,(\gamma (1 - \delta) - \phi)\, \pi_0 F_0(t) - CLV\,(\delta + \phi)\, \pi_1 F_1(t), \qquad
    \mathrm{EMPC} = \int_0^1 \max_t P(t; \gamma)\; \mathrm{Beta}(\gamma; \alpha, \beta)\, d\gamma .$$

    Exact: the best threshold is a corner of the ROC curve's convex hull, and between the acceptance rates at which
    it moves on, the integral is an incomplete beta function. Verbraken, Verbeke and Baesens, IEEE TKDE 25 (2013),
    whose telephone company is the example below; every shop has values of its own. NaN with one class only. Weights
    (n,). A perfect ranking contacts the churners (here half of the base) and earns (E[gamma] (CLV - d) - f) / 2, all
    but the rare gamma where nobody is contacted:

    >>> theirs = {"alpha": 6, "beta": 14, "clv": 200, "incentive": 10, "contact": 1}
    >>> found = expected_maximum_profit(np.array([1, 0]), np.array([0.9, 0.1]), **theirs)
    >>> round(found.profit, 3), round((0.3 * (200 - 10) - 1) / 2, 3), round(found.contacted, 3)
    (28.0, 28.0, 0.5)
    """
    from scipy.special import betainc

    if not (0 < incentive < clv and contact >= 0 and alpha > 0 and beta > 0):
        raise ValueError("needs 0 < incentive < clv, contact >= 0, alpha > 0 and beta > 0")
    y, p = check(label, probability)
    b = blocks(y, p, weight)
    positive_K, negative_K = b.positive_RK[0], b.negative_RK[0]
    total = positive_K.sum() + negative_K.sum()
    base = positive_K.sum() / total if total > 0 else 0.0
    if not 0 < base < 1:
        return MaximumProfit(float("nan"), float("nan"))
    delta, phi = incentive / clv, contact / clv

    # The corners of the ROC curve's convex hull are where the isotonic fit of the label changes.
    w_K = positive_K + negative_K
    used = w_K > 0
    rate = -increasing_fit(-positive_K[used] / w_K[used], w_K[used])
    segment = np.cumsum(np.append(False, np.diff(rate) < -1e-12))
    share_0 = np.append(0, np.cumsum(np.bincount(segment, positive_K[used]))) / total  # pi_0 F_0 at the corners
    share_1 = np.append(0, np.cumsum(np.bincount(segment, negative_K[used]))) / total  # pi_1 F_1

    # Acceptance rate from which the next corner is better than this one; infinite for a segment without churners.
    more_0, more_1 = np.diff(share_0), np.diff(share_1)
    cost = (delta + phi) * more_1 + phi * more_0
    switch = np.divide(cost, (1 - delta) * more_0, out=np.full(len(cost), np.inf), where=more_0 > 0)
    edge = np.concatenate([[0.0], np.minimum(switch, 1.0), [1.0]])  # corner k is best for gamma in edge[k:k+2]
    mass = np.diff(betainc(alpha, beta, edge))
    mean = alpha / (alpha + beta) * np.diff(betainc(alpha + 1, beta, edge))  # integral of gamma over the same
    profit = clv * ((1 - delta) * share_0 * mean - (phi * share_0 + (delta + phi) * share_1) * mass)
    return MaximumProfit(float(profit.sum()), float(((share_0 + share_1) * mass).sum()))
