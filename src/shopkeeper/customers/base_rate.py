"""Everybody gets the same: the share of label 1, or the mean count or amount. What any other model has to beat."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.state import labels_of, read_state, why_untrainable, with_blanks, write_state
from shopkeeper.models.about import AMOUNTS, COUNTS, PROBABILITIES, About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program


class BaseRate:
    """The mean label over all labelled rows there are, the calibration cohort's included."""

    about = About(answers=PROBABILITIES, also=(COUNTS, AMOUNTS))

    def __init__(self, min_positives: int = 20) -> None:
        self.min_positives = min_positives
        self.probability = np.nan
        self.untrainable = "not fitted"

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> None:
        """Count."""
        label = np.concatenate([labels_of(c) for c in (train, calibration) if c is not None])
        self.untrainable = why_untrainable(labels_of(train), self.min_positives, train.answers)
        # Half a row of each class: a rate of exactly 0 or 1 would cost infinitely much the first time it is wrong.
        one = train.answers == PROBABILITIES
        self.probability = float((label.sum() + 0.5) / (len(label) + 1)) if one else float(label.mean())

    def predict(self, cohort: Cohort) -> Predictions:
        """The base rate for every row."""
        return with_blanks(cohort, np.full(len(cohort), self.probability), self.untrainable)

    def program(self, timed: bool) -> Program:
        """The base rate."""
        return Program("constant", {"probability": np.array([self.probability])})

    def save(self, folder: Path) -> None:
        """Write `model.json`."""
        write_state(folder, "base_rate", {"probability": self.probability, "untrainable": self.untrainable})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = read_state(folder, "base_rate", ("probability", "untrainable"))
        self.probability, self.untrainable = float(state["probability"]), str(state["untrainable"])
