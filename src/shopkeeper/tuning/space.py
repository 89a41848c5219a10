"""What a search may change: `conf/tuning/space/<model>.yaml`, checked before the first trial."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from shopkeeper.errors import UserError, nearest
from shopkeeper.shapes import Yaml

GROUPS = ("model", "loss", "trainer")  # with anything else, trials would answer different requests
FIELDS = {
    "float": ("type", "low", "high", "step", "log"),
    "int": ("type", "low", "high", "step", "log"),
    "categorical": ("type", "choices"),
}
Space = Mapping[str, Mapping[str, Any]]


def read_space(cfg: Yaml) -> Space:
    """The space of a config, without the settings that were set to null; a `UserError` where it makes no sense."""
    model = cfg["model"]["name"]
    space = dict(_settings(cfg["tuning"].get("space") or {}))
    if not space:
        raise UserError(
            f"there is nothing to search for model={model}: write conf/tuning/space/{model}.yaml "
            f"(setting: {{type: float, low: …, high: …, log: true}})"
        )
    for key, spec in space.items():
        _check_key(cfg, key)
        _check_spec(key, spec)
    return space


def _settings(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings that are searched, a group's under dotted names: `loss: {negatives: …}` is `loss.negatives`."""
    for key, spec in space.items():
        if isinstance(spec, Mapping) and spec and all(isinstance(v, Mapping) for v in spec.values()):
            yield from _settings(spec, f"{prefix}{key}.")
        elif spec is not None:
            yield prefix + key, spec


def path_of(key: str) -> list[str]:
    """Where a searched setting lies in the config; a bare name is one of the model's: `width` is `model.width`."""
    return key.split(".") if "." in key else ["model", key]


def with_settings(cfg: Yaml, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The config with settings changed."""
    changed = copy.deepcopy(dict(cfg))
    for key, value in chosen.items():
        node: Any = changed
        *path, leaf = path_of(key)
        for part in path:
            node = node[part]
        node[leaf] = value
    if "loss" in changed["model"] and cfg["model"]["loss"] == cfg.get("loss"):  # `${loss}`, which was resolved before
        own = {key: value for key, value in changed["model"]["loss"].items() if value != cfg["loss"].get(key)}
        changed["model"]["loss"] = changed["loss"] = {**changed["loss"], **own}
    return changed


def holds(spec: Mapping[str, Any], value: Any) -> bool:
    """Whether a setting's part of a space reaches to a value."""
    if spec["type"] == "categorical":
        return value in spec["choices"]
    if isinstance(value, bool) or not isinstance(value, int if spec["type"] == "int" else int | float):
        return False
    if not spec["low"] <= value <= spec["high"]:
        return False
    step = spec.get("step")
    return step is None or abs((value - spec["low"]) / step - round((value - spec["low"]) / step)) < 1e-9


def as_held(spec: Mapping[str, Any], value: Any) -> Any:
    """A value that a setting's part of a space holds, as its study gives it back: 1 of a space of floats is 1.0."""
    if spec["type"] == "categorical":
        return next(choice for choice in spec["choices"] if choice == value)
    return float(value) if spec["type"] == "float" else value


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """The settings of an Optuna trial."""
    return {key: _suggest(trial, key, spec) for key, spec in space.items()}


def _suggest(trial: Any, key: str, spec: Mapping[str, Any]) -> Any:
    kind = spec["type"]
    if kind == "categorical":
        return trial.suggest_categorical(key, list(spec["choices"]))
    if kind == "int":
        return trial.suggest_int(key, spec["low"], spec["high"], step=spec.get("step", 1), log=spec.get("log", False))
    return trial.suggest_float(key, spec["low"], spec["high"], step=spec.get("step"), log=spec.get("log", False))


def _check_key(cfg: Yaml, key: str) -> None:
    path = path_of(key)
    if path[0] not in GROUPS:
        raise UserError(
            f"tuning space: '{key}' cannot be searched, a search changes {', '.join(GROUPS)} alone (with other data "
            f"the trials would answer different requests); take it out"
        )
    node: Any = cfg
    for i, part in enumerate(path):
        if not isinstance(node, Mapping) or part not in node:
            where = f"model {cfg['model']['name']}" if path[:i] == ["model"] else ".".join(path[:i])
            names = node if isinstance(node, Mapping) else []
            raise UserError(f"tuning space: {where} has no setting '{part}'.{nearest(part, names)}")
        node = node[part]


def _check_spec(key: str, spec: Any) -> None:
    if not isinstance(spec, Mapping):
        raise UserError(f"tuning space: '{key}' is {spec}; write {{type: float, low: …, high: …}} or leave it out")
    fields, kind = {f for names in FIELDS.values() for f in names}, spec.get("type")
    for field in spec:
        if field not in fields:
            raise UserError(f"tuning space: '{key}' knows no '{field}'.{nearest(str(field), fields)}")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise UserError(f"tuning space: '{key}' has type '{kind}'.{nearest(str(kind), FIELDS)}")
    for field in spec:
        if field not in FIELDS[kind]:
            raise UserError(f"tuning space: '{key}' ({kind}) knows no '{field}'.{nearest(str(field), FIELDS[kind])}")
    needed = ("choices",) if kind == "categorical" else ("low", "high")
    if missing := [n for n in needed if spec.get(n) is None]:
        raise UserError(f"tuning space: '{key}' ({kind}) lacks {', '.join(missing)}; add what is missing")
    if kind == "categorical":
        if not isinstance(spec["choices"], list) or not spec["choices"]:
            raise UserError(f"tuning space: the choices of '{key}' must be a list with something in it")
        return
    for field in ("low", "high", "step"):
        value, wanted = spec.get(field, 1), (int,) if kind == "int" else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise UserError(f"tuning space: '{key}' ({kind}) has {field}={value}, which is no {kind}; give a number")
    if spec["low"] > spec["high"]:
        raise UserError(f"tuning space: '{key}' has low={spec['low']} above high={spec['high']}; swap them")
    if spec.get("log") and (spec["low"] <= 0 or spec.get("step") is not None):
        raise UserError(f"tuning space: '{key}' with log: true needs low above 0 and no step")
