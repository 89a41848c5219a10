"""Slices: every request in the right one, from what was known then, and the slices in which the winner loses."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.customers.build_cohort import features_of
from shopkeeper.data.requests import Targets
from shopkeeper.evaluation.intervals import mean_interval
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.rows.slices import _middle_target, add_slices, user_attributes
from shopkeeper.evaluation.slices import slice_results
from shopkeeper.evaluation.table import slices_of
from shopkeeper.features.customer.declared import Attributes, Features
from shopkeeper.models.about import About
from tiny import DAY, tiny_prepared

HOUR = DAY // 24


class Nothing:
    about = About()

    def score(self, requests):
        return np.zeros((len(requests), 7), np.float32)


@pytest.fixture(scope="module")
def sliced(tmp_path_factory):
    """Four users, leave-one-out; the tests below say what each is."""
    histories = [
        [1, 1, 1, 1, 1, 2],  # u1: five days running, then item 2 on a Saturday night
        [1, 2, 6],  # u2: twice, then silent for a hundred days
        [1, 1, 3],  # u3: all on one day
        [1, 2, 1],  # u4: two days
    ]
    times = [
        [0, DAY, 2 * DAY, 3 * DAY, 4 * DAY, 9 * DAY + 3 * HOUR],  # 1970-01-10 was a Saturday
        [0, DAY, 101 * DAY + 13 * HOUR],
        [7 * HOUR, 8 * HOUR, 9 * HOUR],
        [0, DAY, 2 * DAY],
    ]
    price = [[1, 1, 1, 1, 1, 9], [1, 2, np.nan], [1, 1, 2], [1, 3, 1]]
    prepared, split = tiny_prepared(
        tmp_path_factory.mktemp("slices") / "tiny",
        histories,
        times,
        columns={"price": price, "channel": [[1] * 6, [2] * 3, [1] * 3, [0] * 3]},
        items={"category": ["tea", "tea", "cake", None, None, "cake"]},
        users={"region": ["north", "north", "south", None]},
        channels=["web", "store"],
        n_items=6,
    )
    table = add_slices(evaluate_requests(Nothing(), split), prepared, split, "test")
    return {name: table[f"slice:{name}"].to_pylist() for name in slices_of(table)}


def test_every_slice_the_data_allows_is_there(sliced):
    assert {"history_length", "lifecycle", "item_popularity", "user", "item", "category", "time_of_day", "weekday",
            "price_band", "user_region"} <= set(sliced)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("history_length", ["5-19", "1-4", "1-4", "1-4"]),
        ("lifecycle", ["loyal", "lapsed", "new", "returning"]),
        ("category", ["tea", "cake", "cake", "tea"]),
        ("time_of_day", ["night 0-6", "afternoon 12-18", "morning 6-12", "night 0-6"]),
        ("weekday", ["weekend", "weekend", "weekday", "weekend"]),  # Saturday, Sunday, Thursday, Saturday
        ("user_region", ["north", "north", "south", "unknown"]),
        ("item_popularity", ["not in training", "not in training", "not in training", "head"]),
    ],
)
def test_each_request_is_in_its_slice(sliced, name, expected):
    assert sliced[name] == expected


def test_ninety_days_of_silence_to_the_microsecond_are_a_lapse(tmp_path):
    times = [[0, DAY, 91 * DAY - short] for short in (0, 1)]
    prepared, split = tiny_prepared(tmp_path / "tiny", [[1, 2, 3]] * 2, times, n_items=6)
    table = add_slices(evaluate_requests(Nothing(), split), prepared, split, "test")
    assert table["slice:lifecycle"].to_pylist() == ["lapsed", "returning"]


def test_an_attribute_from_outside_is_the_one_known_before_the_instant_as_features_have_it(tmp_path):
    prepared, _ = tiny_prepared(tmp_path / "tiny", [[1, 2, 3]] * 2, [[0, DAY, 2 * DAY]] * 2)
    since = pa.array([5, 9, 7], pa.timestamp("us", "UTC"))
    versions = pa.table(
        {"user": pa.array([1, 1, 2], pa.int32()), "valid_from": since, "tier": ["basic", "gold", "gold"]}
    )
    pq.write_table(versions, prepared.path / "user_versions.parquet")
    user, at = np.array([1, 1, 1, 1, 2, 2]), np.array([5, 6, 9, 10, 7, 8])
    told = Features(attributes=Attributes({"tier": ["basic", "gold"]}))
    found, features = user_attributes(prepared, user, at), features_of(prepared, user, at, told)
    assert found["user_tier"].tolist() == ["unknown", "basic", "basic", "gold", "unknown", "gold"]
    for tier in ("basic", "gold"):
        column = features.values[:, features.names.index(f"attribute_tier_{tier}")]
        assert (column == 1).tolist() == (found["user_tier"] == tier).tolist()


def test_prices_are_compared_with_those_in_training(sliced):
    assert sliced["price_band"][0] == "highest quarter"
    assert sliced["price_band"][1] == "unknown"


def test_several_targets_belong_to_the_one_in_the_middle():
    targets = Targets(np.array([0, 3, 3, 5]), np.array([7, 8, 9, 5, 6]), np.zeros(5, np.int64))
    assert _middle_target(targets, np.array([30.0, 10.0, 20.0, 9.0, 4.0])).tolist() == [2, -1, 4]


def test_data_without_time_has_no_slices_of_time(tmp_path):
    prepared, split = tiny_prepared(tmp_path / "t", [[1, 2, 3], [2, 3, 1]], n_items=6)
    table = add_slices(evaluate_requests(Nothing(), split), prepared, split, "test")
    assert not {"lifecycle", "time_of_day", "weekday", "price_band", "channel"} & set(slices_of(table))


FACTS = json.dumps({"dataset": "d", "target_hash": "h"})


def tables(seed: int, hole: float):
    """Model b leads by 0.1 everywhere but in slice `city = york` (a third of the users), where it trails by `hole`."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["bath", "leeds", "york"], 900).tolist()
    size = ["few" if i < 40 else "many" for i in range(900)]
    a = rng.random(900)
    b = a + rng.normal(0, 0.1, 900) + np.where(np.array(city) == "york", -hole, 0.1)
    base = {"request": np.arange(900), "user": np.arange(1, 901, dtype=np.int32)}
    more = {"slice:city": city, "slice:size": size}
    return {
        name: pa.table({**base, "ndcg@10": value, **more}).replace_schema_metadata({"shopkeeper": FACTS})
        for name, value in (("a", a), ("b", b))
    }


