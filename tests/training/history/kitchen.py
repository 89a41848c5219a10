"""A household's log in which it is known what is due when, and a small training that reads own histories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recommenders.checks import FIT
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.config import Plan, TrainerConfig
from shopkeeper.training.objectives.own_history import OwnHistory
from tiny import DAY, tiny_prepared
from training.small_training import TRAINER

COFFEE, WASHER, BREAD, MILK, NEVER = 1, 2, 3, 4, 5
SMALL: dict[str, Any] = {"width": 8, "max_length": 10, "batch_size": 8, "lr": 0.01, "patience": 0}
NO_VALIDATION = replace(FIT, trainer=TrainerConfig.of({**TRAINER, "plan": {}, "validation_requests": 0}))


def kitchen(path: Path) -> tuple[Prepared, Split]:
    """Thirty households: coffee each 30 days, one washer ever, and bread and milk in turn every fifth day."""
    items, times = [], []
    for u in range(30):
        events = [(u + 30 * n, COFFEE) for n in range(6)] + [(u + 7 + u % 3 * 40, WASHER)]
        events += [(u + d, (BREAD, MILK)[(d + u) % 2]) for d in range(1, 170, 5)]
        events = sorted(events) + [(u + 400, NEVER), (u + 401, NEVER)]  # the two that leave_one_out takes away
        items.append([item for _, item in events])
        times.append([day * DAY for day, _ in events])
    return tiny_prepared(path, items, times, catalogue=range(1, 6))


def mixed(path: Path) -> tuple[Prepared, Split]:
    """Forty customers with views, carts and orders of several lines, in time."""
    rng = np.random.default_rng(3)
    histories, times, types, orders, code = [], [], [], [], 0
    for _ in range(40):
        n = int(rng.integers(6, 30))
        order = np.zeros(n, np.int64)
        kind = rng.choice(["view", "add_to_cart", "purchase"], n)
        at = np.cumsum(rng.integers(0, 5, n)) * DAY
        for m in range(n):
            if kind[m] == "purchase":
                same = m > 0 and kind[m - 1] == "purchase" and rng.random() < 0.5
                code += not same
                order[m], at[m] = code, at[m - 1] if same else at[m]
        histories.append(rng.integers(1, 13, n).tolist())
        times.append(np.maximum.accumulate(at).tolist())
        types.append(kind.tolist())
        orders.append(order.tolist())
    return tiny_prepared(path, histories, times, event_types=types, columns={"order": orders}, n_items=12)


def opened(path: Path, baskets: bool = True, power: float = 0.0) -> tuple[SASRec, OwnHistory, Plan, Prepared, Split]:
    """A model of one epoch, and its objective once more."""
    prepared, split = mixed(path)
    model = SASRec(history="kernel", targets="baskets" if baskets else "events", **SMALL, blocks=1, epochs=2)
    model.fit(prepared, split, NO_VALIDATION)
    objective = OwnHistory(split, ("purchase",), baskets=baskets, power=power)
    assert model.trained is not None
    objective.open(model._network(), model.recipe, None)
    objective.ready(model._network(), model.trained.plan, torch.device("cpu"), 0)
    return model, objective, model.trained.plan, prepared, split
