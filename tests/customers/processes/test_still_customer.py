"""Who is still a customer: against customers whose last day is known, and what a log can say of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shopkeeper.customers.audit import audit_cohort
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.bg_nbd import ParetoNBDModel
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.customers.logistic import Logistic
from shopkeeper.customers.window import ALIVE
from shopkeeper.data.prepared import Prepared
from shopkeeper.metrics.classification import auroc
from shopkeeper.models.fit import Fit
from shopkeeper.tasks.find import find_task
from tiny import DAY, tiny_prepared

TRAIN, CALIBRATION, TEST = 250, 310, 370  # days
TRUTH = find_task({"name": "still_customer"}).truth
assert TRUTH is not None


def lives(path: Path, n: int = 1200) -> tuple[Prepared, np.ndarray]:
    """430 days of customers who order at a rate of their own until a day that no log shows, and that day: (n,)."""
    rng = np.random.default_rng(3)
    birth, rate = rng.uniform(0, 120, n), rng.gamma(1.5, 1 / 60, n)
    death = birth + rng.exponential(1 / rng.gamma(2.0, 1 / 500, n))
    times = []
    for j in range(n):
        days = [birth[j], *(birth[j] + np.cumsum(rng.exponential(1 / rate[j], 500)))]
        times.append([int(day * DAY) for k, day in enumerate(days) if k == 0 or day < min(death[j], 430)])
    times[0].append(430 * DAY)
    return tiny_prepared(path, [[1] * len(one) for one in times], times)[0], death


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, np.ndarray]:
    return lives(tmp_path_factory.mktemp("lives"))


def asked(prepared: Prepared, day: int) -> Cohort:
    cohort = build_cohort(prepared, day * DAY, 60, None, truth=TRUTH.label, of=TRUTH.of)
    audit_cohort(prepared, cohort, None, truth=TRUTH.label, of=TRUTH.of)
    return cohort


@pytest.fixture(scope="module")
def pareto(world: tuple[Prepared, np.ndarray]) -> ParetoNBDModel:
    model = ParetoNBDModel()
    model.bind(world[0])
    model.fit(asked(world[0], TRAIN), asked(world[0], CALIBRATION), Fit(seed=1))
    return model


def test_it_says_of_as_many_that_they_are_still_there_as_there_are_and_orders_show_fewer(
    world: tuple[Prepared, np.ndarray], pareto: ParetoNBDModel
):
    prepared, death = world
    test = asked(prepared, TEST)
    said, alive = pareto.predict(test).value, death[test.customer - 1] > TEST
    assert said.mean() == pytest.approx(alive.mean(), abs=0.04)
    for low in np.arange(0, 1, 0.25):
        some = (said >= low) & (said < low + 0.25)
        assert said[some].mean() == pytest.approx(alive[some].mean(), abs=0.12), low
    assert auroc(alive, said) > 0.85
    assert test.label.mean() < alive.mean() - 0.1  # who waits has not left
    assert alive[test.label == 1].all()


def test_what_a_later_cohort_shows_of_orders_moves_it_not(
    world: tuple[Prepared, np.ndarray], pareto: ParetoNBDModel, tmp_path: Path
):
    prepared, _ = world
    test = asked(prepared, TEST)
    said = pareto.predict(test).value
    np.testing.assert_array_equal(said, pareto.calibrator(pareto.still_customer(test)))
    assert pareto.calibrator.method == "identity"
    pareto.save(tmp_path)
    again = ParetoNBDModel()
    again.load(tmp_path)
    np.testing.assert_array_equal(again.predict(test).value, said)
    orders = ParetoNBDModel()
    orders.bind(prepared)
    to_order = [build_cohort(prepared, day * DAY, 60, None, truth=TRUTH.label) for day in (TRAIN, CALIBRATION, TEST)]
    orders.fit(to_order[0], to_order[1], Fit(seed=1))
    assert (said > orders.predict(to_order[2]).value).mean() > 0.9


def test_other_models_say_how_probable_an_order_is(world: tuple[Prepared, np.ndarray]):
    prepared, _ = world
    model, train, test = Logistic(), asked(prepared, TRAIN), asked(prepared, TEST)
    assert (train.holds, train.of_nothing) == (ALIVE, 0.0)
    model.fit(train, asked(prepared, CALIBRATION), Fit(seed=1))
    assert model.predict(test).value.mean() == pytest.approx(test.label.mean(), abs=0.05)
