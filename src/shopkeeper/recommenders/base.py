"""The contract of a recommender: requests in, scores out.

Shapes: B requests, V = n_items + 1 columns (internal item ids, column 0 is padding), D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit


@runtime_checkable
class Recommender(Protocol):
    """What every recommender does. Answers for people it has never seen, from their history alone."""

    @property
    def about(self) -> About:
        """What it is, and what it reads."""

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned | None:
        """Learn from `split.training_rows()` only; validation requests may choose when to stop."""

    def score(self, requests: Requests) -> np.ndarray:
        """Scores float32 (B, V), higher is better, finite; an empty history gets the fallback (popularity)."""

    def save(self, folder: Path) -> None:
        """Write weights into `folder` as `.safetensors` or `.npz`; nothing executable."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; a `UserError` when it is damaged or belongs to another model."""


@runtime_checkable
class EmbeddingRecommender(Recommender, Protocol):
    """A recommender whose scores are inner products: evaluation then multiplies and counts in tiles."""

    def encode(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Request vectors float32 (B, D), and a bool (B,) mask of those that get the fallback scores instead."""

    def item_vectors(self) -> np.ndarray:
        """Item vectors float32 (V, D); row 0 is padding."""

    def fallback(self) -> np.ndarray:
        """Scores float32 (V,) for a request without a usable history."""


def untyped_event(model: Any, target_events: Sequence[str]) -> str:
    """What an event without a type counts as, wherever this model is asked: `recommend` and bundles alike.

    The first target event that the model reads, else the first type that it reads: a plain list of items is mostly
    what somebody took.
    """
    read = model.about.types
    targets = list(target_events) or list(Fit.target_events)
    names = targets if read is None else list(read)
    return next((name for name in targets if name in names), names[0] if names else targets[0])
