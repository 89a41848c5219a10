"""Making answers true: temperature, Platt, beta or isotonic for probabilities, a factor for counts and amounts.

All are chosen and fitted on rows that the model has not seen: of a cohort later than training, or held out of it fold
by fold.

The method is chosen by cross-validation over those rows' customers (each method is judged on customers that it was not
fitted on) and then fitted on all of them. Simple methods win ties: a method is taken when no other is better by more
than one standard error of the paired difference in log loss, of which a customer's rows at several cutoffs are one draw
(`metrics/clusters.py`).

* identity:    p
* temperature: sigmoid(logit(p) / T)              Guo et al., ICML 2017
* platt:       sigmoid(a logit(p) + b)            Platt 1999
* beta:        sigmoid(a ln p - b ln(1 - p) + c), a, b >= 0      Kull, Silva Filho and Flach, AISTATS 2017
* isotonic:    the monotone step function nearest to the labels, each step shrunk by one row of the base rate so that
               it never says 0 or 1               Zadrozny and Elkan, KDD 2002
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort
from shopkeeper.metrics.clusters import clustered_error
from shopkeeper.models.about import PROBABILITIES
from shopkeeper.models.fit import Fit

METHODS = ("identity", "temperature", "platt", "beta", "isotonic")  # simplest first
# Of scores that a bundle does not repeat to the last bit, as those of networks: a step of the isotonic function would
# make another probability of a rounding.
SMOOTH = METHODS[:4]
ISOTONIC_NEEDS = 1000  # customers; with fewer it fits noise
FLOOR = 1e-6  # probabilities stay within [FLOOR, 1 - FLOOR], so that no single row costs infinitely much
FOLDS = 5


SCALE = "scale"  # of counts and amounts


@dataclass(frozen=True)
class Calibrator:
    """A fitted map from scores in (0, 1) to probabilities, or from means to means."""

    method: str = "identity"
    parameters: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Calibrated, float64, same shape."""
        if self.method == SCALE:
            return np.asarray(probability, np.float64) * self.parameters["factor"][0]
        p = np.clip(np.asarray(probability, np.float64), FLOOR, 1 - FLOOR)
        if self.method == "isotonic":
            p = np.interp(p, self.parameters["x"], self.parameters["y"])
        elif self.method == "beta":
            a, b, c = (self.parameters[name][0] for name in ("low", "high", "intercept"))
            p = 1 / (1 + np.exp(-np.clip(a * np.log(p) - b * np.log1p(-p) + c, -50, 50)))
        elif self.method != "identity":
            z = self.parameters["slope"][0] * _logit(p) + self.parameters["intercept"][0]
            p = 1 / (1 + np.exp(-np.clip(z, -50, 50)))
        return np.clip(p, FLOOR, 1 - FLOOR)

    def as_json(self) -> dict[str, Any]:
        """For `Calibrator(**…)` again."""
        return {"method": self.method, "parameters": self.parameters}


def fit_calibrator(method: str, probability: np.ndarray, label: np.ndarray) -> Calibrator:
    """Fit one method on rows that the model was not fitted on."""
    if method == "identity":
        return Calibrator()
    p = np.clip(np.asarray(probability, np.float64), FLOOR, 1 - FLOOR)
    if method == "isotonic":
        return Calibrator(method, _isotonic(p, label))
    if method == "beta":
        low, high, intercept = _beta(p, label)
        return Calibrator(method, {"low": [low], "high": [high], "intercept": [intercept]})
    z = _logit(p)
    columns = z[:, None] if method == "temperature" else np.stack([z, np.ones_like(z)], axis=1)
    weights = _logistic_fit(columns, label)
    slope, intercept = float(weights[0]), float(weights[1]) if method == "platt" else 0.0
    return Calibrator(method, {"slope": [max(slope, 0.0)], "intercept": [intercept]})  # never turn the ranking around


def uncalibrated(answers: str) -> Calibrator:
    """What leaves answers as they are; probabilities stay off 0 and 1."""
    return Calibrator() if answers == PROBABILITIES else Calibrator(SCALE, {"factor": [1.0]})


def fit_scale(mean: np.ndarray, label: np.ndarray) -> Calibrator:
    """The factor with which means (n,) add up to what came (n,)."""
    total = float(mean.sum())
    return Calibrator(SCALE, {"factor": [float(label.sum()) / total if total > 0 else 1.0]})


