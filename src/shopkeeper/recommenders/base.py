"""The contract of a recommender, and how one is found, made, saved and opened.

A model is one file in this folder and one YAML in `conf/model/`; the YAML's `target` names the class, every other
key except `name` and `task` is passed to its constructor. Nothing else has to be registered.

Shapes: B requests, V = n_items + 1 columns (internal item ids, column 0 is padding), D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import WORDS, UserError, check_kinds, nearest
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.targets import class_of

NOT_PARAMETERS = ("name", "task", "tasks", "target", "defaults")


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


def make(config: Mapping[str, Any]) -> Any:
    """The model that a `conf/model/*.yaml` describes, with its parameters, untrained.

    Settings that were read from an artifact go through `targets.refuse_foreign` first.
    """
    if "target" not in config:
        raise UserError(f"model={config.get('name')} lacks `target` beside {', '.join(config)}; see conf/model/*.yaml")
    cls = class_of(str(config["target"]), f"conf/model/{config.get('name')}.yaml")
    parameters = {k: v for k, v in config.items() if k not in NOT_PARAMETERS}
    taken = inspect.signature(cls).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        for name in parameters:
            if name not in taken:
                valid = nearest(name, [*taken, *NOT_PARAMETERS])
                raise UserError(f"model={config.get('name')} has no setting model.{name}.{valid}")
    check_kinds(parameters, _kinds(cls.__init__), "model.")
    try:
        model = cls(**parameters)
    except TypeError as e:
        raise UserError(f"conf/model/{config.get('name')}.yaml does not fit {cls.__name__}: {e}") from e
    declared(model)
    return model


def declared(model: Any) -> About:
    """What a model says that it is; a `UserError` where it says nothing."""
    try:
        about = model.about
    except AttributeError:
        about = None
    if not isinstance(about, About):
        raise UserError(
            f"{type(model).__name__} does not say what it is: give the class `about = About(…)` of "
            f"shopkeeper.models.about, as every model in shopkeeper/recommenders has"
        )
    return about


def _kinds(function: Any) -> dict[str, tuple[type, ...]]:
    """Which plain kinds each argument takes, by its annotation; without those that take anything else, too."""
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):
        return {}
    kinds = {name: get_args(hint) if isinstance(hint, UnionType) else (hint,) for name, hint in hints.items()}
    plain = {name: tuple(_without_inner(kind) for kind in of) for name, of in kinds.items()}
    return {name: of for name, of in plain.items() if set(of) <= set(WORDS)}


def _without_inner(kind: Any) -> Any:
    """`Mapping[str, float]` -> dict."""
    outer = get_origin(kind) or kind
    return dict if outer is Mapping else outer


def untyped_event(model: Any, target_events: Sequence[str]) -> str:
    """What an event without a type counts as, wherever this model is asked: `recommend` and bundles alike.

    The first target event that the model reads, else the first type that it reads: a plain list of items is mostly
    what somebody took.
    """
    read = model.about.types
    targets = list(target_events) or list(Fit.target_events)
    names = targets if read is None else list(read)
    return next((name for name in targets if name in names), names[0] if names else targets[0])
