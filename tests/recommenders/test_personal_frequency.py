"""Personal frequency: one's own counts, decayed by time; popularity tells equal counts apart and follows."""

from __future__ import annotations

import numpy as np
import pytest

from recommenders.checks import check_recommender, fitted, shoppers, stranger
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.recommenders.counting.personal_frequency import PersonalFrequency
from shopkeeper.schema import EVENT_CODE
from tiny import DAY, days


def plain(**settings):
    return lambda: PersonalFrequency(popularity_half_life_days=None, **settings)


def best(model, requests, k):
    return (np.argsort(-model.score(requests)[:, 1:], axis=1, kind="stable")[:, :k] + 1).tolist()


def test_personal_frequency_keeps_the_promises_of_every_recommender(tmp_path):
    check_recommender(plain(half_life_days=3), tmp_path)


def test_the_item_taken_most_often_comes_first_and_popularity_breaks_ties(tmp_path):
    prepared, split = shoppers(tmp_path)  # popularity is 7 > 6 > … > 1
    model = fitted(plain(), prepared, split)
    assert best(model, stranger([[1, 3, 1, 2], [2, 3, 1], []]), 4) == [[1, 3, 2, 7], [3, 2, 1, 7], [7, 6, 5, 4]]


def test_with_a_half_life_one_new_purchase_outweighs_two_old_ones(tmp_path):
    prepared, split = shoppers(tmp_path)
    requests = Requests.from_histories([[1, 1, 2]], timestamps=[[0, DAY, 10 * DAY]],
                                       event_types=[[EVENT_CODE["purchase"]] * 3], instant=[11 * DAY])  # fmt: skip
    assert best(fitted(plain(), prepared, split), requests, 2) == [[1, 2]]
    # 2^-10 + 2^-9 against 1 (a day's half-life).
    scores = fitted(plain(half_life_days=1), prepared, split).score(requests)[0]
    rest = fitted(plain(), prepared, split).rest_V
    np.testing.assert_allclose(scores[[1, 2]] - 1 - rest[[1, 2]], [2**-10 + 2**-9, 1], rtol=1e-3)


def test_views_count_only_when_they_are_given_a_weight(tmp_path):
    prepared, split = shoppers(tmp_path)
    codes = [[EVENT_CODE["view"], EVENT_CODE["view"], EVENT_CODE["purchase"]]]
    requests = Requests.from_histories([[1, 1, 2]], codes, days([[1, 1, 2]]), [4 * DAY])
    assert best(fitted(plain(), prepared, split), requests, 2) == [[2, 7]]
    weighed = plain(event_weights={"purchase": 1, "view": 0.6})
    assert best(fitted(weighed, prepared, split), requests, 2) == [[1, 2]]


def test_a_half_life_that_is_none_is_refused():
    with pytest.raises(UserError, match="half_life_days=0 must be a number above 0"):
        PersonalFrequency(half_life_days=0)