def calibrated_on(
    raw: Callable[[Cohort], np.ndarray], calibration: Cohort | None, fit: Fit, answers: str
) -> Calibrator:
    """What makes a fitted model's answers true on rows that it has not seen; `uncalibrated` where there are none.

    Args:
        raw: what the model says of a cohort (n,), uncalibrated.
        calibration: a cohort that it was not fitted on.
        fit: may know of more such rows: `Fit.held_out`.
        answers: as of `Cohort.answers`.
    """
    parts = []
    if fit.held_out is not None:
        others = fit.held_out()
        parts.append((others.said, others.label, others.customer))
    if calibration is not None:
        assert calibration.label is not None
        parts.append((raw(calibration), calibration.label, calibration.customer))
    if not parts:
        return uncalibrated(answers)
    said, label, customer = (np.concatenate(values) for values in zip(*parts, strict=True))
    return choose_calibrator(said, label, customer, fit.seed) if answers == PROBABILITIES else fit_scale(said, label)


def choose_calibrator(
    probability: np.ndarray, label: np.ndarray, customer: np.ndarray, seed: int, among: Sequence[str] = METHODS
) -> Calibrator:
    """The simplest method that no other beats by more than a standard error, fitted on all rows given.

    Args:
        probability: uncalibrated scores (n,).
        label: 0 / 1 (n,).
        customer: ids (n,); all rows of a customer are held out together.
        seed: of the division into folds.
        among: methods, simplest first.
    """
    people, person = np.unique(customer, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(len(people)) % FOLDS)[person]
    methods = [m for m in among if m != "isotonic" or len(people) >= ISOTONIC_NEEDS]
    loss = np.full((len(methods), len(label)), np.nan)
    for held_out in range(FOLDS):
        test, train = fold == held_out, fold != held_out
        if not test.any() or len(np.unique(label[train])) < 2:
            return Calibrator()  # too little to learn a correction from
        for m, method in enumerate(methods):
            loss[m, test] = _log_loss(
                label[test], fit_calibrator(method, probability[train], label[train])(probability[test])
            )
    best = int(np.argmin(loss.mean(axis=1)))
    for m, method in enumerate(methods):
        difference = loss[m] - loss[best]
        if difference.mean() <= clustered_error(difference, person):
            return fit_calibrator(method, probability, label)
    raise AssertionError("the best method is never beaten by itself")


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)


def _log_loss(label: np.ndarray, p: np.ndarray) -> np.ndarray:
    return -np.where(label > 0.5, np.log(p), np.log1p(-p))


def _logistic_fit(columns: np.ndarray, label: np.ndarray, ridge: float = 1e-3, steps: int = 100) -> np.ndarray:
    """Newton's method for a logistic regression with a tiny ridge, which keeps separable data finite.

    Steps are halved until they help: far from the optimum, where all scores are nearly certain, a whole one overshoots.
    """
    w = np.zeros(columns.shape[1])

    def cost(w: np.ndarray) -> float:
        z = columns @ w
        return float(np.sum(np.logaddexp(0, z) - label * z) + ridge / 2 * w @ w)

    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(columns @ w, -500, 500)))
        gradient = columns.T @ (p - label) + ridge * w
        hessian = (columns * (p * (1 - p))[:, None]).T @ columns + ridge * np.eye(len(w))
        step, now = np.linalg.solve(hessian, gradient), cost(w)
        while cost(w - step) > now and np.abs(step).max() > 1e-12:
            step = step / 2
        w = w - step
        if np.abs(step).max() < 1e-10:
            break
    return w


def _beta(p: np.ndarray, label: np.ndarray) -> tuple[float, float, float]:
    """a, b and c; a slope that would turn the ranking around is left out, and the others fitted anew."""
    columns = np.stack([np.log(p), -np.log1p(-p), np.ones_like(p)], axis=1)
    kept = np.array([True, True, True])
    for _ in range(3):
        weights = np.zeros(3)
        weights[kept] = _logistic_fit(columns[:, kept], label)
        if (weights[:2] >= 0).all():
            break
        kept[:2] &= weights[:2] >= 0
    return float(weights[0]), float(weights[1]), float(weights[2])


def _isotonic(p: np.ndarray, label: np.ndarray) -> dict[str, list[float]]:
    """Knots of the monotone fit: rows with equal scores are one point, steps are shrunk towards the base rate."""
    from scipy.optimize import isotonic_regression

    x, point = np.unique(p, return_inverse=True)
    n = np.bincount(point).astype(np.float64)
    rate = np.bincount(point, weights=label) / n
    fitted = isotonic_regression(rate, weights=n)
    step = np.repeat(np.arange(len(fitted.blocks) - 1), np.diff(fitted.blocks))
    in_step = np.bincount(step, weights=n)
    base = float(np.mean(label))
    y = ((fitted.x[fitted.blocks[:-1]] * in_step + base) / (in_step + 1))[step]
    return {"x": x.tolist(), "y": np.maximum.accumulate(y).tolist()}
