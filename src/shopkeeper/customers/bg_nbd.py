"""BG/NBD and Gamma-Gamma as one customer model: who orders again, how often, and for how much.

It needs no labels: it is fitted on the orders of everybody, asked about or not, until the last instant that its cohorts
know of. See `btyd.py` for the model; it answers from four features: orders, age at the last one, age, mean order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.btyd import (
    BGNBD,
    GammaGamma,
    expected_order_value,
    expected_orders,
    fit_bg_nbd,
    fit_gamma_gamma,
    p_order,
)
from shopkeeper.customers.build_cohort import features_of
from shopkeeper.customers.calibration import Calibrator, choose_calibrator, fit_scale, uncalibrated
from shopkeeper.customers.state import labels_of, read_state, with_blanks, write_state
from shopkeeper.data.prepared import Prepared
from shopkeeper.models.about import AMOUNTS, COUNTS, PROBABILITIES, About
from shopkeeper.models.fit import Fit
from shopkeeper.schema import MICROSECONDS_PER_DAY

READ = ("orders", "days_since_order", "days_since_first_order", "money", "money_returned_share")


class BGNBDModel:
    """Probabilities of an order, orders and spend in the cohort's horizon.

    Args:
        min_customers: with a repeat order, below which every score is blank.
        most_customers: on whom it is fitted; of more, so many are drawn by the seed.
        calibrate: whether what it says is made true on the later cohort, where there is one.
    """

    about = About(
        answers=PROBABILITIES,
        also=(COUNTS, AMOUNTS),
        needs=("features", "dataset"),
        not_exported="a bundle answers with NumPy alone, which has no hypergeometric function; use score.py",
    )

    def __init__(self, min_customers: int = 20, most_customers: int = 100_000, calibrate: bool = True) -> None:
        self.min_customers, self.most_customers, self.calibrate = min_customers, most_customers, calibrate
        self.orders, self.value = BGNBD(1.0, 1.0, 1.0, 1.0), GammaGamma(1.0, 2.0, 1.0)
        self.answers, self.turned = PROBABILITIES, False
        self.calibrator = Calibrator()
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
        self.turned = self.answers == PROBABILITIES and train.of_nothing == 1
        repeat = int((x > 0).sum())
        few = f"too few customers with a repeat order ({repeat} of at least {self.min_customers})"
        self.untrainable = few if repeat < self.min_customers else ""
        if self.untrainable:
            return
        self.orders = fit_bg_nbd(x, t_x, age)
        paid = mean > 0
        if self.answers == AMOUNTS and paid.any():
            self.value = fit_gamma_gamma(n[paid], mean[paid])
        if calibration is not None and self.calibrate:
            raw, label = self._raw(calibration), labels_of(calibration)
            if self.answers == PROBABILITIES:
                self.calibrator = choose_calibrator(raw, label, calibration.customer, fit.seed)
            else:
                self.calibrator = fit_scale(raw, label)

    def predict(self, cohort: Cohort) -> Predictions:
        """Calibrated."""
        value = np.full(len(cohort), np.nan) if self.untrainable else self.calibrator(self._raw(cohort))
        return with_blanks(cohort, value, self.untrainable)

    def save(self, folder: Path) -> None:
        """Write `model.json`."""
        state = {
            "orders": self.orders._asdict(),
            "value": self.value._asdict(),
            "answers": self.answers,
            "turned": self.turned,
            "calibrator": self.calibrator.as_json(),
            "untrainable": self.untrainable,
        }
        write_state(folder, "bg_nbd", state)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        keys = ("orders", "value", "answers", "turned", "calibrator", "untrainable")
        state = read_state(folder, "bg_nbd", keys)
        self.orders, self.value = BGNBD(**state["orders"]), GammaGamma(**state["value"])
        self.answers, self.turned = str(state["answers"]), bool(state["turned"])
        self.calibrator, self.untrainable = Calibrator(**state["calibrator"]), str(state["untrainable"])

    def _raw(self, cohort: Cohort) -> np.ndarray:
        """NaN where somebody has no order."""
        x, t_x, age, n, mean = _summary(cohort.features, cohort.feature_names)
        if self.answers == PROBABILITIES:
            p = p_order(self.orders, x, t_x, age, cohort.horizon_days)
            return 1 - p if self.turned else p
        orders = expected_orders(self.orders, x, t_x, age, cohort.horizon_days)
        return orders if self.answers == COUNTS else orders * expected_order_value(self.value, n, mean)

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


def _summary(features_nF: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """Repeat orders, age at the last order and age in days, all orders, and what one brought, returns taken off."""
    orders, since_last, age, money, back = (features_nF[:, names.index(name)] for name in READ)
    mean = money * (1 - np.clip(np.nan_to_num(back), 0, 1)) / np.maximum(orders, 1)
    return orders - 1, np.maximum(age - since_last, 0), age, orders, mean
