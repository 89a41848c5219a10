"""What verbs do differently for tasks asked of requests, of customers of a log, of a table of customers: a `Form` each.

What is the same for both stands once: how a model is fitted, audited and asked in `learn.py`, how runs are compared in
`pipeline/evaluate.py`.
"""

from __future__ import annotations

from shopkeeper.ingest.dataset_settings import DatasetSettings
from shopkeeper.pipeline.forms.form import Form
from shopkeeper.tasks.base import REQUESTS, Task


def form_of(task: Task, dataset: DatasetSettings) -> Form:
    """What the verbs do differently for a task on a dataset."""
    if dataset.table is not None:
        from shopkeeper.pipeline.forms import table

        return table.FORM
    if task.asks == REQUESTS:
        from shopkeeper.pipeline.forms import requests

        return requests.FORM
    from shopkeeper.pipeline.forms import customers

    return customers.FORM
