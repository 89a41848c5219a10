"""EASE: the closed form, equal to an independent one measured with an independent library on users never trained on."""

from __future__ import annotations

import tracemalloc

import ir_measures as ir
import numpy as np
import pytest
import torch
from scipy import sparse

from recommenders.checks import FIT, check_recommender, stranger
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import summarise
from shopkeeper.programs.ranking import LIST_SCORERS
from shopkeeper.recommenders.item_pairs.counted import counts_together
from shopkeeper.recommenders.item_pairs.ease import EASE, NARROW, ease_weights, weights_of_counts
from tiny import tiny_prepared


def test_ease_keeps_the_promises_of_every_recommender(tmp_path):
    check_recommender(lambda: EASE(l2=3.0), tmp_path)


def simulated_shoppers(n_users: int, n_items: int, seed: int) -> list[list[int]]:
    """Users with two of eight tastes each, who take items of their tastes, popular ones more often."""
    rng = np.random.default_rng(seed)
    histories = []
    for _ in range(n_users):
        tastes = rng.choice(8, 2, replace=False)
        items = np.arange(1, n_items + 1)
        weight = np.where(np.isin(items % 8, tastes), 8.0, 1.0) / items**0.5
        histories.append(rng.choice(items, rng.integers(8, 20), replace=False, p=weight / weight.sum()).tolist())
    return histories


def plain_ease(histories: list[list[int]], n_items: int, l2: float) -> np.ndarray:
    """EASE as its paper prints it, in a few lines of NumPy."""
    x = np.zeros((len(histories), n_items))
    for u, items in enumerate(histories):
        x[u, np.array(items) - 1] = 1
    p = np.linalg.inv(x.T @ x + l2 * np.identity(n_items))
    b = p / (-np.diag(p))
    b[np.diag_indices(n_items)] = 0
    return b


def test_on_held_out_users_it_equals_an_independent_ease_measured_independently(tmp_path):
    n_items, held_out = 120, range(301, 401)
    histories = simulated_shoppers(400, n_items, seed=5)
    prepared, split = tiny_prepared(tmp_path / "t", histories, n_items=n_items, held_out=list(held_out))
    model = EASE(l2=20.0)
    model.fit(prepared, split, FIT)
    ours = evaluate_requests(model, split, "test", k=(10,), filter_seen=True)
    assert split.training_rows()[0][300:].tolist() == [split.training_rows()[0][300]] * 101

    trained = [h[:-2] for h in histories[:300]]  # their last two events are targets
    b = plain_ease(trained, n_items, 20.0)
    qrels, run = [], []
    for u, items in enumerate(histories):
        x = np.zeros(n_items)
        x[np.array(items[:-1]) - 1] = 1
        score = x @ b
        qrels.append(ir.Qrel(f"{u:04d}", str(items[-1]), 1))
        left = np.setdiff1d(np.arange(1, n_items + 1), items[:-1])
        run += [ir.ScoredDoc(f"{u:04d}", str(i), float(score[i - 1])) for i in left]
    theirs = {"ndcg@10": ir.nDCG @ 10, "recall@10": ir.R @ 10, "mrr": ir.RR}
    value = {(m.measure, m.query_id): m.value for m in ir.iter_calc(list(theirs.values()), qrels, run)}
    held = np.isin(ours["user"].to_numpy(), held_out)
    assert held.sum() == 100
    for name, measure in theirs.items():
        other = np.array([value[measure, f"{u:04d}"] for u in range(400)])
        assert np.abs(ours[name].to_numpy() - other).max() < 1e-9, name
    assert summarise(ours.filter(held), ["ndcg@10"])["ndcg@10"]["value"] > 0.1  # and it has learnt something


def test_an_item_says_nothing_about_itself_and_twice_is_once(tmp_path):
    prepared, split = tiny_prepared(tmp_path / "t", [[1, 2, 3, 4, 1], [1, 2, 4, 3, 2], [2, 1, 3, 3, 4]])
    model = EASE(l2=1.0)
    model.fit(prepared, split, FIT)
    once, twice = model.score(stranger([[1, 2]]))[0], model.score(stranger([[1, 2, 1]]))[0]
    assert np.array_equal(once, twice)
    assert np.diag(model.weight_AA).tolist() == [0.0] * len(model.items_A)


