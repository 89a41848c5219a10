"""`evaluate.py rerank=…`: each recommender once more in another order, beside itself, with what that costs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from house import House, small_shop
from shopkeeper.errors import UserError
from shopkeeper.evaluation.table import values_of
from shopkeeper.pipeline.runs import open_run

HERE = ("dataset=shop", "split=temporal")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    house = House(tmp_path)
    house.dataset("shop", small_shop(), items={"file": "items.csv", "id": "item"})
    with open("raw/items.csv", "w", newline="") as file:
        rows = [(f"s{n}", "tea" if n < 4 else "pot") for n in range(6)]
        csv.writer(file).writerows([("item", "category"), *rows])
    house.train("runs/shop/next_item/temporal/popularity", "model=popularity", *HERE)
    return house


def test_what_another_order_costs_stands_in_the_tables_and_on_the_page(house: House) -> None:
    house.evaluate(*HERE, "rerank=[diverse,rules]", "rerank.rules.steps=[{cap: {attribute: category, most: 1}}]")
    report = Path("reports/shop/temporal")
    board = json.loads((report / "leaderboard.json").read_text())["next_item"]
    assert {"popularity", "popularity+diverse", "popularity+rules"} <= set(board)
    found = json.loads((report / "comparisons.json").read_text())["next_item"]
    pair = next(one for one in found if {one["a"], one["b"]} == {"popularity", "popularity+rules"})
    assert pair["low"] <= pair["difference"] <= pair["high"]
    assert "Popularity, rules" in (report / "report.html").read_text(encoding="utf-8")
    run = open_run(report / "baselines/popularity+rules")
    assert all(len(items) <= 2 for items in run.table()["top_items"].to_pylist())  # one tea, one pot
    own = open_run("runs/shop/next_item/temporal/popularity").table()
    assert len(values_of(own, "ndcg@10")) == run.table().num_rows
    assert values_of(own, "ndcg@10").tolist() != values_of(run.table(), "ndcg@10").tolist()


def test_runs_of_one_model_with_several_seeds_stand_in_another_order_side_by_side(house: House) -> None:
    house.train("runs/shop/next_item/temporal/second", "model=popularity", "seed=2", *HERE)
    house.evaluate(*HERE, "rerank=[rules]", "rerank.rules.steps=[{exclude: {items: [s1]}}]", "report.shuffle=false")
    board = json.loads(Path("reports/shop/temporal/leaderboard.json").read_text())["next_item"]
    assert {f"popularity{order}#{seed}" for order in ("", "+rules") for seed in (1, 2)} <= set(board)
    runs = [open_run(path) for path in sorted(Path("reports/shop/temporal/baselines").glob("popularity+rules*"))]
    assert [run.metrics["seed"] for run in runs] == [1, 2]


def test_a_run_in_another_order_is_opened_again_as_it_is_and_makes_no_bundle(house: House) -> None:
    house.evaluate(*HERE, "rerank=[rules]", "rerank.rules.steps=[{exclude: {items: [s1]}}]", "report.shuffle=false")
    path = "reports/shop/temporal/baselines/popularity+rules"
    requests = open_run(path)
    from shopkeeper.pipeline import context

    split = context.split_of(context.prepared_of(requests.manifest), requests.manifest)
    items = requests.model().recommend(split.part("test")[0], 6)
    ids = split.prepared.items["item_id"].to_pylist()
    assert {ids[i - 1] for i in items.ravel().tolist() if i} == {f"s{n}" for n in range(6)} - {"s1"}
    with pytest.raises(UserError, match="a bundle answers with the model's own order"):
        house.export(f"run={path}", *HERE)


def test_a_slip_in_a_step_ends_before_anything_is_evaluated(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "shopkeeper")
    with pytest.raises(UserError, match=r"rerank\.diverse\.steps\[0\]: there is no step 'mmrr'"):
        house.evaluate(*HERE, "rerank=[diverse]", "rerank.diverse.steps=[mmrr]")
    with pytest.raises(UserError, match="items have no 'margin'; they have category"):
        house.evaluate(*HERE, "rerank=[rules]", "rerank.rules.steps=[{lift: {attribute: margin}}]")
    assert not Path("reports").exists()
    assert not [line for line in caplog.messages if "recency" in line]  # nor is a baseline trained
