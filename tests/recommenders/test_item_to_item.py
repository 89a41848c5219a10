"""Rules from item to item: what goes with what, and not the other way round."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from recommenders.checks import check_recommender, fitted, stranger
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.features.steps import Steps
from shopkeeper.recommenders.item_pairs.item_to_item import RELATIONS, ItemToItem
from shopkeeper.schema import EVENT_CODE, event_codes
from tiny import DAY, days, tiny_prepared

CAMERA, CASE, BOOK, TENT = 1, 2, 3, 4
REST = [5, 5]  # held out
plain = partial(ItemToItem, shrinkage=0.0)


@pytest.mark.parametrize("relation", RELATIONS)
def test_rules_keep_the_promises_of_every_recommender(relation: str, tmp_path: Path):
    check_recommender(partial(ItemToItem, relation=relation), tmp_path)


def test_a_case_goes_with_a_camera_and_not_a_camera_with_a_case(tmp_path: Path):
    """Whoever bought a camera buys a case next; most cases are bought by those who have a camera already."""
    bought = [[CAMERA, CASE, *REST]] * 4 + [[CASE, BOOK, *REST]] * 6 + [[BOOK, CASE, *REST]] * 2
    prepared, split = tiny_prepared(tmp_path, bought, days(bought))
    for relation in ("after", "complement"):
        scores = fitted(partial(plain, relation=relation), prepared, split).score(stranger([[CAMERA], [CASE]]))
        assert scores[0, CASE] == 1.0
        assert scores[1, BOOK] == pytest.approx(0.5)
        assert scores[1, CAMERA] < 0  # no rule: below by popularity
    lifted = fitted(partial(plain, relation="after", lift=1.0), prepared, split).score(stranger([[CAMERA]]))
    assert lifted[0, CASE] == pytest.approx(1 / (12 / 24))  # half of what is bought is a case


def test_what_comes_later_than_the_days_is_no_complement(tmp_path: Path):
    bought = [[CAMERA, CASE, *REST]] * 3
    times = [[0, 40 * DAY, 50 * DAY, 60 * DAY]] * 3
    prepared, split = tiny_prepared(tmp_path, bought, times)
    score = {d: fitted(partial(plain, days=d), prepared, split).score(stranger([[CAMERA]])) for d in (30.0, 40.0, None)}
    assert score[30.0][0, CASE] < 0
    assert score[40.0][0, CASE] == score[None][0, CASE] == 1.0


def test_lines_of_one_order_are_bought_together_in_both_directions(tmp_path: Path):
    bought = [[CAMERA, CASE, BOOK, *REST]] * 2 + [[CAMERA, TENT, BOOK, *REST]]
    orders = [[1, 1, 2, 3, 4], [5, 5, 6, 7, 8], [9, 10, 11, 12, 13]]
    prepared, split = tiny_prepared(tmp_path, bought, days(bought), columns={"order": orders})
    scores = fitted(partial(plain, relation="together"), prepared, split).score(stranger([[CAMERA], [CASE]]))
    assert scores[0, CASE] == pytest.approx(2 / 3)
    assert scores[1, CAMERA] == 1.0
    assert scores[0, TENT] < 0  # of the next order


def test_an_alternative_is_what_was_bought_after_a_look_at_another(tmp_path: Path):
    view, buy = "view", "purchase"
    histories, kinds = [[CAMERA, TENT, *REST]] * 3, [[view, buy, buy, buy]] * 3
    histories += [[CAMERA, CASE, BOOK, *REST]]
    kinds += [[buy, view, buy, buy, buy]]
    prepared, split = tiny_prepared(tmp_path, histories, days(histories), event_types=kinds)
    model = fitted(partial(plain, relation="alternative", decay=0.5), prepared, split)
    look, take = EVENT_CODE["view"], EVENT_CODE["purchase"]
    asked = Requests.from_histories(
        [[CAMERA], [CAMERA, CASE], [CAMERA, BOOK]], [[look], [look, look], [look, take]], instant=None
    )
    scores = model.score(asked)
    assert scores[0, TENT] == 1.0
    assert scores[0, CASE] < 0  # the camera of that customer was bought, not looked at
    assert (scores[1, BOOK], scores[1, TENT]) == (1.0, 0.5)  # the newer look weighs more
    assert (scores[2, 1:] < 0).all()  # nothing was looked at since the last order


def test_steps_are_orders_with_what_was_seen_before_them():
    look, take = EVENT_CODE["view"], EVENT_CODE["purchase"]
    asked = Requests.from_histories(
        [[1, 2, 3, 3, 4], [], [5]], [[look, take, look, look, look], [], [take]], [[1, 2, 3, 4, 5], [], [9]]
    )
    steps = Steps.of(asked, event_codes(["purchase"]), 6)
    assert steps.owner.tolist() == [0, 0, 1, 2, 2]
    assert (steps.first.tolist(), steps.last.tolist()) == ([0, 2, 3], [0, 1, 3])
    np.testing.assert_array_equal(steps.bought().toarray().nonzero(), [[0, 3], [2, 5]])
    seen = steps.seen(2, 0.5).toarray()
    assert seen[0].tolist() == [0, 1, 0, 0, 0, 0]
    assert seen[1].tolist() == [0, 0, 0, 0.5, 1, 0]  # the older look at 3 is the third newest


def test_settings_without_sense_are_refused():
    with pytest.raises(UserError, match=r"no relation 'complements'\. Did you mean 'complement'"):
        ItemToItem("complements")
    for wrong, said in (({"days": 0.0}, "days=0"), ({"lift": 2.0}, "lift=2"), ({"anchors": 0}, "anchors=0")):
        with pytest.raises(UserError, match=said):
            ItemToItem(**wrong)
