"""The best of each row: chosen by value, then by column, whatever order they came in."""

from __future__ import annotations

import numpy as np
import pytest

from shopkeeper.metrics.best import best_columns, best_entries


@pytest.mark.parametrize("seed", range(30))
def test_ties_go_to_the_lower_column_in_full_and_in_sparse_tables(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, width, k = int(rng.integers(1, 9)), int(rng.integers(1, 40)), int(rng.integers(1, 45))
    value = rng.integers(0, 6, (rows, width)).astype(np.float32)
    assert best_columns(value, k).tolist() == np.argsort(-value, axis=1, kind="stable")[:, :k].tolist()
    row, column = np.nonzero(rng.random((rows, width)) < 0.6)
    by_row = np.lexsort((rng.random(len(row)), row))  # columns of a row in any order
    column, told = column[by_row], value[row, column[by_row]]
    indptr = np.searchsorted(row, np.arange(rows + 1))
    wanted = [
        place
        for first, end in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True)
        for place in sorted(range(first, end), key=lambda p: (-told[p], column[p]))[:k]
    ]
    assert best_entries(indptr, column, told, k).tolist() == wanted


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_wide_tables_are_looked_at_where_the_best_may_be_and_nothing_is_lost(kind: type) -> None:
    rng = np.random.default_rng(7)
    nan = rng.random((9, 333)) < 0.1
    every = (
        rng.random((9, 333)), -rng.random((9, 333)), np.zeros((9, 333)), rng.integers(0, 40, (9, 333)),
        np.where(rng.random((9, 333)) < 0.9, -np.inf, 1.0), np.where(nan, np.nan, rng.random((9, 333))),
        rng.choice([-0.0, 0.0, 1.0], (9, 333)),
        np.tile(np.where(np.arange(333) == 100, np.nan, np.arange(333)[::-1]), (9, 1)),
    )  # fmt: skip
    for value in every:
        for k in (1, 7, 20):
            low = np.where(np.isnan(value), -np.inf, value)
            wanted = np.argsort(-low, axis=1, kind="stable")[:, :k]
            assert best_columns(value.astype(kind), k).tolist() == wanted.tolist()
            assert best_columns(value[:0].astype(kind), k).shape == (0, k)


def test_rows_of_very_different_length_are_looked_at_in_their_own_width() -> None:
    value = np.concatenate([np.arange(3), np.arange(5000), np.zeros(0), np.arange(40)]).astype(np.float32)
    indptr, column = np.array([0, 3, 5003, 5003, 5043]), np.arange(5043)
    assert best_entries(indptr, column, value, 2).tolist() == [2, 1, 5002, 5001, 5042, 5041]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("values", ["rising", "falling", "one", "few", "below"])
def test_long_rows_are_cut_into_pieces_without_losing_anything(values: str, kind: type) -> None:
    rng = np.random.default_rng(1)
    indptr = np.cumsum([0, 700, 2, 0, 301, 41])
    n, inf = int(indptr[-1]), np.inf
    value = {
        "rising": np.arange(n), "falling": -np.arange(n), "one": np.zeros(n),
        "few": rng.choice([-inf, -1, -0.0, 0.0, 1e-40, inf], n), "below": -rng.random(n),
    }[values].astype(kind)  # fmt: skip
    column = np.concatenate([rng.permutation(2000)[:length] for length in np.diff(indptr)])
    for k in (1, 9, 40):
        rows = [range(a, b) for a, b in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True)]
        wanted = [place for row in rows for place in sorted(row, key=lambda p: (-value[p], column[p]))[:k]]
        assert best_entries(indptr, column, value, k).tolist() == wanted


def test_nothing_is_chosen_where_nothing_may_be() -> None:
    assert best_columns(np.zeros((3, 0), np.float32), 5).shape == (3, 0)
    assert best_entries(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), 5).tolist() == []