def test_told_to_count_every_time_a_history_is_the_sum_of_its_events(tmp_path):
    prepared, split = tiny_prepared(tmp_path / "t", [[1, 2, 3, 4, 1], [1, 2, 4, 3, 2], [2, 1, 3, 3, 4]])
    model = EASE(l2=1.0, self_similarity=0.5, every_time=True)
    model.fit(prepared, split, FIT)
    one, two, all_three = (model.score(stranger([h]))[0] for h in ([1], [2], [1, 2, 1]))
    assert np.abs(all_three - (2 * one + two)).max() < 1e-6
    model = EASE(l2=1.0, self_similarity=0.5, every_time=True, half_life_events=1.0)
    model.fit(prepared, split, FIT)
    assert np.abs(model.score(stranger([[1, 2, 1]]))[0] - (1.25 * one + 0.5 * two)).max() < 1e-6  # 1 + 1/4, 1/2


def test_what_a_customer_buys_again_counts_once(tmp_path):
    once, again = [[1, 2, 3, 4, 1], [2, 4, 3, 2]], [[1, 2, 2, 2, 3, 4, 1], [2, 4, 4, 3, 2]]
    weights = []
    for name, histories in (("once", once), ("again", again)):
        prepared, split = tiny_prepared(tmp_path / name, histories)
        model = EASE(l2=1.0)
        model.fit(prepared, split, FIT)
        weights.append(model.weight_AA)
    assert np.array_equal(*weights)


