"""Beyond accuracy and commerce: against plain loops, by hand, and their properties."""

from __future__ import annotations

import doctest
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.metrics import beyond_accuracy, commerce
from shopkeeper.metrics.beyond_accuracy import (
    category_mix,
    coverage,
    duplicates,
    exposure,
    gini,
    intra_list_diversity,
    member,
    miscalibration,
    novelty,
    obvious,
    rarefied_coverage,
)
from shopkeeper.metrics.commerce import ndcg_share, revenue, weighted_ndcg
from shopkeeper.metrics.ranker import rank_scores
from shopkeeper.metrics.ranking import ndcg, recall
from shopkeeper.metrics.ranks import Flat, Hits


@pytest.mark.parametrize("module", [beyond_accuracy, commerce])
def test_the_examples_in_the_docstrings_are_true(module):
    done = doctest.testmod(module)
    assert (done.failed, done.attempted > 4) == (0, True)


def some_lists(seed=0, n=40, k=6, n_items=30):
    rng = np.random.default_rng(seed)
    lists = np.stack([rng.choice(np.arange(1, n_items + 1), k, replace=False) for _ in range(n)])
    lists[::7, 4:] = 0
    lists[3] = 0
    return lists


def test_rarefied_coverage_is_the_mean_over_draws_of_lists():
    lists = some_lists()
    for n in (1, 5, 39):
        rng = np.random.default_rng(n)
        drawn = [coverage(exposure(lists[rng.permutation(40)[:n]], 31), 30) for _ in range(2000)]
        assert rarefied_coverage(lists, 30, [n])[0] == pytest.approx(np.mean(drawn), abs=0.005)
    assert rarefied_coverage(lists, 30, [40])[0] == pytest.approx(coverage(exposure(lists, 31), 30))


def test_gini_equals_the_mean_difference_of_all_pairs_of_items():
    count = exposure(some_lists(), 31)
    x = count[1:].astype(float)
    pairs = np.abs(x[:, None] - x[None]).sum() / (2 * len(x) ** 2 * x.mean())
    assert gini(count, 30) == pytest.approx(pairs)
    assert np.isnan(gini(np.zeros(5, int), 4))


def test_diversity_equals_the_mean_over_pairs():
    lists = some_lists()
    feature = np.random.default_rng(1).standard_normal((31, 5))
    feature[9] = 0.0
    got = intra_list_diversity(lists, feature)
    for b, items in enumerate(lists):
        items = items[items > 0]
        if len(items) < 2:
            assert np.isnan(got[b])
            continue
        distances = []
        for i, j in combinations(items, 2):
            size = np.linalg.norm(feature[i]) * np.linalg.norm(feature[j])
            distances.append(1 - (feature[i] @ feature[j] / size if size else 0.0))
        assert got[b] == pytest.approx(np.mean(distances), abs=1e-9)


def test_novelty_counts_an_item_that_nobody_took_as_taken_once():
    assert novelty(np.array([[1, 3]]), np.array([0, 3, 1, 0]))[0] == pytest.approx((-np.log2(3 / 4) + 2) / 2)


def test_miscalibration_is_zero_for_the_customers_own_mix_and_grows_away_from_it():
    category = np.eye(4)[[0, 1, 1, 2, 3]]
    history = Flat.of([[1, 3], [1, 3], [1, 3], [], [1]])
    lists = np.array([[2, 3], [2, 1], [4, 4], [1, 2], [0, 0]])
    value = miscalibration(lists, history, category)
    assert value[0] == pytest.approx(0, abs=1e-12)
    assert 0 < value[1] < value[2]
    assert np.isnan(value[3:]).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 9))
def test_categories_are_added_up_to_the_same_bits_with_and_without_scipy(seed, n, width):
    rng = np.random.default_rng(seed)
    category = (rng.random((12, width)) < 0.4).astype(np.float32)
    lists = Flat.of([rng.integers(0, 12, rng.integers(0, 30)).tolist() for _ in range(n)])
    few = category_mix(lists, category)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beyond_accuracy, "_MANY", -1)
        many = category_mix(lists, category)
    assert np.array_equal(few, many)


def test_the_obvious_list_leaves_out_what_was_seen_as_the_others_must():
    rng = np.random.default_rng(4)
    catalogue = np.setdiff1d(np.arange(1, 31), [3, 9])
    place = np.full(31, 28)
    place[catalogue] = rng.permutation(28)
    lists, seen = some_lists(), [rng.integers(1, 31, rng.integers(0, 15)).tolist() for _ in range(40)]
    found = obvious(lists, place, 6, Flat.of(seen))
    for b in range(40):
        ranked = [i for i in np.argsort(place, kind="stable").tolist() if place[i] < 28 and i not in seen[b]]
        assert found[b].tolist() == [i in ranked[:6] for i in lists[b].tolist()]
    assert np.array_equal(obvious(lists, place, 6), obvious(lists, place, 6, Flat.of([[]] * 40)))


def test_padding_is_a_member_of_nothing_and_no_duplicate():
    lists = np.array([[1, 0, 0], [2, 2, 2]])
    assert member(lists, Flat.of([[0, 5], [2]])).tolist() == [[False] * 3, [True] * 3]
    assert duplicates(lists).tolist() == [0, 2]


def hits_of(seed):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 9, (30, 25)).astype(np.float32)
    flat = Flat.of([rng.integers(1, 25, rng.integers(1, 6)).tolist() for _ in range(30)])
    return Hits.of(rank_scores(score, flat), flat.offsets, flat.item), rng


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_equal_weights_give_plain_ndcg_and_parts_add_up_to_it(seed, k):
    hits, rng = hits_of(seed)
    n = len(hits.better)
    assert np.allclose(weighted_ndcg(hits, np.full(n, 2.5), k), ndcg(hits, k))
    chosen = rng.random(n) < 0.5
    assert np.allclose(ndcg_share(hits, chosen, k) + ndcg_share(hits, ~chosen, k), ndcg(hits, k))
    assert np.allclose(revenue(hits, np.ones(n), k), recall(hits, k) * hits.n_relevant)
    money = rng.random(n)
    value = weighted_ndcg(hits, money, k)
    assert ((value >= 0) & (value <= 1 + 1e-12)).all()


def test_a_dear_item_at_the_top_is_worth_more_than_a_cheap_one():
    hits = Hits.at([[1, 2]])
    dear_first, cheap_first = (weighted_ndcg(hits, np.array(w), 10)[0] for w in ([9.0, 1.0], [1.0, 9.0]))
    assert dear_first == pytest.approx(1)
    assert cheap_first < 0.8
    assert np.isnan(weighted_ndcg(hits, np.array([np.nan, -1.0]), 10)[0])
    assert weighted_ndcg(hits, np.array([-1.0, 3.0]), 10)[0] == pytest.approx(1 / np.log2(3))  # a loss counts nothing


def test_targets_named_twice_map_to_one_row():
    flat = Flat.of([[7, 3, 7], [3, 3]])
    score = np.arange(10, dtype=np.float32)[None].repeat(2, 0)
    hits = Hits.of(rank_scores(score, flat), flat.offsets, flat.item)
    assert hits.source.tolist() == [0, 1, 0, 2, 2]
    assert hits.better.tolist() == [2, 6, 6]
