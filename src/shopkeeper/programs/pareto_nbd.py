r"""Pareto/NBD: what follows from fitted parameters in NumPy alone (the fit: `customers/processes/pareto`).

What has no closed form is one integral of positive terms (`log_integral`): the usual difference of two hypergeometric
functions loses its digits for customers of many orders.

Shapes: n customers; x repeat orders (all but the first), t_x the age at the last of them, T the age now, in one unit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NODE, WEIGHT = (1 + np.polynomial.legendre.leggauss(12)[0]) / 2, np.polynomial.legendre.leggauss(12)[1] / 2  # on (0, 1)


class ParetoNBD(NamedTuple):
    """Parameters; `alpha` and `beta` in the unit of the ages."""

    r: float
    alpha: float
    s: float
    beta: float


def log_integral(
    p: np.ndarray, q: float | np.ndarray, a: np.ndarray, b: np.ndarray, t: np.ndarray | float
) -> np.ndarray:
    r"""$\ln \int_0^t (a + y)^{-p} (b + y)^{-q}\, dy$, float64 (n,); -inf where t is 0.

    By Gauss' quadrature in $w = (a / (a + y))^k$ with k = p + q - 1, where the integrand is
    $((a + y) / (b + y))^q$: a constant for a = b, whatever the powers. It is taken in parts, by how fast each factor
    falls: scales may lie far apart, and near w = 0 nothing is a polynomial of w.
    """
    q_n, t_n = np.broadcast_to(q, p.shape), np.broadcast_to(t, p.shape)
    k, of_a, of_b = p + q_n - 1, np.log1p(t_n / a), np.log1p(t_n / b)
    ends = [a * np.expm1(np.minimum(of_a / 3, 3 / k)), a * np.expm1(np.minimum(of_a * 2 / 3, 12 / k))]
    ends += [b * np.expm1(of_b / 3), b * np.expm1(of_b * 2 / 3)]
    total, begin = np.full(len(p), -np.inf), np.zeros(len(p))
    for end in (*np.sort(np.stack(ends), axis=0), t_n):
        step = np.log1p((end - begin) / (a + begin))
        total = np.logaddexp(total, _log_part(k, q_n, a + begin, b + begin, step))
        begin = end
    return total


def _log_part(k: np.ndarray, q: np.ndarray, a: np.ndarray, b: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The same until y = a (exp(step) - 1)."""
    width_n = -np.expm1(-k * step)  # of w
    log_w_nJ = np.log1p(-width_n[:, None] * NODE)
    y_nJ = a[:, None] * np.expm1(-log_w_nJ / k[:, None])
    of_w_nJ = q[:, None] * (np.log(a[:, None] + y_nJ) - np.log(b[:, None] + y_nJ))
    most_n = of_w_nJ.max(axis=1)
    mean_n = np.exp(of_w_nJ - most_n[:, None]) @ WEIGHT
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(width_n) + most_n + np.log(mean_n) - k * np.log(a) - np.log(k))


def alive_and_gone(model: ParetoNBD, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of how likely both are, up to what they share: to be there at T, to have left since t_x."""
    r, alpha, s, beta = model
    alive = -(r + x) * np.log(alpha + T) - s * np.log(beta + T)
    return alive, np.log(s) + log_integral(r + x, s + 1, alpha + t_x, beta + t_x, T - t_x)


def p_alive(model: ParetoNBD, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """The probability that a customer has not left: float64 (n,)."""
    alive, gone = alive_and_gone(model, x, t_x, T)
    return np.asarray(np.exp(alive - np.logaddexp(alive, gone)))


def p_order(model: ParetoNBD, x: np.ndarray, t_x: np.ndarray, T: np.ndarray, t: float) -> np.ndarray:
    """The probability of an order within the next t: float64 (n,).

    The next order of somebody alive comes at y with density $E[\\lambda e^{-(\\lambda + \\mu) y}]$.
    """
    r, alpha, s, beta = model
    a, b = alpha + T, beta + T
    log_p = np.log(r + x) + (r + x) * np.log(a) + s * np.log(b) + log_integral(r + x + 1, s, a, b, t)
    return np.asarray(p_alive(model, x, t_x, T) * np.exp(np.minimum(log_p, 0.0)))


def expected_orders(model: ParetoNBD, x: np.ndarray, t_x: np.ndarray, T: np.ndarray, t: float) -> np.ndarray:
    """The mean number of orders within the next t: float64 (n,)."""
    r, alpha, s, beta = model
    log_left = np.log(beta + T) - np.log(beta + T + t)
    stays = -np.expm1((s - 1) * log_left) / (s - 1) if abs(s - 1) > 1e-9 else -log_left
    return np.asarray(p_alive(model, x, t_x, T) * (r + x) * (beta + T) / (alpha + T) * stays)
