"""What verbs do differently for tasks asked of requests, of customers of a log, of a table of customers: a `Form` each.

What is the same for both stands once: how a model is fitted, audited and asked in `learn.py`, how runs are compared in
`pipeline/evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shopkeeper.pipeline.forms.form import Form
from shopkeeper.tasks.base import REQUESTS, Task


def form_of(task: Task, dataset: Mapping[str, Any]) -> Form:
    """What the verbs do differently for a task on a dataset (as conf/dataset has it)."""
    if dataset.get("table"):
        from shopkeeper.pipeline.forms import table

        return table.FORM
    if task.asks == REQUESTS:
        from shopkeeper.pipeline.forms import requests

        return requests.FORM
    from shopkeeper.pipeline.forms import customers

    return customers.FORM
