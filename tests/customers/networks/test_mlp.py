"""The perceptron over features: its pieces, what it learns, what a bundle's arrays say of the same rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Cohort, Further
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.customers.build_cohort import as_it_is, build_cohort, window_labels
from shopkeeper.customers.networks.mlp import MLP
from shopkeeper.customers.window import MONEY, ORDERS
from shopkeeper.errors import UserError
from shopkeeper.metrics.classification import auroc, log_loss
from shopkeeper.metrics.value import normalised_gini
from shopkeeper.models.about import AMOUNTS, COUNTS
from shopkeeper.models.fit import Fit
from shopkeeper.nn.networks.mlp import Numbers
from shopkeeper.programs.scoring import PROBABILITY_SCORERS, calibrated
from shopkeeper.training.config import TrainerConfig

FIT = Fit(seed=1, trainer=TrainerConfig(accelerator="cpu", precision="fp32", threads=1), progress=False)
SMALL: dict[str, Any] = {"width": 16, "embedding": 4, "pieces": 8, "epochs": 8, "batch_size": 64, "lr": 0.01}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    shop = toy_shop(tmp_path_factory.mktemp("mlp"), n_users=600)
    found = []
    for t in CUTOFFS:
        cohort = build_cohort(shop, t, 60, 90)
        orders, spend = (window_labels(shop, cohort, as_it_is, of) for of in (ORDERS, MONEY))
        found.append(replace(cohort, further={"orders": Further(orders, COUNTS), "spend": Further(spend, AMOUNTS)}))
    return found


def test_a_value_fills_the_pieces_below_it_and_an_undefined_one_is_a_vector_of_its_own():
    numbers = Numbers(3, pieces=4, width=2)
    known = np.array(
        [[0.0, 5.0, np.nan], [1.0, 5.0, np.nan], [2.0, 5.0, np.nan], [3.0, 7.0, np.nan], [4.0, 7.0, np.nan]]
    )
    numbers.know(known)
    with torch.no_grad():
        numbers.weight.zero_()
        numbers.weight[0, :, 0] = torch.tensor([1.0, 10.0, 100.0, 1000.0])
        out = numbers(torch.tensor([[2.5, 6.0, 1.0], [9.0, torch.nan, torch.nan]]))
    assert out[:, 0].tolist() == [1 + 10 + 50, 1111]
    assert (numbers.low_FT[1] < 10).sum() == 1  # one value fills several quantiles: two values are one piece
    assert torch.equal(out[1, 2:4], numbers.undefined[1])
    assert torch.equal(out[1, 4:], numbers.undefined[2])


def test_it_learns_more_than_the_base_rate_of_several_tasks_and_is_opened_as_it_was(
    cohorts: list[Cohort], tmp_path: Path
):
    train, calibration, test = cohorts
    made, base = MLP(**SMALL), BaseRate()
    base.fit(train, calibration, Fit())
    learned = made.fit(train, calibration, FIT)
    found = made.predict(test)
    assert test.label is not None
    assert auroc(test.label, found.value) > 0.68
    assert log_loss(test.label, found.value) < log_loss(test.label, base.predict(test).value) - 0.03
    assert normalised_gini(test.further["spend"].label, found.further["spend"]) > 0.3
    assert learned.steps == min(learned.history, key=lambda row: row["loss"])["epoch"]
    made.save(tmp_path)
    opened = MLP(**SMALL)
    opened.load(tmp_path)
    for one, other in ((found.value, opened.predict(test).value), *(
        (found.further[name], opened.predict(test).further[name]) for name in found.further
    )):  # fmt: skip
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UserError, match="fitted on other features"):
        opened.predict(replace(test, feature_names=test.feature_names[::-1]))
    with pytest.raises(UserError, match="a bundle of mlp says one"):
        made.program(True)
    with pytest.raises(UserError, match="it reads features, not events"):
        MLP(rare=5)


@pytest.mark.parametrize("asked", [None, "orders", "spend"])
def test_the_arrays_say_what_the_network_says(cohorts: list[Cohort], asked: str | None):
    def of(cohort: Cohort) -> Cohort:
        if asked is None:
            return replace(cohort, further={})
        one = cohort.further[asked]
        return replace(cohort, label=one.label, answers=one.answers, further={})

    made = MLP(**SMALL | {"epochs": 2})
    made.fit(of(cohorts[0]), of(cohorts[1]), FIT)
    test = of(cohorts[2])
    program = made.program(True)
    said = PROBABILITY_SCORERS[program.scorer](test.features, program.arrays)
    assert program.calibrator is not None
    np.testing.assert_allclose(calibrated(said, program.calibrator), made.predict(test).value, rtol=1e-6)
    assert np.isnan(test.features).any()
    assert PROBABILITY_SCORERS[program.scorer](test.features[:0], program.arrays).shape == (0,)  # no session goes on