def test_more_items_than_a_dense_inverse_should_have_is_said_before_anything_of_its_size_is_made(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    def made(*_: object) -> None:
        raise AssertionError("a matrix of all items was asked for")

    monkeypatch.setattr("shopkeeper.recommenders.item_pairs.ease.counts_together", made)
    prepared, split = tiny_prepared(tmp_path / "t", [[1, 2, 3, 4, 5]] * 3)
    with pytest.raises(
        UserError, match=r"^ease: 3 items need a dense inverse, about 0.0 GiB; .* or take model=item_knn$"
    ):
        EASE(max_items=2).fit(prepared, split, FIT)
    with pytest.raises(UserError, match=r"model\.l2=0 must be a number above 0, or auto"):
        EASE(l2=0)


@pytest.mark.parametrize("block", [1, 7, 64, 1024])
def test_the_inverse_in_blocks_is_the_inverse(block: int):
    rng = np.random.default_rng(2)
    x = (rng.random((90, 64)) < 0.2).astype(float)
    gram = x.T @ x
    p = np.linalg.inv(gram + 3.0 * np.eye(64))
    expected = -p / np.diag(p)
    np.fill_diagonal(expected, 0.0)
    assert np.abs(weights_of_counts(gram.copy(), 3.0, block) - expected).max() < 1e-7


def test_32_bits_are_taken_where_they_give_the_weights_of_64():
    rng = np.random.default_rng(3)
    share = np.append(0.95, 0.5 / np.arange(1, 300) ** 0.7)  # one item that nearly everybody has
    x = sparse.csr_array((rng.random((6000, 300)) < share).astype(np.float32))
    edge = x.sum(axis=0).max() / NARROW
    off = {}
    for l2 in (edge, 0.99 * edge):
        p = np.linalg.inv((x.T @ x).toarray().astype(float) + l2 * np.eye(300))
        expected = -p / np.diag(p)
        np.fill_diagonal(expected, 0.0)
        off[l2] = np.abs(ease_weights(x, l2, block=64) - expected).max()
    narrow, wide = off.values()
    assert 1e-7 < narrow < 1e-5  # rounded, and little
    assert wide < 1e-7


def test_no_library_is_handed_a_matrix_of_the_whole_catalogue(monkeypatch: pytest.MonkeyPatch):
    handed = []
    for module, name in ((torch.linalg, "cholesky"), (torch, "cholesky_inverse")):
        original = getattr(module, name)

        def watch(matrix, original=original):
            handed.append(tuple(matrix.shape))
            return original(matrix)

        monkeypatch.setattr(module, name, watch)
    weights_of_counts(np.eye(50), 1.0, block=8)
    assert len(handed) > 10
    assert max(max(shape) for shape in handed) <= 8


def test_counts_are_put_together_without_a_second_matrix_beside_the_first():
    rng = np.random.default_rng(0)
    x = sparse.csr_array((rng.random((60, 600)) < 0.9).astype(np.float64))
    tracemalloc.start()
    found = counts_together(x, block=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(found, (x.T @ x).toarray())
    assert peak < 12 * 600**2  # the matrix takes 8 a pair; as a sparse one it would take another 12


def test_more_memory_than_there_is_is_said_before_it_is_asked_for(tmp_path, monkeypatch: pytest.MonkeyPatch):
    prepared, split = tiny_prepared(tmp_path / "tiny", [[1, 2, 3]] * 4)
    monkeypatch.setattr("shopkeeper.training.devices.memory.available", lambda device: 1000)
    with pytest.raises(UserError, match=r"ease: \d items need about .* GiB and 0.0 GiB are free; filter rare items"):
        EASE().fit(prepared, split, FIT)
    monkeypatch.setattr("shopkeeper.training.devices.memory.available", lambda device: 10**9)
    EASE().fit(prepared, split, FIT)


def test_with_a_half_life_an_item_counts_by_its_newest_event_and_gives_itself_what_it_is_told(tmp_path):
    histories = [[1, 2, 3, 4, 1], [1, 2, 4, 3, 2], [2, 1, 3, 3, 4]]
    prepared, split = tiny_prepared(tmp_path / "t", histories)
    plain, aged = EASE(l2=1.0), EASE(l2=1.0, half_life_events=1, self_similarity=0.25)
    for model in (plain, aged):
        model.fit(prepared, split, FIT)
    b = plain.score(stranger([[1], [2]]))[:, 1:].astype(float)
    own = np.eye(2, b.shape[1]) * 0.25
    found = aged.score(stranger([[1, 2, 1]]))[0, 1:]
    np.testing.assert_allclose(found, (b + own)[0] + 0.5 * (b + own)[1], rtol=1e-5)
    request = stranger([[1, 2, 1], [], [4]])
    of_bundle = LIST_SCORERS["ease"](request, aged.program(True).arrays)
    np.testing.assert_allclose(of_bundle, aged.score(request), rtol=1e-5)


def test_a_ridge_weight_that_is_left_open_is_tried_and_taken_with_an_inverse_of_its_own(tmp_path, monkeypatch):
    histories = [[1, 2, 3, 4, 1], [1, 2, 4, 3, 2], [2, 1, 3, 3, 4], [4, 1, 2, 2, 3]]
    prepared, split = tiny_prepared(tmp_path / "t", histories)
    told = {"half_life_events": None, "self_similarity": 0.0}

    plain = {l2: EASE(l2=l2) for l2 in (1.0, 50.0)}
    for model in plain.values():
        model.fit(prepared, split, FIT)
    of = {l2: model.weight_AA for l2, model in plain.items()}
    assert not np.allclose(of[1.0], of[50.0])
    seen: list[np.ndarray] = []

    def chosen(open_: object, fitted: object, *_: object) -> dict[str, float | None]:
        seen.extend(fitted({"l2": l2, **told}, split).weight_AA.copy() for l2 in (1.0, 50.0, 1.0))
        return {"l2": 50.0, **told}

    monkeypatch.setattr("shopkeeper.recommenders.inside.Open.chosen", chosen)
    model = EASE(l2="auto")
    assert model.fit(prepared, split, FIT).settings == {"l2": 50.0}
    for found, l2 in zip([*seen, model.weight_AA], (1.0, 50.0, 1.0, 50.0), strict=True):
        assert np.array_equal(found, of[l2])
