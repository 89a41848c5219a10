"""What verbs do differently for tasks asked of requests and for tasks asked of customers: one module each.

Both have `prepare`, `train`, `data_of`, `compared`, `summarised`, `without_headline`, `missing_baselines` and
`asked_of`; which of the two it is, is the task's own business (`tasks.base.Task.asks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from shopkeeper.pipeline import context
from shopkeeper.tasks.base import CUSTOMERS, REQUESTS, Task
from shopkeeper.tasks.find import find_task

Log = Callable[[Mapping[str, float], int], None]
# What a form alone runs: no figure of a model of the other form depends on it.
ALONE = {
    REQUESTS: ("shopkeeper.pipeline.forms.requests",),
    CUSTOMERS: ("shopkeeper.pipeline.forms.customers", "shopkeeper.customers"),
}


def task_of(cfg: Mapping[str, Any]) -> Task:
    """The task of a config."""
    return find_task(cfg["task"], context.named_targets(cfg))


def form_of(task: Task) -> ModuleType:
    """The module that prepares, trains and evaluates for a task."""
    if task.asks == REQUESTS:
        from shopkeeper.pipeline.forms import requests

        return requests
    from shopkeeper.pipeline.forms import customers

    return customers
