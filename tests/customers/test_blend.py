"""A blend weighs its members on customers whom they were not fitted on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.bg_nbd import BGNBDModel
from shopkeeper.customers.blend import Blend
from shopkeeper.customers.build_cohort import as_it_is, build_cohort
from shopkeeper.customers.state import with_blanks
from shopkeeper.customers.weighing import weigh
from shopkeeper.customers.window import MONEY, ORDERS
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.metrics.classification import auroc
from shopkeeper.models.about import AMOUNTS, COUNTS, PROBABILITIES, About
from shopkeeper.models.fit import Fit, HeldOut
from shopkeeper.programs.scoring import mixed

LOGISTIC = {"name": "logistic", "target": "shopkeeper.customers.logistic.Logistic", "min_positives": 5}
TREES = {"name": "lightgbm", "target": "shopkeeper.customers.lightgbm.LightGBM", "max_trees": 20, "min_positives": 5}
BTYD = {"name": "bg_nbd", "target": "shopkeeper.customers.bg_nbd.BGNBDModel"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return toy_shop(tmp_path_factory.mktemp("blend"), n_users=200)


def fitted(shop: Prepared, train: Cohort, calibration: Cohort | None, **members: Any) -> Blend:
    model = Blend(members, folds=3, season=False)  # the toy shop's only year begins with few: that looks like a season
    model.bind(shop)
    model.fit(train, calibration, Fit(seed=1))
    return model


def test_weights_and_shift_with_which_answers_came_about_are_found():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, (20_000, 2))
    wanted = mixed(p, np.array([1.2, 0.3]), True, -0.5)
    weight, offset = weigh(p, (rng.random(len(p)) < wanted).astype(np.float64), PROBABILITIES)
    assert [*weight, offset] == pytest.approx([1.2, 0.3, -0.5], abs=0.07)
    mean = rng.gamma(2.0, 2.0, (20_000, 2))
    for answers, drawn in ((COUNTS, rng.poisson), (AMOUNTS, lambda m: rng.gamma(0.5, m / 0.5))):
        label = drawn(mixed(mean, np.array([0.7, 0.3]), False, 0.4)).astype(np.float64)
        weight, offset = weigh(mean, label, answers)
        assert [*weight, offset] == pytest.approx([0.7, 0.3, 0.4], abs=0.07), answers


@pytest.mark.parametrize(("answers", "label"), [(COUNTS, 1.0), (AMOUNTS, 4.0)])
def test_labels_that_are_all_alike_weigh_members_alike(answers: str, label: float):
    """The mean then has no loss at all, by which losses are divided."""
    weight, offset = weigh(np.full((9, 2), label), np.full(9, label), answers)
    assert [*weight, offset] == pytest.approx([0.5, 0.5, 0.0], abs=1e-3)


def test_a_member_that_knows_its_own_customers_by_heart_counts_for_nothing(shop: Prepared):
    """Trees that may split until one row is left: their answers to their own rows are perfect, to others poor."""
    train = build_cohort(shop, CUTOFFS[:2], 60, 90)
    by_heart = {**TREES, "num_leaves": 200, "min_data_in_leaf": 1, "lambda_l2": 0.0, "learning_rate": 0.5,
                "max_trees": 200, "patience": 200}  # fmt: skip
    blend = fitted(shop, train, None, logistic=LOGISTIC, lightgbm=by_heart)
    logistic, trees = blend.weight
    assert logistic > 2 * trees


def test_members_are_not_calibrated_on_what_the_blend_says(shop: Prepared):
    """`Fit.held_out` tells the answers of the model that is fitted, which are the blend's and no member's."""
    train, calibration, _ = (build_cohort(shop, t, 60, 90) for t in CUTOFFS)

    def held_out() -> HeldOut:
        n = len(train)
        return HeldOut(np.full(n, 0.9), np.resize([0.0, 1.0], n), train.customer)

    for later in (calibration, None):
        found = []
        for others in (None, held_out):
            blend = Blend({"logistic": LOGISTIC, "lightgbm": TREES}, folds=3, season=False)
            blend.fit(train, later, Fit(seed=1, held_out=others))
            found.append(blend)
        plain, told = ([m.calibrator.as_json() for m in blend.members.values()] for blend in found)
        assert told == plain
        np.testing.assert_array_equal(found[0].weight, found[1].weight)


def test_members_that_do_not_answer_what_is_asked_are_left_out(shop: Prepared):
    for of, answers in ((ORDERS, COUNTS), (MONEY, AMOUNTS)):
        told: dict[str, Any] = {"truth": as_it_is, "of": of, "answers": answers}
        train, calibration, test = (build_cohort(shop, t, 60, 90, **told) for t in CUTOFFS)
        blend = fitted(shop, train, calibration, logistic=LOGISTIC, lightgbm=TREES, bg_nbd=BTYD)
        assert list(blend.members) == ["lightgbm", "bg_nbd"]
        assert blend.weight.sum() == pytest.approx(1.0)
        said, label = blend.predict(test).value, test.label
        assert label is not None
        assert said.sum() == pytest.approx(label.sum(), rel=0.35)


def test_intervals_of_counts_hold_what_they_promise_and_are_opened_again(shop: Prepared, tmp_path: Path):
    told: dict[str, Any] = {"truth": as_it_is, "of": ORDERS, "answers": COUNTS}
    train, test = (build_cohort(shop, t, 60, 90, **told) for t in (CUTOFFS[:2], CUTOFFS[2]))
    blend = fitted(shop, train, None, lightgbm=TREES, bg_nbd=BTYD)
    found = blend.predict(test)
    assert found.low is not None
    assert found.high is not None
    assert test.label is not None
    assert (found.low <= found.high).all()
    assert (found.low == np.round(found.low)).all()
    inside = (found.low <= test.label) & (test.label <= found.high)
    assert inside.mean() > 0.74
    assert (found.high - found.low).mean() < 8  # of the up to 12 that they order
    blend.save(tmp_path)
    again = Blend(blend.settings, folds=3, season=False)
    again.load(tmp_path)
    np.testing.assert_array_equal(again.predict(test).high, found.high)
    np.testing.assert_array_equal(again.predict(test).value, found.value)


def test_a_network_is_a_member_like_another_and_two_have_no_bundle(shop: Prepared, tmp_path: Path):
    train, test = build_cohort(shop, CUTOFFS[:2], 60, 90), build_cohort(shop, CUTOFFS[2], 60, 90)
    gru = {"name": "gru", "target": "shopkeeper.customers.networks.gru.GRU", "width": 8, "max_length": 12,
           "epochs": 8, "batch_size": 32, "lr": 0.02, "min_positives": 5}  # fmt: skip
    blend = fitted(shop, train, None, gru=gru)
    found = blend.predict(test).value
    assert test.label is not None
    assert auroc(test.label, found) > 0.6
    blend.save(tmp_path)
    again = Blend(blend.settings, folds=3, season=False)
    again.load(tmp_path)
    np.testing.assert_array_equal(again.predict(test).value, found)
    assert blend.program(True).module is not None
    blend.members["another"] = blend.members["gru"]
    with pytest.raises(UserError, match=r"member 'another' is a second network.*model\.members\.another=null"):
        blend.program(True)


def test_what_a_member_cannot_learn_leaves_everybody_blank_with_its_reason(shop: Prepared):
    train, _, test = (build_cohort(shop, t, 60, 90) for t in CUTOFFS)
    one_class = replace(train, label=np.ones(len(train)))
    found = fitted(shop, one_class, None, logistic=LOGISTIC, bg_nbd=BTYD).predict(test)
    assert np.isnan(found.value).all()
    assert found.blank_reason is not None
    assert found.blank_reason[0].startswith("logistic: only one class in training")


class Silent:
    """Says the rate, of one customer in so many."""

    about = About(answers=PROBABILITIES)

    def __init__(self, every: int, min_positives: int = 1) -> None:
        self.every, self.untrainable = every, ""

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> None:
        assert train.label is not None
        self.rate = float(train.label.mean())

    def predict(self, cohort: Cohort) -> Predictions:
        return with_blanks(cohort, np.where(cohort.customer % self.every == 0, self.rate, np.nan))


def test_a_member_that_is_blank_for_most_is_left_out_and_named(shop: Prepared, caplog: pytest.LogCaptureFixture):
    train, calibration, test = (build_cohort(shop, t, 60, 90) for t in CUTOFFS)
    seldom = {"name": "seldom", "target": f"{Silent.__module__}.Silent", "every": 5}
    for later in (calibration, None):
        caplog.clear()
        blend = fitted(shop, train, later, seldom=seldom, logistic=LOGISTIC)
        assert list(blend.members) == ["logistic"]
        assert len(blend.weight) == 1
        assert not np.isnan(blend.predict(test).value).any()
        assert re.search("without its member 'seldom', which is blank for (79|81) % of the rows", caplog.text)
    caplog.clear()
    only = fitted(shop, train, None, seldom=seldom)  # nobody says more
    assert np.isnan(only.predict(test).value).mean() == pytest.approx(0.8, abs=0.02)
    nobody = fitted(shop, train, None, seldom={**seldom, "every": 10**6}, never={**seldom, "every": 10**6})
    assert nobody.untrainable == "seldom: blank for every customer"
    assert caplog.text == ""


def test_a_member_that_is_blank_for_few_stays(shop: Prepared):
    train = build_cohort(shop, CUTOFFS[:2], 60, 90)
    said_nK = np.full((100, 3), 0.4)
    said_nK[:9, 0] = said_nK[50:, 1] = said_nK[-1] = np.nan
    blend = fitted(shop, train, None, a=LOGISTIC, b=LOGISTIC, c=LOGISTIC)
    kept = blend._heard(said_nK)
    assert list(blend.members) == ["a", "c"]
    assert np.isnan(kept).sum(axis=0).tolist() == [10, 1]


def test_a_member_that_reads_the_whole_log_is_fitted_once(shop: Prepared, monkeypatch: pytest.MonkeyPatch):
    train, fits = build_cohort(shop, CUTOFFS[:2], 60, 90), []
    plain, fit_bg_nbd = fitted(shop, train, None, logistic=LOGISTIC, bg_nbd=BTYD), BGNBDModel.fitted_on

    def counted(*told: Any) -> Any:
        fits.append(len(told[0]))
        return fit_bg_nbd(*told)

    monkeypatch.setattr(BGNBDModel, "fitted_on", staticmethod(counted))
    assert fitted(shop, train, None, logistic=LOGISTIC, bg_nbd=BTYD).weight.tolist() == plain.weight.tolist()
    assert len(fits) == 1
    monkeypatch.setattr(BGNBDModel, "about", replace(BGNBDModel.about, labelled=True))
    each = fitted(shop, train, None, logistic=LOGISTIC, bg_nbd=BTYD)
    assert len(fits) == 1 + 4
    assert each.weight.tolist() == plain.weight.tolist()  # nothing of the rows was read


def test_a_member_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="member 'popularity' must be a customer model"):
        Blend(
            {"popularity": {"name": "popularity", "target": "shopkeeper.recommenders.counting.popularity.Popularity"}}
        )
    with pytest.raises(UserError, match="there is no member; name one"):
        Blend({"logistic": None})
