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
from typing import Any, NamedTuple

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.build_cohort import features_of
from shopkeeper.customers.correction.calibration import Calibrator, choose_calibrator, fit_scale, uncalibrated
from shopkeeper.customers.processes import btyd, pareto
from shopkeeper.customers.processes.btyd import BGNBD, GammaGamma, expected_order_value, fit_gamma_gamma
from shopkeeper.customers.processes.pareto import ParetoNBD
from shopkeeper.customers.state import labels_of, read_state, with_blanks, write_state
from shopkeeper.customers.waits import days as waiting
from shopkeeper.customers.window import ALIVE
from shopkeeper.data.prepared import Prepared
from shopkeeper.models.about import AMOUNTS, COUNTS, DAYS, PROBABILITIES, About
from shopkeeper.models.fit import Fit
from shopkeeper.schema import MICROSECONDS_PER_DAY

INSTANTS = 16  # of a window at which the distribution of the next order is computed, the last one its end
READ = ("orders", "days_since_order", "days_since_first_order", "money", "money_returned_share")


class Process(NamedTuple):
    """How orders come and customers leave: parameters, their fit, and what follows from them."""

    parameters: Callable[..., Any]
    start: tuple[float, ...]
    fit: Callable[..., Any]
    p_alive: Callable[..., np.ndarray]
    p_order: Callable[..., np.ndarray]
    expected_orders: Callable[..., np.ndarray]


class BGNBDModel:
    """Probabilities of an order, orders and spend in the cohort's horizon.

    Args:
        min_customers: with a repeat order, below which every score is blank.
        most_customers: on whom it is fitted; of more, so many are drawn by the seed.
        calibrate: whether what it says is made true on the later cohort, where there is one.
    """

    about = About(
        answers=PROBABILITIES,
        also=(COUNTS, AMOUNTS, DAYS),
        needs=("features", "dataset"),
        not_exported="a bundle answers with NumPy alone, which has no hypergeometric function; use score.py",
    )
    name = "bg_nbd"
    process = Process(BGNBD, (1.0, 1.0, 1.0, 1.0), btyd.fit_bg_nbd, btyd.p_alive, btyd.p_order, btyd.expected_orders)

    def __init__(self, min_customers: int = 20, most_customers: int = 100_000, calibrate: bool = True) -> None:
        self.min_customers, self.most_customers, self.calibrate = min_customers, most_customers, calibrate
        self.orders = self.process.parameters(*self.process.start)
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
        x, t_x, age, n, mean = _summary(*self._everybody(until, fit.seed))
        self.answers, self.calibrator = train.answers, uncalibrated(train.answers)
        self.shift = waiting.Shift()
        self.turned = self.answers == PROBABILITIES and train.of_nothing == 1
        self.alive = train.holds == ALIVE
        repeat = int((x > 0).sum())
        few = f"too few customers with a repeat order ({repeat} of at least {self.min_customers})"
        self.untrainable = few if repeat < self.min_customers else ""
        if self.untrainable:
            return
        self.orders = self.process.fit(x, t_x, age)
        paid = mean > 0
        if self.answers == AMOUNTS and paid.any():
            self.value = fit_gamma_gamma(n[paid], mean[paid])
        if calibration is not None and self.calibrate and self.answers == DAYS:
            self.shift.learn(*self._waits(calibration), labels_of(calibration))
        elif calibration is not None and self.calibrate and not self.alive:
            raw, label = self._raw(calibration), labels_of(calibration)
            if self.answers == PROBABILITIES:
                self.calibrator = choose_calibrator(raw, label, calibration.customer, fit.seed)
            else:
                self.calibrator = fit_scale(raw, label)

    def predict(self, cohort: Cohort) -> Predictions:
        """Calibrated."""
        if self.answers == DAYS:
            said = None if self.untrainable else self.shift.said(*self._waits(cohort), cohort)
            return said or waiting.blank(cohort, self.untrainable)
        value = np.full(len(cohort), np.nan) if self.untrainable else self.calibrator(self._raw(cohort))
        return with_blanks(cohort, value, self.untrainable)

    def still_customer(self, cohort: Cohort) -> np.ndarray:
        """The probability that each has not left for good: float64 (n,); NaN where there is no order or no fit."""
        if self.untrainable:
            return np.full(len(cohort), np.nan)
        x, t_x, age, _, _ = _summary(cohort.features, cohort.feature_names)
        return np.where(x >= 0, self.process.p_alive(self.orders, np.maximum(x, 0), t_x, age), np.nan)

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
        x, t_x, age, n, mean = _summary(cohort.features, cohort.feature_names)
        if self.answers == PROBABILITIES:
            p = self.process.p_order(self.orders, x, t_x, age, cohort.horizon_days)
            return 1 - p if self.turned else p
        orders = self.process.expected_orders(self.orders, x, t_x, age, cohort.horizon_days)
        return orders if self.answers == COUNTS else orders * expected_order_value(self.value, n, mean)

    def _waits(self, cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles and mean of the days until the next order, from its distribution."""
        x, t_x, age, _, _ = _summary(cohort.features, cohort.feature_names)
        at = cohort.horizon_days * np.arange(1, INSTANTS + 1) / INSTANTS
        cdf = np.stack([self.process.p_order(self.orders, x, t_x, age, float(t)) for t in at], axis=1)
        return waiting.from_distribution(np.clip(np.nan_to_num(cdf), 0, 1), at)

    def _everybody(self, until: int, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """Features at an instant of everybody with an order before it whose data may be used then."""
        p = self.prepared
        assert p is not None
        user = np.arange(1, p.n_users + 1)
        if p.consent is not None:
            user = user[p.consent.holds(user, until)]
        if len(user) > self.most_customers:
            user = np.sort(np.random.default_rng(seed).permutation(user)[: self.most_customers])
        table = features_of(p, user, np.full(len(user), until, np.int64))
        ordered = table.values[:, table.names.index("orders")] > 0
        return table.values[ordered], table.names


class ParetoNBDModel(BGNBDModel):
    """The same with customers who may leave at any moment; Schmittlein, Morrison and Colombo 1987."""

    about = replace(BGNBDModel.about, not_exported="a bundle runs no quadrature; use score.py")
    name = "pareto_nbd"
    process = Process(
        ParetoNBD, (1.0, 1.0, 1.0, 1.0), pareto.fit_pareto_nbd, pareto.p_alive, pareto.p_order, pareto.expected_orders
    )


def _summary(features_nF: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """Repeat orders, age at the last order and age in days, all orders, and what one brought, returns taken off."""
    orders, since_last, age, money, back = (features_nF[:, names.index(name)] for name in READ)
    mean = money * (1 - np.clip(np.nan_to_num(back), 0, 1)) / np.maximum(orders, 1)
    return orders - 1, np.maximum(age - since_last, 0), age, orders, mean
