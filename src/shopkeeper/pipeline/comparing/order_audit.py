"""The leak audit of lists in another order: of the steps behind a model, not of the model.

That one is audited by `evaluation/alarms/model_audit.py`.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.evaluation.alarms.model_audit import LEAST, elsewhere, sample_of
from shopkeeper.reranking.model import CELLS_AT_ONCE
from shopkeeper.splits.audit_error import AuditError

LISTED = 10  # places of the lists that are compared
THEN = "Mend the step: it may read the history of a request, its instant and the items' facts, nothing else"


def audit_steps(reranked: Any, name: str, split: Split, part: str = "test") -> None:
    """Put a model's lists in order once more among other rows, its scores held as they were: every list must stay.

    The model itself was audited when it was trained. With the same scores there are no near ties, so lists are compared
    item by item; what the steps know of items is not changed here (`reranking/facts.py` says until when it counts).

    Args:
        reranked: a `reranking.model.Reranked`, whose model is asked once.
        name: what to call it.
        split: what it was trained on.
        part: whose requests are asked, some of them.

    Raises:
        AuditError: naming it, with the number of requests whose lists moved.
    """
    requests, _ = split.part(part)
    if len(requests) == 0:
        return
    n_items = split.prepared.n_items
    asked = sample_of(requests, n_items)[: max(1, CELLS_AT_ONCE // (n_items + 1))]  # so that the model is asked once
    steps, rng = copy(reranked), np.random.default_rng(0)
    steps.model = _Said(reranked.model)
    said = steps.recommend(asked, LISTED)
    for _ in range(max(1, min(8, LEAST // len(asked)))):
        other = steps.recommend(elsewhere(asked, n_items, rng), LISTED)
        if moved := int((said != other).any(axis=1).sum()):
            found = f"{moved} of {len(asked)} lists for {part} change with rows that the request does not hand out"
            raise AuditError(name, [found], "the order of", THEN)


class _Said:
    """A model that says again, whatever it is asked, what it said of the first requests."""

    def __init__(self, model: Any):
        self.about, self._model = replace(model.about, reaches=False), model  # it says again, so it reaches none anew
        self._said: np.ndarray | None = None

    def score(self, requests: Requests) -> np.ndarray:
        """Of a model that answers with scores or vectors."""
        self._said = self._model.score(requests) if self._said is None else self._said
        return np.array(self._said)

    def recommend(self, requests: Requests, k: int) -> np.ndarray:
        """Of one that answers with lists."""
        self._said = self._model.recommend(requests, k) if self._said is None else self._said
        return np.array(self._said)
