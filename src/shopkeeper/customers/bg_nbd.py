"""Buy till you die as a customer model: who is still there, orders again, when, how often, and for how much.

The last with Gamma-Gamma. Whether somebody is still a customer is what these processes are about and no log shows, so
that answer (`window.ALIVE`) is left as it is: a later cohort knows orders alone, and who waits has not left.

It needs no labels: it is fitted on the orders of everybody, asked about or not, until the last instant that its cohorts
know of. See `processes/` for the two that there are; it answers from four features: orders, age at the last one, age,
mean order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.build_cohort import features_of
from shopkeeper.customers.correction.calibration import Calibrator, calibrated_on, uncalibrated
from shopkeeper.customers.processes import btyd, pareto
from shopkeeper.customers.processes.btyd import GammaGamma, fit_gamma_gamma
from shopkeeper.customers.state import labels_of, read_state, with_blanks, write_state
from shopkeeper.customers.waits import days as waiting
from shopkeeper.customers.window import ALIVE
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError, check, whole
from shopkeeper.models.about import AMOUNTS, COUNTS, DAYS, PROBABILITIES, About
from shopkeeper.models.fit import Fit
from shopkeeper.programs import processes
from shopkeeper.programs.base import Program
from shopkeeper.programs.processes import NO_ORDER
from shopkeeper.schema import MICROSECONDS_PER_DAY

# What answers each question, and how that program is called behind the model's name.
SAID = {
    PROBABILITIES: (processes.probability, ""),
    COUNTS: (processes.orders, "_orders"),
    AMOUNTS: (processes.money, "_money"),
}


class BGNBDModel:
    """Probabilities of an order, orders and spend in the cohort's horizon.

    Args:
        min_customers: with a repeat order, below which every score is blank.
        most_customers: on whom it is fitted; of more, so many are drawn by the seed.
        calibrate: whether what it says is made true on the later cohort, where there is one.
    """

    about = About(answers=PROBABILITIES, also=(COUNTS, AMOUNTS, DAYS), needs=("features", "dataset"), labelled=False)
    name = "bg_nbd"
    process = processes.BG_NBD
    fitted_on: Callable[..., Any] = staticmethod(btyd.fit_bg_nbd)

    def __init__(self, min_customers: int = 20, most_customers: int = 100_000, calibrate: bool = True) -> None:
        told = {"min_customers": min_customers, "most_customers": most_customers}
        check(told, dict.fromkeys(told, whole(1)), "model.")
        self.min_customers, self.most_customers, self.calibrate = min_customers, most_customers, calibrate
        self.orders = self.process.parameters(1.0, 1.0, 1.0, 1.0)
        self.value = GammaGamma(1.0, 2.0, 1.0)
        self.answers, self.turned, self.alive = PROBABILITIES, False, False
        self.calibrator = Calibrator()
        self.shift = waiting.Shift()  # of days
        self.untrainable = "not fitted"
        self.prepared: Prepared | None = None

    def bind(self, prepared: Prepared) -> None:
        """The log that it is fitted on; nothing is read before `fit` says until when."""
        self.prepared = prepared

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> None:
        """Fit on all orders until the last instant that labels know; calibrate on `calibration`."""
        assert self.prepared is not None, "bind comes before fit"
        newest = calibration if calibration is not None else train
        until = int(newest.cutoff.max()) + round(newest.horizon_days * MICROSECONDS_PER_DAY)
        x, t_x, age, n, mean = self._everybody(until, fit.seed)
        self.answers, self.calibrator = train.answers, uncalibrated(train.answers)
        self.shift = waiting.Shift()
        self.turned = self.answers == PROBABILITIES and train.of_nothing == 1
        self.alive = train.holds == ALIVE
        repeat = int((x > 0).sum())
        few = f"too few customers with a repeat order ({repeat} of at least {self.min_customers})"
        self.untrainable = few if repeat < self.min_customers else ""
        if self.untrainable:
            return
        self.orders = self.fitted_on(x, t_x, age)
        paid = mean > 0
        if self.answers == AMOUNTS and paid.any():
            self.value = fit_gamma_gamma(n[paid], mean[paid])
        if calibration is not None and self.calibrate and self.answers == DAYS:
            self.shift.learn(*self._waits(calibration), labels_of(calibration))
        elif calibration is not None and self.calibrate and not self.alive:
            self.calibrator = calibrated_on(self._raw, calibration, fit, self.answers)

    def predict(self, cohort: Cohort) -> Predictions:
        """Calibrated."""
        if self.answers == DAYS:
            said = None if self.untrainable else self.shift.said(*self._waits(cohort), cohort)
            return said or waiting.blank(cohort, self.untrainable)
        value = np.full(len(cohort), np.nan) if self.untrainable else self.calibrator(self._raw(cohort))
        found = with_blanks(cohort, value, self.untrainable)
        assert found.blank_reason is not None
        unsaid = np.isnan(found.value) & (found.blank_reason == "")
        return replace(found, blank_reason=np.where(unsaid, NO_ORDER, found.blank_reason))

    def still_customer(self, cohort: Cohort) -> np.ndarray:
        """The probability that each has not left for good: float64 (n,); NaN where there is no order or no fit."""
        if self.untrainable:
            return np.full(len(cohort), np.nan)
        return processes.alive(self.process, cohort.features, self._arrays(cohort))

    def program(self, timed: bool) -> Program:
        """The parameters, and what they are asked for."""
        if self.answers == DAYS:
            return Program(f"{self.name}_days", self._parameters(), shift=self.shift.as_json())
        what = "_alive" if self.alive else SAID[self.answers][1]
        return Program(f"{self.name}{what}", self._parameters(), calibrator=self.calibrator.as_json())

    def save(self, folder: Path) -> None:
        """Write `model.json`."""
        state = {
            "orders": self.orders._asdict(),
            "value": self.value._asdict(),
            "answers": self.answers,
            "turned": self.turned,
            "alive": self.alive,
            "calibrator": self.calibrator.as_json(),
            "shift": self.shift.as_json(),
            "untrainable": self.untrainable,
        }
        write_state(folder, self.name, state)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        keys = ("orders", "value", "answers", "turned", "calibrator", "untrainable")
        state = read_state(folder, self.name, keys)
        self.orders, self.value = self.process.parameters(**state["orders"]), GammaGamma(**state["value"])
        self.answers, self.turned = str(state["answers"]), bool(state["turned"])
        self.calibrator, self.untrainable = Calibrator(**state["calibrator"]), str(state["untrainable"])
        self.alive = bool(state.get("alive", False))  # older runs know of no such question, and of no shift
        self.shift = waiting.Shift(**state.get("shift", {}))

    def _raw(self, cohort: Cohort) -> np.ndarray:
        """NaN where somebody has no order."""
        if self.alive:
            return self.still_customer(cohort)
        return SAID[self.answers][0](self.process, cohort.features, self._arrays(cohort))

    def _waits(self, cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles and mean of the days until the next order, from its distribution."""
        return waiting.from_distribution(*processes.next_order(self.process, cohort.features, self._arrays(cohort)))

    def _arrays(self, cohort: Cohort) -> dict[str, np.ndarray]:
        """What `programs/processes.py` reads."""
        if lacking := [name for name in processes.READ if name not in cohort.feature_names]:
            raise UserError(
                f"model={self.name} reads {', '.join(lacking)}, which the features leave out; take features=usual, or "
                f"declare recency, frequency, money and returns"
            )
        asked = processes.of_window(cohort.feature_names, cohort.horizon_days, self.turned)
        return {**self._parameters(), **asked}

    def _parameters(self) -> dict[str, np.ndarray]:
        return {"orders": np.array(self.orders), "value": np.array(self.value)}

    def _everybody(self, until: int, seed: int) -> tuple[np.ndarray, ...]:
        """At an instant, of everybody with an order before it whose data may be used then: see `processes.summary`."""
        p = self.prepared
        assert p is not None
        user = np.arange(1, p.n_users + 1)
        if p.consent is not None:
            user = user[p.consent.holds(user, until)]
        if len(user) > self.most_customers:
            user = np.sort(np.random.default_rng(seed).permutation(user)[: self.most_customers])
        table = features_of(p, user, np.full(len(user), until, np.int64))
        ordered = table.values[:, table.names.index("orders")] > 0
        return processes.summary(table.values[ordered], processes.columns_of(table.names))


class ParetoNBDModel(BGNBDModel):
    """The same with customers who may leave at any moment; Schmittlein, Morrison and Colombo 1987."""

    name = "pareto_nbd"
    process = processes.PARETO_NBD
    fitted_on: Callable[..., Any] = staticmethod(pareto.fit_pareto_nbd)
