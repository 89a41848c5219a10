"""Features that come from a trained recommender: its vectors of items, if it knows nothing of what is asked.

Shapes: V = n_items + 1, D width of the model, R directions that are kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np

from shopkeeper.errors import UserError
from shopkeeper.features.customer.declared import Features, bound
from shopkeeper.hashing import SEAL
from shopkeeper.models.about import VECTORS
from shopkeeper.pipeline import context, places
from shopkeeper.pipeline.forms.warm_start import check_learned_before
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.told import Data, but
from shopkeeper.timeline import CustomerWindows

T = TypeVar("T", bound=Data)
WHERE = "features.item_vectors.run"


def pinned(cfg: T) -> T:
    """The settings with the run that is meant by its folder and its seal: later trainings may have the same name."""
    told = cfg.features.item_vectors
    if told is None:
        return cfg
    run = open_run(places.find(told.run, cfg.paths.runs))
    said = {"run": context.relative(run.path), "seal": told.seal or str(run.manifest[SEAL])}
    plain = dict(cfg.plain["features"])
    return but(cfg, features={**plain, "item_vectors": {**plain["item_vectors"], **said}})


def declared_of(cfg: Data, windows: CustomerWindows, fingerprint: str) -> Features:
    """The declaration with the vectors that it names.

    Raises:
        UserError: there is a log for each cutoff, or the run is none of a model with vectors, was made of other data,
            is not the one that was pinned, or has learned from what follows the first cutoff.
    """
    told = cfg.features.item_vectors
    if told is None:
        return cfg.features
    if context.known_per_cutoff(cfg):
        raise UserError(
            f"features.item_vectors: dataset={cfg.dataset.name} is another log at each cutoff (customers' keys are "
            f"joined as of then), and a recommender knows the items of one; leave it out, or set "
            f"dataset.identity.as_of to a date"
        )
    run = open_run(places.find(told.run, cfg.paths.runs))
    if told.seal is not None and run.manifest[SEAL] != told.seal:
        raise UserError(f"{WHERE}={told.run} was trained anew since; train this model again, too")
    if run.manifest["dataset_fingerprint"] != fingerprint:
        raise UserError(f"{WHERE}={told.run} was trained on other data; train it again on those that are asked about")
    first = min(t for cutoffs in windows.every.values() for t in cutoffs)
    check_learned_before(run, first, f"{WHERE}={told.run}", "take fewer cutoffs (task.windows.n_train)")
    return bound(cfg.features, vectors=_kept(str(run.path.resolve()), str(run.manifest[SEAL]), told.size))


@lru_cache(maxsize=2)
def _kept(path: str, seal: str, size: int) -> np.ndarray:
    """Items of length 1 along the directions in which they differ most: float32 (V, R), 0 where one is unknown."""
    run = open_run(path)
    model = run.model()
    if model.about.answers != VECTORS:
        raise UserError(f"{WHERE}={path}: its model has no vectors of items; name one that has, such as sasrec or bpr")
    item_VD = np.asarray(model.item_vectors(), np.float64)
    item_VD = item_VD / np.maximum(np.linalg.norm(item_VD, axis=1, keepdims=True), 1e-12)
    learned = context.split_of(context.prepared_of(run.manifest), run.manifest).known
    item_VD[np.setdiff1d(np.arange(len(item_VD)), learned)] = 0  # a network's other items lie where they were drawn
    if size > item_VD.shape[1]:
        raise UserError(f"features.item_vectors.size={size}, and {path} has vectors of {item_VD.shape[1]} numbers")
    _, direction_DD = np.linalg.eigh(item_VD.T @ item_VD)
    kept_DR = direction_DD[:, ::-1][:, :size]
    kept_DR = kept_DR * np.sign(kept_DR[np.abs(kept_DR).argmax(axis=0), np.arange(size)])  # one of the two ways round
    return (item_VD @ kept_DR).astype(np.float32)
