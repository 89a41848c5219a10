"""A small shop for RecBole's models, and its environment where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.recbole.installed import Installed
from shopkeeper.training.config import TrainerConfig
from tiny import cycle_histories, days, tiny_prepared

N_ITEMS = 12
TRAINER = TrainerConfig(accelerator="cpu", threads=1)
FIT = Fit(seed=1, trainer=TRAINER, progress=False)
ITEMS = {"category": [["a", "b"], ["c"], ["b"]] * 4, "brand": ["x", "y"] * 6, "price": [0.5 * i for i in range(12)]}


def walkers(path: Path) -> tuple[Prepared, Split]:
    """60 customers who walk round 12 items, each from another start."""
    histories = cycle_histories(60, N_ITEMS, 8)
    return tiny_prepared(path, histories, days(histories), items=ITEMS)


def environment() -> Installed:
    """RecBole; where there is none, the test that asks is skipped and says why."""
    found = Installed.find()
    if found is None:
        pytest.skip("RecBole is not installed: `make recbole` makes .venv-recbole")
    return found
