"""Models are compared on AUROC, average precision and calibration error as on means: one family, one resampling."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from shopkeeper.evaluation.aggregates import compare_aggregates
from shopkeeper.evaluation.table import KEY, summarise
from shopkeeper.metrics.classification import auroc
from shopkeeper.metrics.classification_reliability import ece

METRICS = ("auroc", "average_precision", "ece")


def table(label: np.ndarray, p: np.ndarray, customer: np.ndarray, name: str = "m") -> pa.Table:
    """A customer table of one model: a row per customer and cutoff."""
    found = pa.table(
        {
            "instant": np.arange(len(label)),
            "user_id": [f"c{c:04}" for c in customer],
            "label": label.astype(float),
            "probability": pa.array(np.nan_to_num(p), mask=np.isnan(p)),
        }
    )
    return found.replace_schema_metadata({KEY: json.dumps({"target_hash": "same", "model": name})})


def shop(rng: np.random.Generator, n: int, rows: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is likely of customers with several rows each, what came true, and whose row it is."""
    customer = np.repeat(np.arange(n), rows)
    likely = np.repeat(rng.beta(2, 3, n), rows)
    return likely, (rng.random(n * rows) < likely).astype(float), customer


def noisy(rng: np.random.Generator, likely: np.ndarray, by: float) -> np.ndarray:
    return np.clip(likely + rng.normal(0, by, len(likely)), 0.01, 0.99)


def test_a_better_model_is_found_on_each_metric_and_the_direction_is_the_metrics_own():
    rng = np.random.default_rng(0)
    likely, label, customer = shop(rng, 400)
    tables = {"exact": table(label, likely, customer), "poor": table(label, noisy(rng, 1 - likely, 0.1), customer)}
    found = {c.metric: c for c in compare_aggregates(tables, METRICS)}
    assert {c.winner for c in found.values()} == {"exact"}
    assert found["auroc"].difference < 0 < found["ece"].difference  # poor minus exact
    assert found["auroc"].mean_a == pytest.approx(float(auroc(label, likely)))
    assert "exact is better than poor by" in found["ece"].statement
    assert "ECE" in found["ece"].statement
    assert {c.family for c in found.values()} == {3}
    assert {(c.n, c.n_users) for c in found.values()} == {(800, 400)}


def test_intervals_and_adjusted_p_values_of_a_family_say_the_same():
    """Models that differ a little, at several levels: found and not found, and never one without the other."""
    rng = np.random.default_rng(1)
    likely, label, customer = shop(rng, 150)
    tables = {f"by {by}": table(label, noisy(rng, likely, by), customer) for by in (0.02, 0.1, 0.3)}
    said = set()
    for confidence in (0.5, 0.9, 0.99):
        for c in compare_aggregates(tables, METRICS, confidence=confidence):
            assert c.significant == (c.p_adjusted <= 1 - confidence), c
            assert c.p_adjusted >= c.p_value
            said.add(c.significant)
    assert said == {True, False}
    (alone,) = compare_aggregates({n: tables[n] for n in ("by 0.02", "by 0.3")}, ["auroc"])
    assert alone.p_adjusted == alone.p_value


def test_the_interval_is_as_wide_as_a_bootstrap_by_customer_written_out():
    """Standard error of a difference of AUROCs: customers drawn one by one, each with all of his rows."""
    rng = np.random.default_rng(2)
    likely, label, customer = shop(rng, 120, rows=3)
    a, b = noisy(rng, likely, 0.05), noisy(rng, likely, 0.2)
    (found,) = compare_aggregates({"a": table(label, a, customer), "b": table(label, b, customer)}, ["auroc"])
    drawn = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(customer == c) for c in rng.integers(0, 120, 120)])
        drawn.append(float(auroc(label[rows], b[rows])) - float(auroc(label[rows], a[rows])))
    error = (found.high - found.low) / 2 / 1.96
    assert error == pytest.approx(np.std(drawn), rel=0.25)


