"""Conformal distributions: uniform where the means are wrong in spread and level, exact at the edges."""

from __future__ import annotations

import json

import numpy as np
import pytest

from shopkeeper.customers.correction.conformal import Conformal, conformal_from, fit_conformal
from shopkeeper.metrics.value import coverage, ks_distance, pit_counts


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means that are a third too low, and counts that scatter far more than Poisson's."""
    rng = np.random.default_rng(seed)
    mean = rng.gamma(0.6, 2.5, n)
    return mean / 1.5, rng.poisson(mean * rng.gamma(0.5, 2.0, n)).astype(np.float64)


def test_counts_are_uniform_on_new_rows_where_poisson_is_far_from_it():
    mean, label = drawn(6000, 0)
    new, came = drawn(6000, 1)
    found = fit_conformal(mean, label, whole=True)
    from scipy.stats import poisson

    plain = pit_counts(came, poisson.cdf(np.arange(60)[None, :], new[:, None]))
    conformal = pit_counts(came, found.cdf(new, 60))
    assert float(ks_distance(plain)) > 0.08
    assert float(ks_distance(conformal)) < 0.03
    active = new > np.median(new)  # not only because so many have none
    assert float(ks_distance(conformal[active])) < 0.04


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_intervals_of_amounts_hold_as_many_as_they_promise(level: float):
    rng = np.random.default_rng(2)
    mean = rng.lognormal(3, 1, 8000)
    label = np.where(rng.random(8000) < 0.4, 0.0, mean * rng.lognormal(0, 1, 8000))
    found = fit_conformal(mean[:4000], label[:4000], whole=False)
    low, high = found.interval(mean[4000:], level)
    held = float(coverage(label[4000:], low, high))
    assert level - 0.02 < held < (1 + level) / 2 + 0.02  # where the lower bound is 0, nothing lies below it
    again = conformal_from(json.loads(json.dumps(found.as_json())))
    np.testing.assert_array_equal(again.interval(mean[4000:], level)[1], high)


@pytest.mark.parametrize("n", [99, 109, 119, 199])
def test_a_tenth_of_the_rows_lies_on_either_side_of_four_fifths(n: int):
    known = Conformal(np.zeros(0), np.array([n]), np.arange(1.0, n + 1), True)
    low, high = known.interval(np.array([1.0]), 0.8)
    assert (low.tolist(), high.tolist()) == ([(n + 1) // 10], [n + 1 - (n + 1) // 10])


def test_few_rows_promise_no_bound_and_a_blank_stays_blank():
    found = fit_conformal(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 9.0]), whole=True)
    low, high = found.interval(np.array([1.0, np.nan]), 0.8)
    assert low[0] == 0
    assert np.isinf(high[0])  # three rows know nothing of one in ten
    assert np.isnan([low[1], high[1]]).all()


def test_bounds_are_the_known_labels_at_their_places_and_an_edge_belongs_above_it():
    of_two = Conformal(np.array([2.0]), np.array([9, 8]), np.concatenate([np.arange(1.0, 10), np.arange(11.0, 19)]))
    low, high = of_two.interval(np.array([1.0, 2.0]), 0.8)
    assert (low.tolist(), high.tolist()) == ([1.0, 0.0], [9.0, np.inf])  # eight labels know nothing of one in ten
    counts = Conformal(np.zeros(0), np.array([9]), np.repeat([0.0, 0.5, 2.0], 3), True)
    low, high = counts.interval(np.array([2.6, 0.5]), 0.5)
    assert (low.tolist(), high.tolist()) == ([0.0, 0.0], [5.0, 2.0])  # whole; below a mean of 1 counts are as they are
    assert counts.cdf(np.array([0.5, 2.6]), 3) == pytest.approx(np.array([[6.5, 6.5, 9.5], [3.5, 6.5, 6.5]]) / 10)


def test_groups_have_a_hundred_rows_and_none_is_empty_where_many_means_are_alike():
    rising = np.arange(3000.0)
    assert fit_conformal(rising, rising, whole=False).sizes.tolist() == [150] * 20
    assert fit_conformal(rising[:299], rising[:299], whole=False).sizes.tolist() == [149, 150]
    alike = np.concatenate([np.full(150, 0.2), np.linspace(1, 2, 50)])
    found = fit_conformal(alike, alike, whole=False)
    assert found.sizes.tolist() == [200]
    assert np.isfinite(found.interval(np.array([0.1]))[1]).all()
