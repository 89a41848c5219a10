"""What a window brings to the whole shop: seen a year before, unseen, and how answers follow it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.blend import drawn_apart
from shopkeeper.customers.build_cohort import as_it_is, build_cohort
from shopkeeper.customers.correction.season import season_of, totals_until
from shopkeeper.customers.window import MONEY, ORDERS
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events
from shopkeeper.models.about import AMOUNTS
from shopkeeper.programs.season import Season, expected_ratio, season_from
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from tiny import DAY


def year(day: np.ndarray) -> np.ndarray:
    """A shop that sells twice as much at the end of December as at the end of June."""
    return 100 * np.exp(np.log(2) / 2 * np.cos(2 * np.pi * day / 365.25))


def test_what_a_year_ago_brought_is_expected_again():
    now = 365 + 270  # three quarters into the second year: the busy quarter is next
    ratio = expected_ratio(year(np.arange(now)), 90)
    true = year(now + np.arange(90)).mean() / year(now - np.arange(90)).mean()
    assert 1 + 0.7 * (true - 1) < ratio < true  # a little of it may have been chance


def test_a_season_that_nobody_has_seen_is_expected_to_be_usual_and_one_of_which_the_end_was_seen_lies_between():
    now = 270
    log = np.full(now, 100.0)
    assert expected_ratio(log, 90) == pytest.approx(1.0, abs=0.01)
    log[:14] = 200.0  # the first two weeks of the log, a year before the end of the window and just after it
    assert 1.03 < expected_ratio(log, 90) < 1.5


def test_a_log_of_a_few_weeks_expects_nothing_else_and_holidays_are_no_season():
    assert expected_ratio(np.full(50, 3.0), 90) == 1.0
    assert expected_ratio(np.zeros(0), 90) == 1.0
    early = np.append(np.full(6, 5.0), np.zeros(56))  # what came lies before the first whole week
    assert expected_ratio(early, 28) == 1.0
    assert np.isfinite(expected_ratio(np.append(early, np.zeros(200) + (np.arange(200) > 150)), 28))
    usual = np.full(280, 100.0)
    closed = usual.copy()
    closed[21:35] = 2.0
    assert expected_ratio(closed, 90) == pytest.approx(expected_ratio(usual, 90), abs=0.05)


def test_orders_and_money_of_a_day_are_those_strictly_before_the_instant():
    events = Events(
        item=np.ones(6, np.int32),
        event_type=np.array(
            [EVENT_CODE[t] for t in ("purchase", "purchase", "view", "return", "purchase", "purchase")]
        ),
        timestamp=np.array([0, 0, 1, 5, DAY + 7, 2 * DAY]),
        price=np.array([2.0, 3.0, 9.0, 9.0, 5.0, 7.0]),
        quantity=np.array([1.0, 2.0, 1.0, 1.0, 1.0, 1.0]),
        order=np.array([1, 1, 0, 0, 0, 2]),
    )
    assert totals_until(events, 2 * DAY, ORDERS).tolist() == [1, 1]
    assert totals_until(events, 2 * DAY, MONEY) == pytest.approx([8, 5])
    assert totals_until(events, 2 * DAY + 1, ORDERS).tolist() == [1, 0, 2]  # days end at the instant
    assert totals_until(events, 0, ORDERS).tolist() == []


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return toy_shop(tmp_path_factory.mktemp("season"), n_users=150)


def learnt(cohort: Cohort) -> Season:
    found = season_of(cohort)
    assert found is not None
    return found


def test_a_share_or_a_column_of_a_table_has_no_season(shop: Prepared):
    cohort = build_cohort(shop, CUTOFFS[0], 60, 90)
    assert season_of(replace(cohort, holds="discount")) is None
    assert season_of(replace(cohort, holds="")) is None


def test_answers_follow_as_those_of_a_poisson_process(shop: Prepared):
    train = build_cohort(shop, CUTOFFS[:2], 60, 90)
    cohort = build_cohort(shop, CUTOFFS[1] + 60 * DAY, 60, 90)
    year = learnt(train)
    factor = expected_ratio(year.total, 60) / np.exp(year.learnt)
    away = np.linspace(0.1, 0.9, len(cohort))
    asked = (cohort.cutoff, cohort.horizon_days)
    found = year.carried(away, *asked, 1)
    np.testing.assert_allclose(found, away**factor)
    np.testing.assert_allclose(year.carried(1 - away, *asked, 0), 1 - found)
    np.testing.assert_allclose(
        year.carried(-np.log(away), *asked, None), -np.log(found)
    )  # of a mean m exp(-m) have none


def test_earlier_and_later_cutoffs_than_the_last_known_day_are_answered_from_what_is_known():
    log = year(np.arange(700))
    known = Season(log, 700 * DAY, 0.0)

    def ask(day: int) -> tuple[np.ndarray, float, None]:
        return np.array([day * DAY]), 60.0, None

    one = np.ones(1)
    assert known.carried(one, *ask(600))[0] == expected_ratio(log[:600], 60)
    true = year(730 + np.arange(60)).mean() / year(640 + np.arange(90)).mean()
    assert known.carried(one, *ask(730))[0] == pytest.approx(true, rel=0.15)
    assert known.carried(one, *ask(-5))[0] == 1.0


@pytest.mark.parametrize("told", [{}, {"truth": as_it_is, "of": MONEY, "answers": AMOUNTS}])
def test_nothing_after_the_last_window_is_learnt_from(shop: Prepared, told: dict[str, Any]):
    cohort = build_cohort(shop, CUTOFFS[0], 60, 90, **told)

    def later(events: Events, since: int) -> Events:
        assert events.timestamp is not None
        after, price = events.timestamp >= since, np.asarray(events.price)
        time = np.where(after, events.timestamp + 3 * MICROSECONDS_PER_DAY, events.timestamp)
        return replace(events, timestamp=time, price=np.where(after, price * 50, price))

    found = learnt(cohort)
    end = CUTOFFS[0] + 60 * DAY
    assert learnt(replace(cohort, events=later(cohort.events, end))).as_json() == found.as_json()
    assert learnt(replace(cohort, events=later(cohort.events, CUTOFFS[0]))).learnt != found.learnt
    assert season_from(json.loads(json.dumps(found.as_json()))).as_json() == found.as_json()


def test_what_training_windows_brought_is_a_mean_over_rows(shop: Prepared):
    parts = [build_cohort(shop, t, 60, 90) for t in CUTOFFS[:2]]
    one, other = (learnt(part).learnt for part in parts)
    n, m = map(len, parts)
    assert learnt(build_cohort(shop, CUTOFFS[:2], 60, 90)).learnt == pytest.approx((n * one + m * other) / (n + m))


def test_amounts_are_drawn_apart_as_far_as_it_helps_and_their_sum_stays():
    rng = np.random.default_rng(0)
    mean = rng.gamma(1.0, 100.0, 5000)
    label = np.where(rng.random(5000) < 0.5, 0.0, 2 * mean) * rng.lognormal(-0.5, 1.0, 5000)
    power, factor = drawn_apart(mean, label)
    apart = factor * mean**power
    assert power > 1
    assert apart.sum() == pytest.approx(mean.sum())
    assert np.abs(apart - label).mean() < np.abs(mean - label).mean()
    assert drawn_apart(mean, mean) == (1.0, 1.0)  # already right
    assert drawn_apart(np.zeros(3), np.ones(3)) == (1.0, 1.0)
