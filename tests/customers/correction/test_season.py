"""What a window brings to the whole shop: seen a year before, unseen, and how answers follow it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.blend import WITH, WITHOUT, Blend
from shopkeeper.customers.build_cohort import as_it_is, build_cohort, join_cohorts
from shopkeeper.customers.correction.season import FEWEST, borne_out, season_of, totals_until, what_came
from shopkeeper.customers.weighing import drawn_apart
from shopkeeper.customers.window import MONEY, ORDERS
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events
from shopkeeper.metrics.value import poisson_deviance_rows
from shopkeeper.models.about import AMOUNTS, COUNTS
from shopkeeper.models.fit import Fit
from shopkeeper.programs.season import Season, expected_ratio, season_from
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from tiny import DAY, tiny_prepared


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
    orders, money = (what_came(events, np.array([0, 6]), of) for of in (ORDERS, MONEY))
    assert totals_until(2 * DAY, *orders).tolist() == [1, 1]
    assert totals_until(2 * DAY, *money) == pytest.approx([8, 5])
    assert totals_until(2 * DAY + 1, *orders).tolist() == [1, 0, 2]  # days end at the instant
    assert totals_until(0, *orders).tolist() == []


def test_orders_of_two_customers_at_one_time_are_two_and_one_whose_lines_lie_apart_is_one():
    bought = np.full(5, EVENT_CODE["purchase"])
    of_days = Events(np.ones(5, np.int32), bought, np.array([0, 0, 0, 0, DAY]))
    offsets = np.array([0, 2, 3, 5])  # a log of days without order ids: three customers came on the first one
    assert totals_until(2 * DAY, *what_came(of_days, offsets, ORDERS)).tolist() == [3, 1]
    torn = Events(np.ones(5, np.int32), bought, np.array([0, 1, 2, 3, DAY]), order=np.array([1, 2, 1, 3, 4]))
    assert totals_until(2 * DAY, *what_came(torn, np.array([0, 3, 4, 5]), ORDERS)).tolist() == [3, 1]


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


def test_a_cutoff_before_which_little_is_known_or_without_orders_says_nothing_of_the_year(shop: Prepared):
    cohort = build_cohort(shop, CUTOFFS[0], 60, 90)
    time = cohort.events.timestamp
    assert time is not None
    began = int(time.min())

    def at(days: float) -> Cohort:
        return replace(cohort, cutoff=np.full(len(cohort), began + round(days * DAY)))

    early, known = at(27), at(28)  # four weeks
    assert learnt(early).learnt == 0.0
    assert learnt(known).learnt != 0.0
    both = {name: np.concatenate([getattr(c, name) for c in (early, known)]) for name in ("customer", "cutoff")}
    assert learnt(replace(cohort, **both)).learnt == learnt(known).learnt
    beyond = (int(time.max()) + DAY - began) / DAY
    assert learnt(at(beyond)).learnt == 0.0  # a window without an order is no season, but the end of the log


def test_amounts_are_drawn_apart_as_far_as_it_helps_and_their_sum_stays():
    rng, n = np.random.default_rng(0), 5000
    mean, customer = rng.gamma(1.0, 100.0, n), np.arange(n)
    label = np.where(rng.random(n) < 0.5, 0.0, 2 * mean) * rng.lognormal(-0.5, 1.0, n)
    shrunk = mean**0.7 * (mean.sum() / (mean**0.7).sum())
    power, factor = drawn_apart(shrunk, label, customer)
    apart = factor * shrunk**power
    assert power > 1.2
    assert apart.sum() == pytest.approx(mean.sum())
    assert np.abs(apart - label).mean() < np.abs(shrunk - label).mean()
    assert drawn_apart(mean, mean, customer) == (1.0, 1.0)  # already right
    assert drawn_apart(np.zeros(3), np.ones(3), customer[:3]) == (1.0, 1.0)


def test_amounts_are_not_drawn_apart_where_the_deviance_by_which_they_are_judged_is_surely_lost():
    rng, n = np.random.default_rng(0), 20_000
    mean = rng.gamma(1.0, 100.0, n)
    label = np.where(rng.random(n) < 0.5, 0.0, 2 * mean)  # the means are right, and above most of what comes
    further = mean**1.2 * (mean.sum() / (mean**1.2).sum())
    assert np.abs(further - label).mean() < np.abs(mean - label).mean()
    power, factor = drawn_apart(mean, label, np.arange(n))
    lost = poisson_deviance_rows(label, factor * mean**power) - poisson_deviance_rows(label, mean)
    assert 1 <= power < 1.1
    assert lost.mean() <= lost.std() / np.sqrt(n - 1)
    four = np.repeat(mean, 4), np.repeat(label, 4)  # rows are many, customers are not: those are no surer
    assert drawn_apart(*four, np.arange(4 * n) // 4)[0] == pytest.approx(power, abs=0.005)
    assert drawn_apart(*four, np.arange(4 * n))[0] < power - 0.005


def test_a_log_as_it_is_known_at_several_cutoffs_counts_once(shop: Prepared):
    parts = [build_cohort(shop, t, 60, 90) for t in CUTOFFS]
    both = join_cohorts([(shop, join_cohorts([(shop, part) for part in parts[:2]])), (shop, parts[2])])
    assert learnt(both).as_json() == learnt(build_cohort(shop, CUTOFFS, 60, 90)).as_json()


def won_in(path: Path, seasonal: bool) -> Prepared:
    """Two years of customers who order about every 40 days.

    Either all were there from the first day on and order four times as often in winter, or they come as years go by,
    many in winter, few in summer, and order evenly.
    """
    rng = np.random.default_rng(3)
    winter = np.cos(2 * np.pi * np.arange(760) / 365.25)
    often = np.exp(np.log(4) / 2 * winter) if seasonal else np.ones(760)
    coming = np.exp(np.log(20) / 2 * winter)
    days = []
    for _ in range(400 if seasonal else 1000):
        first = 0 if seasonal else int(rng.choice(760, p=coming / coming.sum()))
        gone = 760 if seasonal else first + rng.exponential(120)
        ordered = [first, *(first + 1 + np.flatnonzero(rng.random(759 - first) < often[first + 1 :] / 40))]
        days.append([d for d in ordered if d <= gone])
    days[0][-1] = 759
    times = [[int((d + 0.5) * DAY) for d in one] for one in days]
    return tiny_prepared(path, [[1] * len(one) for one in days], times, columns={}, n_items=1)[0]


LOGISTIC = {"name": "logistic", "target": "shopkeeper.customers.logistic.Logistic", "min_positives": 5}
TREES = {"name": "lightgbm", "target": "shopkeeper.customers.lightgbm.LightGBM", "max_trees": 20, "min_positives": 5}
COUNT: dict[str, Any] = {"truth": as_it_is, "of": ORDERS, "answers": COUNTS}


@pytest.mark.parametrize("told", [{}, COUNT])
@pytest.mark.parametrize("seasonal", [True, False])
def test_answers_are_carried_where_validation_bears_it_out(tmp_path: Path, seasonal: bool, told: dict[str, Any]):
    log = won_in(tmp_path / "shop", seasonal)
    summer, winter = [(365 + d) * DAY for d in (90, 120, 150, 180)], (365 + 300) * DAY
    train, later = build_cohort(log, summer, 60, 120, **told), build_cohort(log, winter, 60, 120, **told)
    blend = Blend({"logistic": LOGISTIC, "lightgbm": TREES}, folds=2)
    assert blend.about.chooses
    blend.fit(train, None, Fit(seed=1))
    as_said = blend.predict(later).value  # nothing has borne anything out yet
    kept = blend.choose(later)
    carried, plain = kept.settings.values()
    assert kept.chosen == (WITH if seasonal else WITHOUT)
    assert (carried < plain) == seasonal
    found = blend.predict(later).value
    assert np.array_equal(found, as_said) != seasonal
    assert (blend.program(False).season is not None) == seasonal

    again = Blend({"logistic": LOGISTIC, "lightgbm": TREES}, folds=2)
    blend.save(tmp_path / "run")
    again.load(tmp_path / "run")
    np.testing.assert_array_equal(again.predict(later).value, found)
    assert again.fit(train, None, Fit(seed=1, chosen=kept.chosen)).chosen == kept.chosen  # as for test, and by an audit
    np.testing.assert_array_equal(again.predict(later).value, found)


def test_a_gain_that_may_be_chance_or_of_few_customers_bears_nothing_out(shop: Prepared):
    cohort = build_cohort(shop, CUTOFFS[0], 60, 90)
    n, rng = 2 * FEWEST, np.random.default_rng(0)
    label = (np.arange(n) % 2).astype(np.float64)
    asked = replace(cohort, customer=np.arange(n, dtype=np.int32), label=label)
    half, better = np.full(n, 0.5), np.where(label > 0, 0.6, 0.4)
    assert borne_out(asked, half, better) == (True, pytest.approx(np.log(2)), pytest.approx(-np.log(0.6)))
    assert not borne_out(asked, better, half)[0]
    assert not borne_out(asked, half, half)[0]
    assert not borne_out(asked, half, np.where(rng.random(n) < 0.51, better, 1 - better))[0]
    for people in (FEWEST - 1, FEWEST):
        some = slice(0, people)
        few = replace(asked, customer=asked.customer[some], label=label[some])
        assert borne_out(few, half[some], better[some])[0] == (people == FEWEST)
    twice = replace(asked, customer=asked.customer // 4)  # rows are many, customers are few
    assert not borne_out(twice, half, better)[0]
    surely, as_said, _ = borne_out(asked, np.full(n, np.nan), half)  # nobody has an answer
    assert not surely
    assert np.isnan(as_said)
