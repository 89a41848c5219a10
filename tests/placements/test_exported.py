"""Placements in a bundle: filter, order and fallback without the trained model, as `recommend placement=…` answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cameras import HERE, KINDS

from house import House
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.items import ItemModel
from shopkeeper.bundles.answer.wire import answered, request_schema, response_schema
from shopkeeper.bundles.targets.index import write_index
from shopkeeper.bundles.targets.smaller import write_smaller
from shopkeeper.bundles.write.seal import seal
from shopkeeper.errors import UserError
from shopkeeper.schema import NOTHING_LEFT
from shopkeeper.serving import verify

RUN = "runs/cameras/next_item/temporal/{}"
ALL = "placements=[home,product,category,cart,checkout,email,not_found]"
NOW = "2023-03-02T00:00:00Z"
COST = {"metric": "ndcg@10", "exact": 0.0, "value": 0.0, "difference": 0.0, "low": None, "high": None, "p_value": None,
        "n": 0, "n_users": 0, "method": "", "statement": "not measured"}  # fmt: skip
TIMES = [f"2023-03-01T1{hour}:00:00Z" for hour in range(8)]


def ids(bundle: Bundle, *items: str, **told: Any) -> list[str]:
    """The list that a bundle gives to a history of purchases."""
    history = [[item, "purchase", time] for item, time in zip(items, TIMES, strict=False)]
    told = {key: value if key in ("placement", "k", "filter_seen") else [value] for key, value in told.items()}
    return [item for item, _ in bundle.answer([history], NOW, **told)[0].items or []]


def shown(house: House, capsys: pytest.CaptureFixture[str], model: str, *words: str) -> list[str]:
    capsys.readouterr()
    house.recommend(f"run={RUN.format(model)}", "k=5", *words)
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]


SMALL = {
    "sasrec": ("model.width=8", "model.blocks=1", "trainer.max_epochs=1"),
    "two_stage": ("model.per_model=1", "model.patience=null", "model.trees=3", "model.min_data_in_leaf=1"),
}


@pytest.mark.parametrize("model", ["item_to_item", "personal_frequency", "sasrec", "two_stage"])
def test_a_bundle_answers_at_each_of_its_places_as_recommend_does(
    model: str, house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.train(RUN.format(model), f"model={model}", *HERE, *SMALL.get(model, ()))
    assert (Path(RUN.format(model)) / "trees.txt").is_file() == (model == "two_stage")  # which chooses candidates
    house.export(f"run={RUN.format(model)}", *HERE, "name=b", "k=5", "golden=28", ALL)
    bundle = Bundle.load(Path("exports/b"))
    assert set(bundle.manifest["placements"]) == set(ALL.partition("[")[2].rstrip("]").split(","))
    for place, words, told in (
        ("home", ("history=[bread,lamp]",), {}),
        ("product", ("history=[lamp,camera]",), {}),
        ("cart", ("history=[bread]", "basket=[camera]"), {"basket": ["camera"]}),
        ("checkout", ("history=[bread]", "basket=[lamp]"), {"basket": ["lamp"]}),
        ("category", ("history=[bread,lamp]", "category=photo"), {"category": "photo"}),
        ("category", ("history=[bread,lamp]",), {}),
        ("not_found", ("history=[]",), {}),
        ("email", ("history=[camera]", "filter_seen=true"), {"filter_seen": True}),
    ):
        history = words[0].partition("[")[2].rstrip("]").split(",") if "[]" not in words[0] else []
        assert ids(bundle, *history, placement=place, **told) == shown(
            house, capsys, model, f"placement={place}", *words
        ), place
    if model == "sasrec":
        told_a_category_as_what_it_holds(bundle, monkeypatch)


def told_a_category_as_what_it_holds(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph needs no list of all that is not of a category; variants of it, and who has no history, go on with it."""
    right, closed = ItemModel._best, list[bool]()

    def noted(model: ItemModel, *told: Any) -> Any:
        if model.session is not None:  # a fallback has none
            closed.append(told[5] is not None)
        return right(model, *told)

    monkeypatch.setattr(ItemModel, "_best", noted)

    def answers(one: Bundle) -> Any:
        closed.clear()
        found = [ids(one, *items, placement="category", category="photo", filter_seen=seen)
                 for items in (("bread", "lamp"), ("camera",), ()) for seen in (True, False)]  # fmt: skip
        histories = [[["bread", "purchase", TIMES[0]]], [["camera", "purchase", TIMES[0]]]]
        for categories in (["photo", "photo"], ["photo", "light"], ["photo", None]):
            found.append(one.answer(histories, NOW, placement="category", category=categories))
        return found

    wanted, told = answers(bundle), [True] * 4 + [False] * 2 + [True, False, False]
    assert closed == told
    assert bundle.places is not None
    assert answers(replace(bundle, places=replace(bundle.places, catalogue=None))) == wanted
    assert not any(closed)
    smaller = write_smaller(bundle.path, Path("exports/b16"), "fp16", lambda *_: COST)
    answers(Bundle.load(smaller))
    assert not any(closed)
    indexed = Bundle.load(write_index(bundle.path, Path("exports/indexed"), "faiss"), approximate=True)
    for items in (("bread",), ()):  # an index is of the model's own items, and a fallback asks none
        assert ids(indexed, *items, placement="category", category="photo") == ids(
            bundle, *items, placement="category", category="photo"
        )
    assert set(ids(bundle, "bread", placement="category", category="light")) == {"lamp", "bulb"}
    assert verify(Path("exports/b")).ok
    golden = json.loads(Path("exports/b/golden.json").read_text())
    assert {one["placement"] for one in golden["placements"]} == set(bundle.manifest["placements"])
    assert any(one.get("basket") for one in golden["placements"])
    assert {one["category"] for one in golden["placements"] if "category" in one} <= set(KINDS.values())
    assert verify(Path("exports/b")).requests == 28 + len(golden["placements"])


