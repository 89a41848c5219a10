"""Candidates of a second stage: the same from a sparse table of what a model reaches as from a cell for every item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from shopkeeper.data.requests import Requests
from shopkeeper.features import candidates as module
from shopkeeper.features.candidates import Reached, candidates


@pytest.mark.parametrize("seed", range(30))
def test_sparse_answers_give_the_candidates_scores_and_places_of_full_ones(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(module, "CELLS", (1, 130, 1_000_000)[seed % 3])  # one request at a time, a few, all
    n, width, k = int(rng.integers(1, 7)), int(rng.integers(4, 60)), int(rng.integers(1, 30))
    histories = [rng.integers(1, width + 3, int(rng.integers(0, 6))).tolist() for _ in range(n)]  # and newer items
    requests = Requests.from_histories(histories)
    catalogue = np.flatnonzero(rng.random(width) < 0.7)
    catalogue = catalogue[catalogue > 0] if (catalogue > 0).any() else np.array([1])
    told, full = [], []
    for _ in range(3):
        table = np.where(rng.random((n, width)) < rng.random(), rng.integers(0, 4, (n, width)), 0).astype(np.float32)
        table[:, 0] = 0
        rest = -rng.integers(0, 4, width).astype(np.float32) / 4
        entries = sparse.csr_array(table)
        told.append(Reached(entries, rest))
        full.append(np.where(table > 0, table, rest))
    few, many = (candidates(requests, scored, catalogue, k, width) for scored in (told, full))
    for got, wanted in zip(few, many, strict=True):
        assert np.array_equal(got, wanted)


def test_candidates_are_the_best_of_each_model_and_the_own_items() -> None:
    requests = Requests.from_histories([[3], []])
    scored = [
        np.array([[0, 5, 4, 0, 1], [0, 1, 2, 3, 4]], np.float32),
        Reached(sparse.csr_array((2, 5)), np.arange(5.0)),
    ]
    owner, item, told = candidates(requests, scored, np.array([1, 2, 3, 4]), 1, 5)
    assert list(zip(owner.tolist(), item.tolist(), strict=True)) == [(0, 1), (0, 3), (0, 4), (1, 4)]
    assert told.tolist() == [[5, 0, 1, 1], [0, 1, 3, 1], [1, 1, 4, 0], [4, 0, 4, 0]]


@pytest.mark.parametrize("seed", range(10))
def test_on_a_page_they_are_the_best_of_the_page(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, width, k = int(rng.integers(1, 7)), int(rng.integers(4, 60)), int(rng.integers(1, 9))
    pages = [rng.permutation(width)[: int(rng.integers(0, width))] for _ in range(n)]
    histories = [rng.integers(1, width + 3, int(rng.integers(0, 6))).tolist() for _ in range(n)]
    requests = replace(
        Requests.from_histories(histories),
        candidates=(np.cumsum([0, *map(len, pages)]), np.concatenate(pages).astype(np.int32)),
    )
    catalogue = np.flatnonzero(rng.random(width) < 0.7)
    table = np.where(rng.random((n, width)) < 0.5, rng.random((n, width)), 0).astype(np.float32)
    rest = -rng.integers(0, 4, width).astype(np.float32) / 4
    told, full = Reached(sparse.csr_array(table), rest), np.where(table > 0, table, rest)
    few, many = (candidates(requests, [one], catalogue, k, width) for one in (told, full))
    for got, wanted in zip(few, many, strict=True):
        assert np.array_equal(got, wanted)
    owner, item, scored = many
    for b in range(n):
        page = np.intersect1d(pages[b], catalogue)
        best = page[np.lexsort((page, -full[b, page]))][:k]
        assert item[owner == b].tolist() == sorted({*best.tolist(), *np.intersect1d(histories[b], page).tolist()})
        place = dict(zip(item[owner == b].tolist(), scored[owner == b, 1].tolist(), strict=True))
        assert [place[i] for i in best.tolist()] == list(range(len(best)))