def test_equally_good_models_are_told_apart_no_oftener_than_the_level_says():
    rng, wrong = np.random.default_rng(3), 0
    for experiment in range(60):
        likely, label, customer = shop(rng, 60, rows=1)
        tables = {f"m{i}": table(label, noisy(rng, likely, 0.2), customer) for i in range(3)}
        found = compare_aggregates(tables, ("auroc", "ece"), confidence=0.8, resamples=200, seed=experiment)
        wrong += any(c.significant for c in found)
    assert wrong <= 19  # 12 are expected at most; 20 or more have a chance of .02 then


def test_calibration_error_is_not_worse_for_being_resampled():
    """A resample adds noise, by which ECE grows, in both models alike: the interval lies around the difference."""
    rng = np.random.default_rng(4)
    likely, label, customer = shop(rng, 300, rows=1)
    tables = {"calibrated": table(label, likely, customer), "flat": table(label, np.full(300, 0.4), customer)}
    (found,) = compare_aggregates(tables, ["ece"])
    assert found.difference == pytest.approx(float(ece(label, np.full(300, 0.4))) - float(ece(label, likely)))
    assert (found.low + found.high) / 2 == pytest.approx(found.difference)


def test_rows_that_one_model_leaves_blank_are_left_out_and_a_model_without_scores_takes_no_part():
    rng = np.random.default_rng(5)
    likely, label, customer = shop(rng, 100, rows=1)
    some = np.where(np.arange(100) < 30, np.nan, likely)
    whole, blank = table(label, likely, customer), table(label, np.full(100, np.nan), customer)
    found = compare_aggregates({"a": whole, "b": table(label, some, customer), "none": blank}, ["auroc"])
    assert [(c.a, c.b, c.n) for c in found] == [("a", "b", 70)]
    assert (found[0].difference, found[0].p_value) == (0, 1)
    others = table(label, np.where(np.arange(100) < 30, likely, np.nan), customer)
    (none,) = compare_aggregates({"some": table(label, some, customer), "others": others}, ["auroc"])
    assert (none.n, none.winner) == (0, None)
    assert none.statement == "nothing can be said of some and others on AUROC: 0 users have a value of both"
    assert compare_aggregates({"a": whole, "none": blank}, ["auroc"]) == []
    assert compare_aggregates({"a": whole}, ["auroc"]) == []


def totals(actual: np.ndarray, expected: np.ndarray, name: str = "m") -> pa.Table:
    """A table of amounts, a customer per row."""
    n = len(actual)
    found = pa.table(
        {
            "request": np.arange(n),
            "user": np.arange(1, n + 1),
            "instant": np.zeros(n, np.int64),
            "user_id": [f"c{c:04}" for c in range(n)],
            "actual": actual,
            "expected": expected,
            "blank_reason": [""] * n,
        }
    )
    return found.replace_schema_metadata({KEY: json.dumps({"target_hash": "same", "model": name})})


def test_a_metric_that_one_model_has_no_value_of_takes_nothing_from_the_others():
    rng = np.random.default_rng(6)
    actual = rng.poisson(2, 200).astype(float)
    tables = {
        "good": totals(actual, actual + rng.normal(0, 0.3, 200) ** 2),
        "poor": totals(actual, rng.random(200) * 9),
        "same_for_all": totals(actual, np.full(200, actual.mean())),  # has no rank correlation
    }
    found = {(c.metric, c.a, c.b): c for c in compare_aggregates(tables, ["rmse", "spearman"])}
    assert found["rmse", "good", "poor"].winner == "good"
    assert found["rmse", "good", "same_for_all"].winner == "good"
    assert found["spearman", "good", "poor"].winner == "good"
    for other in ("good", "poor"):
        unknown = found["spearman", other, "same_for_all"]
        assert unknown.winner is None
        assert np.isnan([unknown.low, unknown.high, unknown.p_value, unknown.p_adjusted]).all()


def test_a_resample_without_a_buyer_does_not_take_an_interval_away():
    actual = np.zeros(200)
    actual[:5] = 4.0  # one resample in 150 has none of them, and no bias
    expected = np.full(200, 0.15)
    found = summarise(totals(actual, expected), ["bias", "absolute_bias"], resamples=2000)
    assert found["absolute_bias"]["value"] == pytest.approx(50)
    assert 0 <= found["absolute_bias"]["low"] < 50 < found["absolute_bias"]["high"]
    assert found["bias"]["low"] < 50 < found["bias"]["high"]
