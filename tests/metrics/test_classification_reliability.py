"""Calibration error: of equal-mass bins, beside what a perfectly calibrated model would show."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from shopkeeper.metrics import classification_reliability
from shopkeeper.metrics.classification_reliability import ece, ece_if_calibrated, reliability_curve


def sample(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    return (rng.random(n) < p).astype(float), p


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(classification_reliability).failed == 0
    assert doctest.testmod(classification_reliability).attempted >= 4


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(10, 300))
def test_ece_equals_a_loop_over_ten_parts_of_the_sorted_rows(seed: int, n: int):
    y, p = sample(seed, n)
    order = np.argsort(-p)
    bins = np.minimum((np.arange(n) + 0.5) / n * 10, 9.99).round(9).astype(int)
    expected = sum(abs(y[order][bins == b].mean() - p[order][bins == b].mean()) * (bins == b).mean() for b in range(10))
    assert float(ece(y, p)) == pytest.approx(expected, abs=1e-9)


def test_ece_with_weights_equals_ece_of_repeated_rows_one_by_one_and_in_batches():
    y, p = sample(1, 90)
    p = np.round(p, 1)
    w_RN = np.random.default_rng(2).integers(0, 4, (15, 90)).astype(float)
    repeated = []
    for w in w_RN:
        rows = np.repeat(np.arange(90), w.astype(int))
        repeated.append(float(ece(y[rows], p[rows])))
    assert ece(y, p, w_RN) == pytest.approx(repeated, abs=1e-9)


def test_ece_does_not_depend_on_the_order_of_rows_with_equal_probability():
    y, p = sample(3, 200)
    p = np.round(p, 1)
    shuffled = np.random.default_rng(0).permutation(200)
    assert ece(y[shuffled], p[shuffled]) == pytest.approx(float(ece(y, p)), abs=1e-12)
    assert ece(y, np.full(200, 0.4)) == pytest.approx(abs(y.mean() - 0.4), abs=1e-12)


def test_a_calibrated_model_lies_in_the_simulated_interval_about_19_times_in_20():
    inside = 0
    for seed in range(200):
        y, p = sample(seed, 400)
        expected = ece_if_calibrated(p, simulations=300, seed=seed)
        inside += expected.low <= ece(y, p) <= expected.high
    assert 180 <= inside <= 199


def test_a_distorted_model_lies_above_it_and_the_simulation_is_seeded():
    y, p = sample(0, 1000)
    assert ece(y, p**2) > ece_if_calibrated(p**2).high
    assert ece_if_calibrated(p, seed=5) == ece_if_calibrated(p, seed=5)
    assert ece_if_calibrated(p, seed=5) != ece_if_calibrated(p, seed=6)


def test_the_simulation_measures_the_same_thing_as_ece_with_ties():
    p = np.round(sample(0, 300)[1], 1)
    rng = np.random.default_rng(1)
    by_hand = [float(ece((rng.random(300) < p).astype(float), p)) for _ in range(1000)]
    assert ece_if_calibrated(p, simulations=2000).value == pytest.approx(np.mean(by_hand), abs=0.001)


def test_the_curve_has_increasing_probabilities_all_rows_and_wilson_intervals():
    y, p = sample(4, 500)
    curve = reliability_curve(y, p)
    assert curve.n.tolist() == [50] * 10
    assert (np.diff(curve.probability) > 0).all()
    for b in range(10):
        interval = binomtest(round(curve.rate[b] * curve.n[b]), int(curve.n[b])).proportion_ci(0.95, "wilson")
        assert (curve.low[b], curve.high[b]) == pytest.approx((interval.low, interval.high), abs=1e-9)
    weighted = np.abs(curve.rate - curve.probability) @ curve.n / 500
    assert weighted == pytest.approx(float(ece(y, p)), abs=1e-12)
