"""Recency: the customer's own newest items first, then what sells."""

from __future__ import annotations

import numpy as np

from recommenders.checks import check_recommender, fitted, shoppers, stranger
from shopkeeper.data.requests import Requests
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.schema import EVENT_CODE
from tiny import DAY, days


def test_recency_keeps_the_promises_of_every_recommender(tmp_path):
    check_recommender(lambda: Recency(None), tmp_path)


def test_the_newest_item_comes_first_and_an_item_taken_twice_stands_where_it_was_taken_last(tmp_path):
    prepared, split = shoppers(tmp_path)
    model = fitted(lambda: Recency(None), prepared, split)
    scores = model.score(stranger([[3, 1, 3, 2]]))[0]
    assert np.argsort(-scores[1:], kind="stable")[:4].tolist() == [1, 2, 0, 6]  # 2, 3, 1, then the best seller, 7


def test_what_was_taken_out_of_the_cart_again_is_not_offered_first(tmp_path):
    prepared, split = shoppers(tmp_path)
    model = fitted(lambda: Recency(None), prepared, split)
    codes = [[EVENT_CODE["purchase"], EVENT_CODE["remove_from_cart"]]]
    requests = Requests.from_histories([[4, 1]], codes, days([[4, 1]]), [2 * DAY])
    scores = model.score(requests)[0]
    assert scores.argmax() == 4
    assert scores[1] < 1
