"""Base rate, logistic regression and LightGBM keep the promises of a customer model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Cohort, CustomerModel
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.customers.lightgbm import LightGBM
from shopkeeper.customers.logistic import Logistic
from shopkeeper.errors import UserError
from shopkeeper.metrics.classification import auroc, log_loss
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make

MODELS = {"base_rate": BaseRate, "logistic": Logistic, "lightgbm": LightGBM}
WEIGHTS = {"base_rate": "model.json", "logistic": "weights.npz", "lightgbm": "trees.txt"}
CONFIGS = Path(__file__).parents[2] / "conf" / "model"


def shipped(name: str):
    return make(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory) -> list[Cohort]:
    prepared = toy_shop(tmp_path_factory.mktemp("shop"), n_users=700)
    return [build_cohort(prepared, t, 90, 90) for t in CUTOFFS]


@pytest.mark.parametrize("name", MODELS)
def test_the_shipped_settings_make_a_model_that_gives_probabilities_for_all(name: str, cohorts):
    model = shipped(name)
    assert isinstance(model, CustomerModel)
    model.fit(cohorts[0], cohorts[1], Fit(seed=1))
    found = model.predict(cohorts[2])
    assert ((found.probability > 0) & (found.probability < 1)).all()
    assert set(found.blank_reason) == {""}


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_gives_the_same_bits_and_the_same_seed_the_same_file(name: str, cohorts, tmp_path):
    model = shipped(name)
    model.fit(cohorts[0], cohorts[1], Fit(seed=1))
    model.save(tmp_path / "a")
    opened = shipped(name)
    opened.load(tmp_path / "a")
    assert opened.predict(cohorts[2]).probability.tobytes() == model.predict(cohorts[2]).probability.tobytes()

    again = shipped(name)
    again.fit(cohorts[0], cohorts[1], Fit(seed=1))
    again.save(tmp_path / "b")
    for file in sorted(p.name for p in (tmp_path / "a").iterdir()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


@pytest.mark.parametrize("name", ["logistic", "lightgbm"])
def test_what_is_learnt_beats_the_base_rate_and_disappears_when_labels_are_shuffled(name: str, cohorts):
    train, calibration, test = cohorts
    base, model = BaseRate(), shipped(name)
    base.fit(train, calibration, Fit())
    model.fit(train, calibration, Fit(seed=1))
    p = model.predict(test).probability
    assert auroc(test.label, p) > 0.7
    assert log_loss(test.label, p) < log_loss(test.label, base.predict(test).probability) - 0.03

    rng = np.random.default_rng(0)
    scores = []
    for _ in range(5):
        # Not calibrated: what has learnt nothing would be calibrated to one value, and its AUROC be .5 by that.
        model.fit(replace(train, label=rng.permutation(train.label)), None, Fit(seed=1))
        scores.append(float(auroc(test.label, model.predict(test).probability)))
    assert np.mean(scores) == pytest.approx(0.5, abs=0.12)


def test_too_few_positives_or_one_class_leave_every_score_blank_with_the_reason(cohorts, tmp_path):
    train, calibration, test = cohorts
    few = np.zeros(len(train))
    few[:7] = 1
    for label, reason in (
        (few, "too few positives in training (7 of at least 20)"),
        (np.ones(len(train)), "one class"),
    ):
        for name in MODELS:
            model = shipped(name)
            model.fit(replace(train, label=label), calibration, Fit(seed=0))
            model.save(tmp_path / name)
            opened = shipped(name)
            opened.load(tmp_path / name)
            for found in (model.predict(test), opened.predict(test)):
                assert np.isnan(found.probability).all()
                assert all(reason in r for r in found.blank_reason)


@pytest.mark.parametrize("name", MODELS)
def test_a_customer_without_history_gets_no_score_and_the_others_keep_theirs(name: str, cohorts):
    train, calibration, test = cohorts
    model = shipped(name)
    model.fit(train, calibration, Fit(seed=0))
    end = test.end.copy()
    end[3] = test.start[3]
    found = model.predict(replace(test, end=end))
    assert np.isnan(found.probability[3])
    assert found.blank_reason[3] == "no history before the cutoff"
    assert np.delete(found.probability, 3).tobytes() == np.delete(model.predict(test).probability, 3).tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_a_damaged_missing_or_foreign_file_is_named(name: str, cohorts, tmp_path):
    model = shipped(name)
    model.fit(cohorts[0], cohorts[1], Fit(seed=0))
    model.save(tmp_path)
    other = shipped("logistic" if name != "logistic" else "base_rate")
    with pytest.raises(UserError, match=f"holds a model of kind '{name}'"):
        other.load(tmp_path)
    weights = tmp_path / WEIGHTS[name]
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=WEIGHTS[name]):
        shipped(name).load(tmp_path)
    weights.unlink()
    with pytest.raises(UserError, match=f"{WEIGHTS[name]} is missing"):
        shipped(name).load(tmp_path)


@pytest.mark.parametrize("name", ["logistic", "lightgbm"])
def test_other_features_than_those_of_training_are_refused(name: str, cohorts):
    model = shipped(name)
    model.fit(cohorts[0], None, Fit(seed=0))
    test = cohorts[2]
    renamed = ("something_else", *test.feature_names[1:])
    with pytest.raises(UserError, match="fitted on other features"):
        model.predict(replace(test, feature_names=renamed))


def test_features_far_outside_the_training_range_do_not_carry_the_logistic_away(cohorts):
    model = shipped("logistic")
    model.fit(cohorts[0], None, Fit(seed=0))
    test = cohorts[2]
    top = np.nanmax(np.nan_to_num(cohorts[0].features), axis=0)
    at, beyond = (model.predict(replace(test, features=np.tile(top * k, (len(test), 1)))) for k in (1, 1000))
    assert beyond.probability[0] == pytest.approx(at.probability[0], abs=1e-12)


def test_lightgbm_tells_its_curve_and_how_many_trees_it_took_and_takes_as_many_as_it_is_told(cohorts):
    train, calibration, test = cohorts
    told: list[tuple[int, float]] = []
    model = shipped("lightgbm")
    learned = model.fit(train, calibration, Fit(seed=1, log=lambda m, step: told.append((step, m["log_loss"]))))
    assert [(row["epoch"], row["log_loss"]) for row in learned.history] == told
    assert [step for step, _ in told] == list(range(10, told[-1][0] + 1, 10))
    assert learned.steps == model.booster.num_trees()
    assert told[0][0] <= learned.steps <= told[-1][0]
    best = min(value for _, value in told)
    assert best < told[0][1]
    near = dict(told)[10 * round(learned.steps / 10)]
    assert near == pytest.approx(best, abs=1e-3)  # of the trees that were not told of, one may be a little better
    told.clear()
    again = shipped("lightgbm")
    assert again.fit(train, calibration, Fit(seed=1, steps=learned.steps)).steps == learned.steps
    assert told == []  # nothing is validated
    assert again.predict(test).probability.tobytes() == model.predict(test).probability.tobytes()
