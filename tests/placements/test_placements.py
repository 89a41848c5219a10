"""`placement=…`: recommenders asked as a place of the shop would ask them, with its filter, order and fallback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cameras import HERE

from house import House, small_shop
from shopkeeper.configuration import main_folder
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.models.about import LISTS, About
from shopkeeper.pipeline.runs import open_run
from shopkeeper.reranking.placement import Placed

QUICK = ("report.shuffle=false", "report.customers=0", "report.resamples=20")
PLACES = sorted(path.stem for path in (main_folder() / "placement").glob("*.yaml"))


def board(place: str) -> dict[str, Any]:
    return json.loads(Path(f"reports/cameras/temporal-{place}/leaderboard.json").read_text())["next_item"]


def lists(place: str, run: str) -> list[set[str]]:
    """The lists of a run at a placement, in external ids."""
    from shopkeeper.pipeline import context

    folder = next(Path(f"reports/cameras/temporal-{place}/baselines").glob(f"*-{run}"))
    opened = open_run(folder)
    ids = [None, *context.prepared_of(opened.manifest).items["item_id"].to_pylist()]
    return [[ids[i] for i in items] for items in opened.table()["top_items"].to_pylist()]


def test_each_shipped_placement_asks_its_own_requests(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.train("runs/cameras/next_item/temporal/personal_frequency", "model=personal_frequency", *HERE)
    asked = {}
    for place in PLACES:
        house.evaluate(*HERE, *QUICK, f"placement={place}")
        assert f"next_item: placement {place}, cameras" in capsys.readouterr().out
        run = open_run(next(Path(f"reports/cameras/temporal-{place}/baselines").glob("*-popularity")))
        asked[place] = run.manifest["target_hash"]
        assert run.metrics["target_hash"] == run.manifest["target_hash"]
        assert run.table().num_rows > 0
    assert asked["home"] == asked["not_found"]  # who comes without a page is asked as ever
    assert len({asked[place] for place in ("home", "product", "cart", "email")}) == 4
    assert board("cart")["item_to_item"]["hit@10"] == 1.0
    assert board("cart")["item_to_item"]["ndcg@10"] == 1.0
    assert board("cart")["popularity"]["ndcg@10"] < 0.7
    assert all(len(set(items)) == len(items) for items in lists("cart", "popularity"))
    page = Path("reports/cameras/temporal-cart/report.html").read_text(encoding="utf-8")
    assert "What goes with the order so far?" in page
    assert {frozenset(items) for items in lists("category", "popularity")} <= {
        frozenset({"camera", "case"}),
        frozenset({"lamp", "bulb"}),
        frozenset({"bread"}),
    }


def test_what_a_placement_takes_out_is_in_nobodys_list_and_its_order_has_a_price(house: House) -> None:
    house.train("runs/cameras/next_item/temporal/personal_frequency", "model=personal_frequency", *HERE)
    steps = "placement.filter=[{exclude: {items: [bread]}}]", "placement.rerank=[{pin: {items: [lamp], place: 1}}]"
    house.evaluate(*HERE, *QUICK, "placement=home", *steps, "placement.models=[personal_frequency]")
    for run in ("personal_frequency", "personal_frequency+home", "recency"):
        assert all("bread" not in items for items in lists("home", run))
    assert {items[0] for items in lists("home", "personal_frequency+home")} == {"lamp"}
    found = {path.name.partition("-")[2] for path in Path("reports/cameras/temporal-home/baselines").iterdir()}
    assert {name for name in found if "+" in name} == {"personal_frequency+home"}
    found = json.loads(Path("reports/cameras/temporal-home/comparisons.json").read_text())["next_item"]
    pair = {"personal_frequency", "personal_frequency+home"}
    cost = next(one for one in found if {one["a"], one["b"]} == pair)
    assert cost["low"] <= cost["difference"] <= cost["high"]


def test_recommend_answers_as_a_placement(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    run = "runs/cameras/next_item/temporal/item_to_item"
    house.train(run, "model=item_to_item", *HERE)

    def shown(*words: str) -> list[str]:
        capsys.readouterr()
        house.recommend(f"run={run}", "k=5", *words)
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]

    assert shown("placement=cart", "basket=[camera]")[0] == "case"
    assert "camera" not in shown("placement=cart", "basket=[camera]")
    taken_out = shown("placement=cart", "basket=[camera]", "placement.filter=[{exclude: {items: [case]}}]")
    assert "case" not in taken_out
    assert len(taken_out) == 3
    page = shown("placement=product", "history=[lamp,camera]")
    assert "camera" not in page
    assert "lamp" in page


def test_an_empty_list_says_which_rule_took_out_how_many(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    run = "runs/cameras/next_item/temporal/personal_frequency"
    house.train(run, "model=personal_frequency", *HERE)
    capsys.readouterr()
    rules = "{exclude: {attribute: category, values: [photo, food]}}", "{exclude: {items: [lamp, bulb, bread]}}"
    asked = f"run={run}", "history=[lamp]", "placement=home"
    house.recommend(*asked, f"placement.filter=[{', '.join(rules)}]")
    said = "exclude took out 3, exclude took out 2"
    assert capsys.readouterr().out == (
        f"nothing is left to recommend: of 5 candidates of PersonalFrequency {said}; of 5 candidates of Popularity "
        f"{said}; change placement.filter\n"
    )
    house.recommend(*asked[:2], "k=5", "placement=category", "category=light", "placement.fallback={}",
                    "filter_seen=true", f"placement.filter=[{rules[1]}]")  # fmt: skip
    assert "of 1 candidate of PersonalFrequency exclude took out 1" in capsys.readouterr().out
    house.recommend(*asked[:1], "history=[lamp,bulb,bread,camera,case]", "filter_seen=true")
    assert "all that could be shown is in the history" in capsys.readouterr().out


def test_what_a_place_lacks_is_said_in_one_line(house: House) -> None:
    house.dataset("plain", small_shop())
    house.train("runs/plain/next_item/temporal/popularity", "model=popularity", "dataset=plain", "split=temporal")
    here = ("dataset=plain", "split=temporal", *QUICK)
    for place, lack in (("cart", "has no orders"), ("product", "has no view events"), ("category", "have none")):
        with pytest.raises(UserError, match=lack):
            house.evaluate(*here, f"placement={place}")
    with pytest.raises(UserError, match=r"placement=home is for sasrek, of which there is no run"):
        house.evaluate(*here, "placement=home", "placement.models=[sasrek]")
    with pytest.raises(UserError, match=r"has an order of its own; set placement\.rerank"):
        house.evaluate(*here, "placement=home", "rerank=[diverse]")
    with pytest.raises(UserError, match=r"placement\.filter\[0\]: there is no step 'exclud'"):
        house.evaluate(*here, "placement=home", "placement.filter=[exclud]")
    assert not Path("reports").exists()
    one_out = ("dataset=plain", "split=leave_one_out")
    house.train("runs/plain/next_item/leave_one_out/popularity", "model=popularity", *one_out)
    with pytest.raises(UserError, match="a split of leave_one_out has not; train with split=temporal"):
        house.evaluate(*one_out, *QUICK, "placement=email")


class Says:
    """The same list for everybody."""

    about = About(answers=LISTS)

    def __init__(self, *items: int):
        self.items = items

    def recommend(self, requests: Requests, k: int) -> np.ndarray:
        out = np.zeros((len(requests), k), np.int32)
        out[:, : len(self.items)] = self.items
        return out


def test_who_has_no_history_gets_the_fallback_which_fills_short_lists_too() -> None:
    requests = Requests.from_histories([[1], []])
    placed = Placed(Says(4, 2), [Says(2, 9), Says(8, 4, 7, 6)])  # type: ignore[arg-type, list-item]
    assert placed.recommend(requests, 4).tolist() == [[4, 2, 9, 8], [2, 9, 8, 4]]
    assert placed.recommend(requests, 6).tolist() == [[4, 2, 9, 8, 7, 6], [2, 9, 8, 4, 7, 6]]
    assert Placed(Says(4, 2)).recommend(requests, 3).tolist() == [[4, 2, 0], [4, 2, 0]]  # type: ignore[arg-type]


def test_a_fallback_that_reads_last_nights_demand_is_told_of_it() -> None:
    """The audit takes it away from who does not say so, and `recommend` gives it to who does."""
    other = Says(2)
    other.about = About(answers=LISTS, needs=("nightly",))
    placed = Placed(Says(4), [Says(3), other])  # type: ignore[arg-type, list-item]
    assert placed.about.needs == ("nightly",)
    assert Placed(Says(4), [Says(3)]).about.needs == ()  # type: ignore[arg-type, list-item]
