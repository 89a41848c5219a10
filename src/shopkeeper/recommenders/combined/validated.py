"""How well a model ranks validation, for models that choose among several by it."""

from __future__ import annotations

from typing import Any

import numpy as np

from shopkeeper.data.split import Split
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.inside import ndcg_of_each


def mean_ndcg(model: Any, split: Split, fit: Fit) -> float:
    """Mean NDCG@k over the validation requests, as evaluation counts it; where there are more, over a fixed sample."""
    requests, targets = split.part("validation")
    most = fit.trainer.validation_requests
    if 0 < most < len(requests):
        chosen = np.sort(np.random.default_rng(0).choice(len(requests), most, replace=False))
        requests, targets = requests.take(chosen), targets.take(chosen)
    return float(np.mean(ndcg_of_each(model, requests, targets, split, fit)))
