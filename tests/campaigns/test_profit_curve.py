"""What a retention campaign brings, by how many are contacted: against a slow count, and its own theory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shopkeeper.evaluation.profit import Profit
from shopkeeper.evaluation.profit_curve import expected_profit, profit_curve

OWN = Profit(currency="EUR", customer_value=120.0, offer_cost=10.0, contact_cost=0.5, success_rate=0.3)


def customers(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Who leaves, and the true probability of it."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 3, n)
    return (rng.random(n) < p).astype(float), p


def test_each_point_is_what_contacting_the_first_brings_counted_one_by_one():
    leaves, p = customers(200)
    found = profit_curve(leaves, p, np.arange(200), OWN, resamples=20)
    order = sorted(range(200), key=lambda i: -p[i])
    for share, value in zip(found.share, found.profit, strict=True):
        slow = sum(0.3 * 110 - 0.5 if leaves[i] else -10.5 for i in order[: round(share * 200)])
        assert value == pytest.approx(slow, abs=1e-9)
    assert found.everybody.profit == pytest.approx(found.profit[-1])
    threshold = 10.5 / (0.3 * 110 - 0.5 + 10.5)
    assert found.threshold == pytest.approx(threshold)
    assert found.by_probability.share == pytest.approx((p >= threshold).mean())
    best = max(range(201), key=lambda k: sum(32.5 if leaves[i] else -10.5 for i in order[:k]))
    assert found.best.share == pytest.approx(best / 200)
    assert found.best.profit >= found.by_probability.profit


def test_with_true_probabilities_the_threshold_is_the_best_share_and_intervals_hold_the_truth():
    inside, inside_best = [], []
    for seed in range(60):
        leaves, p = customers(400, seed)
        found = profit_curve(leaves, p, np.arange(400), OWN, resamples=100, seed=seed)
        truth = 400 * np.mean([OWN.of_contact(q) for q in customers(20_000, 1000)[1] if q >= OWN.threshold] or [0])
        truth *= (customers(20_000, 1000)[1] >= OWN.threshold).mean()
        inside.append(found.by_probability.low <= truth <= found.by_probability.high)
        share = (customers(20_000, 1000)[1] >= OWN.threshold).mean()
        inside_best.append(found.best.share_low <= share <= found.best.share_high)  # type: ignore[operator]
    assert np.mean(inside) > 0.85
    assert np.mean(inside_best) > 0.85


def test_a_model_that_says_the_same_of_all_is_a_straight_line():
    leaves, _ = customers(300)
    found = profit_curve(leaves, np.full(300, 0.3), np.arange(300), OWN, resamples=20)
    assert found.profit == pytest.approx(found.share * found.profit[-1])


def test_nobody_is_contacted_beyond_the_capacity():
    leaves, p = customers(500)
    few = profit_curve(leaves, p, np.arange(500), replace(OWN, capacity=20.0), resamples=50)
    assert few.by_probability.share == few.best.share == pytest.approx(20 / 500)
    assert few.by_probability.profit == pytest.approx(
        sum(32.5 if leaves[i] else -10.5 for i in np.argsort(-p, kind="stable")[:20])
    )
    expected = expected_profit(p, replace(OWN, capacity=20.0))
    assert expected["best"]["customers"] == 20
    assert expected["all"]["customers"] == 500


def test_rows_of_one_customer_are_drawn_together():
    leaves, p = customers(100)
    once = profit_curve(leaves, p, np.arange(100), OWN, resamples=300)
    thrice = profit_curve(np.repeat(leaves, 3), np.repeat(p, 3), np.repeat(np.arange(100), 3), OWN, resamples=300)
    width, wide = (c.everybody.high - c.everybody.low for c in (once, thrice))
    assert wide == pytest.approx(3 * width, rel=0.05)


def test_what_is_expected_is_what_comes_where_the_probabilities_are_true():
    rng, inside = np.random.default_rng(5), []
    _, p = customers(1000)
    said = expected_profit(p, OWN)["best"]
    for _ in range(300):
        leaves = (rng.random(1000) < p)[p >= OWN.threshold].astype(float)
        inside.append(said["low"] <= OWN.of_contact(leaves).sum() <= said["high"])
    assert said["customers"] == (p >= OWN.threshold).sum()
    assert 0.91 < np.mean(inside) < 0.99
