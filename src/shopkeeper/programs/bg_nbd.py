"""BG/NBD and Gamma-Gamma: what follows from fitted parameters in NumPy alone (the fits: `customers/processes/btyd`).

Shapes: n customers; x repeat orders (all but the first), t_x the age at the last of them, T the age now, in one unit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EDGE = 1e-6  # a = 1 divides by 0, and with q = 1 there is no mean
TERMS, ROUNDING = 100_000, 1e-16  # of Gauss' series: at most so many, and when the next one changes nothing
NARROW, PLACES, AROUND = 30.0, 128, 9.0  # from this `a` on an integral: its places, within so many deviations


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
    for customers of many orders. Where nobody's chance to leave is known to differ from another's, `a` and `b` grow
    without bound, and so do the series' terms: there its integral is taken instead.
    """
    r, alpha, a, b = model
    if a > NARROW:
        return np.asarray(_until_gone(model, x, T, t) * p_alive(model, x, t_x, T))
    a = a if abs(a - 1) > EDGE else 1 + EDGE
    z = np.asarray(t / (alpha + T + t), np.float64)
    c = a + b + np.asarray(x, np.float64) - 1
    grown = (1 - z) ** (a - 1) * gauss(a + b - 1 - r, a - 1, *np.broadcast_arrays(c, z))
    return np.asarray(np.maximum(c / (a - 1) * (1 - grown), 0.0) * p_alive(model, x, t_x, T))


def _until_gone(model: BGNBD, x: np.ndarray, T: np.ndarray, t: float) -> np.ndarray:
    r"""The mean number of orders within the next t of those who are alive: float64 (n,).

    $$\int_0^1 \frac{1 - (1 + p t / (\alpha + T))^{-(r + x)}}{p}\, \mathrm{Beta}(p;\, a, b + x)\, dp$$
    by Gauss and Legendre over the log-odds of p, in which the density is smooth whatever b is.
    """
    r, alpha, a, b = model
    b_n = b + np.asarray(x, np.float64)
    middle, deviation = np.log(a) - np.log(b_n), np.sqrt(1 / a + 1 / b_n)
    total = weight = np.zeros(len(b_n))
    for place, of in zip(*np.polynomial.legendre.leggauss(PLACES), strict=True):
        odds = middle + AROUND * deviation * place
        log_p, log_not = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
        at_middle = -a * np.logaddexp(0, -middle) - b_n * np.logaddexp(0, middle)
        density = of * np.exp(a * log_p + b_n * log_not - at_middle)
        p = np.maximum(np.exp(log_p), np.finfo(np.float64).tiny)
        total = total - density * np.expm1(-(r + x) * np.log1p(p * t / (alpha + T))) / p
        weight = weight + density
    return np.asarray(total / weight)


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
