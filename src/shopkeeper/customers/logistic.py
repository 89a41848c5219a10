"""Logistic regression on log-scaled, standardised RFM features: hard to beat, easy to read.

Each feature x >= 0 becomes log(1 + x), is clipped to the range seen in training (a longer log than the training one
must not extrapolate), standardised, and set to 0, the mean, where it is undefined.

Shapes: n rows, F features.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.correction.calibration import Calibrator, calibrated_on
from shopkeeper.customers.state import (
    labels_of,
    read_linear,
    same_features,
    save_linear,
    why_untrainable,
    with_blanks,
)
from shopkeeper.errors import check, number, whole
from shopkeeper.models.about import PROBABILITIES, About
from shopkeeper.models.fit import Fit
from shopkeeper.models.shares import Contributions
from shopkeeper.programs.base import Program
from shopkeeper.programs.scoring import logistic, standardised

ARRAYS = ("low", "high", "mean", "scale", "weight", "intercept")


class Logistic:
    """L2-regularised logistic regression (scikit-learn's solver), calibrated on a later cohort.

    Args:
        inverse_penalty: scikit-learn's C; smaller is simpler.
        min_positives: rows of each class needed, else every score is blank.
    """

    about = About(answers=PROBABILITIES, needs=("features",), explains=True, pairs=True)

    def __init__(self, inverse_penalty: float = 0.05, min_positives: int = 20) -> None:
        told = {"inverse_penalty": inverse_penalty, "min_positives": min_positives}
        check(told, {"inverse_penalty": number(above=True), "min_positives": whole(1)}, "model.")
        self.inverse_penalty = inverse_penalty
        self.min_positives = min_positives
        self.feature_names: tuple[str, ...] = ()
        self.arrays: dict[str, np.ndarray] = {}
        self.calibrator = Calibrator()
        self.untrainable = "not fitted"

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> None:
        """Fit on `train`, choose and fit the calibration on `calibration`."""
        from sklearn.linear_model import LogisticRegression

        label = labels_of(train)
        self.feature_names = train.feature_names
        self.calibrator, self.arrays = Calibrator(), {}
        self.untrainable = why_untrainable(label, self.min_positives)
        if self.untrainable:
            return
        self.arrays = a = scale_of(train.features)
        solver = LogisticRegression(C=self.inverse_penalty, max_iter=2000, tol=1e-8)
        solver.fit(standardised(train.features, a), label > 0.5)
        a["weight"], a["intercept"] = solver.coef_[0].astype(np.float64), solver.intercept_.astype(np.float64)
        self.calibrator = calibrated_on(self._raw, calibration, fit, PROBABILITIES)

    def predict(self, cohort: Cohort) -> Predictions:
        """Calibrated probabilities."""
        same_features(cohort, self.feature_names)
        probability = np.full(len(cohort), np.nan) if self.untrainable else self.calibrator(self._raw(cohort))
        return with_blanks(cohort, probability, self.untrainable)

    def contributions(self, cohort: Cohort) -> Contributions:
        """Weight times value of each standardised feature, whose mean is 0."""
        same_features(cohort, self.feature_names)
        share_nF = standardised(cohort.features, self.arrays) * self.arrays["weight"]
        return Contributions(float(self.arrays["intercept"][0]), share_nF)

    def program(self, timed: bool) -> Program:
        """How features are standardised, the weights, the calibration."""
        return Program("logistic", dict(self.arrays), calibrator=self.calibrator.as_json())

    def save(self, folder: Path) -> None:
        """Write `weights.npz` and `model.json`."""
        save_linear(folder, "logistic", self.arrays, self.feature_names, self.calibrator, self.untrainable)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.arrays, self.feature_names, self.calibrator, self.untrainable = read_linear(folder, "logistic", ARRAYS)

    def _raw(self, cohort: Cohort) -> np.ndarray:
        return logistic(cohort.features, self.arrays)


def scale_of(features_nF: np.ndarray) -> dict[str, np.ndarray]:
    """What `programs.scoring.standardised` reads, from the features of training."""
    x_nF = np.log1p(features_nF)
    defined = np.where(np.isnan(x_nF).all(axis=0), 0.0, x_nF)  # a feature undefined for everybody is a constant
    std = np.nanstd(defined, axis=0)
    return {
        "low": np.nanmin(defined, axis=0),
        "high": np.nanmax(defined, axis=0),
        "mean": np.nanmean(defined, axis=0),
        "scale": np.where(std > 1e-9, std, 1.0),  # a constant stays at its mean: clipped to it, then 0
    }
