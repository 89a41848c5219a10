"""`recommend basket=[…]` and `Bundle.answer(basket=…)`: what goes with the order so far."""

from __future__ import annotations

from pathlib import Path

import pytest
from cameras import HERE

from house import House
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.errors import UserError

RUN = "runs/cameras/next_item/temporal/item_to_item"


def shown(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[2:]]


def test_recommend_says_what_goes_with_a_given_basket(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.train(RUN, "model=item_to_item", *HERE)
    for basket, first in (("camera", "case"), ("lamp", "bulb"), ("lamp,bulb", "bread")):
        capsys.readouterr()
        house.recommend(f"run={RUN}", "history=[bread]", f"basket=[{basket}]", "k=4")
        items = shown(capsys.readouterr().out)
        assert items[0] == first
        assert not set(items) & set(basket.split(","))
    house.recommend(f"run={RUN}", "basket=[]", "history=[camera]", "k=5")
    assert "camera" in shown(capsys.readouterr().out)  # of a history it may come again


@pytest.mark.parametrize("model", ["item_to_item", "personal_frequency", "popularity"])
def test_a_bundle_answers_for_a_given_basket(house: House, model: str) -> None:
    run = f"runs/cameras/next_item/temporal/{model}"
    house.train(run, f"model={model}", *HERE)
    house.export(f"run={run}", *HERE, "name=b", "k=5")
    bundle = Bundle.load(Path("exports/b"))
    told = {"as_of": "2023-03-10T10:00:00Z"} if bundle.manifest["history"].get("needs_instant") else {}
    bread = ("bread", "purchase", "2023-03-01T10:00:00Z", 2.5, 1, "o-1")
    baskets = [["camera"], [["lamp", "purchase"]], ["no such thing", "lamp"], []]
    answers = bundle.answer([[bread], [], [bread], [bread]], basket=baskets, **told)
    for answer, basket in zip(answers, baskets, strict=True):
        items = [item for item, _ in answer.items or []]
        assert len(items) == 5 - len(set(map(str, basket)) & {"camera", "lamp"}) - (basket == [["lamp", "purchase"]])
        assert not {"camera", "lamp"} & set(items) & set(map(str, basket))
    if model == "item_to_item":
        first = [(answer.items or [])[0][0] for answer in answers]
        assert first[:3] == ["case", "bulb", "bulb"]
    both = bundle.recommend([[bread]], basket=[["camera"]], exclude=[["case"]], **told)
    assert not {"camera", "case"} & {item for item, _ in both[0]}
    for wrong in (["camera"], "camera", [["camera"], ["lamp"]]):
        with pytest.raises(UserError, match=r"basket.*basket=\[\['sku-1'\]\]"):
            bundle.answer([[bread]], basket=wrong, **told)  # type: ignore[arg-type]
