"""Waits: concordance against a count of all pairs, with ties, weights and censoring, and the pinball loss."""

from __future__ import annotations

import numpy as np
import pytest

from shopkeeper.metrics.waiting import concordance, pinball_rows


def pair_by_pair(y: np.ndarray, x: np.ndarray, w: np.ndarray) -> float:
    right = pairs = 0.0
    for i in range(len(y)):
        for j in range(len(y)):
            if y[i] < y[j]:
                pairs += w[i] * w[j]
                right += w[i] * w[j] * (1.0 if x[i] < x[j] else 0.5 if x[i] == x[j] else 0.0)
    return right / pairs


def test_concordance_is_the_share_of_all_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    wait = np.minimum(rng.integers(0, 40, 70), 30).astype(float)  # the longest are not seen to the end: ties
    said = rng.integers(0, 12, 70) + wait // 4
    weight = rng.integers(0, 3, (5, 70)).astype(float)
    right = [pair_by_pair(wait, said, w) for w in weight]
    np.testing.assert_allclose(concordance(wait, said, weight), right)
    assert float(concordance(wait, said)) == pytest.approx(pair_by_pair(wait, said, np.ones(70)))
    assert float(concordance(wait, -said)) == pytest.approx(1 - float(concordance(wait, said)))
    some = rng.permutation(70)
    assert float(concordance(wait[some], said[some])) == pytest.approx(float(concordance(wait, said)))


def test_concordance_of_waits_that_say_nothing_of_each_other_is_no_number():
    assert np.isnan(concordance(np.full(4, 30.0), np.arange(4.0)))
    assert float(concordance(np.array([1.0, 2.0, 30.0, 30.0]), np.array([1.0, 2.0, 9.0, 3.0]))) == 1
    assert float(concordance(np.array([1.0, 2.0]), np.array([5.0, 5.0]))) == 0.5


def test_pinball_loss_is_that_of_scikit_learn():
    from sklearn.metrics import mean_pinball_loss

    rng = np.random.default_rng(1)
    y, x = rng.exponential(9, 50), rng.exponential(9, (50, 3))
    levels = (0.1, 0.5, 0.9)
    each = [mean_pinball_loss(y, x[:, q], alpha=level) for q, level in enumerate(levels)]
    assert pinball_rows(y, x, levels).mean() == pytest.approx(np.mean(each))
