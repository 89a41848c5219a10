"""The customer table: what it holds, its intervals, and paired comparisons."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Predictions
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.customers.logistic import Logistic
from shopkeeper.errors import UserError
from shopkeeper.evaluation.aggregates import compare_aggregates
from shopkeeper.evaluation.compare import Comparison
from shopkeeper.evaluation.profit import Profit
from shopkeeper.evaluation.resampling import drawn_rows
from shopkeeper.evaluation.rows.labels import customer_table
from shopkeeper.evaluation.table import metadata_of, summarise, values_of
from shopkeeper.models.fit import Fit

OWN_VALUES = {"currency": "EUR", "customer_value": 200, "offer_cost": 10, "contact_cost": 1, "success_rate": 0.3}
SHOP = {"name": "shop", "profit": {**OWN_VALUES, "success_trials": 20}}


def pair(a: pa.Table, b: pa.Table, metric: str, **options: Any) -> Comparison:
    (found,) = compare_aggregates({"a": a, "b": b}, [metric], **options)
    return found


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    prepared = toy_shop(tmp_path_factory.mktemp("shop"), n_users=700)
    cohorts = [build_cohort(prepared, t, 90, 90) for t in CUTOFFS]
    tables = {}
    for model in (BaseRate(), Logistic()):
        model.fit(cohorts[0], cohorts[1], Fit(seed=0))
        name = type(model).__name__
        tables[name] = customer_table(prepared, cohorts[2], model.predict(cohorts[2]), {"model": name, "part": "test"})
    return prepared, cohorts[2], tables


def test_every_row_of_the_cohort_is_there_with_label_probability_and_losses(setting, tmp_path):
    prepared, cohort, tables = setting
    pq.write_table(tables["Logistic"], tmp_path / "test.parquet")
    table = pq.read_table(tmp_path / "test.parquet")
    assert table.num_rows == len(cohort)
    assert str(table.schema.field("instant").type) == "timestamp[us, tz=UTC]"
    assert table["user_id"][0].as_py() == prepared.users["user_id"][int(cohort.customer[0]) - 1].as_py()
    y, p = table["label"].to_numpy(), table["probability"].to_numpy()
    assert table["brier"].to_numpy() == pytest.approx((y - p) ** 2)
    assert table["log_loss"].to_numpy() == pytest.approx(-np.log(np.where(y == 1, p, 1 - p)))
    meta = metadata_of(table)
    assert meta["model"] == "Logistic"
    assert meta["horizon_days"] == 90
    assert len(meta["target_hash"]) == 64
    assert set(table["slice:recency"].unique().to_pylist()) == {"under 30 days", "30-59 days", "60-89 days"}


def test_the_summary_is_json_with_intervals_around_the_values(setting):
    _, cohort, tables = setting
    summary = summarise(tables["Logistic"], resamples=200, profit=Profit.of(SHOP["profit"], "shop"))
    json.dumps(summary, allow_nan=False)
    p = tables["Logistic"]["probability"].to_numpy()
    assert summary["auroc"]["value"] == pytest.approx(roc_auc_score(cohort.label, p))
    assert summary["base_rate"]["value"] == pytest.approx(cohort.label.mean())
    for name in ("auroc", "average_precision", "log_loss", "brier", "ece", "base_rate", "lift_quality", "emp"):
        entry = summary[name]
        assert entry["low"] < entry["value"] < entry["high"], name
        assert entry["n"] == len(cohort)
    assert summary["ece_if_calibrated"]["low"] > 0
    off, telling, task = (summary[f"brier_{n}"]["value"] for n in ("miscalibration", "discrimination", "uncertainty"))
    assert off - telling + task == pytest.approx(summary["brier"]["value"])
    assert min(off, telling) >= 0
    narrow = summarise(tables["Logistic"], resamples=200, confidence=0.5)
    assert narrow["auroc"]["high"] - narrow["auroc"]["low"] < summary["auroc"]["high"] - summary["auroc"]["low"]


def test_blank_scores_are_counted_and_kept_with_their_reason(setting):
    prepared, cohort, tables = setting
    p = tables["Logistic"]["probability"].to_numpy().copy()
    p[:10] = np.nan
    reason = np.where(np.isnan(p), "no history before the cutoff", "")
    table = customer_table(prepared, cohort, Predictions(p, reason), {"model": "x"})
    assert table["probability"].null_count == table["log_loss"].null_count == 10
    summary = summarise(table, resamples=20)
    assert summary["auroc"]["n"] == len(cohort) - 10
    assert summary["scored"]["value"] == pytest.approx(1 - 10 / len(cohort))
    compared = pair(table, tables["Logistic"], "auroc", resamples=20)
    assert (compared.n, compared.difference) == (len(cohort) - 10, 0)
    blank = Predictions(np.full(len(cohort), np.nan), np.full(len(cohort), "too few positives"))
    assert summarise(customer_table(prepared, cohort, blank, {}))["scored"]["value"] == 0


def test_nan_without_a_reason_and_impossible_probabilities_are_refused(setting):
    prepared, cohort, _ = setting
    n = len(cohort)
    with pytest.raises(UserError, match="NaN without a reason"):
        customer_table(prepared, cohort, Predictions(np.full(n, np.nan)), {})
    with pytest.raises(UserError, match=r"in \[0, 1\]"):
        customer_table(prepared, cohort, Predictions(np.full(n, 1.5)), {})


def test_one_class_gives_nulls_not_a_crash(setting):
    prepared, cohort, tables = setting
    ones = replace(cohort, label=np.ones(len(cohort)))
    table = customer_table(prepared, ones, Predictions(tables["Logistic"]["probability"].to_numpy()), {})
    summary = summarise(table, resamples=20)
    assert summary["auroc"] == {"value": None, "low": None, "high": None, "n": len(cohort)}
    assert summary["log_loss"]["value"] > 0


def test_the_better_model_is_found_and_a_model_equals_itself(setting):
    _, _, tables = setting
    found = pair(tables["BaseRate"], tables["Logistic"], "auroc", resamples=500)
    assert found.low > 0.1
    assert found.p_value < 0.01
    assert pair(tables["BaseRate"], tables["Logistic"], "log_loss", resamples=500).high < 0
    same = pair(tables["Logistic"], tables["Logistic"], "auroc", resamples=50)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_interval_and_p_value_of_an_aggregate_say_the_same(setting):
    """Models that differ a little, at several levels: found and not found, and never one without the other."""
    prepared, cohort, tables = setting
    p = tables["Logistic"]["probability"].to_numpy()
    said = set()
    for noise in (0.02, 0.05, 0.12):
        moved = np.clip(p + np.random.default_rng(1).normal(0, noise, len(p)), 0.01, 0.99)
        other = customer_table(prepared, cohort, Predictions(moved), {})
        for confidence in (0.5, 0.8, 0.95, 0.99):
            found = pair(tables["Logistic"], other, "brier", resamples=200, confidence=confidence)
            excluded = not found.low <= 0 <= found.high
            assert excluded == (found.p_value <= 1 - confidence), found
            said.add(excluded)
    assert said == {True, False}


def test_a_figure_of_all_rows_has_no_value_of_a_row_and_it_is_said_which_have(setting):
    _, _, tables = setting
    with pytest.raises(UserError, match=r"auroc is a figure of all rows together.*a mean over rows: log_loss, brier$"):
        values_of(tables["Logistic"], "auroc")


def test_rows_are_paired_by_customer_and_cutoff_not_by_position(setting):
    _, _, tables = setting
    shuffled = tables["Logistic"].take(np.random.default_rng(0).permutation(tables["Logistic"].num_rows))
    assert pair(shuffled, tables["Logistic"], "auroc", resamples=20).difference == 0


def test_tables_of_different_tasks_are_not_compared_and_unknown_metrics_are_named(setting):
    prepared, cohort, tables = setting
    flipped = replace(cohort, label=1 - cohort.label)
    other = customer_table(prepared, flipped, Predictions(tables["Logistic"]["probability"].to_numpy()), {"model": "y"})
    with pytest.raises(UserError, match="target hashes differ"):
        pair(tables["Logistic"], other, "auroc")
    with pytest.raises(UserError, match="Did you mean 'auroc'"):
        pair(tables["Logistic"], tables["Logistic"], "auroq")


def test_a_customer_is_drawn_with_all_rows():
    customer = np.array([0, 0, 1, 2, 2, 2])
    w = np.concatenate(list(drawn_rows(customer, 300, seed=0)))
    assert (w[:, 0] == w[:, 1]).all()
    assert (w[:, 3] == w[:, 5]).all()
    assert (w[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert w[:, 2].mean() == pytest.approx(1, abs=0.15)


def test_intervals_cover_the_truth_as_often_as_they_say(setting):
    prepared, cohort, _ = setting
    rng = np.random.default_rng(3)
    p = rng.beta(2, 3, len(cohort))
    truth = float((p * (1 - p)).mean())  # expected Brier score of true probabilities
    hits = 0
    for seed in range(100):
        label = (rng.random(len(p)) < p).astype(float)
        table = customer_table(prepared, replace(cohort, label=label), Predictions(p), {})
        found = compare_free_brier(table, seed)
        hits += found[0] <= truth <= found[1]
    assert 88 <= hits <= 100


def compare_free_brier(table, seed: int) -> tuple[float, float]:
    rows = table["brier"].to_numpy()
    customer = np.arange(len(rows))
    means = np.concatenate([w @ rows / w.sum(axis=1) for w in drawn_rows(customer, 200, seed)])
    return tuple(np.quantile(means, (0.025, 0.975)))


def test_there_is_no_profit_without_the_shops_own_values(setting):
    table = setting[2]["Logistic"]
    assert Profit.of(None, "shop") is None
    assert "emp" not in summarise(table, resamples=20)
    whole = summarise(table, resamples=20, profit=Profit.of(SHOP["profit"], "shop"))["emp"]["value"]
    money = ("customer_value", "offer_cost", "contact_cost")
    twice = Profit.of(SHOP["profit"] | {k: 2 * OWN_VALUES[k] for k in money}, "shop")
    assert summarise(table, resamples=20, profit=twice)["emp"]["value"] == pytest.approx(2 * whole)


def test_a_rate_that_is_known_exactly_earns_what_it_says():
    """All who leave are contacted: (rate (value - offer) - contact) for each of them, half of the base."""
    known = Profit.of(OWN_VALUES, "shop")
    assert known.per_customer(np.array([1, 0]), np.array([0.9, 0.1])) == pytest.approx((0.3 * 190 - 1) / 2, rel=1e-6)
    assert known.as_json() == OWN_VALUES


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"offer_cost": None}, " lacks offer_cost; give the shop's own values"),
        ({"ofer_cost": 1}, " has the unknown key 'ofer_cost'. Did you mean 'offer_cost'"),
        ({"offer_cost": 300}, " needs 0 < offer_cost < customer_value"),
        ({"success_rate": 1.5}, " needs success_rate between 0 and 1"),
        ({"contact_cost": "cheap"}, ".contact_cost must be a number, got .cheap."),
    ],
)
def test_values_that_cannot_be_are_refused_with_their_place(change, said):
    with pytest.raises(UserError, match=f"conf/dataset/shop.yaml: profit{said}"):
        Profit.of({**OWN_VALUES, **change}, "shop")


def test_customers_are_told_apart_by_the_channel_of_their_last_event_before_the_cutoff(setting):
    prepared, cohort, tables = setting
    assert "slice:last_channel" not in tables["Logistic"].column_names  # this log has no channels
    channel = np.zeros(len(prepared.events.item), np.int8)
    last = cohort.end - 1
    channel[last] = 1 + np.arange(len(cohort)) % 3  # web, store, app
    channel[last[0]] = 0
    other = replace(prepared.events, channel=channel)
    with_channels = replace(prepared, events=other, manifest={**prepared.manifest, "channels": ["web", "store", "app"]})
    asked = replace(cohort, events=other)
    table = customer_table(with_channels, asked, Predictions(np.full(len(cohort), 0.5)), {"model": "half"})
    found = table["slice:last_channel"].to_pylist()
    assert found[:4] == ["unknown", "store", "app", "web"]
    later = channel.copy()
    later[cohort.end[cohort.end < len(later)]] = 3  # of the next event, which is nobody's business here
    later[last] = channel[last]
    again = customer_table(
        with_channels, replace(cohort, events=replace(other, channel=later)), Predictions(np.full(len(cohort), 0.5)),
        {"model": "half"},
    )  # fmt: skip
    assert again["slice:last_channel"].to_pylist() == found
