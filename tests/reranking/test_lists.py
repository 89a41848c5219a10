"""Lists in another order: each step against what one works out by hand."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.data.requests import Requests
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.reranking.lists import Lists
from shopkeeper.reranking.model import Reranked
from shopkeeper.reranking.rules import boost, cap, pin
from shopkeeper.reranking.variety import SMOOTHING, calibrated, mmr
from tiny import DAY, days, tiny_prepared

ITEMS = np.array([[11, 12, 13, 14]], np.int32)


def of(*scores: float) -> Lists:
    return Lists.of(ITEMS[:, : len(scores)], np.array([scores], np.float32))


def test_scores_of_any_unit_become_values_from_one_to_zero_best_first():
    found = of(-3.0, 5.0, 1.0)
    assert found.item.tolist() == [[12, 13, 11]]
    np.testing.assert_allclose(found.value, [[1, 0.5, 0]])
    assert of(2.0, 2.0).value.tolist() == [[1, 1]]


def test_what_may_not_be_shown_is_no_candidate():
    found = of(1.0, -np.inf, 2.0, np.nan)
    assert found.item.tolist() == [[13, 11, 0, 0]]
    assert found.value.tolist() == [[1, 0, 0, 0]]
    nobody = of(-np.inf, -np.inf)
    assert nobody.item.tolist() == [[0, 0]]
    assert nobody.value.tolist() == [[0, 0]]


def test_mmr_takes_an_item_of_another_category_before_a_better_one_of_the_same():
    lists, same = of(1.0, 0.9, 0.5, 0.0), np.array([[[1, 1, 2, 2]]])  # values 1, .9, .5, 0
    # Second place: .9 (1 - w) - w against .5 (1 - w): the other category wins from w = .286 on.
    assert mmr(lists, same, 0.28, 4).item.tolist() == [[11, 12, 13, 14]]
    assert mmr(lists, same, 0.30, 4).item.tolist() == [[11, 13, 12, 14]]
    assert mmr(lists, same, 0.30, 1).item.tolist() == [[11, 12, 13, 14]]  # only the first place is asked for


def test_mmr_counts_the_share_of_attributes_and_never_an_unknown_one():
    lists = of(1.0, 0.9, 0.85, 0.0)
    half = np.array([[[1, 1, 1, 9]], [[5, 6, 5, 9]]])  # the second item shares one of two, the third both
    assert mmr(lists, half, 0.5, 2).item.tolist() == [[11, 12, 13, 14]]  # .45 - .25 against .425 - .5
    unknown = np.zeros((1, 1, 4), np.int64)
    assert mmr(lists, unknown, 0.9, 4).item.tolist() == [[11, 12, 13, 14]]


def test_a_calibrated_list_has_the_mix_of_the_history():
    item, score = np.arange(1, 41, dtype=np.int32)[None], -np.arange(40, dtype=float)[None]
    code = np.where(np.arange(40) < 30, 1, 2)[None]  # the thirty best are all of one kind
    wanted = np.array([[0.0, 0.7, 0.3]])
    lists = Lists.of(item, score)
    found = calibrated(lists, code, wanted, 0.99, 10)
    kinds = code[0][found.item[0][:10] - 1]
    assert (kinds == 1).sum() == 7
    assert (kinds == 2).sum() == 3
    assert calibrated(lists, code, wanted, 0.0, 10).item.tolist() == item.tolist()
    assert calibrated(lists, code, np.zeros((1, 3)), 0.9, 10).item.tolist() == item.tolist()
    assert sorted(found.item[0].tolist()) == item[0].tolist()


def test_each_step_of_calibration_is_the_largest_gain_of_a_plain_loop():
    rng = np.random.default_rng(4)
    item, score = np.arange(1, 13, dtype=np.int32)[None], rng.random((1, 12))
    lists = Lists.of(item, score)
    code = rng.integers(0, 4, 12)[lists.item - 1]
    wanted = np.array([[0.0, 0.2, 0.5, 0.3]])
    weight, left, taken = 0.6, list(range(12)), []
    while len(taken) < 6:

        def worth(place: int) -> float:
            q = np.bincount([code[0, p] for p in [*taken, place]], minlength=4) / (len(taken) + 1)
            apart = sum(
                p * np.log(p / ((1 - SMOOTHING) * q[c] + SMOOTHING * p)) for c, p in enumerate(wanted[0]) if p > 0
            )
            return (1 - weight) * lists.value[0, place] - weight * apart

        best = max(left, key=lambda place: (round(worth(place), 12), -place))
        taken.append(best)
        left.remove(best)
    assert calibrated(lists, code, wanted, weight, 6).item[0, :6].tolist() == lists.item[0, taken].tolist()


def test_a_boost_lifts_by_its_weight():
    lists, new = of(1.0, 0.5, 0.0), np.array([[0.0, 0.2, 1.0]])
    assert boost(lists, new, 0.4).item.tolist() == [[11, 13, 12]]  # .6, .38, .4
    np.testing.assert_allclose(boost(lists, new, 0.4).value, [[0.6, 0.4, 0.38]])
    assert boost(lists, new, 0.0).item.tolist() == [[11, 12, 13]]


def test_a_cap_keeps_the_best_of_each_kind_and_all_of_which_it_is_unknown():
    assert cap(of(4, 3, 2, 1), np.array([[1, 1, 0, 0]]), 1).item.tolist() == [[11, 13, 14, 0]]
    assert cap(of(4, 3, 2, 1), np.array([[1, 1, 1, 1]]), 3).item.tolist() == [[11, 12, 13, 0]]


def test_pinned_items_stand_at_their_place_once_also_where_the_list_is_short():
    lists = of(4, 3, 2)
    assert pin(lists, [99, 98], 2).item.tolist() == [[11, 99, 98, 12, 13]]
    assert pin(lists, [99, 98], 2, np.array([[True, False]])).item.tolist() == [[11, 98, 12, 13, 0]]
    assert pin(lists, [13], 1).item.tolist()[0][:3] == [13, 11, 12]
    assert pin(of(4).without(np.array([[True]])), [99], 5).item.tolist() == [[99, 0]]


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_no_step_loses_or_repeats_a_candidate_but_a_cap(seed: int):
    rng = np.random.default_rng(seed)
    B, N = rng.integers(1, 4), rng.integers(1, 9)
    item = np.stack([rng.permutation(20)[:N] + 1 for _ in range(B)]).astype(np.int32)
    score = np.where(rng.random((B, N)) < 0.2, -np.inf, rng.random((B, N)))
    lists, code = Lists.of(item, score), rng.integers(0, 4, (B, N))
    wanted = rng.dirichlet(np.ones(4), B)
    k, w = int(rng.integers(1, 10)), float(rng.random())
    for found in (
        lists,
        mmr(lists, code[None], w, k),
        calibrated(lists, code, wanted, w, k),
        boost(lists, rng.random((B, N)), w),
    ):
        assert np.sort(found.item, axis=1).tolist() == np.sort(lists.item, axis=1).tolist()
        assert ((found.item == 0) <= (found.value == 0)).all()
        assert (np.diff(found.value, axis=1) <= 1e-12).all()
        assert (np.diff((found.item == 0).astype(int), axis=1) >= 0).all()  # none stand at the end
    assert not cap(lists, np.ones_like(code), 0).item.any()


def test_a_model_that_reaches_few_items_answers_without_a_cell_for_each_and_says_the_same(tmp_path: Path):
    rng = np.random.default_rng(0)
    histories = [rng.choice(60, rng.integers(1, 12)).tolist() for _ in range(80)]
    histories = [[int(i) + 1 for i in h] for h in histories]
    prepared, split = tiny_prepared(tmp_path / "shop", histories, days(histories), n_items=60, catalogue=range(1, 55))
    model = ItemKNN(neighbours=3)
    model.fit(prepared, split, Fit(seed=1))
    dense = copy(model)
    dense.__class__ = type("Dense", (ItemKNN,), {"about": replace(model.about, reaches=False)})
    offsets, items = np.arange(0, 161, 2), rng.integers(1, 61, 160).astype(np.int32)
    plain = Requests(prepared.events, prepared.offsets[:-1], prepared.offsets[1:], np.full(80, 99 * DAY))
    for requests in (plain, replace(plain, barred=(offsets, items))):
        for seen in (False, True):
            for k in (1, 5, 60):
                sparse, whole = (Reranked(m, [], split, seen).recommend(requests, k) for m in (model, dense))
                assert np.array_equal(sparse, whole), (seen, k)
