"""How members of a blend are weighed, and how far amounts are drawn apart: see `blend.py`.

Shapes: n rows, K members.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.metrics.clusters import clustered_error
from shopkeeper.metrics.value import poisson_deviance_rows
from shopkeeper.models.about import COUNTS, PROBABILITIES
from shopkeeper.programs.scoring import mixed

MOST_POWER, HALVINGS = 2.0, 10  # of amounts
PULL = 1e-3  # what a weight that is off by 1 costs, in units of the loss


def weigh(said_nK: np.ndarray, label: np.ndarray, answers: str) -> tuple[np.ndarray, float]:
    """Weights (K,) and offset with the least loss."""
    from scipy.optimize import minimize

    K = said_nK.shape[1]

    def of(values: np.ndarray) -> tuple[np.ndarray, float]:
        if answers == PROBABILITIES:
            return values[:K], float(values[K])
        weight = np.exp(values[:K] - values[:K].max())
        return weight / weight.sum(), float(values[K])

    def cost(values: np.ndarray) -> float:
        weight, offset = of(values)
        loss = _loss(label, mixed(said_nK, weight, answers == PROBABILITIES, offset), answers)
        return float(loss.mean()) / scale + PULL * float(((weight - 1 / K) ** 2).sum())

    scale = 1.0 if answers == PROBABILITIES else float(_loss(label, np.full(len(label), label.mean()), answers).mean())
    scale = scale or 1.0  # 0: the mean is everybody's label
    start = np.append(np.full(K, 1 / K if answers == PROBABILITIES else 0.0), 0.0)
    limits = [(0.0, 3.0) if answers == PROBABILITIES else (-20.0, 20.0)] * K + [(-5.0, 5.0)]
    return of(np.asarray(minimize(cost, start, method="L-BFGS-B", bounds=limits).x))


def drawn_apart(mean: np.ndarray, label: np.ndarray, customer: np.ndarray) -> tuple[float, float]:
    """Power and factor of means (n,) with the least absolute error among those that leave their sum as it is and do not
    surely (by a standard error over customers) lose Poisson deviance, by which amounts are judged.
    """
    from scipy.optimize import minimize_scalar

    whole = float(mean.sum())
    if whole <= 0:
        return 1.0, 1.0
    _, person = np.unique(customer, return_inverse=True)
    plain = poisson_deviance_rows(label, mean)

    def apart(power: float) -> np.ndarray:
        return mean**power * (whole / float((mean**power).sum()))

    def cost(power: float) -> float:
        return float(np.abs(apart(power) - label).mean())

    def loses(power: float) -> bool:
        lost = poisson_deviance_rows(label, apart(power)) - plain
        return bool(lost.mean() > clustered_error(lost, person))

    power = float(minimize_scalar(cost, bounds=(1.0, MOST_POWER), method="bounded").x)
    if loses(power):
        kept = 1.0
        for _ in range(HALVINGS):  # a power between them that does not
            half = (kept + power) / 2
            kept, power = (kept, half) if loses(half) else (half, power)
        power = kept
    return (power, whole / float((mean**power).sum())) if cost(power) < cost(1.0) else (1.0, 1.0)


def _loss(label: np.ndarray, said: np.ndarray, answers: str) -> np.ndarray:
    """Log loss, or half the Poisson deviance, or half the Tweedie deviance of power 1.5."""
    if answers == PROBABILITIES:
        return -np.where(label > 0.5, np.log(said), np.log1p(-said))
    mean = np.maximum(said, 1e-6)
    if answers == COUNTS:
        return mean - label * np.log(mean) - (label - np.where(label > 0, label * np.log(np.maximum(label, 1)), 0))
    return 2 * (label / np.sqrt(mean) + np.sqrt(mean) - 2 * np.sqrt(label))
