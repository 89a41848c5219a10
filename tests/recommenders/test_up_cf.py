"""UP-CF: shares of the newest baskets as by hand, neighbours as by a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from recommenders.checks import check_recommender, fitted, shipped, shoppers, stranger
from shopkeeper.errors import UserError
from shopkeeper.recommenders.knn.up_cf import UPCF
from tiny import days, tiny_prepared


def test_up_cf_keeps_the_promises_of_every_recommender(tmp_path):
    check_recommender(shipped("up_cf"), tmp_path / "shipped")
    check_recommender(lambda: UPCF(last_baskets=2, neighbours=2, half_life_days=3.0), tmp_path)


def test_only_the_newest_baskets_count_and_each_by_its_age(tmp_path):
    prepared, split = shoppers(tmp_path)
    asked = stranger([[1, 2, 1, 3], [4]])
    model = fitted(lambda: UPCF(last_baskets=3), prepared, split)
    np.testing.assert_allclose(model.vectors(asked).toarray()[:, 1:5], np.array([[1, 1, 1, 0], [0, 0, 0, 3]]) / 3)
    fading = fitted(lambda: UPCF(last_baskets=None, half_life_days=1.0), prepared, split)
    np.testing.assert_allclose(fading.vectors(asked).toarray()[0, 1:4], np.array([1 / 8 + 1 / 2, 1 / 4, 1]) / 4)


@pytest.mark.parametrize("neighbours", [None, 3])
def test_scores_are_those_of_a_plain_loop_over_customers(tmp_path, neighbours):
    prepared, split = shoppers(tmp_path)
    model = fitted(lambda: UPCF(2, locality=3.0, asymmetry=0.2, neighbours=neighbours), prepared, split)
    asked = stranger([[3, 7], [1, 2, 6], [5, 5, 4]])
    own, trained = model.vectors(asked).toarray().astype(float), model.x_UV.toarray().astype(float)
    for b, scores in enumerate(model.score(asked)):
        like = trained @ own[b] / ((own[b] @ own[b]) ** 0.2 * (trained**2).sum(axis=1) ** 0.8)
        near = np.argsort(-like, kind="stable")[:neighbours]
        expected = own[b] + (like[near, None] ** 3 * trained[near]).sum(axis=0)
        np.testing.assert_allclose(scores[expected > 0], expected[expected > 0], rtol=1e-5)
        assert (scores[expected == 0] < 0).all()


def test_what_those_with_the_same_last_baskets_took_comes_before_what_others_took(tmp_path):
    bought = [[1, 2, 3, 3, 3]] * 3 + [[4, 5, 6, 6, 6]] * 4
    prepared, split = tiny_prepared(tmp_path, bought, days(bought))
    scores = fitted(UPCF, prepared, split).score(stranger([[1, 2]]))[0]
    assert set(np.argsort(-scores[1:])[:2] + 1) == {1, 2}
    assert scores[3] > max(scores[4:7])


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"last_baskets": 0}, "last_baskets=0"), ({"locality": 0}, "locality=0"), ({"asymmetry": 2}, "etry=2"),
     ({"neighbours": 0}, "neighbours=0"), ({"half_life_days": 0}, "half_life_days=0")],
)  # fmt: skip
def test_settings_without_sense_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        UPCF(**settings)
