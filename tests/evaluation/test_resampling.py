"""One way to draw customers: every interval and p-value that is about the same customers sees the same draws."""

from __future__ import annotations

import numpy as np
import pytest

from shopkeeper.evaluation.intervals import resampled_means
from shopkeeper.evaluation.resampling import drawn, flipped


def test_the_draws_are_the_same_however_they_are_cut():
    whole = np.concatenate(list(drawn(11, 50, 3, 50)))
    for block in (1, 7, 16, 80):
        assert np.array_equal(np.concatenate([w.copy() for w in drawn(11, 50, 3, block)]), whole)
    coins = np.concatenate(list(flipped(11, 50, 3, 56)))
    assert np.array_equal(np.concatenate(list(flipped(11, 50, 3, 16))), coins)
    assert not np.array_equal(whole, np.concatenate(list(drawn(11, 50, 4, 50))))
    assert not np.array_equal(coins, np.concatenate(list(flipped(11, 50, 4, 56))))


def test_each_resample_draws_as_many_customers_as_there_are_and_each_as_often_as_any():
    weight = np.concatenate(list(drawn(9, 4000, 0, 4000)))
    assert (weight.sum(axis=1) == 9).all()
    assert weight.mean(axis=0) == pytest.approx(1, abs=0.06)
    assert weight.var(axis=0) == pytest.approx(8 / 9, abs=0.1)  # binomial: with replacement
    coins = np.concatenate(list(flipped(9, 4000, 0, 4000)))
    assert set(np.unique(coins)) == {0, 1}
    assert coins.mean(axis=0) == pytest.approx(0.5, abs=0.04)


def test_an_interval_of_means_is_over_these_draws():
    value = np.random.default_rng(1).random((6, 2))
    weight = np.concatenate(list(drawn(6, 40, 7, 40)))
    assert resampled_means(value, np.ones((6, 1)), 40, 7) == pytest.approx(weight @ value / 6)
