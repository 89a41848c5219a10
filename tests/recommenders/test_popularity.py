"""Popularity: counts what may be counted, newer events more."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from recommenders.checks import FIT, check_recommender, stranger
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.popularity import Popularity
from tiny import DAY, tiny_prepared


def test_popularity_keeps_the_promises_of_every_recommender(tmp_path):
    check_recommender(Popularity, tmp_path)


def scores(model, prepared, split, fit=FIT):
    model.fit(prepared, split, fit)
    return model.score(stranger([[1]]))[0]


def test_an_event_one_half_life_before_the_cutoff_counts_half(tmp_path):
    # Last two events of each user are targets; the training log ends on day 10.
    when = [[0, 10 * DAY, 11 * DAY, 12 * DAY], [5 * DAY, 90 * DAY, 91 * DAY]]
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 3, 3], [3, 1, 1]], when)
    assert scores(Popularity(), prepared, split).tolist() == [0, 1, 1, 1]
    np.testing.assert_allclose(scores(Popularity(5), prepared, split), [0, 0.25, 1, 0.5], rtol=1e-6)
    np.testing.assert_allclose(scores(Popularity(5, "user"), prepared, split), [0, 0.25, 1, 1], rtol=1e-6)


def test_what_is_older_than_the_window_only_tells_equal_counts_apart(tmp_path):
    when = [[0, 10 * DAY, 11 * DAY, 12 * DAY], [5 * DAY, 90 * DAY, 91 * DAY]]
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 3, 3], [3, 1, 1]], when)
    for model, wanted in {
        Popularity(window_days=5): [0, 0, 1, 1],
        Popularity(window_days=4.9): [0, 0, 1, 0],
        Popularity(5, window_days=5): [0, 0, 1, 0.5],
        Popularity(window_days=4.9, relative_to="user"): [0, 0, 1, 1],
    }.items():
        np.testing.assert_allclose(scores(model, prepared, split), wanted, atol=0.01)
    # In the last days 2 and 3 were taken once each, 3 twice long before, and 4 only then; 1 is a target alone.
    when = [[0, DAY, 50 * DAY, 50 * DAY, 51 * DAY, 52 * DAY], [0, 51 * DAY, 52 * DAY]]
    prepared, split = tiny_prepared(tmp_path / "few", [[3, 3, 2, 3, 1, 1], [4, 1, 1]], when)
    assert np.argsort(-scores(Popularity(window_days=3), prepared, split), kind="stable").tolist()[:3] == [3, 2, 4]


def test_users_without_training_rows_do_not_disturb_the_others_own_time(tmp_path):
    when = [[DAY, 2 * DAY, 3 * DAY], [0, DAY, 3 * DAY, 4 * DAY], [7 * DAY]]
    prepared, split = tiny_prepared(tmp_path, [[1, 1, 1], [2, 3, 1, 1], [4]], when, held_out=[1])
    np.testing.assert_allclose(scores(Popularity(1, "user"), prepared, split), [0, 0, 0.5, 1, 1], rtol=1e-6)


def test_views_count_only_when_they_are_given_a_weight(tmp_path):
    types = [["view", "view", "purchase", "view", "view"]]
    prepared, split = tiny_prepared(tmp_path, [[1, 1, 2, 3, 3]], event_types=types)
    assert scores(Popularity(), prepared, split).tolist() == [0, 0, 1, 0]
    weighted = Popularity(event_weights={"view": 0.75, "purchase": 1})
    assert scores(weighted, prepared, split).tolist() == [0, 1.5, 1, 0]
    assert scores(Popularity(), prepared, split, Fit(target_events=("view",))).tolist() == [0, 2, 0, 0]


def test_a_half_life_on_data_without_time_counts_all_of_it(tmp_path):
    prepared, split = tiny_prepared(tmp_path, [[1, 1, 2, 2, 2]])
    assert scores(Popularity(3), prepared, split).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"half_life_days": 0}, "half_life_days"),
        ({"window_days": -1}, "window_days=-1"),
        ({"half_life_days": float("nan")}, "half_life_days"),
        ({"relative_to": "usr"}, "Did you mean 'user'"),
        ({"event_weights": {"purchas": 1}}, "Did you mean 'purchase'"),
        ({"event_weights": {"purchase": -1}}, "event_weights.purchase"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, setting, message):
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 3]])
    with pytest.raises(UserError, match=message):
        partial(Popularity, **setting)().fit(prepared, split, FIT)
