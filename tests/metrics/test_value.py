"""Metrics of money, counts and distributions against independent formulas."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn.metrics import mean_absolute_error

from shopkeeper.errors import UserError
from shopkeeper.metrics import value
from shopkeeper.metrics.value import (
    coverage,
    crps_counts,
    crps_samples,
    decile_mape,
    ks_distance,
    mae,
    normalised_gini,
    pit_counts,
    pit_samples,
    poisson_deviance_rows,
    spearman,
    total_bias,
)

AGGREGATES = [mae, total_bias, normalised_gini, spearman, decile_mape]


def sample(seed: int, n: int = 200, tied: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Spending, two in three nothing, and forecasts that know something of it."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(n) < 0.34, rng.lognormal(3, 1, n), 0.0) + (np.arange(n) % 10 == 0)
    x = y**0.5 * 3 + rng.gamma(1, 4, n)
    return y, np.round(x / 8) * 8 if tied else x


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(value).failed == 0
    assert doctest.testmod(value).attempted >= 11


def test_poisson_deviance_of_amounts_is_least_at_the_mean_mae_at_the_median_and_another_currency_changes_no_order():
    y, grid = sample(3, 2000)[0], np.linspace(0.5, 30, 296)
    deviance, error = (np.array([of(y, np.full(len(y), x)) for x in grid])
                       for of in (lambda y, x: poisson_deviance_rows(y, x).mean(), mae))  # fmt: skip
    assert grid[deviance.argmin()] == pytest.approx(y.mean(), abs=0.06)
    assert grid[error.argmin()] < 1.0  # most spend nothing
    y, x = sample(4)
    assert poisson_deviance_rows(90 * y, 90 * x) == pytest.approx(90 * poisson_deviance_rows(y, x))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_mae_and_spearman_equal_scikit_learn_and_scipy(seed: int, tied: bool):
    y, x = sample(seed, tied=tied)
    assert float(mae(y, x)) == pytest.approx(mean_absolute_error(y, x))
    assert float(spearman(y, x)) == pytest.approx(stats.spearmanr(y, x).statistic)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_gini_equals_the_covariance_formula(seed: int):
    """Lerman and Yitzhaki (1984): Gini = 2 cov(y, rank / n) / mean; normalised by that of the best ranking."""
    y, x = sample(seed, 60, tied=seed % 2 == 0)
    gini = [np.cov(y, stats.rankdata(r), bias=True)[0, 1] for r in (x, y)]
    assert float(normalised_gini(y, x)) == pytest.approx(gini[0] / gini[1], abs=1e-9)


def test_gini_is_one_for_the_best_ranking_minus_one_for_the_worst_and_zero_for_none():
    y, x = sample(1)
    assert normalised_gini(y, y) == pytest.approx(1)
    assert normalised_gini(y, -y) == pytest.approx(-1)
    assert normalised_gini(y, np.full(len(y), 3.0)) == pytest.approx(0, abs=1e-12)
    assert float(normalised_gini(y, np.exp(x / 50))) == pytest.approx(float(normalised_gini(y, x)))


def test_decile_mape_is_the_mean_relative_error_of_ten_sums():
    rng = np.random.default_rng(0)
    x = rng.gamma(2, 10, 200)
    y = rng.gamma(2, 10, 200)
    tenths = np.argsort(-x).reshape(10, 20)
    expected = np.mean([abs(x[d].sum() - y[d].sum()) / y[d].sum() for d in tenths])
    assert float(decile_mape(y, x)) == pytest.approx(expected)
    assert float(decile_mape(x, x * 0.7)) == pytest.approx(0.3)


def test_values_that_nothing_can_be_relative_to_are_nan_not_a_crash():
    zero, x = np.zeros(30), np.arange(30.0)
    assert np.isnan(total_bias(zero, x))
    assert np.isnan(normalised_gini(zero, x))
    assert np.isnan(spearman(zero, x))
    assert np.isnan(decile_mape(np.where(x < 3, 0, 1), x))


@pytest.mark.parametrize("metric", AGGREGATES, ids=lambda f: f.__name__)
def test_weights_are_repeated_rows_one_by_one_and_in_batches(metric):
    y, x = sample(2, 80, tied=True)
    y = y + 1
    w_RN = np.random.default_rng(1).integers(0, 3, (10, 80)).astype(float)
    expected = []
    for w in w_RN:
        rows = np.repeat(np.arange(80), w.astype(int))
        expected.append(float(metric(y[rows], x[rows])))
    assert metric(y, x, w_RN) == pytest.approx(expected)
    assert float(metric(y, x, w_RN[0])) == pytest.approx(expected[0])


@pytest.mark.parametrize("metric", AGGREGATES, ids=lambda f: f.__name__)
def test_the_order_of_the_rows_does_not_matter(metric):
    y, x = sample(3, 90, tied=True)
    y = y + 1
    order = np.random.default_rng(0).permutation(90)
    assert float(metric(y[order], x[order])) == pytest.approx(float(metric(y, x)), abs=1e-12)


def test_crps_of_samples_is_the_integrated_squared_distance_of_distribution_functions():
    rng = np.random.default_rng(0)
    samples, y = rng.normal(0, 2, (5, 7)), rng.normal(0, 2, 5)
    for i, score in enumerate(crps_samples(y, samples)):
        points = np.sort(np.append(samples[i], y[i]))
        cdf = (samples[i][None, :] <= points[:-1, None]).mean(axis=1)
        expected = (np.diff(points) * (cdf - (points[:-1] >= y[i])) ** 2).sum()
        assert score == pytest.approx(expected)


def test_crps_of_many_samples_is_that_of_the_normal_distribution():
    y = np.array([-1.0, 0.3, 2.0])
    exact = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi)  # Gneiting and Raftery (2007)
    samples = np.tile(stats.norm.ppf((np.arange(4000) + 0.5) / 4000), (3, 1))
    assert crps_samples(y, samples) == pytest.approx(exact, abs=1e-3)


def test_crps_of_counts_equals_that_of_samples_with_the_same_distribution_also_beyond_the_table():
    samples = np.array([[0, 0, 1, 3], [2, 2, 2, 5]])
    cdf = (samples[:, None, :] <= np.arange(6)[None, :, None]).mean(axis=2)
    for y in ([0, 2], [3, 9], [7, 6]):
        assert crps_counts(np.array(y), cdf) == pytest.approx(crps_samples(np.array(y, float), samples.astype(float)))


def test_crps_is_proper_the_true_distribution_scores_best():
    rng = np.random.default_rng(0)
    y = rng.poisson(2.0, 4000)
    k = np.arange(30)
    scores = [crps_counts(y, np.tile(stats.poisson.cdf(k, m), (4000, 1))).mean() for m in (1.5, 2.0, 2.6)]
    assert min(scores) == scores[1]


def test_pit_is_uniform_for_the_true_distribution_and_not_for_a_narrower_one():
    rng = np.random.default_rng(0)
    rate = rng.gamma(2, 1, 3000)
    y, k = rng.poisson(rate), np.arange(60)
    right = pit_counts(y, stats.poisson.cdf(k[None, :], rate[:, None]))
    assert stats.kstest(right, "uniform").pvalue > 0.01
    wrong = pit_counts(y, stats.poisson.cdf(k[None, :], rate.mean() * np.ones((3000, 1))))
    assert ks_distance(wrong) > 3 * ks_distance(right)

    samples = rng.normal(0, 1, (3000, 9))
    assert stats.kstest(pit_samples(rng.normal(0, 1, 3000), samples), "uniform").pvalue > 0.01
    assert stats.kstest(pit_samples(rng.poisson(1, 3000), rng.poisson(1, (3000, 9))), "uniform").pvalue > 0.01
    assert stats.kstest(pit_samples(rng.normal(0, 2, 3000), samples), "uniform").pvalue < 1e-6


def test_pit_is_seeded_and_lies_between_the_steps_of_the_distribution():
    y, cdf = np.array([0, 1, 2, 5]), np.tile([0.5, 0.8, 0.9], (4, 1))
    u = pit_counts(y, cdf, seed=3)
    assert np.array_equal(u, pit_counts(y, cdf, seed=3))
    assert not np.array_equal(u, pit_counts(y, cdf, seed=4))
    assert ((u >= [0, 0.5, 0.8, 0.9]) & (u <= [0.5, 0.8, 0.9, 1])).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_distance_equals_scipy_and_takes_weights(seed: int):
    rng = np.random.default_rng(seed)
    u = rng.beta(2, 2, 50)
    assert float(ks_distance(u)) == pytest.approx(stats.kstest(u, "uniform").statistic)
    w = rng.integers(0, 3, 50).astype(float)
    expected = stats.kstest(np.repeat(u, w.astype(int)), "uniform").statistic
    assert float(ks_distance(u, w)) == pytest.approx(expected)


def test_the_right_interval_covers_its_level():
    y = np.random.default_rng(0).normal(0, 1, 5000)
    one = np.ones(5000)
    assert coverage(y, -1.645 * one, 1.645 * one) == pytest.approx(0.9, abs=0.01)
    assert coverage(y, y, y) == 1
    with pytest.raises(UserError, match="end before they begin"):
        coverage(y, one, -one)


def test_bad_input_is_named():
    with pytest.raises(UserError, match="NaN or infinite"):
        mae(np.array([1.0, np.nan]), np.ones(2))
    with pytest.raises(UserError, match="same length"):
        mae(np.ones(3), np.ones(2))
    with pytest.raises(UserError, match="whole numbers"):
        crps_counts(np.array([0.5]), np.array([[0.5, 1.0]]))
    with pytest.raises(UserError, match="P\\(Y <= k\\), not"):
        pit_counts(np.array([1]), np.array([[0.7, 0.2, 0.1]]))


def test_the_normal_crps_formula_used_above_is_the_integral():
    exact = 0.3 * (2 * stats.norm.cdf(0.3) - 1) + 2 * stats.norm.pdf(0.3) - 1 / np.sqrt(np.pi)
    integral = integrate.quad(lambda z: (stats.norm.cdf(z) - (z >= 0.3)) ** 2, -8, 8, points=[0.3])[0]
    assert exact == pytest.approx(integral, abs=1e-7)
