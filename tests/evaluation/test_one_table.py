"""Rows about items and rows about labels are one table: what differs is declared, and a further kind is."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Predictions
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.errors import UserError
from shopkeeper.evaluation.aggregates import compare
from shopkeeper.evaluation.rows import kinds
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.rows.kinds import ITEMS, LABELS, Aggregate, Kind, kind_of
from shopkeeper.evaluation.rows.labels import customer_table
from shopkeeper.evaluation.table import KEY, WHO, metadata_of, metrics_of, read_table, slices_of, summarise, write_table
from shopkeeper.models.about import About
from shopkeeper.tasks.base import Bands
from tiny import cycle_histories, days, tiny_prepared


class Next:
    """The item after the last one; for some customers one or two too far."""

    about = About()

    def score(self, requests):
        ahead = (np.arange(13)[None] - requests.last_items(1).astype(int) - 1 - requests.user[:, None] % 3) % 12
        return (-ahead).astype(np.float32)


@pytest.fixture(scope="module")
def about_items(tmp_path_factory) -> pa.Table:
    histories = cycle_histories(30, 12, 8)
    _, split = tiny_prepared(tmp_path_factory.mktemp("items") / "tiny", histories, days(histories, 19_000), n_items=12)
    return evaluate_requests(Next(), split, "test")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    prepared = toy_shop(tmp_path_factory.mktemp("shop"), n_users=120)
    return prepared, build_cohort(prepared, CUTOFFS[2], 90, 90)


def said(cohort, seed: int, **options) -> pa.Table:
    prepared, asked = cohort
    p = np.clip(asked.label * 0.2 + np.random.default_rng(seed).random(len(asked)) * 0.8, 0.01, 0.99)
    return customer_table(prepared, asked, Predictions(p), {"target_hash": "same"}, **options)


def test_each_kind_declares_the_columns_that_its_rows_have(about_items, cohort):
    for table, kind in ((about_items, ITEMS), (said(cohort, 0), LABELS)):
        assert kind_of(table) is kind
        assert table.column_names[:5] == list(WHO)
        declared = {field.name: field for field in kind.columns}
        metrics, slices = set(metrics_of(table)), {f"slice:{name}" for name in slices_of(table)}
        for name in set(table.column_names) - metrics - slices:
            field = declared[name]
            assert str(table.schema.field(name).type).replace("list<element", "list<item") in (
                field.kind, field.kind.replace("list<", "list<item: "),
            ), name  # fmt: skip
        assert {*kind.truth, *kind.answer} <= set(table.column_names)
        assert not metrics & {*kind.truth, *kind.answer}


def test_a_table_reads_as_it_was_written_whole_or_in_batches(about_items, cohort, tmp_path):
    for table in (about_items, said(cohort, 0)):
        write_table(table, tmp_path / "whole.parquet")
        write_table(iter(table.to_batches(max_chunksize=7)), tmp_path / "batches.parquet")
        for name in ("whole", "batches"):
            found = read_table(tmp_path / f"{name}.parquet")
            assert found.equals(table)
            assert metadata_of(found) == metadata_of(table)


def test_figures_that_are_asked_for_by_name_are_those_of_the_whole_summary(about_items, cohort):
    for table, names in ((about_items, ["mrr", "ndcg@10"]), (said(cohort, 0), ["ece", "log_loss", "lift_quality"])):
        whole = summarise(table, resamples=30)
        some = summarise(table, names, resamples=30)
        assert set(some) == set(names)
        for name in names:
            assert some[name] == pytest.approx(whole[name]), name
            assert some[name]["low"] < some[name]["value"] < some[name]["high"]
    with pytest.raises(UserError, match=r"has no metric 'auroc'"):
        summarise(about_items, ["auroc"])


def test_means_and_aggregates_are_compared_by_one_call_as_two_families(about_items, cohort):
    tables = {"a": said(cohort, 0), "b": said(cohort, 1), "c": said(cohort, 2)}
    found = compare(tables, ["log_loss", "auroc", "ece", "auroc"], resamples=50, test="randomisation")
    assert [(c.metric, c.family) for c in found] == 3 * [("log_loss", 3)] + 3 * [("auroc", 6)] + 3 * [("ece", 6)]
    assert compare({"a": tables["a"]}, ["log_loss", "auroc"]) == []
    with pytest.raises(UserError, match="has no metric 'auroc'"):  # of lists there is none
        compare({"a": about_items, "b": about_items}, ["auroc"])


def test_a_task_names_its_own_slices_of_customers(cohort):
    slices = {
        "how_often": Bands("orders", (3,), ("seldom", "often")),
        "unheard": Bands("no_such_feature", (1,), ("", "")),
    }
    table = said(cohort, 0, slices=slices)
    orders = cohort[1].features[:, list(cohort[1].feature_names).index("orders")]
    assert table["slice:how_often"].to_pylist() == np.where(orders < 3, "seldom", "often").tolist()
    assert not {"orders", "recency", "unheard"} & set(slices_of(table))


def test_a_further_kind_of_rows_is_one_declaration(monkeypatch):
    """Amounts: the mean of a column, a figure that is no mean, both with intervals, and both compared."""

    def off(truth, amount, weight=None):
        miss = (amount - truth) if weight is None else weight * (amount - truth)
        return np.abs(miss.sum(axis=-1)) / (truth.sum() if weight is None else weight @ truth)

    kind = Kind(truth=("spent",), answer=("amount",), aggregates={"off": Aggregate(off)})
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, kind))
    rng = np.random.default_rng(0)
    spent = rng.gamma(2.0, 10.0, 80)

    def table(factor: float) -> pa.Table:
        amount = spent * factor
        columns = {
            "request": np.arange(80), "user": np.arange(1, 81), "user_id": [f"c{i:02}" for i in range(80)],
            "instant": np.arange(80), "spent": spent, "amount": amount, "absolute_error": np.abs(amount - spent),
        }  # fmt: skip
        return pa.table(columns).replace_schema_metadata({KEY: json.dumps({"target_hash": "same"})})

    tables = {"good": table(1.1), "poor": table(2.0)}
    assert metrics_of(tables["good"]) == ["absolute_error"]
    summary = summarise(tables["good"], resamples=50)
    assert set(summary) == {"absolute_error", "off"}
    assert summary["off"]["value"] == pytest.approx(0.1)
    found = compare(tables, ["absolute_error", "off"], resamples=50)
    assert [c.metric for c in found] == ["absolute_error", "off"]
    assert found[1].difference == pytest.approx(0.9)
    assert found[0].winner == "good"
