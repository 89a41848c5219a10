"""Whether anything comes times how much if so: both parts as scikit-learn has them, the sum of what came, a ceiling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import as_it_is, build_cohort
from shopkeeper.customers.two_part import TwoPart
from shopkeeper.customers.window import MONEY
from shopkeeper.metrics.value import normalised_gini, total_bias
from shopkeeper.models.about import AMOUNTS
from shopkeeper.models.fit import Fit


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    shop = toy_shop(tmp_path_factory.mktemp("two"))
    return [build_cohort(shop, t, 60, 90, truth=as_it_is, of=MONEY, answers=AMOUNTS) for t in CUTOFFS]


def test_both_parts_are_those_of_scikit_learn(cohorts: list[Cohort]):
    train, _, test = cohorts
    model = TwoPart(inverse_penalty=0.05)
    model.fit(train, None, Fit())
    assert train.label is not None
    used = [n for n in range(len(train.feature_names)) if not np.isnan(train.features[:, n]).all()]
    x, y = (np.log1p(cohort.features[:, used]) for cohort in (train, test))
    low, high, mean, deviation = (f(x, axis=0) for f in (np.nanmin, np.nanmax, np.nanmean, np.nanstd))
    x, y = (np.nan_to_num((np.clip(z, low, high) - mean) / np.where(deviation > 1e-9, deviation, 1)) for z in (x, y))
    came = train.label > 0
    whether = LogisticRegression(C=0.05, max_iter=2000, tol=1e-8).fit(x, came).predict_proba(y)[:, 1]
    more = Ridge(alpha=20).fit(x[came], np.log(train.label[came]))
    smeared = train.label[came].sum() / np.exp(more.predict(x[came])).sum()
    said = model.predict(test).value
    np.testing.assert_allclose(said, whether * np.exp(more.predict(y)) * smeared, rtol=1e-4)
    assert test.label is not None
    assert normalised_gini(test.label, said) > 0.4
    assert abs(total_bias(train.label, model.predict(train).value)) < 10


def test_nobody_is_told_more_than_anybody_ever_brought_and_a_later_cohort_sets_the_sum(cohorts: list[Cohort]):
    train, calibration, test = cohorts
    model = TwoPart()
    model.fit(train, calibration, Fit())
    assert calibration.label is not None
    assert total_bias(calibration.label, model.predict(calibration).value) == pytest.approx(0, abs=1e-9)
    model.fit(train, None, Fit())
    model.arrays["more_weight"] = model.arrays["more_weight"] + 5.0
    most = model.predict(test).value.max()
    smeared = float(np.exp(model.arrays["most"][0])) / train.label.max()  # type: ignore[union-attr]
    assert most <= train.label.max() * smeared  # type: ignore[union-attr]
    assert 0.5 < smeared < 3


def test_a_model_that_was_saved_says_the_same_and_one_of_too_few_says_why(cohorts: list[Cohort], tmp_path: Path):
    train, _, test = cohorts
    model, again = TwoPart(), TwoPart()
    model.fit(train, None, Fit())
    model.save(tmp_path / "it")
    again.load(tmp_path / "it")
    np.testing.assert_array_equal(again.predict(test).value, model.predict(test).value)
    model.fit(replace(train, label=np.zeros(len(train))), None, Fit())
    assert model.untrainable == f"only one class in training (0 positives, {len(train)} negatives)"
    model.save(tmp_path / "none")
    again.load(tmp_path / "none")
    assert np.isnan(again.predict(test).value).all()
