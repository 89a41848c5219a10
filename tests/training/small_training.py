"""A small training problem, and short ways to train on it. (Not in conftest.py: other folders have one, too.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.config import TrainerConfig
from tiny import tiny_prepared

MODEL: dict[str, Any] = {
    "width": 8, "blocks": 1, "max_length": 12, "dropout": 0.2, "lr": 0.01, "batch_size": 16, "epochs": 5, "patience": 0,
}  # fmt: skip
TRAINER: dict[str, Any] = {
    "accelerator": "cpu", "precision": "fp32", "threads": 1, "plan": {"edges": [4, 8, 12], "chunk": 64},
}  # fmt: skip


def shop(path: Path) -> tuple[Prepared, Split]:
    """60 customers with histories of many lengths; the next item is mostly the one after, orders of several lines."""
    rng = np.random.default_rng(7)
    histories, orders, code = [], [], 0
    for _ in range(60):
        length = int(rng.integers(3, 20))
        history = (rng.integers(30) + np.cumsum(rng.integers(1, 3, length))) % 30 + 1
        starts = rng.random(length) < 0.7
        starts[[0, -1, -2]] = True
        orders.append((code + np.cumsum(starts)).tolist())
        code = orders[-1][-1]
        histories.append(history.tolist())
    return tiny_prepared(path, histories, columns={"order": orders}, n_items=30, catalogue=range(1, 31))


def fit(prepared: Prepared, split: Split, folder: Path | None = None, trainer: Any = None, **model: Any) -> SASRec:
    """Train with the settings above, changed where told."""
    sasrec = SASRec(**{**MODEL, **model})
    settings = {**TRAINER, **(trainer or {})}
    sasrec.fit(prepared, split, Fit(seed=3, folder=folder, trainer=TrainerConfig.of(settings), progress=False))
    return sasrec


def assert_close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-5, but for the bias of the keys: attention does not depend on it, its gradient is rounding alone."""
    assert a.keys() == b.keys()
    for name in a:
        if not name.endswith("kv.bias"):
            torch.testing.assert_close(
                a[name], b[name], atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
            )
