"""iALS and BPR: vectors that the library learns, requests that NumPy folds in."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

from recommenders.checks import FIT, check_recommender, fitted, shipped, shoppers, stranger
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.base import EmbeddingRecommender
from shopkeeper.recommenders.factors.bpr import BPR
from shopkeeper.recommenders.factors.ials import IALS
from tiny import days, tiny_prepared

SMALL = {
    "ials": lambda **s: IALS(**{"width": 4, "epochs": 5, "regularisation": 1.0, "half_life_days": 20.0} | s),
    "bpr": lambda **s: BPR(**{"width": 4, "epochs": 20, "half_life_days": 20.0} | s),
}
BOTH = pytest.mark.parametrize("name", ["ials", "bpr"])


@BOTH
def test_a_factorisation_keeps_the_promises_of_every_recommender(tmp_path, name):
    check_recommender(shipped(name), tmp_path / "shipped")
    check_recommender(SMALL[name], tmp_path)


@BOTH
def test_customers_of_one_taste_get_the_items_of_that_taste(tmp_path, name):
    rng = np.random.default_rng(0)
    bought = [[*(rng.permutation(6)[:4] + 1 + 6 * (u % 2)), 13, 13] for u in range(60)]
    prepared, split = tiny_prepared(tmp_path, bought, days(bought), n_items=13)
    model = fitted(SMALL[name], prepared, split)
    assert isinstance(model, EmbeddingRecommender)
    scores = model.score(stranger([[1, 2], [7, 8, 9]]))
    assert scores[0, 3:7].min() > scores[0, 7:13].max()
    assert scores[1, 10:13].min() > scores[1, 1:7].max()


@BOTH
def test_the_same_seed_gives_the_same_vectors_and_another_seed_others(tmp_path, name):
    prepared, split = shoppers(tmp_path)
    one, same = (fitted(SMALL[name], prepared, split, Fit(seed=7)).item_vectors() for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - fitted(SMALL[name], prepared, split, Fit(seed=8)).item_vectors()).max() > 1e-6


def test_threads_do_not_change_what_ials_learns(tmp_path):
    prepared, split = shoppers(tmp_path)
    one, two = (fitted(lambda n=n: IALS(width=4, threads=n), prepared, split).item_vectors() for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_a_request_of_ials_solves_the_weighted_least_squares_of_its_history(tmp_path):
    prepared, split = shoppers(tmp_path)
    model = fitted(lambda: IALS(width=3, alpha=2.0, regularisation=0.5, half_life_days=None), prepared, split)
    vectors, without = model.encode(stranger([[3, 7, 3], [1] * 3000, []]))
    y = model.item_vectors().astype(float)
    for vector, count in zip(vectors, ({3: 2, 7: 1}, {1: 3000}), strict=False):
        c = np.array([1 + 2.0 * count.get(i, 0) for i in range(len(y))])
        p = np.array([float(i in count) for i in range(len(y))])
        expected = np.linalg.solve(y.T @ (c[:, None] * y) + 0.5 * np.eye(3), y.T @ (c * p))
        np.testing.assert_allclose(vector, expected, rtol=1e-4)
    assert without.tolist() == [False, False, True]


def test_what_ials_learns_is_where_an_independent_turn_of_least_squares_stays(tmp_path):
    rng = np.random.default_rng(3)
    bought = [[*rng.integers(1, 9, 7), 1, 2] for _ in range(40)]  # some of an item twice: twice the confidence
    prepared, split = tiny_prepared(tmp_path, bought, days(bought), n_items=8)
    settings = {"width": 3, "alpha": 2.0, "regularisation": 0.5, "half_life_days": None, "epochs": 1000}
    y_ID = fitted(lambda: IALS(**settings), prepared, split).item_vectors().astype(float)[1:]
    offsets, rows = split.training_rows()
    w_UI = np.zeros((len(offsets) - 1, 8))
    np.add.at(w_UI, (np.repeat(np.arange(len(w_UI)), np.diff(offsets)), prepared.events.item[rows] - 1), 1)

    def turn(fixed, w):
        """The vectors that minimise the objective for each row of `w`, given those of its columns."""
        return np.stack([
            np.linalg.solve(fixed.T @ ((1 + 2.0 * row)[:, None] * fixed) + 0.5 * np.eye(3),
                            fixed.T @ ((1 + 2.0 * row) * (row > 0)))
            for row in w
        ])  # fmt: skip

    x_UD = turn(y_ID, w_UI)
    np.testing.assert_allclose(turn(x_UD, w_UI.T), y_ID, atol=2e-3 * np.abs(y_ID).max())
    other = y_ID[::-1].copy()
    assert np.abs(turn(turn(other, w_UI), w_UI.T) - other).max() > 0.1 * np.abs(y_ID).max()


def test_a_request_of_bpr_maximises_the_objective_of_its_history(tmp_path):
    prepared, split = shoppers(tmp_path)
    model = fitted(lambda: BPR(width=3, epochs=200, regularisation=0.05), prepared, split)
    vector = model.encode(stranger([[3, 7, 3]]))[0][0].astype(float)
    assert vector[-1] == 1
    y, against = model.item_vectors().astype(float), [j for j in model.against_M if j not in (3, 7)]

    def loss(x: np.ndarray) -> float:
        s = y[:, :-1] @ x + y[:, -1]
        gain = sum(w * np.log(expit(s[i] - s[j])) for i, w in ((3, 2 / 3), (7, 1 / 3)) for j in against)
        return float(0.05 / 2 * x @ x - gain / len(model.against_M))

    best = optimize.minimize(loss, np.zeros(3), tol=1e-10).fun
    assert loss(vector[:-1]) == pytest.approx(best, abs=1e-4)
    assert loss(np.zeros(3)) > best + 1e-2


def test_items_out_of_the_catalogue_or_newer_than_the_model_say_nothing(tmp_path):
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 3, 4, 4], [2, 3, 1, 4, 4]], catalogue=[1, 2, 3])
    for name, make in SMALL.items():
        model = fitted(lambda make=make: make(half_life_days=None), prepared, split)
        assert not model.item_vectors()[[0, 4]].any(), name
        np.testing.assert_array_equal(model.score(stranger([[1, 4, 99]])), model.score(stranger([[1]])))
        np.testing.assert_array_equal(model.score(stranger([[4, 99]])), model.score(stranger([[]])))


def test_without_the_package_it_is_said_what_to_install_and_what_to_take(tmp_path, monkeypatch):
    prepared, split = shoppers(tmp_path)
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.split(".")[0] == "implicit":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'shopkeeper\[factors\]', or take model=ease"):
        SMALL["ials"]().fit(prepared, split, FIT)


@pytest.mark.parametrize(
    ("make", "said"),
    [(lambda: IALS(width=0), "ials: model.width=0"), (lambda: IALS(alpha=0), "alpha=0"), (lambda: BPR(epochs=0), "0"),
     (lambda: BPR(learning_rate=0), "learning_rate=0"), (lambda: BPR(half_life_days=0), "half_life_days=0")],
)  # fmt: skip
def test_settings_without_sense_are_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()
