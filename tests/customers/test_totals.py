"""Orders and spend: what a window holds, who is asked, and models that say how much is expected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.audit import audit_cohort
from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.customers.build_cohort import as_it_is, build_cohort
from shopkeeper.customers.last_period import LastPeriod
from shopkeeper.customers.lightgbm import LightGBM
from shopkeeper.customers.window import MONEY, ORDERS
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.aggregates import compare
from shopkeeper.evaluation.rows.kinds import TOTALS, kind_of
from shopkeeper.evaluation.rows.labels import customer_table
from shopkeeper.evaluation.table import metrics_of, summarise
from shopkeeper.models.about import AMOUNTS, COUNTS
from shopkeeper.models.fit import Fit
from shopkeeper.splits.audit_error import AuditError
from tiny import DAY, tiny_prepared

ASKED: dict[str, dict[str, Any]] = {
    "orders": {"truth": as_it_is, "of": ORDERS, "answers": COUNTS},
    "spend": {"truth": as_it_is, "of": MONEY, "answers": AMOUNTS},
}
# One customer each: (day, type, order, price, units); asked at day 100 about [100, 120).
BOUGHT, BACK = "purchase", "return"
LOGS = {
    "two orders, one of two lines, one before": [
        (50, BOUGHT, 1, 7.0, 1),
        (100, BOUGHT, 2, 2.0, 3), (100, BOUGHT, 2, 1.0, 1), (119, BOUGHT, 3, 5.0, 1), (120, BOUGHT, 4, 99.0, 1),
    ],
    "an order that began before": [(99, BOUGHT, 5, 4.0, 1), (101, BOUGHT, 5, 6.0, 1)],
    "part of it came back": [
        (90, BOUGHT, 6, 1.0, 1), (105, BOUGHT, 7, 10.0, 3), (110, BACK, 7, 10.0, 1), (121, BACK, 7, 10.0, 1),
    ],
    "more came back than was bought": [(95, BOUGHT, 8, 50.0, 1), (102, BOUGHT, 9, 20.0, 1), (103, BACK, 8, 50.0, 1)],
    "nothing": [(80, BOUGHT, 10, 3.0, 1)],
}  # fmt: skip
ORDERED = [2, 0, 1, 1, 0]
SPENT = [12.0, 6.0, 20.0, 0.0, 0.0]


def by_hand(path: Path) -> Prepared:
    rows = list(LOGS.values())
    columns: dict[str, Any] = {
        name: [[row[i] for row in log] for log in rows]
        for i, name in ((1, "type"), (2, "order"), (3, "price"), (4, "quantity"))
    }
    times = [[row[0] * DAY for row in log] for log in rows]
    times[-1].append(200 * DAY)
    for name, value in (("type", BOUGHT), ("order", 11), ("price", 1.0), ("quantity", 1)):
        columns[name][-1].append(value)
    types: Any = columns.pop("type")
    histories = [[1] * len(t) for t in times]
    return tiny_prepared(path, histories, times, event_types=types, columns=columns, n_items=1)[0]


def test_a_window_holds_the_orders_that_begin_in_it_and_the_money_less_what_comes_back_in_it(tmp_path: Path):
    prepared = by_hand(tmp_path / "hand")
    for task, wanted in (("orders", ORDERED), ("spend", SPENT)):
        told = ASKED[task]
        cohort = build_cohort(prepared, 100 * DAY, 20, None, **told)
        assert cohort.label is not None
        assert cohort.label.tolist() == wanted, task
        audit_cohort(prepared, cohort, None, truth=told["truth"], of=told["of"])
        wrong = replace(cohort, label=cohort.label + (np.arange(len(cohort)) == 2))
        with pytest.raises(AuditError, match="the label of customer 3"):
            audit_cohort(prepared, wrong, None, truth=told["truth"], of=told["of"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return toy_shop(tmp_path_factory.mktemp("shop"))


def cohorts(shop: Prepared, task: str) -> list[Cohort]:
    return [build_cohort(shop, t, 60, 90, **ASKED[task]) for t in CUTOFFS]


@pytest.mark.parametrize("task", ASKED)
def test_the_last_period_is_what_the_window_before_the_cutoff_held(shop: Prepared, task: str):
    test = cohorts(shop, task)[2]
    model = LastPeriod()
    model.fit(test, None, Fit(seed=1))
    before = build_cohort(shop, CUTOFFS[2] - 60 * DAY, 60, None, **ASKED[task])
    held = dict(zip(before.customer.tolist(), before.label.tolist(), strict=True))  # type: ignore[union-attr]
    found = model.predict(test).value
    known = np.array([customer in held for customer in test.customer.tolist()])
    assert known.sum() > 50
    assert found[known].sum() > 0
    assert found[known].tolist() == [held[c] for c, k in zip(test.customer.tolist(), known, strict=True) if k]


@pytest.mark.parametrize("task", ASKED)
def test_trees_learn_totals_and_the_factor_is_learnt_on_the_later_cohort(shop: Prepared, task: str):
    train, calibration, test = cohorts(shop, task)
    trees, mean = LightGBM(max_trees=60), BaseRate()
    for model in (trees, mean):
        model.fit(train, calibration, Fit(seed=1))
    assert calibration.label is not None
    assert trees.predict(calibration).value.sum() == pytest.approx(calibration.label.sum())
    tables = {
        name: customer_table(shop, test, model.predict(test), {"target_hash": "same", "model": name})
        for name, model in (("trees", trees), ("mean", mean))
    }
    assert kind_of(tables["trees"]) is TOTALS
    figures = {name: summarise(table, resamples=50) for name, table in tables.items()}
    assert figures["trees"]["absolute_error"]["value"] < figures["mean"]["absolute_error"]["value"]
    assert figures["trees"]["normalised_gini"]["value"] > 0.2 > figures["mean"]["normalised_gini"]["value"]
    label, expected = test.label, trees.predict(test).value
    assert label is not None
    assert figures["trees"]["bias"]["value"] == pytest.approx(100 * (expected.sum() / label.sum() - 1))
    assert figures["trees"]["rmse"]["value"] == pytest.approx(np.sqrt(np.mean((expected - label) ** 2)))
    assert figures["trees"]["mean_total"]["value"] == pytest.approx(label.mean())
    assert "poisson_deviance" in metrics_of(tables["mean"])
    found = compare(tables, ["absolute_error", "rmse", "absolute_bias", "normalised_gini"], resamples=50)
    assert {c.metric: c.family for c in found} == {
        "absolute_error": 1, "rmse": 3, "absolute_bias": 3, "normalised_gini": 3,
    }  # fmt: skip
    assert {c.winner for c in found if c.metric == "normalised_gini"} == {"trees"}


def test_too_few_who_buy_leave_everybody_blank_and_say_why(shop: Prepared):
    train, _, test = cohorts(shop, "spend")
    assert train.label is not None
    few = replace(train, label=np.where(np.arange(len(train)) < 3, 1.0, 0.0))
    for model in (LightGBM(), BaseRate()):
        model.fit(few, None, Fit(seed=1))
        found = model.predict(test)
        assert np.isnan(found.value).all()
        assert set(found.blank_reason.tolist()) == {  # type: ignore[union-attr]
            "too few amounts above 0 in training (3 of at least 20)"
        }


def test_a_total_below_zero_is_refused(shop: Prepared):
    test = cohorts(shop, "spend")[2]
    with pytest.raises(UserError, match="amounts must be finite and not below 0"):
        customer_table(shop, test, Predictions(np.full(len(test), -1.0)), {})
