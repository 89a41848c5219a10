"""SLIM: weights as scikit-learn's elastic net finds them, and what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from recommenders.checks import check_recommender, fitted, shipped, stranger
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.item_pairs import slim
from shopkeeper.recommenders.item_pairs.slim import SLIM, slim_weights
from tiny import DAY, days, tiny_prepared


def test_slim_keeps_the_promises_of_every_recommender(tmp_path):
    check_recommender(shipped("slim"), tmp_path / "shipped")
    check_recommender(lambda: SLIM(l1=0.1, l2=1.0, candidates=2, self_similarity=0.0), tmp_path)


@pytest.mark.parametrize("dense", [True, False])
def test_weights_are_those_of_an_elastic_net_per_item(monkeypatch, dense):
    from sklearn.linear_model import ElasticNet

    monkeypatch.setattr(slim, "DENSE_CELLS", 10**6 if dense else 0)
    monkeypatch.setattr(slim, "CELLS_AT_ONCE", 500)  # several blocks
    monkeypatch.setattr(slim, "TOLERANCE", 1e-9)
    rng = np.random.default_rng(5)
    taste = rng.random((80, 3)) @ rng.random((3, 12))
    x = (rng.random((80, 12)) < taste / 2).astype(float)
    x[:, 11] = 0  # nobody took it
    found = slim_weights(sparse.csr_array(x), 0.7, 2.0, 100).toarray()
    for j in range(12):
        others = np.delete(x, j, axis=1)
        net = ElasticNet(
            alpha=2.7 / 80, l1_ratio=0.7 / 2.7, positive=True, fit_intercept=False, tol=1e-12, max_iter=10**5
        )
        np.testing.assert_allclose(np.delete(found[:, j], j), net.fit(others, x[:, j]).coef_, atol=1e-5)
        assert found[j, j] == 0


def test_only_the_nearest_items_explain_an_item(tmp_path):
    rng = np.random.default_rng(5)
    x = sparse.csr_array((rng.random((60, 9)) < 0.5).astype(float))
    assert (slim_weights(x, 0.0, 1.0, 2) > 0).sum(axis=0).max() <= 2


def test_what_goes_together_is_found_and_own_items_come_back_only_where_they_may(tmp_path):
    # 3 is bought by all, 1 and 2 always together.
    bought = [[1, 2, 3, 5, 5]] * 8 + [[3, 4, 5, 5]] * 8
    prepared, split = tiny_prepared(tmp_path, bought, days(bought))
    make = lambda: SLIM(l1=0.1, l2=1.0)
    scores = fitted(make, prepared, split).score(stranger([[1]]))[0]
    assert np.argsort(-scores[1:], kind="stable")[:2].tolist() == [0, 1]
    films = fitted(make, prepared, split, Fit(filter_seen=True)).score(stranger([[1]]))[0]
    assert films[1] < 0 < films[2]


def test_older_events_of_a_history_weigh_less(tmp_path):
    bought = [[1, 2, 5, 5], [3, 4, 5, 5]] * 4
    prepared, split = tiny_prepared(tmp_path, bought, days(bought))
    model = fitted(lambda: SLIM(l1=0.1, l2=1.0, half_life_days=1.0), prepared, split)
    asked = stranger([[1, 3]])
    assert asked.events.timestamp.tolist() == [0, DAY]
    scores = model.score(asked)[0]
    np.testing.assert_allclose(scores[2] * 2, scores[4], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"l1": -1}, "l1=-1"), ({"l2": 0}, "l2=0"), ({"candidates": 0}, "candidates=0"),
     ({"half_life_days": 0}, "half_life_days=0")],
)  # fmt: skip
def test_settings_without_sense_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        SLIM(**settings)
