"""Gains, lift and expected maximum profit, against slow definitions."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from shopkeeper.metrics import classification_gains
from shopkeeper.metrics.classification_gains import deciles, expected_maximum_profit, gains_curve, lift_quality

THEIRS = {"alpha": 6, "beta": 14, "clv": 200, "incentive": 10, "contact": 1}  # of the paper


def sample(seed: int, n: int, digits: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 4, n).round(digits)
    y = (rng.random(n) < p).astype(float)
    y[:2] = 0, 1
    return y, p


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(classification_gains).failed == 0
    assert doctest.testmod(classification_gains).attempted >= 5


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 9]))
def test_lift_quality_is_the_normalised_area_under_the_gains_curve(seed: int, digits: int):
    y, p = sample(seed, 80, digits)
    curve = gains_curve(y, p)
    area = np.trapezoid(curve.reached, curve.contacted)
    perfect = 1 - y.mean() / 2
    assert float(lift_quality(y, p)) == pytest.approx((area - 0.5) / (perfect - 0.5), abs=1e-9)


def test_lift_quality_is_one_for_a_perfect_ranking_and_zero_for_none():
    y = np.array([0.0, 0, 1, 0, 1])
    assert lift_quality(y, y) == 1
    assert lift_quality(y, np.zeros(5)) == 0
    assert lift_quality(y, -y) == -1


def test_deciles_count_the_positives_of_each_tenth():
    y, p = sample(1, 200)
    found = deciles(y, p)
    tenths = y[np.argsort(-p)].reshape(10, 20)
    assert found.lift == pytest.approx(tenths.mean(axis=1) / y.mean())
    assert found.gain == pytest.approx(np.cumsum(tenths.sum(axis=1)) / y.sum())
    assert found.gain[-1] == pytest.approx(1)
    assert found.cumulative_lift[-1] == pytest.approx(1)


def test_deciles_of_equal_scores_are_what_any_order_of_them_gives_on_average():
    y, p = sample(2, 100, digits=1)
    rng = np.random.default_rng(0)
    gains = [deciles(y, p + rng.random(100) * 1e-6).gain for _ in range(2000)]
    assert deciles(y, p).gain == pytest.approx(np.mean(gains, axis=0), abs=0.01)


def test_without_positives_there_is_no_gain_to_show():
    assert np.isnan(deciles(np.zeros(20), np.linspace(0, 1, 20)).gain).all()


def by_integration(y: np.ndarray, p: np.ndarray, alpha: float, beta: float, clv: float, d: float, f: float) -> float:
    """The definition: for each acceptance rate the best of all thresholds, integrated numerically."""
    thresholds = np.append(np.unique(p), np.inf)
    contacted = p[None, :] >= thresholds[:, None]
    churners, others = (contacted * y).sum(axis=1) / len(y), (contacted * (1 - y)).sum(axis=1) / len(y)

    def best(gamma: float) -> float:
        profit = (gamma * (clv - d) - f) * churners - (d + f) * others
        return float(profit.max()) * stats.beta.pdf(gamma, alpha, beta)

    return float(integrate.quad(best, 0, 1, limit=2000, epsabs=1e-8)[0])


@pytest.mark.parametrize(("digits", "seed"), [(9, 0), (9, 1), (1, 2), (1, 3), (9, 4)])
def test_expected_maximum_profit_equals_its_definition_integrated_numerically(digits: int, seed: int):
    y, p = sample(seed, 60, digits)
    if seed == 4:
        p = 1 - p  # worse than random
    for parameters in ((6, 14, 200, 10, 1), (2, 2, 50, 20, 3)):
        alpha, beta, clv, d, f = parameters
        found = expected_maximum_profit(y, p, alpha=alpha, beta=beta, clv=clv, incentive=d, contact=f)
        assert found.profit == pytest.approx(by_integration(y, p, *parameters), abs=1e-4)
        assert 0 <= found.contacted <= 1


def test_a_better_ranking_earns_more_and_contacting_nobody_earns_nothing():
    y, p = sample(5, 400)
    profits = [expected_maximum_profit(y, s, **THEIRS).profit for s in (np.zeros(400), p, y)]
    assert profits == sorted(profits)
    assert expected_maximum_profit(y, p, **THEIRS | {"clv": 10.5}).profit == pytest.approx(
        0, abs=1e-6
    )  # nothing is worth the cost
    assert profits[0] >= 0


def test_weights_are_repeated_rows_and_one_class_has_no_profit():
    y, p = sample(6, 50)
    w = np.random.default_rng(0).integers(0, 3, 50).astype(float)
    rows = np.repeat(np.arange(50), w.astype(int))
    assert expected_maximum_profit(y, p, w, **THEIRS).profit == pytest.approx(
        expected_maximum_profit(y[rows], p[rows], **THEIRS).profit
    )
    assert np.isnan(expected_maximum_profit(np.zeros(5), p[:5], **THEIRS).profit)
    with pytest.raises(ValueError, match="incentive < clv"):
        expected_maximum_profit(y, p, **THEIRS | {"incentive": 300})
