"""Gradient-boosted trees (LightGBM) on RFM features, with the number of trees chosen by cross-validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.correction.calibration import Calibrator, calibrated_on, uncalibrated
from shopkeeper.customers.folds import folds_by_customer
from shopkeeper.customers.state import (
    labels_of,
    read_state,
    same_features,
    why_untrainable,
    with_blanks,
    write_state,
)
from shopkeeper.errors import check
from shopkeeper.models.about import AMOUNTS, COUNTS, PROBABILITIES, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.models.shares import Contributions, tree_shares
from shopkeeper.models.trees import RULES, grown, open_trees, save_trees
from shopkeeper.programs.base import Program
from shopkeeper.programs.trees import tree_arrays

FOLDS = 5
LOSS = {PROBABILITIES: "log_loss", COUNTS: "poisson", AMOUNTS: "tweedie"}  # negative log-likelihoods
TOLD = 10  # the curve has a point each so many trees


class LightGBM:
    """Trees for whatever is asked; same data, seed and version give the same model, bit for bit.

    Probabilities are learnt by log loss, counts by Poisson deviance, amounts by Tweedie deviance.

    Args:
        learning_rate: shrinkage per tree.
        num_leaves: leaves per tree.
        min_data_in_leaf: training rows per leaf.
        feature_fraction: share of the features that a tree sees.
        extra_trees: whether a split is the best of one threshold drawn for each feature, and not of all. Rows of a
            customer at many cutoffs are nearly one row, so that the best one is soon found by chance. P. Geurts, D.
            Ernst and L. Wehenkel, Extremely randomized trees, Machine Learning 63 (2006).
        max_trees: limit; the number used is the best in a cross-validation over training customers.
        tweedie_variance_power: of amounts, between 1 (Poisson) and 2 (gamma).
        patience: trees without gain after which the cross-validation stops.
        num_threads: fixed, because sums depend on it.
        min_positives: rows of each class needed, else every score is blank.
    """

    about = About(answers=PROBABILITIES, also=(COUNTS, AMOUNTS), needs=("features",), explains=True, pairs=True)

    def __init__(
        self,
        learning_rate: float = 0.03,
        num_leaves: int = 8,
        min_data_in_leaf: int = 40,
        feature_fraction: float = 0.6,
        extra_trees: bool = False,
        lambda_l2: float = 5.0,
        tweedie_variance_power: float = 1.5,
        max_trees: int = 1000,
        patience: int = 50,
        num_threads: int = 1,
        min_positives: int = 20,
    ) -> None:
        self.parameters = grown(
            learning_rate=learning_rate,
            num_leaves=num_leaves,
            min_data_in_leaf=min_data_in_leaf,
            feature_fraction=feature_fraction,
            lambda_l2=lambda_l2,
            num_threads=num_threads,
            extra_trees=extra_trees,
        )
        self.objective: dict[str, dict[str, Any]] = {
            PROBABILITIES: {"objective": "binary"},
            COUNTS: {"objective": "poisson"},
            AMOUNTS: {"objective": "tweedie", "tweedie_variance_power": tweedie_variance_power},
        }
        self.answers = PROBABILITIES
        told: dict[str, float] = {"max_trees": max_trees, "patience": patience, "min_positives": min_positives}
        check(told | {"tweedie_variance_power": tweedie_variance_power}, RULES, "model.")
        self.max_trees = max_trees
        self.patience = patience
        self.min_positives = min_positives
        self.feature_names: tuple[str, ...] = ()
        self.booster: Any = None
        self.calibrator = Calibrator()
        self.untrainable = "not fitted"

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> Learned:
        """Fit on `train`, choose and fit the calibration on `calibration`."""
        import lightgbm as lgb

        label = labels_of(train)
        self.feature_names, self.answers = train.feature_names, train.answers
        self.calibrator, self.booster = uncalibrated(self.answers), None
        self.untrainable = why_untrainable(label, self.min_positives, self.answers)
        if self.untrainable:
            return Learned()
        parameters = {**self.objective[self.answers], **self.parameters, "seed": fit.seed}
        data = lgb.Dataset(train.features, label, params=parameters, free_raw_data=False)
        history: list[dict[str, float]] = []
        told = LOSS[self.answers]

        def tell(state: Any) -> None:
            trees = state.iteration + 1
            if trees % TOLD == 0:
                history.append({"epoch": trees, told: state.evaluation_result_list[0][2]})
                fit.log({told: history[-1][told]}, trees)

        n_trees = fit.steps
        if n_trees is None:
            found = lgb.cv(
                parameters,
                data,
                num_boost_round=self.max_trees,
                folds=folds_by_customer(train.customer, fit.seed, FOLDS),
                callbacks=[lgb.early_stopping(self.patience, verbose=False), tell],
            )
            n_trees = len(next(values for name, values in found.items() if name.endswith("-mean")))
        self.booster = lgb.train(parameters, data, num_boost_round=n_trees)
        self.calibrator = calibrated_on(self._raw, calibration, fit, self.answers)
        return Learned(n_trees, history=history)

    def predict(self, cohort: Cohort) -> Predictions:
        """Calibrated."""
        same_features(cohort, self.feature_names)
        probability = np.full(len(cohort), np.nan) if self.untrainable else self.calibrator(self._raw(cohort))
        return with_blanks(cohort, probability, self.untrainable)

    def contributions(self, cohort: Cohort) -> Contributions:
        """Shapley values of the trees' sum, the log-odds or the log of a mean: see `models.shares`."""
        same_features(cohort, self.feature_names)
        found = tree_shares(self.booster, cohort.features, self.parameters["num_threads"])
        return found if self.answers == PROBABILITIES else replace(found, unit=f"log of {self.answers}")

    def program(self, timed: bool) -> Program:
        """The trees as arrays, the calibration."""
        scorer = "trees" if self.answers == PROBABILITIES else "trees_log"
        return Program(scorer, tree_arrays(self.booster.dump_model()), calibrator=self.calibrator.as_json())

    def save(self, folder: Path) -> None:
        """Write `trees.txt` (LightGBM's own text format) and `model.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_trees(folder, self.booster)
        state = {
            "feature_names": list(self.feature_names),
            "answers": self.answers,
            "calibrator": self.calibrator.as_json(),
            "untrainable": self.untrainable,
        }
        write_state(folder, "lightgbm", state)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = read_state(folder, "lightgbm", ("feature_names", "calibrator", "untrainable"))
        self.feature_names, self.untrainable = tuple(state["feature_names"]), str(state["untrainable"])
        self.answers = str(state.get("answers", PROBABILITIES))  # older runs know no other
        self.calibrator, self.booster = Calibrator(**state["calibrator"]), None
        if not self.untrainable:
            self.booster = open_trees(folder)

    def _raw(self, cohort: Cohort) -> np.ndarray:
        return np.asarray(self.booster.predict(cohort.features, num_threads=self.parameters["num_threads"]))
