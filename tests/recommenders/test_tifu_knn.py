"""TIFU-KNN: frequencies as by hand, neighbours as by a plain loop, what a group or a calendar weighs."""

from __future__ import annotations

import numpy as np
import pytest

from recommenders.checks import check_recommender, fitted, shoppers, stranger
from shopkeeper.data.requests import Events, Requests
from shopkeeper.errors import UserError
from shopkeeper.features.baskets import Baskets
from shopkeeper.recommenders.knn.tifu_knn import TIFUKNN
from shopkeeper.schema import EVENT_CODE
from tiny import DAY

PURCHASE = EVENT_CODE["purchase"]


def test_tifu_knn_keeps_the_promises_of_every_recommender(tmp_path):
    check_recommender(lambda: TIFUKNN(neighbours=2, decay="groups", group_size=2), tmp_path)


def orders(items: list[int], order: list[int], day: list[int]) -> Requests:
    n = len(items)
    events = Events(
        item=np.array(items, np.int32),
        event_type=np.full(n, PURCHASE, np.int8),
        timestamp=np.array(day, np.int64) * DAY,
        order=np.array(order, np.int32),
    )
    return Requests(events, np.array([0]), np.array([n]))


def test_lines_of_one_order_are_one_basket_and_an_item_counts_once_in_it():
    found = Baskets.of(orders([1, 2, 1, 3, 2], [5, 5, 5, 9, 9], [0, 0, 0, 4, 4]), [PURCHASE], 10)
    rows = sorted(zip(found.item.tolist(), found.basket.tolist(), found.age_days.tolist(), strict=True))
    assert rows == [(1, 1, 4.0), (2, 0, 0.0), (2, 1, 4.0), (3, 0, 0.0)]
    assert found.n_baskets.tolist() == [2]


def test_a_groups_weights_are_the_published_ones(tmp_path):
    prepared, split = shoppers(tmp_path)
    model = fitted(lambda: TIFUKNN(decay="groups", group_size=2, basket_decay=0.9, group_decay=0.7), prepared, split)
    # Three baskets {1}, {2}, {1}: newest group {1: 1, 2: .9} of two, the oldest of one basket, two groups.
    vector = model.vectors(stranger([[1, 2, 1]])).toarray()[0]
    np.testing.assert_allclose(vector[[1, 2]], [(1 / 2 + 0.7) / 2, 0.9 / 2 / 2], rtol=1e-6)


def test_by_the_calendar_a_basket_weighs_half_after_its_half_life(tmp_path):
    prepared, split = shoppers(tmp_path)
    model = fitted(lambda: TIFUKNN(half_life_days=10), prepared, split)
    vector = model.vectors(orders([1, 2], [1, 2], [0, 20])).toarray()[0]
    np.testing.assert_allclose(vector[[1, 2]], [0.25 / 2, 1 / 2], rtol=1e-6)


def test_scores_are_those_of_a_plain_loop_over_customers(tmp_path):
    prepared, split = shoppers(tmp_path)
    model = fitted(lambda: TIFUKNN(neighbours=3, own_share=0.4), prepared, split)
    asked = stranger([[3, 7], [1, 2, 6], [5, 5, 4]])
    own, trained = model.vectors(asked).toarray().astype(float), model.x_UV.toarray().astype(float)
    for b, scores in enumerate(model.score(asked)):
        distance = ((trained - own[b]) ** 2).sum(1)
        near = trained[np.argsort(distance, kind="stable")[:3]].mean(0)
        expected = 0.4 * own[b] + 0.6 * near
        np.testing.assert_allclose(scores[expected > 0], expected[expected > 0], rtol=1e-5)
        assert (scores[expected == 0] < 0).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"decay": "calender"}, "Did you mean 'calendar'"), ({"own_share": 2}, "own_share=2"),
     ({"neighbours": 0}, "neighbours=0"), ({"half_life_days": 0}, "half_life_days=0")],
)  # fmt: skip
def test_settings_without_sense_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        TIFUKNN(**settings)
