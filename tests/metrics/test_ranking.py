"""List metrics: against an independent library, vectors worked out by hand, and every order of tied items."""

from __future__ import annotations

import doctest
from itertools import pairwise, permutations

import ir_measures as ir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.errors import UserError
from shopkeeper.metrics import ranking
from shopkeeper.metrics.ranker import rank_scores
from shopkeeper.metrics.ranking import compute, metric_names
from shopkeeper.metrics.ranks import Flat, Hits

ALL = metric_names([1, 3, 10])


def test_the_examples_in_the_docstrings_are_true():
    done = doctest.testmod(ranking)
    assert done.failed == 0
    assert done.attempted >= 12


@pytest.mark.parametrize("seed", range(3))
def test_every_metric_equals_that_of_ir_measures(seed):
    rng = np.random.default_rng(seed)
    n, n_items = 150, 60
    score = rng.permuted(np.arange(n * (n_items + 1)).reshape(n, -1), axis=1).astype(np.float32)  # no ties
    lists = [rng.choice(np.arange(1, n_items + 1), rng.integers(1, 9), replace=False).tolist() for _ in range(n)]
    seen = Flat.of([rng.choice(np.setdiff1d(np.arange(1, n_items + 1), x), 12).tolist() for x in lists])
    targets = Flat.of(lists)
    hits = Hits.of(rank_scores(score, targets, seen=seen), targets.offsets, targets.item)
    qrels = [ir.Qrel(f"{b:04d}", str(i), 1) for b in range(n) for i in lists[b]]
    left = [
        set(range(1, n_items + 1)) - set(seen.item[seen.offsets[b] : seen.offsets[b + 1]].tolist()) for b in range(n)
    ]
    run = [ir.ScoredDoc(f"{b:04d}", str(i), float(score[b, i])) for b in range(n) for i in sorted(left[b])]
    theirs = {"ndcg": ir.nDCG, "mrr": ir.RR, "map": ir.AP, "r_precision": ir.Rprec}
    for k in (1, 3, 10, 40):
        theirs |= {f"ndcg@{k}": ir.nDCG @ k, f"recall@{k}": ir.R @ k, f"hit@{k}": ir.Success @ k,
                   f"precision@{k}": ir.P @ k, f"map@{k}": ir.AP @ k, f"mrr@{k}": ir.RR @ k}  # fmt: skip
    answer = {(m.measure, m.query_id): m.value for m in ir.iter_calc(list(theirs.values()), qrels, run)}
    for name, measure in theirs.items():
        other = np.array([answer[measure, f"{b:04d}"] for b in range(n)])
        assert np.abs(compute(hits, name) - other).max() < 1e-9, name


def test_a_request_worked_out_by_hand():
    # Relevant items at ranks 2 and 5 of 20, and one that cannot be ranked: R = 3.
    hits = Hits.at([[5, 0, 2]], candidates=20)
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    expected = {
        "ndcg@3": (1 / np.log2(3)) / ideal,
        "ndcg@10": (1 / np.log2(3) + 1 / np.log2(6)) / ideal,
        "ndcg@1": 0.0,
        "recall@3": 1 / 3, "recall@10": 2 / 3,
        "hit@1": 0.0, "hit@3": 1.0,
        "precision@3": 1 / 3, "precision@10": 2 / 10,
        "map@3": (1 / 2) / 3, "map@10": (1 / 2 + 2 / 5) / 3,
        "mrr": 1 / 2, "mrr@1": 0.0,
        "r_precision": 1 / 3,
        "percentile": (18 / 19 + 15 / 19 + 0) / 3,
        "auc": (17 + 15 + 0) / (3 * 18),
    }  # fmt: skip
    for name, value in expected.items():
        assert compute(hits, name)[0] == pytest.approx(value, abs=1e-12), name


