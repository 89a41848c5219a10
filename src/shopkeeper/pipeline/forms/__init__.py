"""What verbs do differently for tasks asked of requests and for tasks asked of customers: one module each.

Both have `prepare`, `train`, `data_of`, `compared`, `without_headline`, `added_runs` and
`asked_of`; which of the two it is, is the task's own business (`tasks.base.Task.asks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pyarrow as pa

from shopkeeper.errors import UserError
from shopkeeper.models.about import Learned
from shopkeeper.pipeline import context
from shopkeeper.pipeline.told import Data, Train
from shopkeeper.tasks.base import CUSTOMERS, REQUESTS, Task
from shopkeeper.tasks.find import find_task

# What a form alone runs: no figure of a model of the other form depends on it.
ALONE = {
    REQUESTS: ("shopkeeper.pipeline.forms.requests",),
    CUSTOMERS: ("shopkeeper.pipeline.forms.customers", "shopkeeper.customers"),
}


@dataclass(frozen=True)
class Result:
    """What training leaves: the model, what its fit told, and what is written beside it into the run folder."""

    model: Any
    learned: Learned
    facts: dict[str, Any]  # for `manifest.json`
    metrics: dict[str, Any]  # `metrics.json`
    tables: dict[str, pa.Table]  # by part, a row per question


def model_of(cfg: Train) -> Any:
    """The config's model, untrained; a `UserError` where what it answers is not what the config's task asks."""
    from shopkeeper.recommenders.base import make

    model, task = make(cfg.model.plain), task_of(cfg)
    if model.about.asks != task.asks:
        raise UserError(
            f"model={cfg.model.name} answers {model.about.asks} with {model.about.answers}, and task={task.name} "
            f"asks {task.asks}; leave task out or choose another model"
        )
    return model


def task_of(cfg: Data) -> Task:
    """The task of a config."""
    return find_task(cfg.task.plain, context.named_targets())


def form_of(task: Task) -> ModuleType:
    """The module that prepares, trains and evaluates for a task."""
    if task.asks == REQUESTS:
        from shopkeeper.pipeline.forms import requests

        return requests
    from shopkeeper.pipeline.forms import customers

    return customers
