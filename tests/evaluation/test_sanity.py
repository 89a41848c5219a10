"""Sanity checks and the columns beyond accuracy: they find what was planted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from shopkeeper.data.requests import Events, Targets
from shopkeeper.errors import UserError
from shopkeeper.evaluation.alarms.sanity import (
    asked_without_order,
    checks,
    missing_baselines,
    orders_worth,
    shuffled_histories,
    shuffled_training,
    split_gap,
)
from shopkeeper.evaluation.beyond import list_matrix, rarefaction
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import summarise
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.schema import EVENT_CODE
from tiny import cycle_histories, days, tiny_prepared


class Next:
    """Recommends what follows the last item: order is all that counts."""

    about = About()

    def __init__(self, n_items=12, sign=1):
        self.n_items, self.sign = n_items, sign

    def score(self, requests):
        last = requests.last_items(1)[:, 0].astype(int)
        ahead = (np.arange(self.n_items + 1)[None] - last[:, None] - 1) % self.n_items
        return (-ahead * self.sign).astype(np.float32)


class Constant(Next):
    def score(self, requests):
        return np.zeros((len(requests), self.n_items + 1), np.float32)


class Bag(Next):
    """Recommends by how often an item is in the history: order counts nothing."""

    def score(self, requests):
        score = np.zeros((len(requests), self.n_items + 1), np.float32)
        offsets, rows = requests.flat()
        np.add.at(score, (np.repeat(np.arange(len(requests)), np.diff(offsets)), requests.events.item[rows]), 1)
        return score


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    histories = cycle_histories(60, 12, 8)
    return tiny_prepared(
        tmp_path_factory.mktemp("sanity") / "tiny",
        histories,
        days(histories),
        columns={"price": [[float(i) for i in h] for h in histories]},
        items={
            "category": ["a", "b", "c"] * 4,
            "margin": [i / 2 for i in range(1, 13)],
            "available": [True] * 6 + [False] * 6,
        },
    )


def test_shuffled_histories_hold_the_same_items_at_the_same_times(shop):
    _, split = shop
    requests, _ = split.part("test")
    mixed = shuffled_histories(requests, seed=1)
    before, after = requests.last_items(7), mixed.last_items(7)
    assert np.array_equal(np.sort(before), np.sort(after))
    assert (before != after).any(1).mean() > 0.9
    assert np.array_equal(mixed.events.timestamp[mixed.start[5] : mixed.end[5]], np.array(days([range(7)])[0]))
    assert np.array_equal(mixed.events.price, mixed.events.item)
    assert np.array_equal(shuffled_histories(requests, seed=1).last_items(7), after)
    assert np.array_equal(requests.last_items(7), before)


def test_shuffled_training_leaves_everything_after_the_training_end(shop):
    prepared, split = shop
    mixed = shuffled_training(split, seed=2)
    held_out = np.arange(480) >= split.train_end[prepared.event_user - 1]
    assert np.array_equal(mixed.prepared.events.item[held_out], prepared.events.item[held_out])
    rows = ~held_out
    assert not np.array_equal(mixed.prepared.events.item[rows], prepared.events.item[rows])
    for user in (1, 30):
        a, b = prepared.offsets[user - 1], split.train_end[user - 1]
        assert sorted(mixed.prepared.events.item[a:b]) == sorted(prepared.events.item[a:b])


def test_order_matters_to_a_model_of_sequences_and_not_to_one_of_sets(shop):
    _, split = shop
    for model, least in ((Next(), 0.3), (Bag(), 0.0)):
        table = evaluate_requests(model, split)
        mixed = asked_without_order(model, table, split, "ndcg@10")
        found = orders_worth({"model": mixed}, {"model": table}, "ndcg@10")["model"]
        assert found.difference > least if least else found.difference == 0.0
        assert found.winner == ("as it was" if least else None)


def test_what_order_is_worth_to_several_models_is_judged_as_one_family(shop):
    _, split = shop
    tables = {"next": evaluate_requests(Next(), split), "bag": evaluate_requests(Bag(), split)}
    models = {"next": Next(), "bag": Bag()}
    mixed = {name: asked_without_order(models[name], tables[name], split, "ndcg@10") for name in models}
    found = orders_worth(mixed, tables, "ndcg@10")
    assert {name: (c.a, c.b, c.family) for name, c in found.items()} == dict.fromkeys(
        models, ("shuffled", "as it was", 2)
    )
    (alone,) = orders_worth({"next": mixed["next"]}, tables, "ndcg@10").values()
    assert found["next"].difference == alone.difference
    assert found["next"].p_adjusted >= alone.p_adjusted
    assert found["bag"].difference == 0.0
    assert orders_worth({}, tables, "ndcg@10") == {}


def test_checks_count_what_no_model_can_find_and_answers_that_say_nothing(tmp_path):
    histories = [[1, 2, 3, 4], [2, 3, 4, 9], [3, 1, 2, 5], [1, 3, 2, 1]]
    _, split = tiny_prepared(tmp_path / "t", histories, n_items=10, catalogue=[1, 2, 3, 4, 5])
    found = checks(evaluate_requests(Constant(10), split), split)
    assert (found["requests"], found["targets"]) == (4, 4)
    assert found["cold_targets"] == 0.75  # 4, 9 and 5 are in no training row
    assert found["outside_catalogue"] == found["without_rank"] == 0.25
    assert found["constant"] == 1.0
    assert any("equal scores" in w for w in found["warnings"])
    json.dumps(found, allow_nan=False)
    assert checks(evaluate_requests(Next(10), split), split)["constant"] == 0.0


def test_duplicates_in_lists_are_found(tmp_path):
    class Twice:
        about = About(answers="lists")

        def recommend(self, requests, k):
            return np.tile([1, 2, 1], (len(requests), 1))

    _, split = tiny_prepared(tmp_path / "t", cycle_histories(5, 6, 4))
    assert checks(evaluate_requests(Twice(), split, k=(3,)), split)["lists_with_duplicates"] == 1.0


def test_a_table_without_a_baseline_is_told_so():
    assert missing_baselines(["sasrec", "popularity#2", "recency"]) is None
    assert "model=popularity" in missing_baselines(["sasrec", "ease"])
    assert "no recency baseline" in missing_baselines(["sasrec", "popularity"])


def test_the_gap_between_splits_shows_models_that_change_places(shop):
    _, split = shop
    good, bad = (evaluate_requests(Next(sign=s), split) for s in (1, -1))
    found = split_gap({"a": good, "b": bad, "c": good}, {"a": bad, "b": good}, "ndcg@10")
    assert found["reversed"] == [["a", "b"]]
    assert found["kendall_tau"] == -1.0
    assert found["statement"] == (
        "the highest NDCG@10 is that of a under leave-one-out, of b in time; 1 of 1 pairs of models change places; "
        "no difference between two of them was tested here"
    )
    assert "best" not in split_gap({"a": good}, {"a": bad}, "ndcg@10")["statement"]
    column = bad.column_names.index("ndcg@10")
    undefined = bad.set_column(column, "ndcg@10", pa.nulls(len(bad), pa.float64()))
    assert split_gap({"a": good, "b": bad}, {"a": good, "b": undefined}, "ndcg@10")["kendall_tau"] is None
    with pytest.raises(UserError, match="is not defined for anybody"):
        split_gap({"a": good}, {"a": undefined}, "ndcg@10")
    with pytest.raises(UserError, match="no model has a run on both"):
        split_gap({"a": good}, {"b": bad})


def test_a_shop_gets_columns_for_money_stock_and_repeats(shop):
    _, split = shop
    table = evaluate_requests(Next(), split, k=(3,))
    assert table["price_ndcg@3"].to_pylist() == table["margin_ndcg@3"].to_pylist() == [1.0] * 60
    assert table["revenue@3"].to_pylist() == [float(t[0]) for t in table["targets"].to_pylist()]
    assert table["margin@3"].to_pylist() == [t[0] / 2 for t in table["targets"].to_pylist()]
    lists = list_matrix(table)
    assert np.allclose(table["unavailable@3"].to_numpy(), (lists > 6).mean(1))
    assert np.allclose(
        table["ndcg_repeat@3"].to_numpy() + table["ndcg_explore@3"].to_numpy(), table["ndcg@3"].to_numpy()
    )
    assert np.allclose(table["ndcg_repeat@3"].to_numpy(), 0.0)  # nobody has come round to an item yet
    assert table["diversity@3"].to_pylist() == [1.0] * 60
    events = split.prepared.events
    unpriced = replace(split.prepared, events=replace(events, price=np.full_like(events.price, np.nan)))
    free = evaluate_requests(Next(), replace(split, prepared=unpriced), k=(3,))  # a log of views, beside a few prices
    assert not {"price_ndcg@3", "revenue@3"} & set(free.column_names)  # not 0: nobody knows
    seen = evaluate_requests(Next(), split, k=(3,), filter_seen=True)
    assert "ndcg_repeat@3" not in seen.column_names


@pytest.mark.parametrize("filter_seen", [False, True])
def test_the_most_popular_items_are_never_a_surprise(shop, filter_seen):
    _, split = shop
    best_sellers = Popularity()
    best_sellers.fit(split.prepared, split, Fit(progress=False, target_events=("view", "purchase", "rating")))
    assert (
        evaluate_requests(best_sellers, split, k=(3,), filter_seen=filter_seen)["serendipity@3"].to_pylist() == [0] * 60
    )
    assert sum(evaluate_requests(Next(), split, k=(3,), filter_seen=filter_seen)["serendipity@3"].to_pylist()) > 0


def test_set_statistics_have_no_interval_and_are_compared_at_equal_n(shop):
    _, split = shop
    table = evaluate_requests(Next(), split, k=(3,))
    summary = summarise(table)
    assert summary["coverage@3"] == {"value": 1.0, "low": None, "high": None, "n": 60}
    assert summary["gini@3"]["value"] == pytest.approx(0.0)
    curve = rarefaction(table, 3, 12)
    assert curve["n"][0] == 1
    assert curve["coverage"][0] == pytest.approx(3 / 12)
    assert curve["coverage"][-1] == pytest.approx(1.0)
    assert np.all(np.diff(curve["coverage"]) >= 0)


def test_with_costs_money_is_what_was_paid_less_what_it_cost_also_in_a_sale(tmp_path):
    histories = cycle_histories(60, 12, 8)
    cost = [0.75 * i for i in range(1, 12)] + [None]  # of item 12 nobody knows it
    paid = [[i / 2 if u % 2 else float(i) for i in h] for u, h in enumerate(histories)]  # every other customer: a sale
    columns = {"price": paid, "quantity": [[2] * len(h) for h in paid]}
    items = {"cost": cost, "margin": [99.0] * 12}
    _, split = tiny_prepared(tmp_path / "tiny", histories, days(histories), columns=columns, items=items)
    table = evaluate_requests(Next(), split, k=(3,))
    for who, targets, kept, ranked in zip(
        table["user_id"].to_pylist(), table["targets"].to_pylist(), table["margin@3"].to_pylist(),
        table["margin_ndcg@3"].to_pylist(), strict=True,
    ):  # fmt: skip
        (item,) = targets
        sale = int(who[1:]) % 2 == 0
        assert kept == (0.0 if item == 12 else pytest.approx(2 * item * ((0.5 if sale else 1.0) - 0.75)))
        assert ranked == (1.0 if not sale and item != 12 else pytest.approx(float("nan"), nan_ok=True))
    items = {"cost": [f"{i} EUR" for i in range(1, 13)]}
    _, split = tiny_prepared(tmp_path / "text", histories, days(histories), columns={"price": paid}, items=items)
    with pytest.raises(UserError, match="'cost' of the items of dataset=tiny is string, not money per unit"):
        evaluate_requests(Next(), split, k=(3,))


def test_a_line_without_a_price_costs_nothing_where_it_is_counted_as_paid_with_nothing():
    events = Events(
        np.array([1, 1, 2, 2, 3], np.int32), np.full(5, EVENT_CODE["purchase"], np.int8),
        price=np.array([10.0, np.nan, 4.0, 5.0, 8.0]), quantity=np.array([1.0, 1.0, 2.0, np.nan, 1.0]),
    )  # fmt: skip
    lines = np.array([0, 2, 4, 5]), np.arange(5)
    targets = Targets(np.array([0, 3]), np.array([1, 2, 3], np.int32), np.array([0, 2, 4]), lines)
    kept = targets.earned(events, np.array([6.0, 4.5, np.nan]))
    assert kept.tolist() == [10 - 6, 2 * (4 - 4.5) + (5 - 4.5), 0]  # the first was -2: two units' cost of one price
