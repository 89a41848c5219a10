"""The hazard model: its table counted by hand, survival as a product, censoring, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import build_cohort, came_back
from shopkeeper.customers.hazard import Hazard, next_order
from shopkeeper.data.prepared import Prepared
from shopkeeper.models.fit import Fit
from shopkeeper.schema import MICROSECONDS_PER_DAY as DAY


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return toy_shop(tmp_path_factory.mktemp("hazard"), n_users=250)


def hazard(shop: Prepared, train: Cohort, **settings: int) -> Hazard:
    model = Hazard(**({"max_trees": 60, "min_data_in_leaf": 20} | settings))
    model.bind(shop)
    model.fit(train, None, Fit(seed=1))
    return model


def test_the_next_order_is_the_first_at_or_after_the_cutoff(shop: Prepared):
    cohort = build_cohort(shop, CUTOFFS[1], 60, 90)
    found = next_order(shop, cohort)
    for row in range(len(cohort)):
        of = slice(shop.offsets[cohort.customer[row] - 1], shop.offsets[cohort.customer[row]])
        later = [t for t in np.asarray(shop.events.timestamp)[of].tolist() if t >= CUTOFFS[1]]
        assert found[row] == (later[0] if later else np.iinfo(np.int64).max)


def test_every_row_of_the_table_is_a_period_that_was_reached_and_wholly_seen(shop: Prepared):
    train = build_cohort(shop, CUTOFFS[0], 60, 90)
    model = Hazard(periods=4)
    model.bind(shop)
    rows, label, whose = model._table(train)
    until, period = CUTOFFS[0] + 60 * DAY, 15 * DAY
    wanted = []
    for cutoff in (until - 4 * period, until - 3 * period, until - 2 * period, until - period):
        cohort = build_cohort(shop, cutoff, 60, 90, labels=False)
        for customer in cohort.customer[np.isin(cohort.customer, train.customer)].tolist():
            of = slice(shop.offsets[customer - 1], shop.offsets[customer])
            times = [t for t in np.asarray(shop.events.timestamp)[of].tolist() if t >= cutoff]
            for k in range(4):
                begin, end = cutoff + k * period, cutoff + (k + 1) * period
                if end > until or any(t < begin for t in times):
                    break
                wanted.append((customer, k, float(any(t < end for t in times))))
    found = zip(whose.tolist(), rows[:, -1].astype(int).tolist(), label.tolist(), strict=True)
    assert sorted(found) == sorted(wanted)
    assert rows.shape[1] == len(train.feature_names) + 1


def test_it_ranks_and_survival_falls_to_the_answer(shop: Prepared, tmp_path: Path):
    train, test = build_cohort(shop, CUTOFFS[:2], 60, 90), build_cohort(shop, CUTOFFS[2], 60, 90)
    model = hazard(shop, train)
    said = model.predict(test).value
    survival = model.survival(test)
    assert (np.diff(survival, axis=1) <= 0).all()
    np.testing.assert_allclose(said, np.clip(survival[:, -1], 1e-6, 1 - 1e-6))
    assert roc_auc_score(test.label, said) > 0.65
    model.save(tmp_path)
    again = Hazard()
    again.load(tmp_path)
    np.testing.assert_array_equal(again.predict(test).value, said)
    comes = build_cohort(shop, CUTOFFS[:2], 60, 90, truth=came_back)
    other = hazard(shop, comes).predict(build_cohort(shop, CUTOFFS[2], 60, 90, truth=came_back)).value
    np.testing.assert_allclose(other, 1 - said, atol=1e-9)


def test_what_happens_after_the_last_training_window_is_not_learnt_from(shop: Prepared):
    train = build_cohort(shop, CUTOFFS[0], 60, 90)
    time = np.asarray(shop.events.timestamp)
    after = time >= CUTOFFS[0] + 60 * DAY
    changed = replace(shop, events=replace(shop.events, timestamp=np.where(after, time + 7 * DAY, time)))
    one, other = hazard(shop, train), hazard(changed, train)
    assert one.booster.model_to_string() == other.booster.model_to_string()


def test_a_label_that_is_not_about_the_next_order_leaves_scores_blank_with_the_reason(shop: Prepared):
    train = build_cohort(shop, CUTOFFS[0], 60, 90)
    assert train.label is not None
    label = train.label.copy()
    label[0] = 1 - label[0]
    found = hazard(shop, replace(train, label=label)).predict(train)
    assert found.blank_reason is not None
    assert found.blank_reason[0] == "it says when the next purchase comes, and that is not asked"
