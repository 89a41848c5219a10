"""AUROC, average precision and proper scores equal scikit-learn's, with weights, with ties, in batches."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from shopkeeper.errors import UserError
from shopkeeper.metrics import classification
from shopkeeper.metrics.classification import auroc, average_precision, brier, brier_decomposition, log_loss

PAIRS = [
    (auroc, sk.roc_auc_score),
    (average_precision, sk.average_precision_score),
    (log_loss, sk.log_loss),
    (brier, sk.brier_score_loss),
]


def sample(seed: int, n: int = 200, tied: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    if tied:
        p = np.round(p, 1)
    y = (rng.random(n) < p).astype(float)
    y[:2] = 0, 1
    return y, p, rng.integers(0, 4, n).astype(float) + (np.arange(n) < 2)


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(classification).failed == 0
    assert doctest.testmod(classification).attempted >= 5


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scikit_learn_with_and_without_weights(ours, theirs, seed: int, tied: bool):
    y, p, w = sample(seed, tied=tied)
    assert ours(y, p) == pytest.approx(theirs(y, p), abs=1e-12)
    assert ours(y, p, w) == pytest.approx(theirs(y, p, sample_weight=w), abs=1e-12)


@pytest.mark.parametrize("metric", [ours for ours, _ in PAIRS])
def test_many_sets_of_weights_at_once_give_what_each_gives_alone(metric):
    y, p, _ = sample(3, tied=True)
    w_RN = np.random.default_rng(0).integers(0, 3, (20, len(y))).astype(float)
    assert metric(y, p, w_RN) == pytest.approx([float(metric(y, p, w)) for w in w_RN], abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_a_weight_of_k_is_the_row_k_times(seed: int, k: int):
    y, p, _ = sample(seed, 30, tied=True)
    w = np.where(np.arange(30) < 10, float(k), 1.0)
    many = np.repeat(np.arange(30), w.astype(int))
    for metric, _ in PAIRS:
        assert float(metric(y, p, w)) == pytest.approx(float(metric(y[many], p[many])), abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_ranking_metrics_ignore_the_order_of_the_rows_and_any_increasing_transformation(seed: int):
    y, p, _ = sample(seed, 40, tied=True)
    shuffled = np.random.default_rng(seed).permutation(40)
    for metric in (auroc, average_precision):
        assert metric(y[shuffled], p[shuffled]) == metric(y, p)
        assert metric(y, np.exp(3 * p)) == metric(y, p)
    assert auroc(1 - y, -p) == pytest.approx(float(auroc(y, p)), abs=1e-12)


def test_the_same_score_for_everybody_is_a_coin():
    y = np.array([1.0, 0, 0, 0])
    assert auroc(y, np.full(4, 0.3)) == 0.5
    assert average_precision(y, np.full(4, 0.3)) == 0.25


def test_one_class_only_has_no_auroc_and_no_positives_no_average_precision():
    assert np.isnan(auroc(np.ones(3), np.arange(3) / 3))
    assert np.isnan(average_precision(np.zeros(3), np.arange(3) / 3))


def test_a_sure_and_wrong_score_costs_much_but_not_infinitely():
    assert 30 < log_loss(np.array([0.0]), np.array([1.0])) < 40


@pytest.mark.parametrize(
    ("label", "p", "said"),
    [
        ([0, 1], [0.1, np.nan], "1 probabilities are NaN"),
        ([0, 1], [0.1, np.inf], "NaN or infinite"),
        ([0, 2], [0.1, 0.2], "labels must be 0 or 1, found 2"),
        ([0, 1, 1], [0.1, 0.2], "same length"),
    ],
)
def test_bad_input_is_named(label, p, said: str):
    with pytest.raises(UserError, match=said):
        auroc(np.array(label, float), np.array(p))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_the_brier_score_is_the_sum_of_its_parts_and_no_part_is_negative(seed: int, tied: bool):
    y, p, w = sample(seed, 60, tied)
    for weight in (None, w):
        parts = brier_decomposition(y, p, weight)
        total = parts.miscalibration - parts.discrimination + parts.uncertainty
        assert total == pytest.approx(float(brier(y, p, weight)), abs=1e-12)
        assert min(parts) >= -1e-12


def test_the_decomposition_is_that_of_isotonic_recalibration():
    from sklearn.isotonic import IsotonicRegression

    y, p, _ = sample(5, 300, tied=True)
    recalibrated = IsotonicRegression().fit(p, y).predict(p)
    parts = brier_decomposition(y, p)
    assert parts.miscalibration == pytest.approx(float(brier(y, p) - brier(y, recalibrated)), abs=1e-12)
    assert parts.uncertainty == pytest.approx(y.mean() * (1 - y.mean()), abs=1e-12)


def test_true_probabilities_have_little_miscalibration_and_distorted_ones_much():
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    y = (rng.random(20_000) < p).astype(float)
    assert brier_decomposition(y, p).miscalibration < 0.002
    assert brier_decomposition(y, p**3).miscalibration > 0.03
