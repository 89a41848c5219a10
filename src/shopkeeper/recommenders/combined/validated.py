"""How well a model ranks validation, for models that choose among several by it.

Shapes: B requests, V = n_items + 1 columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shopkeeper.data.split import Split
from shopkeeper.metrics.plain_ranker import PlainRanker
from shopkeeper.metrics.ranking import Hits, compute
from shopkeeper.metrics.ranks import Flat
from shopkeeper.models.fit import Fit

CELLS_AT_ONCE = 16_000_000


def mean_ndcg(model: Any, split: Split, fit: Fit) -> float:
    """Mean NDCG@k over the validation requests, as evaluation counts it; where there are more, over a fixed sample."""
    requests, targets = split.part("validation")
    most = fit.trainer.validation_requests
    if 0 < most < len(requests):
        chosen = np.sort(np.random.default_rng(0).choice(len(requests), most, replace=False))
        requests, targets = requests.take(chosen), targets.take(chosen)
    ranker = PlainRanker(split.prepared.n_items + 1, split.catalogue)
    step = max(1, CELLS_AT_ONCE // (split.prepared.n_items + 1))
    values = []
    for first in range(0, len(requests), step):
        part, wanted = requests[first : first + step], targets[first : first + step]
        seen, only = (None if x is None else Flat(*x) for x in (part.hidden(fit.filter_seen), part.candidates))
        ranked = ranker.rank_scores(model.score(part), Flat(wanted.offsets, wanted.item), seen, only)
        values.append(compute(Hits.of(ranked, wanted.offsets, wanted.item), f"ndcg@{fit.k}"))
    return float(np.mean(np.concatenate(values)))
