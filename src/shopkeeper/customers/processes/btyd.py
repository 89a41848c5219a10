r"""Buy till you die: BG/NBD for how often customers order and whether they still do, Gamma-Gamma for what they spend.

While alive a customer orders at a rate of his own, $\lambda \sim \Gamma(r, \alpha)$, and leaves after any order with a
probability of his own, $p \sim B(a, b)$. P. Fader, B. Hardie and K. L. Lee, "Counting your customers" the easy way,
Marketing Science 24 (2005). The mean of a customer's orders is gamma distributed around one of his own: P. Fader and
B. Hardie, The Gamma-Gamma model of monetary value (2013).

Everything is float64; parameters are sought as logarithms, with time divided by the mean age and money by the mean
order, from several starts. What follows from them in NumPy alone is in `programs/bg_nbd.py`, for bundles too.

Shapes: n customers; x repeat orders (all but the first), t_x the age at the last of them, T the age now, in one unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shopkeeper.programs.bg_nbd import BGNBD, GammaGamma, expected_order_value, expected_orders, p_alive, p_order

__all__ = [
    "BGNBD",
    "GammaGamma",
    "bg_nbd_log_likelihood",
    "expected_order_value",
    "expected_orders",
    "fit_bg_nbd",
    "fit_gamma_gamma",
    "gamma_gamma_log_likelihood",
    "least",
    "p_alive",
    "p_order",
]

STARTS_BG_NBD = ((0.0, 0.0, 0.0, 0.0), (-1.0, -1.0, -0.5, 1.0), (1.0, 1.0, 1.0, 2.0), (-0.5, 1.0, -2.0, 0.5))
STARTS_GAMMA_GAMMA = ((0.0, 1.0, 0.0), (1.5, 1.5, 0.5), (-1.0, 0.5, 1.0))
WIDEST = 12.0  # of a logarithm: data without anybody who leaves have no largest b


def bg_nbd_log_likelihood(model: BGNBD, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """Of each customer: float64 (n,)."""
    from scipy.special import betaln, gammaln

    r, alpha, a, b = model
    known = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
    alive = -(r + x) * np.log(alpha + T)
    with np.errstate(divide="ignore"):
        repeats = np.where(x > 0, 0.0, -np.inf)
    gone = repeats + np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t_x)
    return np.asarray(known + np.logaddexp(alive, gone))


def fit_bg_nbd(x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> BGNBD:
    """The most likely parameters."""
    scale = float(np.mean(T)) or 1.0

    def model(logs: np.ndarray) -> BGNBD:
        return BGNBD(*np.exp(logs).tolist())

    def cost(logs: np.ndarray) -> float:
        return -float(np.mean(bg_nbd_log_likelihood(model(logs), x, t_x / scale, T / scale)))

    found = model(least(cost, STARTS_BG_NBD))
    return found._replace(alpha=found.alpha * scale)


def gamma_gamma_log_likelihood(model: GammaGamma, n: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Of each customer with n > 0 orders of a mean above 0: float64 (n,)."""
    from scipy.special import gammaln

    p, q, gamma = model
    return np.asarray(
        gammaln(p * n + q) - gammaln(p * n) - gammaln(q) + q * np.log(gamma)
        + (p * n - 1) * np.log(mean) + p * n * np.log(n) - (p * n + q) * np.log(gamma + n * mean)
    )  # fmt: skip


def fit_gamma_gamma(n: np.ndarray, mean: np.ndarray) -> GammaGamma:
    """The most likely parameters, of customers with n > 0 orders of a mean above 0."""
    scale = float(np.mean(mean)) or 1.0

    def model(logs: np.ndarray) -> GammaGamma:
        return GammaGamma(*np.exp(logs).tolist())

    def cost(logs: np.ndarray) -> float:
        return -float(np.mean(gamma_gamma_log_likelihood(model(logs), n, mean / scale)))

    found = model(least(cost, STARTS_GAMMA_GAMMA))
    return found._replace(gamma=found.gamma * scale)


def least(cost: Callable[[np.ndarray], float], starts: Sequence[Sequence[float]]) -> np.ndarray:
    """Where the cost is least, over all starts."""
    from scipy.optimize import minimize

    limits = [(-WIDEST, WIDEST)] * len(starts[0])
    found = [minimize(cost, start, method="L-BFGS-B", bounds=limits, options={"ftol": 1e-13}) for start in starts]
    return np.asarray(min(found, key=lambda one: float(one.fun)).x)
