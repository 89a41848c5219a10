"""BG/NBD and Gamma-Gamma: what follows from fitted parameters in NumPy alone (the fits: `customers/processes/btyd`).

Shapes: n customers; x repeat orders (all but the first), t_x the age at the last of them, T the age now, in one unit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EDGE = 1e-6  # a = 1 divides by 0, and with q = 1 there is no mean


class BGNBD(NamedTuple):
    """Parameters; `alpha` in the unit of the ages."""

    r: float
    alpha: float
    a: float
    b: float


class GammaGamma(NamedTuple):
    """Parameters; `gamma` in the unit of the money."""

    p: float
    q: float
    gamma: float


def p_alive(model: BGNBD, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """The probability that a customer has not left: float64 (n,); 1 before any repeat order, as the model has it."""
    r, alpha, a, b = model
    odds = a / (b + np.maximum(x, 1) - 1) * np.exp((r + x) * (np.log(alpha + T) - np.log(alpha + t_x)))
    return np.asarray(np.where(x > 0, 1 / (1 + odds), 1.0))


def p_order(model: BGNBD, x: np.ndarray, t_x: np.ndarray, T: np.ndarray, t: float) -> np.ndarray:
    """The probability of an order within the next t: float64 (n,). Who is alive stays so until it."""
    none = np.exp((model.r + x) * (np.log(model.alpha + T) - np.log(model.alpha + T + t)))
    return p_alive(model, x, t_x, T) * (1 - none)


def expected_order_value(model: GammaGamma, n: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The mean of a customer's future orders: between his own (`mean` of n, 0 where n is 0) and everybody's."""
    p, q, gamma = model
    q = max(q, 1 + EDGE)  # at 1 and below there is no mean of everybody's
    return np.asarray(p * (gamma + n * mean) / (p * n + q - 1))
