"""NARM learns an order, and what a session is for though the last events do not say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recommenders.checks import check_learns_a_cycle, fitted, stranger
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.narm import NARM
from shopkeeper.training.config import TrainerConfig
from tiny import days, tiny_prepared

FIT = Fit(seed=1, trainer=TrainerConfig(accelerator="cpu", precision="fp32", threads=1), progress=False)
SMALL: dict[str, Any] = {
    "width": 16, "max_length": 10, "dropout": 0.1, "dropout_embed": 0.1, "lr": 0.02, "batch_size": 16, "patience": 0,
}  # fmt: skip


def test_it_learns_a_cycle(tmp_path: Path):
    check_learns_a_cycle(lambda: NARM(**SMALL, epochs=30), tmp_path, FIT)


def test_it_knows_what_a_session_began_with(tmp_path: Path):
    rng = np.random.default_rng(0)
    histories = []
    for i in range(90):  # 1 or 2 first, then anything of 3..5, and at the fifth step what the first one was for
        middle = rng.integers(3, 6, 3).tolist()
        histories.append([1 + i % 2, *middle, 6 + i % 2, 8, 8])
    prepared, split = tiny_prepared(tmp_path / "sessions", histories, days(histories))
    scores = fitted(lambda: NARM(**SMALL, epochs=25), prepared, split, FIT).score(
        stranger([[1, 3, 4, 5], [2, 3, 4, 5], [1, 5, 5, 3], [2, 5, 5, 3]])
    )
    assert scores[:, 1:].argmax(1).tolist() == [5, 6, 5, 6]
