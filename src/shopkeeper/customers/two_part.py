r"""Counts and amounts in two parts: whether anything comes in the window, and how much where something does.

$$E[y] = P(y > 0)\, e^{w^\top z + b}\, s$$

Both parts are linear in log-scaled, standardised RFM features z: a logistic regression, and a ridge regression of
ln y over the rows with y > 0, whose exponential is smeared by s so that it adds up to what came (N. Duan, Smearing
estimate, JASA 78, 1983). J. Cragg, Some statistical models for limited dependent variables, Econometrica 39 (1971).

Shapes: n rows, F features.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.correction.calibration import calibrated_on, uncalibrated
from shopkeeper.customers.logistic import scale_of
from shopkeeper.customers.state import (
    labels_of,
    read_linear,
    same_features,
    save_linear,
    why_untrainable,
    with_blanks,
)
from shopkeeper.errors import check, number, whole
from shopkeeper.models.about import AMOUNTS, COUNTS, PROBABILITIES, About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.programs.scoring import standardised, two_part

ARRAYS = ("low", "high", "mean", "scale", "weight", "intercept", "more_weight", "more_intercept", "most")


class TwoPart:
    """Logistic and ridge regression, multiplied.

    Args:
        inverse_penalty: of both, scikit-learn's C; smaller is simpler.
        min_positives: rows above 0, and rows at 0, needed, else every score is blank.
    """

    about = About(answers=COUNTS, also=(AMOUNTS,), needs=("features",))

    def __init__(self, inverse_penalty: float = 0.01, min_positives: int = 20) -> None:
        told = {"inverse_penalty": inverse_penalty, "min_positives": min_positives}
        check(told, {"inverse_penalty": number(above=True), "min_positives": whole(1)}, "model.")
        self.inverse_penalty = inverse_penalty
        self.min_positives = min_positives
        self.feature_names: tuple[str, ...] = ()
        self.arrays: dict[str, np.ndarray] = {}
        self.calibrator = uncalibrated(AMOUNTS)
        self.untrainable = "not fitted"

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> None:
        """Fit both parts on `train`; on `calibration` the factor with which answers add up to what came."""
        from sklearn.linear_model import LogisticRegression

        label = labels_of(train)
        self.feature_names, self.calibrator, self.arrays = train.feature_names, uncalibrated(train.answers), {}
        came = label > 0
        self.untrainable = why_untrainable(came.astype(np.float64), self.min_positives, PROBABILITIES)
        if self.untrainable:
            return
        self.arrays = a = scale_of(train.features)
        z_nF = standardised(train.features, a)
        whether = LogisticRegression(C=self.inverse_penalty, max_iter=2000, tol=1e-8).fit(z_nF, came)
        a["weight"], a["intercept"] = whether.coef_[0].astype(np.float64), whether.intercept_.astype(np.float64)
        z_mF, log_m = z_nF[came], np.log(label[came])
        centre_F, penalty = z_mF.mean(axis=0), np.eye(z_mF.shape[1]) / self.inverse_penalty
        apart_mF = z_mF - centre_F
        a["more_weight"] = np.linalg.solve(apart_mF.T @ apart_mF + penalty, apart_mF.T @ (log_m - log_m.mean()))
        said_m = np.minimum(apart_mF @ a["more_weight"] + log_m.mean(), log_m.max())
        smeared = float(np.log(label[came].sum() / np.exp(said_m).sum()))
        a["more_intercept"] = np.array([log_m.mean() - centre_F @ a["more_weight"] + smeared])
        a["most"] = np.array([log_m.max() + smeared])  # nobody is told more than anybody ever brought
        self.calibrator = calibrated_on(lambda some: two_part(some.features, a), calibration, fit, train.answers)

    def predict(self, cohort: Cohort) -> Predictions:
        """The means."""
        same_features(cohort, self.feature_names)
        blank = np.full(len(cohort), np.nan)
        value = blank if self.untrainable else self.calibrator(two_part(cohort.features, self.arrays))
        return with_blanks(cohort, value, self.untrainable)

    def program(self, timed: bool) -> Program:
        """How features are standardised, the weights of both parts, the factor."""
        return Program("two_part", dict(self.arrays), calibrator=self.calibrator.as_json())

    def save(self, folder: Path) -> None:
        """Write `weights.npz` and `model.json`."""
        save_linear(folder, "two_part", self.arrays, self.feature_names, self.calibrator, self.untrainable)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.arrays, self.feature_names, self.calibrator, self.untrainable = read_linear(folder, "two_part", ARRAYS)
