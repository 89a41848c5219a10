"""What is hidden while BERT4Rec trains: how much, which events, and that nothing but the seed decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shopkeeper.errors import UserError
from shopkeeper.nn.networks.bert4rec import BERT4RecNetwork, BERT4RecShape
from shopkeeper.schema import EVENT_CODE
from shopkeeper.training.batching.cloze import ClozeView
from tiny import tiny_prepared

VIEW, BUY = EVENT_CODE["view"], EVENT_CODE["purchase"]


def view_of(path: Path, histories: list[list[int]], *, max_length: int = 50, folder: Path | None = None, **told: Any):
    """`told`: `columns`, and settings of the shape."""
    columns = told.pop("columns", None)
    _, split = prepared = tiny_prepared(path, histories, columns=columns)
    n_types = 6 if columns and "event_type" in columns else 0
    shape = BERT4RecShape(prepared[0].n_items, max_length=max_length, n_types=n_types, **told)
    return ClozeView.build(split, ["purchase"], "all", BERT4RecNetwork(shape), folder)


def hidden_in(view: ClozeView, users: list[int], epoch: int, seed: int = 3) -> list[list[int]]:
    """The items of each of these customers' windows, negative where they are hidden."""
    batch = view.batch(np.array(users), (4, 16, 64), seed, epoch)
    item_P = batch.item_P.clone()
    assert (item_P[batch.labelled_N] == view.mask).all()
    assert (item_P == view.mask).sum() == len(batch.label_N)
    item_P[batch.labelled_N] = -torch.from_numpy(view.catalogue.astype(np.int64))[batch.label_N]
    item_N, row_N = item_P[batch.layout.slot_N], batch.layout.row_N
    order = np.argsort(np.argsort(view.length_U[users], kind="stable"), kind="stable")
    return [item_N[row_N == row].tolist() for row in order]


def test_as_much_is_hidden_as_is_said_and_never_nothing(tmp_path: Path):
    rng = np.random.default_rng(0)
    view = view_of(tmp_path, [rng.integers(1, 30, rng.integers(4, 40)).tolist() for _ in range(80)], masked_last=0.3)
    users = list(range(len(view.start_U)))
    counts = np.array([[sum(i < 0 for i in row) for row in hidden_in(view, users, epoch)] for epoch in range(60)])
    assert counts.min() == 1
    share = counts.mean(0) / view.labels_U  # 60 draws each, of 80 customers
    assert abs(share.mean() - 1) < 0.03
    assert np.abs(share - 1).max() < 0.5


def test_the_last_alone_is_what_is_asked_when_all_are_so(tmp_path: Path):
    histories = [[1, 2, 3, 4, 5, 6], [3, 1, 2, 5, 9], [7, 8, 9, 1]]
    view = view_of(tmp_path, histories, masked_last=0.99999, masked=0.5)
    # leave_one_out takes the last two away
    assert hidden_in(view, [0, 1, 2], 0) == [[1, 2, 3, -4], [3, 1, -2], [7, -8]]
    np.testing.assert_allclose(view.labels_U, 1, atol=1e-3)


def test_what_is_hidden_depends_on_seed_and_epoch_alone(tmp_path: Path):
    rng = np.random.default_rng(0)
    view = view_of(tmp_path, [rng.integers(1, 30, 20).tolist() for _ in range(30)])
    whole = hidden_in(view, list(range(30)), 4)
    assert [hidden_in(view, [u], 4)[0] for u in range(30)] == whole
    assert hidden_in(view, list(range(30))[::-1], 4) == whole[::-1]
    assert hidden_in(view, list(range(30)), 5) != whole
    assert hidden_in(view, list(range(30)), 4, seed=4) != whole


def test_a_basket_is_hidden_whole_and_views_never_are(tmp_path: Path):
    bought = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    kinds = [VIEW, BUY, BUY, VIEW, BUY, BUY, BUY, VIEW, BUY, VIEW, BUY, BUY]
    orders = [0, 1, 1, 0, 2, 3, 2, 0, 4, 0, 5, 6]  # the lines of 2 with one of 3 among them
    columns = {"event_type": [kinds] * 3, "order": [[o and o + 10 * u for o in orders] for u in range(3)]}
    view = view_of(tmp_path, [bought] * 3, columns=columns)
    seen = set()
    for epoch in range(40):
        for row in hidden_in(view, [0, 1, 2], epoch):
            assert row[-1] in (9, -9), "the window ends with what was bought last before the targets"
            assert all(row[i] > 0 for i in (0, 3, 7))
            assert (row[1] < 0) == (row[2] < 0)
            assert (row[4] < 0) == (row[6] < 0)
            seen.add((row[1] < 0, row[4] < 0, row[5] < 0, row[8] < 0))
    assert len(seen) > 8
    batch = view.batch(np.arange(3), (16,), 0, 0)
    assert (batch.type_P[batch.labelled_N] == 0).all(), "the type of what is hidden would tell"


def test_from_files_it_is_the_same(tmp_path: Path):
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 30, rng.integers(3, 40)).tolist() for _ in range(30)]
    view = view_of(tmp_path / "a", histories, max_length=12)
    filed = view_of(tmp_path / "a2", histories, max_length=12, folder=tmp_path / "files")
    users = list(range(len(view.start_U)))
    assert max(len(row) for row in hidden_in(view, users, 0)) == 12
    assert hidden_in(view, users, 0) == hidden_in(filed, users, 0)


def test_nothing_to_hide_is_said(tmp_path: Path):
    with pytest.raises(
        UserError,
        match=r"has nothing to learn from: no customer has a purchase beside another .*model=recent_popularity",
    ):
        view_of(tmp_path, [[1, 2, 3], [2, 3, 1]])
