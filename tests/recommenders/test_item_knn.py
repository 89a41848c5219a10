"""Item-kNN: cosines as by hand, recency in the history, popularity where no neighbour is known."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recommenders.checks import check_recommender, fitted, stranger
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.private_torch import BYTES, product_of_bytes
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.inside import Open
from shopkeeper.recommenders.item_pairs import counted
from shopkeeper.recommenders.knn import item_knn
from shopkeeper.recommenders.knn.item_knn import ItemKNN, cosine_neighbours
from tiny import tiny_prepared


def test_item_knn_keeps_the_promises_of_every_recommender(tmp_path):
    check_recommender(partial(ItemKNN, shrinkage=1.0), tmp_path)
    check_recommender(partial(ItemKNN, half_life_days=2.0, self_similarity=0.5), tmp_path / "by time")


def plain(**parameters):
    return partial(ItemKNN, **{"shrinkage": 0.0, "half_life_events": None, **parameters})


def test_scores_are_the_sum_of_cosines_to_the_history(tmp_path):
    # Training rows: {1, 2}, {1, 2, 3}, {3}; the last two of each list are targets.
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 2, 3, 3], [1, 2, 3, 4, 4], [3, 4, 4]])
    scores = fitted(plain(self_similarity=0.0), prepared, split).score(stranger([[1], [1, 2], [1, 1]]))
    np.testing.assert_allclose(scores[0, 2:4], [1, 1 / 2], rtol=1e-6)  # 1 and 2 always together; 3 in one of two
    np.testing.assert_allclose(scores[1, 1:4], [1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(scores[2, 2:4], [2, 1], rtol=1e-6)
    shrunk = fitted(plain(self_similarity=0.0, shrinkage=2.0), prepared, split).score(stranger([[1]]))
    np.testing.assert_allclose(shrunk[0, 2:4], [2 / 4, 1 / 4], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(2, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_neighbours_equal_a_dense_computation_whatever_the_blocks(n_users, n_items, k, seed):
    rng = np.random.default_rng(seed)
    x = (rng.random((n_users, n_items)) < 0.4).astype(np.float32)
    norm = np.sqrt((x**2).sum(0))
    dense = (x.T @ x) / (norm[:, None] * norm[None, :] + 1.5)
    np.fill_diagonal(dense, 0)
    dense = dense.astype(np.float32)
    order = np.argsort(-dense, axis=1, kind="stable")[:, k:]
    np.put_along_axis(dense, order, 0, axis=1)
    before = counted.PAIRS_AT_ONCE, counted.FULL
    try:
        for at_once, full in ((1, 0), (50, 0), before):
            counted.PAIRS_AT_ONCE, counted.FULL = at_once, full
            found = cosine_neighbours(sparse.csr_array(x), k, 1.5).toarray()
            np.testing.assert_allclose(found, dense, rtol=1e-6)
    finally:
        counted.PAIRS_AT_ONCE, counted.FULL = before


@pytest.mark.parametrize("seed", range(6))
def test_neighbours_by_way_of_all_counts_are_those_of_the_sparse_product_to_the_last_bit(
    seed: int, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(seed)
    share = (rng.random(60) ** 4)[None, :] * (np.arange(60) % 11 > 0)  # few items of many users; some that nobody has
    x = sparse.csr_array((rng.random((300, 60)) < share).astype(np.float32))
    monkeypatch.setattr(counted, "CELLS", (0, 900, 10**6)[seed % 3])  # none of them dense, three, all
    monkeypatch.setattr(counted, "ROWS", 7)
    found = {}
    for full in (36_000_000, 0):
        monkeypatch.setattr(counted, "FULL", full)
        product = counted.strongest_of_all(x, 5, lambda i, j, both: both)
        assert (product is None) == (full == 0)
        near = cosine_neighbours(x, 5, seed % 2 * 3.0)
        found[full] = [array.tobytes() for array in (near.indptr, near.indices, near.data)]
    assert found[0] == found[36_000_000]
    assert counted.strongest_of_all(x * np.float32(0.5), 5, lambda i, j, both: both) is None


def test_counts_of_more_rows_than_16_bits_hold_are_whole():
    x = sparse.csr_array(np.ones((70_000, 3), np.float32))
    found = counted.strongest_of_all(x, 2, lambda i, j, both: both)
    np.testing.assert_array_equal(found.toarray(), 70_000 * (1 - np.eye(3)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=9), min_size=1, max_size=6), st.sampled_from([6, 2**30]))
def test_what_was_taken_several_times_stands_once(lists: list[list[int]], width: int):
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in lists])])
    x_UV = counted.each_once(offsets, np.array([item for items in lists for item in items], np.int32), width)
    assert x_UV.shape == (len(lists), width)
    assert [x_UV.indices[a:b].tolist() for a, b in pairwise(x_UV.indptr)] == [sorted(set(items)) for items in lists]
    assert x_UV.dtype == np.float32
    assert (x_UV.data == 1).all()


@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize(("cells", "block", "share"), [(0, 8, 4), (900, 8, 4), (10**6, 64, 4), (10**6, 8, 1)])
def test_counts_of_all_pairs_are_those_of_the_product(
    cells: int, block: int, share: int, bits: int, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(3)
    x = sparse.csr_array((rng.random((300, 60)) < rng.random(60) ** share).astype(np.float32))
    monkeypatch.setattr(counted, "CELLS", cells)
    monkeypatch.setattr(counted, "WORTH_TORCH", 0)  # torch is brought in
    if bits == 32:
        monkeypatch.setattr("shopkeeper.private_torch.BYTES", False)
    np.testing.assert_array_equal(counted.counts_together(x, block=block), (x.T @ x).toarray())


@pytest.mark.skipif(not BYTES, reason="this processor has no fast product of whole numbers")
@pytest.mark.parametrize("shape", [(3, 1), (1, 1), (1, 4), (17, 33), (700, 65)])
def test_the_product_in_bytes_is_that_of_whole_numbers(shape: tuple[int, int]):
    x = np.random.default_rng(1).integers(0, 2, shape).astype(np.int8)
    for first in range(0, shape[1], 16):
        some, rest = x[:, first : first + 16], x[:, first:]
        found = product_of_bytes(torch.from_numpy(some).T, torch.from_numpy(rest))
        np.testing.assert_array_equal(found.numpy(), some.T.astype(np.int64) @ rest)


def test_the_last_purchase_weighs_most(tmp_path):
    # 1 goes with 2, 3 goes with 4.
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 5, 5], [3, 4, 5, 5]] * 3)
    scores = fitted(plain(half_life_events=1.0), prepared, split).score(stranger([[1, 3], [3, 1]]))
    np.testing.assert_allclose(scores[:, [2, 4]], [[0.5, 1], [1, 0.5]], rtol=1e-6)
    by_time = fitted(plain(half_life_days=2.0), prepared, split).score(stranger([[1, 5, 5, 5, 3]]))
    np.testing.assert_allclose(by_time[0, [2, 4]], [0.25, 1], rtol=1e-6)


def test_items_out_of_reach_stand_below_in_order_of_popularity(tmp_path):
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 9, 9], [3, 9, 9], [3, 9, 9], [4, 9, 9]])
    scores = fitted(plain(), prepared, split).score(stranger([[1], [8]]))
    assert np.argsort(-scores[0, 1:5], kind="stable").tolist() == [0, 1, 2, 3]
    assert scores[0, 2] > 0 > scores[0, 3] > scores[0, 4]
    popular = fitted(Popularity, prepared, split).score(stranger([[8]]))
    assert np.argsort(-scores[1], kind="stable").tolist() == np.argsort(-popular[0], kind="stable").tolist()


def test_shops_may_suggest_what_was_bought_before(tmp_path):
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 9, 9], [2, 3, 9, 9]])
    again = fitted(plain(), prepared, split).score(stranger([[1]]))[0]
    assert again[1:].argmax() + 1 == 1
    films = fitted(plain(), prepared, split, Fit(filter_seen=True)).score(stranger([[1]]))[0]
    assert films[1:].argmax() + 1 == 2


def test_returned_goods_are_no_sign_of_interest(tmp_path):
    types = [["purchase", "purchase", "purchase", "purchase"], ["purchase", "return", "purchase", "purchase"]]
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 4, 4], [1, 3, 4, 4]], event_types=types)
    scores = fitted(plain(), prepared, split).score(stranger([[1]]))[0]
    assert scores[2] > 0 > scores[3]


def test_an_item_newer_than_the_model_is_left_out_of_the_history(tmp_path):
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 3, 3]])
    model = fitted(plain(), prepared, split)
    np.testing.assert_array_equal(model.score(stranger([[1, 99]])), model.score(stranger([[1]])))


@pytest.mark.parametrize(
    "setting", [{"neighbours": 0}, {"shrinkage": -1}, {"half_life_events": 0}, {"half_life_days": -2}]
)
def test_a_wrong_setting_is_named(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        ItemKNN(**setting)


def test_weights_of_another_model_are_refused(tmp_path):
    prepared, split = tiny_prepared(tmp_path / "data", [[1, 2, 3]])
    fitted(Popularity, prepared, split).save(tmp_path / "run")
    with pytest.raises(UserError, match="written by model 'popularity'"):
        ItemKNN().load(tmp_path / "run")


@pytest.mark.parametrize(("wide", "asked"), [(4, True), (3, False)])
def test_more_neighbours_are_not_tried_where_their_tables_would_be_large(tmp_path, monkeypatch, wide, asked):
    told = {}

    def chosen(self, fitted, split, fit, nothing):
        told.update(nothing)
        return self.first

    monkeypatch.setattr(item_knn, "WIDE", wide)
    monkeypatch.setattr(Open, "chosen", chosen)
    model = fitted(partial(ItemKNN, "auto"), *tiny_prepared(tmp_path, [[1, 2, 3, 4], [1, 2, 3, 3]]))
    assert told["neighbours"] is not asked
    assert model.settings["neighbours"] == 50
