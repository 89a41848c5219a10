"""Steps as a configuration names them, on a shop whose items have categories, margins and stock."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import values_of
from shopkeeper.models.about import LISTS, About
from shopkeeper.reranking.facts import Need
from shopkeeper.reranking.known import facts_of
from shopkeeper.reranking.model import Reranked
from shopkeeper.reranking.steps import steps_of
from tiny import DAY, tiny_prepared

ITEMS = {
    "category": ["tea", "tea", "tea", "pot", "pot", None],
    "margin": [0.1, 0.5, 0.2, 0.9, None, 0.4],
    "stock": [3, 0, -2, None, 1, 5],
}
MARGINS: list[Need] = [("ranks", "margin")]
HISTORIES = [[1, 1, 4, 2, 3], [4, 5, 6, 1, 2], [6, 6, 6]]


class Fixed:
    """The lower the id, the better."""

    about = About()

    def score(self, requests: Requests) -> np.ndarray:
        return np.repeat(-np.arange(7, dtype=np.float32)[None], len(requests), axis=0)


class Alike:
    """Of three items."""

    about = About()

    def score(self, requests: Requests) -> np.ndarray:
        return np.ones((len(requests), 4), np.float32)


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    times = [[DAY * (u + 10 * n) for n in range(len(h))] for u, h in enumerate(HISTORIES)]
    return tiny_prepared(tmp_path / "shop", HISTORIES, times, items=ITEMS, n_items=6, catalogue=range(1, 7))


def listed(shop: Any, *steps: Any, k: int = 6, seen: bool = False) -> list[list[int]]:
    prepared, split = shop
    requests = Requests(prepared.events, prepared.offsets[:-1], prepared.offsets[1:] - 1, np.full(3, 100 * DAY))
    return Reranked(Fixed(), list(steps), split, seen).recommend(requests, k).tolist()


def test_without_a_step_a_list_is_the_models(shop: Any) -> None:
    assert listed(shop) == [[1, 2, 3, 4, 5, 6]] * 3
    assert listed(shop, k=2) == [[1, 2]] * 3
    assert listed(shop, seen=True)[0] == [3, 5, 6, 0, 0, 0]


def test_scores_that_one_value_rounds_together_stay_in_the_models_order(shop: Any) -> None:
    class Near(Fixed):
        """Differences far below those to the worst item, as sums of decayed neighbours have them."""

        def score(self, requests: Requests) -> np.ndarray:
            scores_V = np.array([0, -0.9, 1e-20, 3e-20, 2e-20, 4e-20, -0.8], np.float32)
            return np.repeat(scores_V[None], len(requests), axis=0)

    asked = Requests.from_histories([[1, 2]])
    assert Reranked(Near(), [], shop[1], False).recommend(asked, 5).tolist() == [[5, 3, 4, 2, 6]]


def test_stock_that_is_none_or_less_is_not_shown_and_unknown_stock_is(shop: Any) -> None:
    assert listed(shop, "available")[0] == [1, 4, 5, 6, 0, 0]


def test_items_and_values_are_left_out(shop: Any) -> None:
    assert listed(shop, {"exclude": {"items": ["i2", "i4"]}})[0] == [1, 3, 5, 6, 0, 0]
    assert listed(shop, {"exclude": {"attribute": "category", "values": ["tea"]}})[0] == [4, 5, 6, 0, 0, 0]


def test_where_nothing_is_known_of_items_the_way_out_is_a_table_of_them(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"have no 'category', and nothing .*tiny\.yaml a table of items \(items\.file\)"
    ):
        listed(tiny_prepared(tmp_path / "bare", HISTORIES, n_items=6), {"cap": {"attribute": "category", "most": 1}})


def test_at_most_so_many_of_a_category(shop: Any) -> None:
    assert listed(shop, {"cap": {"attribute": "category", "most": 1}})[0] == [1, 4, 6, 0, 0, 0]


def test_a_margin_lifts_by_its_rank(shop: Any) -> None:
    # Shares with less of it: .1 -> 0, .2 -> .25, .4 -> .5, .5 -> .75, .9 -> 1; unknown: 0.
    assert listed(shop, {"lift": {"attribute": "margin", "weight": 1.0}})[0] == [4, 2, 6, 3, 1, 5]


def test_what_is_new_is_lifted(shop: Any) -> None:
    # First events: item 1 day 0, item 4 day 1, item 6 day 2, item 5 day 11, item 2 day 30, item 3 day 40.
    assert listed(shop, {"fresh": {"weight": 1.0}})[0] == [3, 2, 5, 6, 4, 1]


def test_what_is_only_sold_later_is_as_new_as_can_be(shop: Any) -> None:
    prepared, _ = shop
    facts = facts_of(prepared, [("ages", "")])
    age = facts.age_days(np.array([[1, 3]]), np.array([20 * DAY]))
    assert age.tolist() == [[20.0, 0.0]]


def test_a_list_follows_the_mix_of_the_history(shop: Any) -> None:
    found = listed(shop, {"calibrated": {"attribute": "category", "weight": 0.99}}, k=4)
    assert found[0][:4] == [
        1,
        4,
        2,
        3,
    ]  # three of tea and one pot were taken; a list without a pot would be far from it
    assert set(found[1][:2]) == {4, 1}  # two pots, one tea
    assert found[2] == [1, 2, 3, 4]  # only what has no category: as it was


def test_pins_stand_where_they_are_put(shop: Any) -> None:
    assert listed(shop, {"mmr": {"weight": 0.9}}, {"pin": {"items": ["i6", "i3"], "place": 2}}, k=4)[0][1:3] == [6, 3]


def test_places_are_kept_for_what_the_history_has_not(shop: Any) -> None:
    # Histories without their last event: 1, 4, 2 and 4, 5, 6, 1 and item 6.
    assert [row[:3] for row in listed(shop, {"explore": {"least": 1}}, k=3)] == [[1, 2, 3], [1, 2, 3], [1, 2, 3]]
    two = [row[:3] for row in listed(shop, {"explore": {"least": 2}}, k=3)]
    assert two == [[1, 3, 5], [1, 2, 3], [1, 2, 3]]
    assert listed(shop, {"explore": {"least": 9}}, k=3)[0] == [3, 5, 6]
    assert listed(shop, {"explore": {"least": 9}}, k=5)[0] == [1, 2, 3, 5, 6]  # there are no more than three


def test_rules_that_exclude_everything_leave_empty_lists_that_can_be_evaluated(shop: Any) -> None:
    _, split = shop
    nothing = [{"exclude": {"items": [f"i{n}" for n in range(1, 7)]}}]
    table = evaluate_requests(Reranked(Fixed(), nothing, split, False), split, "test", k=(3,))
    assert values_of(table, "ndcg@3").tolist() == [0, 0, 0]
    both = evaluate_requests(Reranked(Fixed(), [], split, False), split, "test", k=(3,))
    plain = evaluate_requests(Fixed(), split, "test", k=(3,))
    assert values_of(both, "ndcg@3").tolist() == values_of(plain, "ndcg@3").tolist()


def test_a_model_of_lists_is_put_in_order_too(shop: Any) -> None:
    class Listing:
        about = About(answers=LISTS)

        def recommend(self, requests: Requests, k: int) -> np.ndarray:
            return np.repeat(np.array([[5, 4, 2, 0]])[:, :k], len(requests), axis=0)

    prepared, split = shop
    requests = Requests(prepared.events, prepared.offsets[:1], prepared.offsets[1:2], np.array([100 * DAY]))
    assert Reranked(Listing(), ["available"], split, False).recommend(requests, 3).tolist() == [[5, 4, 0]]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("mmr", r"rerank\.steps must be a list of steps"),
        (["diverse"], r"there is no step 'diverse'.* An order that has a name.* by the steps in its file"),
        ([{"mmrr": {}}], r"rerank\.steps\[0\]: there is no step 'mmrr'.*Did you mean 'mmr'"),
        ([{"mmr": {"wieght": 0.2}}], r"no setting rerank\.steps\[0\]\.mmr\.wieght.*'weight'"),
        ([{"mmr": {"weight": 2}}], r"steps\[0\]\.mmr\.weight is 2; give a number from 0 to 1"),
        ([{"mmr": {"weight": float("nan")}}], "weight is nan"),
        ([{"mmr": {"attributes": []}}], "attributes is empty"),
        ([{"mmr": {"attributes": "category"}}], "give a list"),
        (["available", {"cap": {"most": 0}}], r"steps\[1\]\.cap\.most is 0; give a whole number from 1"),
        ([{"cap": {"attribute": 3}}], "give the name of an attribute"),
        ([{"fresh": {"half_life_days": 0}}], "give a number above 0"),
        ([{"fresh": {"half_life_days": "x"}}], "give a number"),
        ([{"exclude": {"attribute": "category"}}], "attribute and values belong together"),
        ([{"mmr": {}, "cap": {}}], "must be one step"),
        ([{"mmr": 3}], "must be settings"),
    ],
)
def test_a_slip_in_a_step_is_one_line_with_its_place(steps: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        steps_of(steps)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"cap": {"attribute": "categry"}}, "items have no 'categry'; they have category, margin, stock.*'category'"),
        ({"lift": {"attribute": "category"}}, "the items' 'category' is text"),
        ({"pin": {"items": ["i66"]}}, "has no item 'i66'"),
        ({"exclude": {"attribute": "category", "values": ["te"]}}, "no item's 'category' is 'te'.*'tea'"),
    ],
)
def test_what_the_shop_does_not_know_is_one_line(shop: Any, step: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        listed(shop, step)


def test_attributes_of_several_values_and_of_days_are_one_line(tmp_path: Path) -> None:
    items = {"genres": [["a", "b"], ["a"], []], "released": [date(2001, 1, n) for n in (1, 2, 3)]}
    shop = tiny_prepared(tmp_path, [[1, 2, 3, 1]] * 3, items=items, n_items=3, catalogue=range(1, 4))
    asked = shop[1].part("test")[0]
    several, day = "an item has several 'genres', and a step looks at one", r"the items' 'released' is date32"
    steps: list[tuple[Any, str]] = [
        ({"mmr": {"attributes": ["genres"]}}, several),
        ({"lift": {"attribute": "genres"}}, several),
        ({"lift": {"attribute": "released"}}, day),
    ]
    for step, said in steps:
        with pytest.raises(UserError, match=said):
            Reranked(Alike(), [step], shop[1], False).recommend(asked, 3)


def test_a_shop_without_times_knows_nothing_new(tmp_path: Path) -> None:
    _, split = tiny_prepared(tmp_path, HISTORIES, items=ITEMS, n_items=6)
    with pytest.raises(UserError, match="needs times, and tiny has only an order"):
        Reranked(Fixed(), ["fresh"], split, False)


def test_what_counts_days_until_the_request_says_that_it_reads_the_instant(shop: Any) -> None:
    _, split = shop
    assert Reranked(Fixed(), ["fresh"], split, False).about.reads_instant
    assert not Reranked(Fixed(), ["mmr", "available"], split, False).about.reads_instant


def test_a_number_that_is_first_shown_after_the_training_cutoff_moves_no_rank(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, _ = shop
    since = np.array([0, 1, 1, 1, 9, 1, 1]) * DAY  # the highest margin, of item 4, is shown on day 9
    monkeypatch.setattr(type(prepared), "known_since", lambda *_: since)
    assert facts_of(prepared, MARGINS, 10 * DAY).ranks("margin")[:4].tolist() == [0, 0, 0.75, 0.25]
    assert facts_of(prepared, MARGINS, 5 * DAY).ranks("margin")[[1, 2, 3, 6]] == pytest.approx([0, 1, 1 / 3, 2 / 3])
    assert facts_of(prepared, MARGINS, 5 * DAY).ranks("margin")[4] == 1  # above all that were known
