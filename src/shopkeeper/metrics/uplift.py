r"""How well a ranking finds those whom a treatment moves: Qini, AUUC and the gain of treating the first share.

Customers are ordered by predicted uplift, highest first. Of the first share :math:`\varphi` of them let
:math:`Y_T, N_T` be outcome and number of the treated, :math:`Y_C, N_C` those of the control group, each row counted
with :math:`1 / P(\text{its arm})`, so that arms of any size, also by customer, stand for all customers. Then

.. math:: q(\varphi) = \Big(Y_T - Y_C \frac{N_T}{N_C}\Big) \Big/ N_T(1), \qquad
          u(\varphi) = \Big(\frac{Y_T}{N_T} - \frac{Y_C}{N_C}\Big) \varphi

(N. J. Radcliffe, Using control groups to target on predicted lift, Direct Marketing Analytics Journal, 2007;
P. Gutierrez and J.-Y. Gérardy, Causal inference and uplift modelling: a review of the literature, PMLR 67, 2017). Both
are outcome per customer of the base, and at 1 both are the average effect of treating everybody.

`qini` and `auuc` are the areas between the curve and the straight line to its end: what an order that knows nothing
would reach. They are in outcome per customer, and divided by nothing: packages divide by different things (the area
of a perfect model, that of chance, the number of rows) and differ for the same scores. Equal scores are one block, in
which the curve is straight: the mean over all orders of its rows. A constant score therefore has exactly 0, whatever
the order of the rows. Until both arms have been seen the curve is straight, too; of rows that are all of one arm it is
not defined (NaN), which a resample of few customers can be.

Shapes: n rows, B blocks of equal scores, R sets of row weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FIRST = 0.3  # the share of which `first` tells the gain


@dataclass(frozen=True)
class Curves:
    """Curves of R sets of row weights; point 0 is (0, 0)."""

    share: np.ndarray  # float64 (R, B + 1)
    qini: np.ndarray  # float64 (R, B + 1)
    uplift: np.ndarray  # float64 (R, B + 1)

    def areas(self) -> dict[str, np.ndarray]:
        """Figures of each set of weights, float64 (R,): `qini`, `auuc`, `effect` (of treating all), `first`.

        `first` is the mean effect among the first `FIRST` of the customers.
        """
        found = {"qini": _above_line(self.share, self.qini), "auuc": _above_line(self.share, self.uplift)}
        found["effect"] = self.uplift[:, -1]
        at = [np.interp(FIRST, x, y) for x, y in zip(self.share, self.uplift, strict=True)]
        found["first"] = np.array(at) / FIRST
        return found


def uplift_curves(
    outcome: np.ndarray,
    treated: np.ndarray,
    score: np.ndarray,
    probability: np.ndarray,
    weight: np.ndarray | None = None,
) -> Curves:
    """The curves of a score.

    Args:
        outcome: float64 (n,).
        treated: bool (n,).
        score: float64 (n,), the higher the earlier.
        probability: float64 (n,), with which each row would be treated; strictly between 0 and 1.
        weight: float64 (R, n), how often each row counts; None: once.

    >>> y, t = np.array([1.0, 0, 0, 0, 0, 1, 0, 0]), np.array([1, 0, 1, 0, 1, 0, 1, 0], bool)
    >>> half = np.full(8, 0.5)
    >>> good = uplift_curves(y, t, np.array([4.0, 4, 3, 3, 1, 1, 2, 2]), half)  # won first, put off last
    >>> good.qini.tolist()
    [[0.0, 0.25, 0.25, 0.25, 0.0]]
    >>> float(good.areas()["qini"][0])
    0.1875
    >>> float(uplift_curves(y, t, np.zeros(8), half).areas()["auuc"][0])
    0.0
    """
    order = np.argsort(-score, kind="stable")
    edges = np.flatnonzero(np.diff(score[order], prepend=np.inf))  # where blocks begin
    t, y = treated[order], outcome[order]
    w_Rn = (np.ones((1, len(y))) if weight is None else weight)[:, order]
    of_arm_Rn = w_Rn / np.where(t, probability[order], 1 - probability[order])

    def running(values_Rn: np.ndarray) -> np.ndarray:
        blocks = np.add.reduceat(values_Rn, edges, axis=1)
        return np.concatenate([np.zeros((len(blocks), 1)), np.cumsum(blocks, axis=1)], axis=1)

    n_t, n_c, n = running(of_arm_Rn * t), running(of_arm_Rn * ~t), running(w_Rn)
    y_t, y_c = running(of_arm_Rn * (t * y)), running(of_arm_Rn * (~t * y))
    share = n / n[:, -1:]
    both = (n_t > 0) & (n_c > 0)
    nothing = ~both[:, -1:]
    safe_t, safe_c = np.where(both, n_t, 1), np.where(both, n_c, 1)
    qini = np.where(both, (y_t - y_c * n_t / safe_c) / np.where(n_t[:, -1:] > 0, n_t[:, -1:], 1), 0)
    uplift = np.where(both, (y_t / safe_t - y_c / safe_c) * share, 0)
    curves = (np.where(nothing, np.nan, _straight_until(both, share, curve)) for curve in (qini, uplift))
    return Curves(share, *curves)


def _straight_until(both: np.ndarray, share: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """The curve, straight from 0 to the first point at which both arms have been seen."""
    first = both.argmax(axis=1)[:, None]
    end, at = np.take_along_axis(curve, first, 1), np.take_along_axis(share, first, 1)
    return np.where(both, curve, np.where(at > 0, end * share / np.where(at > 0, at, 1), 0))


def _above_line(share: np.ndarray, curve: np.ndarray) -> np.ndarray:
    above = curve - share * curve[:, -1:]
    return (np.diff(share, axis=1) * (above[:, 1:] + above[:, :-1]) / 2).sum(axis=1)
