"""Everybody gets the same: the share of label 1, the mean count or amount, or quantiles of all waits.

What any other model has to beat.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.state import labels_of, read_state, why_untrainable, with_blanks, write_state
from shopkeeper.customers.waits import days as waiting
from shopkeeper.errors import check, whole
from shopkeeper.models.about import AMOUNTS, COUNTS, DAYS, PROBABILITIES, About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program


class BaseRate:
    """The mean label over all labelled rows there are, the calibration cohort's included."""

    about = About(answers=PROBABILITIES, also=(COUNTS, AMOUNTS, DAYS), pairs=True)

    def __init__(self, min_positives: int = 20) -> None:
        check({"min_positives": min_positives}, {"min_positives": whole(1)}, "model.")
        self.min_positives = min_positives
        self.probability = np.nan
        self.quantile: list[float] = []  # of waits
        self.untrainable = "not fitted"

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> None:
        """Count."""
        label = np.concatenate([labels_of(c) for c in (train, calibration) if c is not None])
        self.untrainable = why_untrainable(labels_of(train), self.min_positives, train.answers)
        # Half a row of each class: a rate of exactly 0 or 1 would cost infinitely much the first time it is wrong.
        one = train.answers == PROBABILITIES
        self.probability = float((label.sum() + 0.5) / (len(label) + 1)) if one else float(label.mean())
        self.quantile = []
        if train.answers == DAYS:
            self.untrainable = waiting.why_untrainable(train, self.min_positives)
            self.quantile = np.quantile(label, waiting.LEVELS, method="inverted_cdf").tolist()

    def predict(self, cohort: Cohort) -> Predictions:
        """The base rate for every row."""
        same = np.full(len(cohort), self.probability)
        if self.quantile:
            told = waiting.blank(cohort, self.untrainable) if self.untrainable else None
            return told or waiting.Shift().said(np.tile(self.quantile, (len(cohort), 1)), same, cohort)
        return with_blanks(cohort, same, self.untrainable)

    def program(self, timed: bool) -> Program:
        """The base rate."""
        return Program("constant", {"probability": np.array([self.probability])})

    def save(self, folder: Path) -> None:
        """Write `model.json`."""
        state = {"probability": self.probability, "quantile": self.quantile, "untrainable": self.untrainable}
        write_state(folder, "base_rate", state)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = read_state(folder, "base_rate", ("probability", "untrainable"))
        self.probability, self.untrainable = float(state["probability"]), str(state["untrainable"])
        self.quantile = list(state.get("quantile", []))  # older runs know none
