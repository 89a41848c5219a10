r"""When the next order comes, period by period: a discrete-time hazard model on boosted trees.

The window is cut into periods of equal length. A row of the training table is a customer at a cutoff in one period that
he has reached without an order; its label is whether one comes then. With $h_k(x)$ the answer of the trees, nothing
comes in the whole window with probability

$$S(x) = \prod_k \left(1 - h_k(x)\right) .$$

D. Cox, JRSS B 34 (1972), section 6; J. Singer and J. Willett, It's about time, J. Educational Statistics 18 (1993).
Periods that the log does not reach to yet are censored, not lost: cutoffs that are too new for a label of the whole
window teach with what has been seen of it, so that the newest weeks before the cutoff asked about are learnt from, too.

Shapes: n rows (customer, cutoff), K periods, P rows of the training table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.customers.correction.calibration import Calibrator, calibrated_on
from shopkeeper.customers.folds import folds_by_customer
from shopkeeper.customers.state import labels_of, read_state, same_features, why_untrainable, with_blanks, write_state
from shopkeeper.customers.waits import days as waiting
from shopkeeper.customers.window import LINES, running_total
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.errors import check, whole
from shopkeeper.models.about import DAYS, PROBABILITIES, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.models.trees import RULES, grown, learnt, open_trees, save_trees
from shopkeeper.programs.base import Program
from shopkeeper.programs.trees import tree_arrays
from shopkeeper.schema import MICROSECONDS_PER_DAY

MANY = ("must be a whole number from 1 to 1000", lambda x: whole(1)[1](x) and x <= 1000)
HELD_OUT = 5  # one customer in so many chooses the number of trees


class Hazard:
    """Probabilities that an order comes in the window, or that none does, and the days until it.

    Args:
        periods: that a window is cut into; cutoffs lie one period apart.
        learning_rate, num_leaves, min_data_in_leaf, feature_fraction, lambda_l2: as of LightGBM.
        max_trees: limit; the number used is the best for a fifth of the customers, then all are learnt from.
        patience: trees without gain after which that stops.
        num_threads: fixed, because sums depend on it.
        min_positives: rows of each class needed, else every score is blank.
    """

    about = About(answers=PROBABILITIES, also=(DAYS,), needs=("features", "dataset"))

    def __init__(
        self,
        periods: int = 6,
        learning_rate: float = 0.05,
        num_leaves: int = 8,
        min_data_in_leaf: int = 100,
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
        ) | {"objective": "binary"}
        told = {"periods": periods, "max_trees": max_trees, "patience": patience, "min_positives": min_positives}
        check(told, {**RULES, "periods": MANY}, "model.")
        self.periods, self.max_trees, self.patience = periods, max_trees, patience
        self.min_positives = min_positives
        self.feature_names: tuple[str, ...] = ()
        self.booster: Any = None
        self.calibrator, self.shift = Calibrator(), waiting.Shift()
        self.answers = PROBABILITIES
        self.untrainable = "not fitted"
        self.prepared: Prepared | None = None

    def bind(self, prepared: Prepared) -> None:
        """The log in which it looks for the next orders; nothing is read before `fit` says until when."""
        self.prepared = prepared

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> Learned:
        """Fit on the customers of `train` until its last window ends; calibrate on `calibration`."""
        assert self.prepared is not None, "bind comes before fit"
        self.feature_names, self.calibrator, self.booster = train.feature_names, Calibrator(), None
        self.answers, self.shift = train.answers, waiting.Shift()
        if self.answers == DAYS:
            self.untrainable = waiting.why_untrainable(train, self.min_positives)
        else:
            self.untrainable = why_untrainable(labels_of(train), self.min_positives)
        if not self.untrainable and (labels_of(train) != self._asked(train)).any():
            self.untrainable = f"it says when the next {' / '.join(train.active_events)} comes, and that is not asked"
        if self.untrainable:
            return Learned()
        rows_PF, label, customer = self._table(train)
        parameters = {**self.parameters, "seed": fit.seed}
        held_out = folds_by_customer(customer, fit.seed, HELD_OUT)[0]
        self.booster, n_trees = learnt(
            parameters, rows_PF, label, held_out, trees=fit.steps, most=self.max_trees, patience=self.patience
        )
        if calibration is not None and self.answers == DAYS:
            self.shift.learn(*self._waits(calibration), labels_of(calibration))
        elif self.answers != DAYS:
            self.calibrator = calibrated_on(self._raw, calibration, fit, PROBABILITIES)
        return Learned(n_trees)

    def predict(self, cohort: Cohort) -> Predictions:
        """Calibrated."""
        same_features(cohort, self.feature_names)
        if self.answers == DAYS:
            said = None if self.untrainable else self.shift.said(*self._waits(cohort), cohort)
            return said or waiting.blank(cohort, self.untrainable)
        value = np.full(len(cohort), np.nan) if self.untrainable else self.calibrator(self._raw(cohort))
        return with_blanks(cohort, value, self.untrainable)

    def survival(self, cohort: Cohort) -> np.ndarray:
        """The probability that no order has come by the end of each period: float64 (n, K)."""
        hazard_nK = np.empty((len(cohort), self.periods))
        for k in range(self.periods):
            rows = np.column_stack([cohort.features, np.full(len(cohort), float(k))])
            hazard_nK[:, k] = self.booster.predict(rows, num_threads=self.parameters["num_threads"])
        return np.cumprod(1 - hazard_nK, axis=1)

    def program(self, timed: bool) -> Program:
        """The trees as arrays, how many periods they are asked about, and what is done to what they say."""
        arrays = tree_arrays(self.booster.dump_model()) | {"periods": np.array([self.periods])}
        if self.answers == DAYS:
            return Program("hazards_days", arrays, shift=self.shift.as_json())
        return Program("hazards", arrays, calibrator=self.calibrator.as_json())

    def save(self, folder: Path) -> None:
        """Write `trees.txt` and `model.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_trees(folder, self.booster)
        state = {
            "feature_names": list(self.feature_names),
            "periods": self.periods,
            "answers": self.answers,
            "shift": self.shift.as_json(),
            "calibrator": self.calibrator.as_json(),
            "untrainable": self.untrainable,
        }
        write_state(folder, "hazard", state)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = read_state(folder, "hazard", ("feature_names", "periods", "calibrator", "untrainable"))
        self.feature_names, self.untrainable = tuple(state["feature_names"]), str(state["untrainable"])
        self.periods, self.calibrator = int(state["periods"]), Calibrator(**state["calibrator"])
        self.answers = str(state.get("answers", PROBABILITIES))  # older runs know no other
        self.shift = waiting.Shift(**state.get("shift", {}))
        self.booster = None if self.untrainable else open_trees(folder)

    def _asked(self, train: Cohort) -> np.ndarray:
        """What labels are where the next order is asked for: float64 (n,)."""
        assert self.prepared is not None
        until = np.minimum(next_order(self.prepared, train), _end(train))
        if self.answers == DAYS:
            return np.asarray((until - train.cutoff) / MICROSECONDS_PER_DAY)
        return np.where(until == _end(train), train.of_nothing, 1 - train.of_nothing)

    def _waits(self, cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles and mean of the days until the next order."""
        ends = cohort.horizon_days * np.arange(1, self.periods + 1) / self.periods
        return waiting.from_distribution(1 - self.survival(cohort), ends)

    def _raw(self, cohort: Cohort) -> np.ndarray:
        nothing = self.survival(cohort)[:, -1]
        return nothing if cohort.of_nothing == 1 else 1 - nothing

    def _table(self, train: Cohort) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features and period (P, F + 1), whether an order came (P,), and whose row it is (P,).

        Cutoffs lie a period apart, backwards from the end of what `train` knows as far as its own cutoffs reach.
        """
        p, until = self.prepared, int(_end(train).max())
        assert p is not None
        period = round(train.horizon_days * MICROSECONDS_PER_DAY / self.periods)
        cutoffs = np.arange(until - period, int(train.cutoff.min()) - 1, -period)[::-1].tolist()
        about: dict[str, Any] = {"events": train.active_events, "declared": train.declared}
        known = build_cohort(p, cutoffs, train.horizon_days, train.active_days, labels=False, **about)
        mine = np.isin(known.customer, train.customer)
        features, customer, cutoff = known.features[mine], known.customer[mine], known.cutoff[mine]
        # In which period. Never is so far away that its distance from an instant before 1970 has no number.
        came = (np.minimum(next_order(p, known)[mine], until + period) - cutoff) // period
        seen = np.minimum((until - cutoff) // period, self.periods)  # periods that are wholly observed
        rows, label, whose = [], [], []
        for k in range(self.periods):
            there = (seen > k) & (came >= k)
            rows.append(np.column_stack([features[there], np.full(there.sum(), float(k))]))
            label.append((came[there] == k).astype(np.float64))
            whose.append(customer[there])
        return np.concatenate(rows), np.concatenate(label), np.concatenate(whose)


def next_order(prepared: Prepared, cohort: Cohort) -> np.ndarray:
    """When each row's first active event at or after its cutoff happens: int64 (n,); the largest number: never."""
    time = prepared.events.timestamp
    assert time is not None
    position = running_total(prepared.events, prepared.offsets, LINES, cohort.active_events)
    at = np.append(np.asarray(time)[np.diff(position) > 0], np.iinfo(np.int64).max)
    low, high = (position[prepared.offsets[cohort.customer - one]] for one in (1, 0))
    first = lower_bound(at, low, high, cohort.cutoff)
    return np.where(first < high, at[first], at[-1])


def _end(cohort: Cohort) -> np.ndarray:
    """Where each row's window ends: int64 (n,)."""
    return np.asarray(cohort.cutoff + round(cohort.horizon_days * MICROSECONDS_PER_DAY))
