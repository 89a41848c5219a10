"""How fast the training loop runs on this machine: SASRec on made-up sequences, for `python -m shopkeeper doctor`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from shopkeeper.nn.networks.sasrec import SASRecNetwork, SASRecShape
from shopkeeper.training.batching.batches import TrainingView
from shopkeeper.training.config import Recipe, TrainerConfig
from shopkeeper.training.devices import execution, memory
from shopkeeper.training.devices.autotune import settle
from shopkeeper.training.module import SequenceModule
from shopkeeper.training.objectives.next_item import NextItem


def events_per_second(seconds: float, *, n_items: int = 5_000, max_length: int = 50) -> dict[str, Any]:
    """Train for about `seconds` on 2,000 customers; the first batch (warming up) is not counted.

    Gives `events_per_second` (target positions), `width`, `blocks`, `items`, `mean_length` and `max_length` of the
    sequences (longer ones give more events a second), `device` and `precision`.
    """
    config, recipe = TrainerConfig(), Recipe()
    device = execution.device_of(config)
    if device.type == "cpu":
        memory.keep_freed()
    shape = SASRecShape(n_items, max_length=max_length)
    torch.manual_seed(0)
    network = SASRecNetwork(shape).to(device).train()
    view = _made_up(2_000, n_items, max_length).to(device)
    plan = execution.choose(
        config,
        device=device,
        n_classes=n_items,
        max_length=max_length,
        batch_size=recipe.batch_size,
        resident=True,
        work=execution.work_of(network, n_items, recipe.batch_size * float(view.length_U.mean())),
    )
    objective = NextItem().learn_from(view, network, recipe.loss)
    objective.ready(network, plan, device, 0)
    module = SequenceModule(network, objective, recipe, plan, seed=0).to(device)
    settle(module, TrainerConfig(compile="off"))  # a softmax kernel that is installed need not work
    optimizer = module.configure_optimizers()
    positions, step, start = 0, 0, time.perf_counter()
    while step < 2 or time.perf_counter() - start < seconds:
        users = module.users_of(step)
        n = int(view.length_U[users].sum())
        module.accumulate(users, n, optimizer)
        optimizer.step()
        module.step = step = step + 1
        if device.type == "cuda":
            torch.cuda.synchronize()
        if step == 1:
            start = time.perf_counter()
        else:
            positions += n
    rate = positions / (time.perf_counter() - start)
    module.shares.cores.close()
    return {
        "events_per_second": rate,
        "width": shape.width,
        "blocks": shape.blocks,
        "items": n_items,
        "mean_length": float(view.length_U.mean()),
        "max_length": max_length,
        "device": plan.device,
        "precision": plan.precision,
        "softmax": module.plan.softmax,
    }


def _made_up(n_users: int, n_items: int, max_length: int) -> TrainingView:
    """Random histories of 1 to `max_length` events, most of them short, each event's label the next item."""
    rng = np.random.default_rng(0)
    length_U = np.clip(rng.geometric(4 / max_length, n_users), 1, max_length).astype(np.int64)
    start_U = np.cumsum(length_U) - length_U
    rows = int(length_U.sum())
    return TrainingView(
        item_M=torch.from_numpy(rng.integers(1, n_items + 1, rows, dtype=np.int32)),
        type_M=None,
        label_lo_M=torch.arange(rows, dtype=torch.int32),
        label_count_M=None,
        label_class_T=torch.from_numpy(rng.integers(0, n_items, rows, dtype=np.int32)),
        start_U=start_U,
        length_U=length_U,
        catalogue=np.arange(1, n_items + 1, dtype=np.int32),
        max_length=max_length,
    )
