"""From a YAML in `conf/model/` to an untrained model.

A model is one file and one YAML; the YAML's `target` names the class, every other key except `name` and `task` is
passed to its constructor. Nothing else has to be registered.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from shopkeeper.errors import WORDS, UserError, check_kinds, nearest
from shopkeeper.models.about import About
from shopkeeper.models.targets import class_of
from shopkeeper.shapes import Yaml

NOT_PARAMETERS = ("name", "task", "tasks", "target", "defaults")


def make(config: Yaml) -> Any:
    """The model that a `conf/model/*.yaml` describes, with its parameters, untrained.

    Settings that were read from an artifact go through `targets.refuse_foreign` first.
    """
    if "target" not in config:
        raise UserError(f"model={config.get('name')} lacks `target` beside {', '.join(config)}; see conf/model/*.yaml")
    cls = class_of(str(config["target"]), f"conf/model/{config.get('name')}.yaml")
    parameters = {k: v for k, v in config.items() if k not in NOT_PARAMETERS}
    taken = _taken(cls)
    if "name" in taken:  # a model of several
        parameters["name"] = config.get("name")
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


@cache
def _taken(cls: Any) -> Mapping[str, inspect.Parameter]:
    """What the constructor of a class takes; a model of models makes each of them several times."""
    return inspect.signature(cls).parameters


@cache
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
