"""Bootstrap by user: the right width, the same draws for the same seed, and honest about missing values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from shopkeeper.errors import UserError
from shopkeeper.evaluation.intervals import mean_interval


def test_requests_of_one_user_are_not_taken_for_independent_evidence():
    rng = np.random.default_rng(0)
    taste = rng.random(60)
    value = np.repeat(taste, 50)  # every user answers fifty times alike: sixty facts, not three thousand
    by_user = mean_interval(value, np.repeat(np.arange(60), 50))
    once = mean_interval(taste, np.arange(60))
    by_row = mean_interval(value, np.arange(3000))
    width = [float((i.high - i.low)[0]) for i in (by_user, once, by_row)]
    assert width[0] == pytest.approx(width[1], rel=1e-9)
    assert width[2] < width[0] / 5
    assert by_user.n[0] == 3000


def test_the_width_is_that_of_the_standard_error():
    value = np.random.default_rng(1).standard_normal(2000)
    interval = mean_interval(value, np.arange(2000), resamples=4000)
    expected = 2 * 1.96 * value.std() / np.sqrt(2000)
    assert (interval.high - interval.low)[0] == pytest.approx(expected, rel=0.05)


def test_users_may_come_in_any_order_and_the_seed_decides():
    rng = np.random.default_rng(2)
    value, user = rng.random((500, 3)), rng.integers(0, 80, 500)
    order = rng.permutation(500)
    a, b = mean_interval(value, user, seed=5), mean_interval(value[order], user[order], seed=5)
    assert np.allclose(a.low, b.low)
    assert np.allclose(a.high, b.high)
    assert not np.array_equal(a.low, mean_interval(value, user, seed=6).low)


def test_missing_values_are_left_out_and_counted():
    value = np.array([[1.0, np.nan], [3.0, 4.0], [np.nan, 6.0], [5.0, np.nan]])
    interval = mean_interval(value, np.arange(4))
    assert interval.value.tolist() == [3.0, 5.0]
    assert interval.n.tolist() == [3, 2]
    assert 4 <= interval.low[1] <= 5 <= interval.high[1] <= 6


def test_one_user_or_no_value_gives_no_interval():
    one = mean_interval(np.array([0.5, 0.7]), np.array([3, 3]))
    assert one.as_dicts() == [{"value": pytest.approx(0.6), "low": None, "high": None, "n": 2}]
    none = mean_interval(np.full(3, np.nan), np.arange(3))
    assert none.as_dicts() == [{"value": None, "low": None, "high": None, "n": 0}]


def test_bca_leans_towards_the_long_tail():
    value = np.random.default_rng(3).lognormal(0, 1.5, 80)
    plain = mean_interval(value, np.arange(80), resamples=4000)
    bca = mean_interval(value, np.arange(80), resamples=4000, method="bca")
    assert bca.low[0] > plain.low[0]
    assert bca.high[0] > plain.high[0]
    even = np.concatenate([np.arange(50.0), -np.arange(50.0)])
    plain, bca = (mean_interval(even, np.arange(100), resamples=4000, method=m) for m in ("percentile", "bca"))
    assert bca.high[0] == pytest.approx(plain.high[0], abs=0.5)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_cover_the_truth_about_as_often_as_they_say(method):
    rng = np.random.default_rng(4)
    hits = 0
    for experiment in range(300):
        chance = rng.beta(1, 3, 150)  # users differ; the truth is 1/4; some ask once, some five times
        times = rng.integers(1, 6, 150)
        value = (rng.random(times.sum()) < np.repeat(chance, times)).astype(float)
        i = mean_interval(value, np.repeat(np.arange(150), times), resamples=300, method=method, seed=experiment)
        hits += i.low[0] <= 0.25 <= i.high[0]
    assert 0.90 <= hits / 300 <= 0.985  # the long form, with 2,000 experiments, is benchmarks/error_rates.py


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'bca'"):
        mean_interval(np.zeros(3), np.arange(3), method="bc")


def test_equal_values_say_something_of_others_only_where_the_metric_is_a_share():
    """Nobody of 30 customers was hit: with 5 % chance each, 1 - .95^30 = 79 % of such samples would hold a hit."""
    user = np.repeat(np.arange(30), 2)
    values = np.column_stack([np.zeros(60), np.ones(60), np.zeros(60), np.full(60, 7.5), np.full(60, 0.63093)])
    found = mean_interval(values, user, shares=np.array([True, True, False, False, True]))
    assert found.value.tolist() == pytest.approx([0, 1, 0, 7.5, 0.63093])
    width = binomtest(0, 30).proportion_ci(0.95, "exact").high  # of customers, not of requests
    assert found.low[:2] == pytest.approx([0, 1 - width])
    assert found.high[:2] == pytest.approx([width, 1])
    assert np.isnan(found.low[2:]).all()
    assert np.isnan(found.high[2:]).all()
    for method in ("percentile", "bca"):
        assert (
            mean_interval(values, user, method=method).high.size
            == np.isnan(mean_interval(values, user, method=method).high).sum()
        ), "without a word about shares there is none"
    some = np.where(user < 10, 0.0, np.nan)[:, None]  # the others have no value
    of_ten = mean_interval(some, user, shares=np.array([True]))
    assert of_ten.high[0] == pytest.approx(binomtest(0, 10).proportion_ci(0.95, "exact").high)
    nothing = mean_interval(np.full((60, 1), np.nan), user, shares=np.array([True]))
    assert np.isnan(nothing.high[0])
