r"""Pareto/NBD: customers order at a rate of their own and leave at any moment, not only after an order as in `btyd.py`.

While alive a customer orders at a rate $\lambda \sim \Gamma(r, \alpha)$, and leaves at a rate
$\mu \sim \Gamma(s, \beta)$. D. Schmittlein, D. Morrison and R. Colombo, Counting your customers, Management Science 33
(1987); formulas after P. Fader and B. Hardie, A note on deriving the Pareto/NBD model (2005).

Float64; parameters are sought as logarithms, with time divided by the mean age, from several starts. What follows from
them is in `programs/pareto_nbd.py`, for bundles too.

Shapes: n customers; x repeat orders (all but the first), t_x the age at the last of them, T the age now, in one unit.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.customers.processes.btyd import least
from shopkeeper.programs.pareto_nbd import ParetoNBD, alive_and_gone, expected_orders, log_integral, p_alive, p_order

__all__ = ["ParetoNBD", "expected_orders", "fit_pareto_nbd", "log_integral", "log_likelihood", "p_alive", "p_order"]

STARTS = ((0.0, 0.0, 0.0, 0.0), (-0.5, -1.0, -0.5, -1.0), (0.5, 0.0, -1.5, 1.0), (-1.0, 1.0, 0.5, 1.5))
SCOUTS = 2000  # customers on whom the starts are compared; the best is finished on all


def log_likelihood(model: ParetoNBD, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """Of each customer: float64 (n,)."""
    from scipy.special import gammaln

    r, alpha, s, beta = model
    known = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    return np.asarray(known + np.logaddexp(*alive_and_gone(model, x, t_x, T)))


def fit_pareto_nbd(x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> ParetoNBD:
    """The most likely parameters."""
    scale = float(np.mean(T)) or 1.0
    some = np.linspace(0, len(x) - 1, min(len(x), SCOUTS)).astype(np.int64)

    def model(logs: np.ndarray) -> ParetoNBD:
        return ParetoNBD(*np.exp(logs).tolist())

    def cost(logs: np.ndarray, rows: np.ndarray | slice = slice(None)) -> float:
        return -float(np.mean(log_likelihood(model(logs), x[rows], t_x[rows] / scale, T[rows] / scale)))

    best = least(lambda logs: cost(logs, some), STARTS)
    found = model(best if len(some) == len(x) else least(cost, [best.tolist()]))
    return found._replace(alpha=found.alpha * scale, beta=found.beta * scale)
