"""Boosted trees (LightGBM) for quantiles of the days until the next order: a set of trees for each level.

Labels are cut off at the window's end, and so is what is said: with that the pinball loss is a proper score of the
quantiles in the window, whatever lies behind it (`days.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.folds import folds_by_customer
from shopkeeper.customers.state import labels_of, read_state, same_features, write_state
from shopkeeper.customers.waits import days as waiting
from shopkeeper.errors import check
from shopkeeper.models.about import DAYS, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.models.trees import RULES, grown, learnt, open_trees, save_trees
from shopkeeper.programs.base import Program
from shopkeeper.programs.trees import tree_arrays
from shopkeeper.programs.waits import AIMS

HELD_OUT = 5  # one customer in so many chooses the number of trees
OBJECTIVES: dict[str, dict[str, Any]] = {
    name: {"objective": "regression"} if level is None else {"objective": "quantile", "alpha": level}
    for name, level in AIMS.items()
}


class QuantileTrees:
    """Days until the next order, as quantiles and their mean in the window.

    Args:
        learning_rate, num_leaves, min_data_in_leaf, feature_fraction, lambda_l2: as of LightGBM.
        max_trees: limit; the number used is the best for a fifth of the customers, then all are learnt from.
        patience: trees without gain after which that stops.
        num_threads: fixed, because sums depend on it.
        min_positives: waits that end in their window, below which every score is blank.
    """

    about = About(answers=DAYS, needs=("features",))

    def __init__(
        self,
        learning_rate: float = 0.05,
        num_leaves: int = 8,
        min_data_in_leaf: int = 40,
        feature_fraction: float = 0.6,
        lambda_l2: float = 5.0,
        max_trees: int = 500,
        patience: int = 30,
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
        )
        check({"max_trees": max_trees, "patience": patience, "min_positives": min_positives}, RULES, "model.")
        self.max_trees, self.patience, self.min_positives = max_trees, patience, min_positives
        self.feature_names: tuple[str, ...] = ()
        self.booster: dict[str, Any] = {}
        self.shift = waiting.Shift()
        self.untrainable = "not fitted"

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> Learned:
        """Fit on `train`; on `calibration` see how far each quantile is off."""
        self.feature_names, self.booster, self.shift = train.feature_names, {}, waiting.Shift()
        self.untrainable = waiting.why_untrainable(train, self.min_positives)
        if self.untrainable:
            return Learned()
        label, most = labels_of(train), 0
        held_out = folds_by_customer(train.customer, fit.seed, HELD_OUT)[0]
        for name, aim in OBJECTIVES.items():
            self.booster[name], n_trees = learnt(
                {**aim, **self.parameters, "seed": fit.seed}, train.features, label, held_out,
                trees=fit.steps, most=self.max_trees, patience=self.patience,
            )  # fmt: skip
            most = max(most, n_trees)
        if calibration is not None:
            self.shift.learn(*self._waits(calibration), labels_of(calibration))
        return Learned(most)

    def predict(self, cohort: Cohort) -> Predictions:
        """Shifted as a later cohort said."""
        same_features(cohort, self.feature_names)
        if self.untrainable:
            return waiting.blank(cohort, self.untrainable)
        return self.shift.said(*self._waits(cohort), cohort)

    def program(self, timed: bool) -> Program:
        """The trees as arrays, a set after another, and the days that are added."""
        arrays = {
            f"{aim}.{name}": values
            for aim, trees in self.booster.items()
            for name, values in tree_arrays(trees.dump_model()).items()
        }
        return Program("quantile_trees", arrays, shift=self.shift.as_json())

    def save(self, folder: Path) -> None:
        """Write `model.json`, and each set of trees into a folder of its own."""
        for name in AIMS:
            (folder / name).mkdir(parents=True, exist_ok=True)
            save_trees(folder / name, self.booster.get(name))
        state = {"feature_names": list(self.feature_names), "shift": self.shift.as_json()}
        write_state(folder, "quantile_trees", state | {"untrainable": self.untrainable})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = read_state(folder, "quantile_trees", ("feature_names", "shift", "untrainable"))
        self.feature_names, self.untrainable = tuple(state["feature_names"]), str(state["untrainable"])
        self.shift = waiting.Shift(**state["shift"])
        self.booster = {} if self.untrainable else {name: open_trees(folder / name) for name in AIMS}

    def _waits(self, cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles (n, Q) and mean (n,), inside the window."""
        threads = self.parameters["num_threads"]
        said = [np.asarray(trees.predict(cohort.features, num_threads=threads)) for trees in self.booster.values()]
        mean, *quantile = np.clip(said, 0, cohort.horizon_days)
        return np.stack(quantile, axis=1), mean
