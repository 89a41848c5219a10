"""Ranks by counting: against sorting in plain NumPy, and the same bits whatever the batch, the tile or the threads."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.errors import UserError
from shopkeeper.metrics import inner_products as products
from shopkeeper.metrics import plain_ranker, ranks
from shopkeeper.metrics import ranker as ranker_module
from shopkeeper.metrics.plain_ranker import PlainRanker
from shopkeeper.metrics.ranker import Ranker
from shopkeeper.metrics.ranks import Flat, NonFiniteScoreError, positions, rank_in_lists


@pytest.fixture(params=[Ranker, PlainRanker], ids=["torch", "numpy"])
def rank_scores(request):
    """Both ways to count: each test that ranks given scores holds for both."""

    def rank(score, targets, *, catalogue=None, seen=None, candidates=None, k=0):
        return request.param(score.shape[1], catalogue, k=k).rank_scores(score, targets, seen, candidates)

    return rank


def test_the_examples_in_the_docstrings_are_true():
    for module in (ranks, ranker_module):
        found = doctest.testmod(module)
        assert found.attempted
        assert found.failed == 0


def questions(seed: int, n_columns: int, n: int, levels: int = 0):
    """Scores (with ties when `levels`), targets, seen items and a catalogue; ids outside of the catalogue occur."""
    rng = np.random.default_rng(seed)
    score = rng.integers(0, levels, (n, n_columns)) if levels else rng.standard_normal((n, n_columns))
    targets = Flat.of([rng.integers(0, n_columns + 2, rng.integers(0, 5)).tolist() for _ in range(n)])
    seen = Flat.of([rng.integers(0, n_columns + 2, rng.integers(0, 9)).tolist() for _ in range(n)])
    catalogue = np.sort(rng.choice(np.arange(1, n_columns), n_columns * 3 // 4, replace=False))
    return score.astype(np.float32), targets, seen, catalogue


def sorted_by_hand(score, targets, seen, catalogue, b, k):
    """What one request must give, by sorting: better and tied per target, number of candidates, list."""
    left = np.setdiff1d(catalogue, seen.item[seen.offsets[b] : seen.offsets[b + 1]])
    counts = []
    for target in targets.item[targets.offsets[b] : targets.offsets[b + 1]]:
        if target in left:
            own = score[b, target]
            counts.append((int((score[b, left] > own).sum()), int((score[b, left] == own).sum()) - 1))
        else:
            counts.append((-1, 0))
    best = left[np.lexsort((left, -score[b, left]))][:k]
    return counts, len(left), best


@pytest.mark.parametrize(
    ("n_columns", "k", "levels"), [(40, 5, 0), (40, 5, 4), (3000, 10, 50), (9, 30, 3), (700, 700, 6)]
)
def test_ranks_and_lists_equal_those_of_sorting(rank_scores, n_columns, k, levels):
    score, targets, seen, catalogue = questions(1, n_columns, 60, levels)
    got = rank_scores(score, targets, catalogue=catalogue, seen=seen, k=k)
    for b in range(len(score)):
        counts, left, best = sorted_by_hand(score, targets, seen, catalogue, b, k)
        at = slice(targets.offsets[b], targets.offsets[b + 1])
        assert list(zip(got.better[at], got.tied[at], strict=True)) == counts
        assert got.candidates[b] == left
        assert got.top_item[b, : len(best)].tolist() == best.tolist()
        assert not got.top_item[b, len(best) :].any()
        assert np.isneginf(got.top_score[b, len(best) :]).all()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_both_ways_to_count_give_the_same_bits(data):
    """Whatever the scores: NumPy alone for few of them must not be told from torch."""
    n_columns, n = data.draw(st.integers(2, 200)), data.draw(st.integers(1, 70))
    score, targets, seen, catalogue = questions(
        data.draw(st.integers(0, 999)), n_columns, n, data.draw(st.integers(0, 6))
    )
    if len(catalogue) == 0:
        return
    some = seen if data.draw(st.booleans()) else None
    only = questions(data.draw(st.integers(0, 999)), n_columns, n)[2] if data.draw(st.booleans()) else None
    k, room = data.draw(st.integers(0, 2 * n_columns)), data.draw(st.sampled_from([1, 500, 1 << 18]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_ranker, "_TILE", room)
        plain = PlainRanker(n_columns, catalogue, k=k).rank_scores(score, targets, some, only)
    fast = Ranker(n_columns, catalogue, k=k, tile=data.draw(st.sampled_from([16, 64]))).rank_scores(
        score, targets, some, only
    )
    for name, ours, theirs in zip(plain._fields, plain, fast, strict=True):
        assert ours.dtype == theirs.dtype, name
        assert np.array_equal(ours, theirs), name


def test_scores_given_stay_as_they_were(rank_scores):
    score, targets, seen, catalogue = questions(2, 50, 20)
    before = score.copy()
    rank_scores(score, targets, catalogue=catalogue, seen=seen, k=3)
    assert np.array_equal(score, before)


def test_candidates_named_by_the_request_are_the_only_ones_ranked(rank_scores):
    score = np.array([[0, 5, 4, 3, 2, 1], [0, 1, 2, 3, 4, 5]], np.float32)
    got = rank_scores(score, Flat.of([[4], [2]]), candidates=Flat.of([[2, 4, 5], [1, 2]]), seen=Flat.of([[2], []]), k=3)
    assert got.better.tolist() == [0, 0]
    assert got.candidates.tolist() == [2, 2]
    assert got.top_item.tolist() == [[4, 5, 0], [2, 1, 0]]


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(3)
    item_VD = rng.integers(-2, 3, (500, 16)).astype(np.float32) / 7  # coarse: many equal products
    request_BD = rng.integers(-2, 3, (230, 16)).astype(np.float32) / 3
    _, targets, seen, catalogue = questions(3, 500, 230)
    return request_BD, item_VD, targets, seen, catalogue


def in_batches(vectors, size, tile=None):
    request_BD, item_VD, targets, seen, catalogue = vectors
    ranker = Ranker(len(item_VD), catalogue, item_VD=item_VD, k=7, tile=tile)
    parts = []
    for a in range(0, len(request_BD), size):
        b = min(a + size, len(request_BD))
        parts.append(ranker.rank_vectors(request_BD[a:b], targets.rows(a, b), seen.rows(a, b)))
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def test_vectors_give_the_same_bits_in_every_batch_size_and_number_of_threads(vectors):
    whole = in_batches(vectors, 230)
    for size in (1, 7, 64, 229):
        for a, b in zip(whole, in_batches(vectors, size), strict=True):
            assert np.array_equal(a, b)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for size, tile in ((100, None), (230, 16), (100, 16)):  # tiles of 16 rows: many, on three threads at once
            for a, b in zip(whole, in_batches(vectors, size, tile), strict=True):
                assert np.array_equal(a, b)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_the_size_of_tiles_and_blocks_changes_nothing(vectors, monkeypatch):
    whole = in_batches(vectors, 230)
    monkeypatch.setattr(ranker_module, "_BYTES", {"cpu": (16 << 20, 4 * 64 * 90)})  # blocks of 64 columns
    for a, b in zip(whole, in_batches(vectors, 100, tile=64), strict=True):
        assert np.array_equal(a, b)


def test_a_target_counts_with_the_score_that_stands_in_the_blocks(vectors, monkeypatch):
    whole = in_batches(vectors, 230)
    own = Ranker._own_scores
    monkeypatch.setattr(Ranker, "_own_scores", lambda *a: own(*a) * 1.0001)  # as if another product had rounded apart
    for a, b in zip(whole, in_batches(vectors, 230), strict=True):
        assert np.array_equal(a, b)


def test_vectors_give_the_ranks_of_their_products(vectors):
    request_BD, item_VD, targets, seen, catalogue = vectors
    score = torch.from_numpy(request_BD) @ torch.from_numpy(item_VD).T
    by_score = ranker_module.rank_scores(score, targets, catalogue=catalogue, seen=seen, k=7)
    rounded = ranker_module.rank_scores(
        score.double().round(decimals=4).float(), targets, catalogue=catalogue, seen=seen
    )
    better, tied, candidates, _, top_score = in_batches(vectors, 50)
    assert np.array_equal(candidates, by_score.candidates)
    assert np.allclose(top_score, by_score.top_score, atol=1e-5)
    # Products of the same numbers in another order differ in the last bit, so only clear differences must agree.
    assert (better >= rounded.better).all()
    assert (better + tied <= rounded.better + rounded.tied).all()


@pytest.mark.skipif(not products.REORDERS, reason="this PyTorch has no oneDNN: there is one way to multiply")
def test_the_library_that_multiplies_moves_no_rank_beyond_close_scores(vectors, monkeypatch):
    one = in_batches(vectors, 230)
    monkeypatch.setattr(products, "REORDERS", False)
    other = in_batches(vectors, 230)
    assert np.allclose(one[4], other[4], atol=1e-5)
    request_BD, item_VD, targets, _, catalogue = vectors
    score = request_BD.astype(np.float64) @ item_VD.T.astype(np.float64)
    request = np.repeat(np.arange(len(request_BD)), np.diff(targets.offsets))
    own = score[request, np.minimum(targets.item, len(item_VD) - 1)]
    close = (np.abs(score[request][:, catalogue] - own[:, None]) <= 1e-5).sum(1)
    assert (np.abs(one[0] - other[0]) <= close).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([2, 5, 1000]), st.sampled_from([16, 48]))
def test_lists_and_ranks_over_many_blocks_are_those_of_sorting(seed, k, levels, tile):
    score, targets, seen, catalogue = questions(seed, 2600, 21, levels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranker_module, "_BYTES", {"cpu": (16 << 20, 4 * 64 * tile)})  # blocks of 64 columns
        ranker = Ranker(2600, catalogue, k=k, tile=tile)
    assert ranker.n_blocks > 20
    got = ranker.rank_scores(score, targets, seen)
    for b in range(len(score)):
        counts, _, best = sorted_by_hand(score, targets, seen, catalogue, b, k)
        at = slice(targets.offsets[b], targets.offsets[b + 1])
        assert list(zip(got.better[at], got.tied[at], strict=True)) == counts
        assert got.top_item[b].tolist() == best.tolist()
        assert np.array_equal(got.top_score[b], score[b, best])


def test_requests_without_a_vector_are_shown_the_fallback():
    item_VD = np.eye(4, dtype=np.float32)
    ranker = Ranker(4, item_VD=item_VD, fallback_V=np.array([9, 1, 2, 3], np.float32), k=2)
    nan = np.full((1, 4), np.nan, np.float32)
    request_BD = np.concatenate([np.array([[0, 5, 0, 1]], np.float32), nan])
    got = ranker.rank_vectors(request_BD, Flat.of([[1], [1]]), blank_B=np.array([False, True]))
    assert got.better.tolist() == [0, 2]
    assert got.top_item.tolist() == [[1, 3], [3, 2]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_refused_with_its_request_and_item(rank_scores, bad):
    score = np.zeros((300, 10), np.float32)
    score[:, 0] = np.nan  # the padding column may hold anything
    rank_scores(score, Flat.of([[1]] * 300))
    score[217, 6] = bad
    with pytest.raises(NonFiniteScoreError) as error:
        rank_scores(score, Flat.of([[1]] * 300))
    assert (error.value.request, error.value.item) == (217, 6)


def test_of_several_bad_scores_the_first_requests_is_named_whichever_thread_meets_one_first():
    score = np.zeros((300, 9), np.float32)
    score[[100, 250], 4] = np.nan
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for _ in range(5):
            with pytest.raises(NonFiniteScoreError) as error:
                Ranker(9, tile=16).rank_scores(score, Flat.of([[1]] * 300))
            assert error.value.request == 100
    finally:
        torch.set_num_threads(threads)


def test_vectors_that_overflow_are_refused():
    item_VD = np.full((3, 2), 1e30, np.float32)
    with pytest.raises(NonFiniteScoreError) as error:
        Ranker(3, item_VD=item_VD).rank_vectors(np.array([[1, 1], [1e30, 1e30]], np.float32), Flat.of([[1], [1]]))
    assert error.value.request == 1
    with pytest.raises(UserError, match="item vector of item 2 is nan"):
        Ranker(3, item_VD=np.array([[0], [1], [np.nan]], np.float32))


def test_large_finite_scores_are_no_error(rank_scores):
    score = np.full((2, 4), 3e38, np.float32)
    assert rank_scores(score, Flat.of([[1], [2]])).tied.tolist() == [2, 2]


def test_a_catalogue_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="catalogue is empty"):
        Ranker(5, np.array([], np.int64))
    with pytest.raises(UserError, match="items 1 to 5, but scores have 5 columns"):
        Ranker(5, np.array([1, 5]))
    for kind in (Ranker, PlainRanker):
        with pytest.raises(UserError, match="expected 5 columns"):
            kind(5).rank_scores(np.zeros((1, 4), np.float32), Flat.of([[1]]))


def test_a_list_gives_no_rank_beyond_its_end():
    got = rank_in_lists(np.array([[4, 2, 0], [1, 3, 5]]), Flat.of([[2, 9], [1]]), 9)
    assert got.better.tolist() == [1, -1, 0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_policies_for_ties_give_the_places_of_a_list_that_exists(data):
    n_items = data.draw(st.integers(2, 8))
    score = np.array([[0, *data.draw(st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items))]], np.float32)
    target = data.draw(st.lists(st.integers(1, n_items), min_size=1, max_size=n_items, unique=True))
    got = ranker_module.rank_scores(score, Flat.of([target]))
    low, mean, high = (
        positions(got.better, got.tied, np.array([0, len(target)]), ties)
        for ties in ("optimistic", "expected", "pessimistic")
    )
    assert len(set(low)) == len(set(high)) == len(target)
    assert low.sum() <= mean.sum() <= high.sum()
    # The mean place lies in the middle between standing first and standing last in the block.
    assert (low + high).sum() == 2 * mean.sum()


def test_an_unknown_policy_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'optimistic'"):
        positions(np.array([0]), np.array([0]), np.array([0, 1]), "optimist")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: ranks across devices are not compared")
def test_ranks_on_another_device_differ_only_where_scores_are_close(vectors):
    request_BD, item_VD, targets, seen, catalogue = vectors
    near = Ranker(len(item_VD), catalogue, item_VD=item_VD, k=7)
    far = Ranker(len(item_VD), catalogue, item_VD=item_VD, k=7, device="cuda")
    a, b = (r.rank_vectors(request_BD, targets, seen) for r in (near, far))
    score = request_BD.astype(np.float64) @ item_VD.T.astype(np.float64)
    request = np.repeat(np.arange(len(request_BD)), np.diff(targets.offsets))
    own = score[request, np.minimum(targets.item, len(item_VD) - 1)]
    close = (np.abs(score[request][:, catalogue] - own[:, None]) <= 1e-5).sum(1)
    assert (np.abs(a.better - b.better) <= close).all()
    assert np.allclose(a.top_score, b.top_score, atol=1e-5)
