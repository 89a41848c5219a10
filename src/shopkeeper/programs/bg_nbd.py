"""BG/NBD and Gamma-Gamma: what follows from fitted parameters in NumPy alone (the fits: `customers/processes/btyd`).

Shapes: n customers; x repeat orders (all but the first), t_x the age at the last of them, T the age now, in one unit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EDGE = 1e-6  # a = 1 divides by 0, and with q = 1 there is no mean
TERMS, ROUNDING = 100_000, 1e-16  # of Gauss' series: at most so many, and when the next one changes nothing


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


def expected_orders(model: BGNBD, x: np.ndarray, t_x: np.ndarray, T: np.ndarray, t: float) -> np.ndarray:
    """The mean number of orders within the next t: float64 (n,).

    Gauss' function is taken after Euler's transformation, whose factor cancels the power beside it: nothing overflows
    for customers of many orders.
    """
    r, alpha, a, b = model
    a = a if abs(a - 1) > EDGE else 1 + EDGE
    z = np.asarray(t / (alpha + T + t), np.float64)
    c = a + b + np.asarray(x, np.float64) - 1
    grown = (1 - z) ** (a - 1) * gauss(a + b - 1 - r, a - 1, *np.broadcast_arrays(c, z))
    return np.asarray(np.maximum(c / (a - 1) * (1 - grown), 0.0) * p_alive(model, x, t_x, T))


def gauss(a: float, b: float, c_n: np.ndarray, z_n: np.ndarray) -> np.ndarray:
    r"""Gauss' hypergeometric function for 0 <= z < 1 by its series: float64 (n,).

    $$\sum_{k \ge 0} \frac{(a)_k (b)_k}{(c)_k\, k!} z^k$$
    M. Abramowitz and I. Stegun, Handbook of Mathematical Functions (1964), 15.1.1.
    """
    total, open_n = np.ones(len(z_n)), np.arange(len(z_n))
    c, z, term, so_far = c_n, z_n, np.ones(len(z_n)), np.ones(len(z_n))
    for k in range(TERMS):
        term = term * ((a + k) * (b + k) / ((k + 1) * (c + k)) * z)
        so_far = so_far + term
        done = ~(np.abs(term) > ROUNDING * np.abs(so_far))
        if done.any():
            total[open_n[done]] = so_far[done]
            c, z, term, so_far, open_n = (part[~done] for part in (c, z, term, so_far, open_n))
        if not len(open_n):
            break
    total[open_n] = so_far
    return total


def expected_order_value(model: GammaGamma, n: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The mean of a customer's future orders: between his own (`mean` of n, 0 where n is 0) and everybody's."""
    p, q, gamma = model
    q = max(q, 1 + EDGE)  # at 1 and below there is no mean of everybody's
    return np.asarray(p * (gamma + n * mean) / (p * n + q - 1))