def test_filter_order_and_fallback_travel(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.train(RUN.format("item_to_item"), "model=item_to_item", *HERE)
    steps = (
        "placement=home",
        "placement.fallback.popularity.event_weights={view: 1}",  # other than the model's own fallback
        "placement.filter=[{exclude: {items: [case]}}]",
        "placement.rerank=[{pin: {items: [bulb], place: 1}},{cap: {attribute: category, most: 1}},fresh]",
    )
    house.export(f"run={RUN.format('item_to_item')}", *HERE, "name=b", "k=5", "golden=12", *steps)
    bundle = Bundle.load(Path("exports/b"))
    assert ids(bundle, placement="home") == ["bread", "lamp", "camera", "bulb"]  # by looks, and not put in order
    for history in (["camera"], ["bread", "lamp"], []):
        got = ids(bundle, *history, placement="home")
        assert "case" not in got
        assert got == shown(house, capsys, "item_to_item", *steps, f"history=[{','.join(history)}]")
    assert ids(bundle, "camera", placement="home")[:2] == ["bulb", "bread"]  # one of each category, the pinned one
    for told in ({"exclude": ["bulb"]}, {"basket": ["bulb"]}):  # nor is what may not be shown, pinned though it is
        assert "bulb" not in ids(bundle, "camera", placement="home", **told)
    assert "bulb" not in shown(house, capsys, "item_to_item", *steps, "history=[bulb]", "filter_seen=true")
    assert "bulb" not in ids(bundle, "bulb", placement="home", filter_seen=True)
    assert "bulb" not in ids(bundle, "camera", placement="home", category="photo")
    assert "bulb" in ids(bundle, "camera", placement="home", category="light")
    assert bundle.answer([], NOW, placement="home") == bundle.answer([], NOW, placement="home", category=[]) == []
    assert "case" in ids(bundle, "camera")  # the model's own list is as it was
    assert bundle.answer([[]], NOW)[0].fallback is None  # nor is anything filled there
    for history, k, filled in ((["camera"], 2, {}), (["camera"], 5, {"popularity": 1}), ([], 5, {"popularity": 4})):
        events = [[item, "purchase", TIMES[0]] for item in history]  # of one category there is but one item, at first
        asked = {"history": events, "as_of": NOW, "placement": "home", "k": k}
        (got,) = answered(bundle, [asked])
        assert got["fallback"] == filled
        jsonschema.validate(got, response_schema(bundle.manifest))
    told = [one["expected"]["fallback"] for one in json.loads(Path("exports/b/golden.json").read_text())["placements"]]
    assert all(one.keys() <= {"popularity"} for one in told)
    assert {"popularity": 4} in told
    (shut,) = answered(bundle, [{"history": [], "as_of": NOW, "placement": "home", "exclude": [*KINDS]}])
    assert (shut["items"], shut["reason"], shut["fallback"]) == ([], NOTHING_LEFT, {})
    with pytest.raises(UserError, match="give as_of"):  # how new an item is, is asked of an instant
        bundle.answer([[["camera", "purchase", TIMES[0]]]], placement="home")


def test_a_changed_place_answers_otherwise_and_verify_says_so(house: House, tmp_path: Path) -> None:
    house.train(RUN.format("popularity"), "model=popularity", *HERE)
    house.export(f"run={RUN.format('popularity')}", *HERE, "name=b", "k=5", "golden=4", "placement=home")
    folder = Path("exports/b")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["placements"]["home"]["filter"] = [{"exclude": {"items": ["bread"]}}]
    version = manifest.pop("format_version")
    manifest.pop("files")
    seal(folder, manifest, version)
    assert "golden request 4 of placement=home" in verify(folder).wrong[0]


def test_what_a_bundle_has_no_place_for_is_said_in_one_line(house: House) -> None:
    house.train(RUN.format("popularity"), "model=popularity", *HERE)
    run = (f"run={RUN.format('popularity')}", *HERE, "golden=4")
    with pytest.raises(UserError, match=r"no placement 'hom'. Did you mean 'home'"):
        house.export(*run, "name=a", "placements=[hom]")
    with pytest.raises(UserError, match=r"placement=home: fallback\.sasrec is a network"):
        house.export(*run, "name=a", "placement=home", "+model@placement.fallback.sasrec=sasrec")
    house.export(*run, "name=plain")
    house.export(*run, "name=placed", "placement=category")
    plain, placed = (Bundle.load(Path(f"exports/{name}")) for name in ("plain", "placed"))
    with pytest.raises(UserError, match=r"has no placements; export the run again with placements=\[home\]"):
        plain.answer([["camera"]], placement="home")
    with pytest.raises(UserError, match=r"has no placement 'cart'\. Did you mean 'category'"):
        placed.answer([["camera"]], placement="cart")
    with pytest.raises(UserError, match=r"there is no category 'photos'\. Did you mean 'photo'"):
        placed.answer([["camera"]], placement="category", category=["photos"])
    with pytest.raises(UserError, match="category wants one name per history"):
        placed.answer([["camera"]], placement="category", category="photo")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"category is told without a placement; .* e\.g\. 'category'"):
        placed.answer([["camera"]], category=["photo"])
    assert "placement" not in request_schema(plain.manifest)["properties"]
    assert request_schema(placed.manifest)["properties"]["placement"]["enum"] == ["category", None]
    asked = {"history": ["bread"], "placement": "category", "category": "photo", "id": "x"}
    (got,) = answered(placed, [asked])
    assert {one["item_id"] for one in got["items"]} == {"camera", "case"}
    (wrong,) = answered(placed, [{"history": [["bread", "wish"]], "basket": []}])
    assert wrong["error"]["message"].startswith("history: unknown event type 'wish'")  # there is but one
    said = answered(plain, [asked])[0]["error"]["message"]
    assert said.startswith("a request of this bundle has no 'placement': it was exported without placements; export")