def every_order(score: np.ndarray, target: list[int], name: str) -> float:
    """The mean of a metric over all orders of equal scores, by enumeration of all orders of all items."""
    values = []
    for order in permutations(range(1, len(score))):
        if all(score[a] >= score[b] for a, b in pairwise(order)):
            ranks = [order.index(t) + 1 if t in order else 0 for t in target]
            values.append(compute(Hits.at([ranks], candidates=len(order)), name)[0])
    return float(np.mean(values))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_ties_give_the_mean_over_every_order_of_the_tied_items(data):
    n_items = data.draw(st.integers(1, 6))
    score = np.array([0, *data.draw(st.lists(st.integers(0, 1), min_size=n_items, max_size=n_items))], np.float32)
    target = data.draw(st.lists(st.integers(1, n_items + 1), min_size=1, max_size=n_items, unique=True))
    flat = Flat.of([target])
    hits = Hits.of(rank_scores(score[None], flat), flat.offsets, flat.item)
    for name in (*metric_names([2, 3]), "ndcg", "map"):
        assert compute(hits, name)[0] == pytest.approx(every_order(score, target, name), abs=1e-9), name


@pytest.mark.parametrize(("better", "size", "targets"), [(0, 5000, 2), (100, 5000, 7), (4999, 5000, 20), (3, 9000, 40)])
def test_the_short_way_for_long_tied_blocks_equals_the_sum(monkeypatch, better, size, targets):
    short = ranking._reciprocal_of_first(better, size, targets, size)
    monkeypatch.setattr(ranking, "_DIRECT_TERMS", 10**9)
    assert short == pytest.approx(ranking._reciprocal_of_first(better, size, targets, size), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=6), min_size=1, max_size=8))
def test_metrics_lie_between_zero_and_one_and_grow_with_better_ranks(lists):
    lists = [[r for i, r in enumerate(x) if r == 0 or r not in x[:i]] for x in lists]
    hits = Hits.at(lists, candidates=30)
    # The same requests with every rank moved up to the best places that keep their order.
    best = Hits.at([list(range(1, len(x) + 1)) for x in lists], candidates=30)
    empty = np.array([not x for x in lists])
    for name in ALL:
        value, top = compute(hits, name), compute(best, name)
        assert np.array_equal(np.isnan(value), empty)
        assert (value[~empty] >= 0).all()
        assert (value[~empty] <= top[~empty] + 1e-12).all()
        assert (top[~empty] <= 1 + 1e-12).all()
    for name in ("ndcg", "ndcg@3", "map", "mrr", "auc", "r_precision"):
        assert np.allclose(compute(best, name)[~empty], 1)


def test_a_target_named_twice_counts_once():
    score = np.array([[0, 3, 2, 1]], np.float32)
    twice, once = Flat.of([[2, 2]]), Flat.of([[2]])
    for name in ALL:
        values = [compute(Hits.of(rank_scores(score, t), t.offsets, t.item), name) for t in (twice, once)]
        assert np.array_equal(*values), name


def test_policies_order_the_values():
    score = np.zeros((1, 9), np.float32)
    flat = Flat.of([[3, 5]])
    ranked = rank_scores(score, flat)
    for name in ("ndcg@3", "hit@3", "map", "mrr", "auc", "percentile"):
        low, mean, high = (
            compute(Hits.of(ranked, flat.offsets, flat.item, ties), name)[0]
            for ties in ("pessimistic", "expected", "optimistic")
        )
        assert low < mean < high
    assert compute(Hits.of(ranked, flat.offsets, flat.item, "optimistic"), "ndcg@3")[0] == pytest.approx(1)


def test_k_beyond_the_catalogue_finds_everything_that_can_be_ranked():
    hits = Hits.at([[1, 4], [0]], candidates=4)
    assert compute(hits, "recall@100").tolist() == [1.0, 0.0]
    assert compute(hits, "precision@100").tolist() == [0.02, 0.0]


def test_r_precision_at_a_cut_off_looks_no_deeper_than_it():
    hits = Hits.at([[1, 3, 4], [2], [0]], tied=0)
    assert compute(hits, "r_precision@2").tolist() == [0.5, 0.0, 0.0]
    assert np.allclose(compute(hits, "r_precision@50"), compute(hits, "r_precision"))


@pytest.mark.parametrize(("name", "hint"), [("ndgc@10", "ndcg@10"), ("recal@5", "recall@10"), ("aug", "auc")])
def test_a_misspelt_metric_names_the_nearest(name, hint):
    with pytest.raises(UserError, match=f"Did you mean '{hint}'"):
        compute(Hits.at([[1]]), name)
