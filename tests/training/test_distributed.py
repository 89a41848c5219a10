"""Two processes with half of each batch learn what one process learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_training import assert_close, fit

from shopkeeper.errors import UserError
from shopkeeper.recommenders.base import Fit
from shopkeeper.recommenders.sasrec import SASRec
from shopkeeper.training.distributed import _failure


def test_two_processes_give_the_loss_curve_and_the_ranks_of_one(tiny_shop, tmp_path: Path):
    # 51 customers to learn from: the last batch of an epoch is uneven, and so are its two halves.
    settings = {"dropout": 0.0, "epochs": 3, "clip": 1.0}
    one = fit(*tiny_shop, **settings)
    told = []
    two = SASRec(
        **{**{"width": 8, "blocks": 1, "max_length": 12, "lr": 0.01, "batch_size": 16, "patience": 0}, **settings}
    )
    trainer = {"accelerator": "cpu", "precision": "fp32", "threads": 1, "devices": 2}
    trainer["plan"] = {"edges": [4, 8, 12], "chunk": 64}
    prepared, split = tiny_shop
    log = lambda metrics, epoch: told.append((epoch, metrics["loss"]))
    two.fit(prepared, split, Fit(seed=3, folder=tmp_path, trainer=trainer, progress=False, log=log))
    alone, together = one.trained.history, two.trained.history
    assert [h["epoch"] for h in together] == [1, 2, 3]
    np.testing.assert_allclose([h["loss"] for h in together], [h["loss"] for h in alone], atol=1e-5, rtol=0)
    for name in ("ndcg@10", "recall@10", "mrr"):
        assert [h[name] for h in together] == [h[name] for h in alone]  # rows are gathered, in order
    assert told == [(h["epoch"], h["loss"]) for h in together]
    assert_close(two.network.state_dict(), one.network.state_dict())
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir())[-1].startswith("step-")
    # What went wrong in a process is said in the parent's one line.
    with pytest.raises(UserError, match="belongs to another training"):
        SASRec(**{**settings, "width": 4}).fit(
            prepared, split, Fit(seed=3, folder=tmp_path, trainer=trainer, progress=False)
        )


def test_a_process_that_dies_without_a_word_is_named(tmp_path: Path):
    (tmp_path / "stderr-1").write_text("Traceback\nKilled by the kernel\n")
    assert "process 1 ended with exit code -9 Killed by the kernel" in _failure(tmp_path, [None, -9])