def test_a_slice_in_which_the_winner_loses_is_pointed_out():
    found = slice_results(tables(0, 0.15), "ndcg@10")
    assert found["winner"] == "b"
    assert [(x["slice"], x["value"], x["to"]) for x in found["losses"]] == [("city", "york", "a")]
    assert found["losses"][0]["statement"].startswith("in city = york (")
    assert "b is worse than a by 0.14" in found["losses"][0]["statement"]
    assert found["losses"][0]["p_adjusted"] >= found["losses"][0]["p_value"]
    assert found["tests"] == 4  # bath, leeds, york, many: one other model each
    assert found["losses"][0]["low"] < found["losses"][0]["high"] < 0
    json.dumps(found, allow_nan=False)


def test_a_winner_that_loses_nowhere_is_not_accused():
    accused = [slice_results(tables(seed, 0.0), "ndcg@10", winner="b", resamples=300)["losses"] for seed in range(20)]
    assert sum(map(bool, accused)) <= 3  # a difference of nothing is found at the rate that the family promises


def test_small_slices_are_marked_and_not_tested():
    found = slice_results(tables(1, 5.0), "ndcg@10", winner="b")
    few = next(x for x in found["slices"] if x["value"] == "few")
    assert few["small"]
    assert few["n"] == 40
    assert few["models"]["a"]["low"] < few["models"]["a"]["value"] < few["models"]["a"]["high"]
    assert all(x["value"] != "few" for x in found["losses"])
    found = slice_results(tables(1, 5.0), "ndcg@10", winner="b", small=40, resamples=100)
    assert not next(x for x in found["slices"] if x["value"] == "few")["small"]  # of the least that is not small


def test_a_slice_in_which_nothing_was_found_has_the_interval_of_nothing_in_so_many():
    some = tables(2, 0.0)
    nothing = np.where(np.array(some["a"]["slice:size"].to_pylist()) == "few", 0.0, some["a"]["ndcg@10"].to_numpy())
    some["a"] = some["a"].set_column(2, "ndcg@10", pa.array(nothing))
    few = next(x for x in slice_results(some, "ndcg@10")["slices"] if x["value"] == "few")
    whole = mean_interval(np.zeros(40), np.arange(40), shares=np.array([True])).as_dicts()[0]
    assert few["models"]["a"] == whole
    assert whole["low"] == 0 < whole["high"] < 0.1


def test_of_several_genres_the_first_counts_and_an_item_without_any_is_unknown(tmp_path):
    genres = [["drama", "war"], [], None, ["comedy"]]
    histories = [[1, 1, 1], [1, 1, 2], [1, 1, 3], [1, 1, 4]]
    prepared, split = tiny_prepared(tmp_path / "tiny", histories, items={"genres": genres}, n_items=4)

    class Flat(Nothing):
        def score(self, requests):
            return np.zeros((len(requests), 5), np.float32)

    table = add_slices(evaluate_requests(Flat(), split), prepared, split, "test")
    assert table["slice:category"].to_pylist() == ["drama", "unknown", "unknown", "comedy"]
