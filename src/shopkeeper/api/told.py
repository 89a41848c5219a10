"""From arguments of Python to what a verb is told: composed from the same `conf/`, checked by the same classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.api.errors import plain_errors
from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.dataset_shape import shape
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import plain
from shopkeeper.timeline import CustomerSpec, SplitSettings

GROUPS = ("dataset", "split", "task", "model", "trainer", "features", "loss", "tracking", "engine", "tuning",
          "placement", "audience")  # fmt: skip


def compose(
    verb: str,
    told: Mapping[str, Any],
    added: Path | None = None,
    whole: Mapping[str, Mapping[str, Any]] | None = None,
    words: Sequence[str] = (),
) -> dict[str, Any]:
    """The configuration of a verb as plain settings.

    Args:
        verb: `train`, `evaluate`, …
        told: settings by name. A group takes the name of one of its files, or settings of it, or both
            (`{"name": "temporal", "test_days": 14}`).
        added: a folder with configuration beside the package's.
        whole: groups that are given as a whole, in place of a file.
        words: further words, as on a command line.

    Raises:
        UserError: a name that is none, or a value of another kind, with the nearest valid one.

    Examples:
        >>> told = {"model": "popularity", "split": {"name": "temporal", "test_days": 14}}
        >>> compose("train", told)["split"]["test_days"]
        14
    """
    words, blocks = list(words), dict[str, Any](whole or {})
    settings: dict[str, Any] = {}
    for key, value in told.items():
        if value is None or key in blocks:
            continue
        if key in GROUPS and isinstance(value, str):
            words.append(f"{key}={value}")
        elif key in GROUPS and isinstance(value, Mapping) and "name" in value:
            words.append(f"{key}={value['name']}")
            settings[key] = {k: v for k, v in value.items() if k != "name"}
        elif key in GROUPS and not isinstance(value, Mapping):
            raise UserError(f"{key}={value!r:.80} is neither a name nor settings; give one of them")
        else:
            settings[key] = value
    with plain_errors():
        config = plain(composed(verb, words, added))
    config |= {key: dict(block) for key, block in blocks.items()}
    for key, value in settings.items():
        config[key] = _merged(config.get(key), value, key)
    return config


def _merged(base: Any, value: Any, path: str) -> Any:
    """A setting with another value; of a block, with the values that are told, and the others as they were.

    None in place of a block inside of another leaves it out, as `null` does on a command line.
    """
    if isinstance(value, Path):
        return str(value)
    if isinstance(base, Mapping) and isinstance(value, Mapping):
        found = dict(base)
        for key, inner in value.items():
            found[str(key)] = _merged(base.get(key), inner, f"{path}.{key}")
        return found
    if isinstance(base, Mapping) and base and not isinstance(value, Mapping) and not (value is None and "." in path):
        raise UserError(f"{path}={value!r:.80} is no block of settings; give some of {', '.join(map(str, base))}")
    return as_written(value)


def as_written(value: Any) -> Any:
    """A setting as a YAML file has it: paths are text, and numbers those of Python, of which NumPy may have made some.

    Examples:
        >>> as_written({"l2": np.float64(0.5), "k": (np.int64(1), 2)})
        {'l2': 0.5, 'k': [1, 2]}
    """
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: as_written(one) for key, one in value.items()}
    return [as_written(one) for one in value] if isinstance(value, list | tuple | range) else value


def divided(
    settings: Mapping[str, Any], model: Mapping[str, Any], of_verb: set[str], name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a model, and those of the verb: each name belongs to one of them.

    Raises:
        UserError: a name that belongs to neither, with the nearest one.

    Examples:
        >>> divided({"epochs": 2, "seed": 3}, {"epochs": 200}, {"seed"}, "sasrec")
        ({'epochs': 2}, {'seed': 3})
    """
    own, others = dict[str, Any](), dict[str, Any]()
    for key, value in settings.items():
        if key in of_verb:
            others[key] = value
        elif key in model:
            own[key] = value
        else:
            if whose := _whose(key):
                raise UserError(f"{name} has no setting '{key}', which is not the model's; give it as {whose}")
            raise UserError(f"{name} has no setting '{key}'.{nearest(key, [*model, *of_verb])}")
    return own, others


def _whose(key: str) -> str:
    """How a setting is given that no model has: to the task, the split or the dataset; "": nobody takes it."""
    if key == "windows" or key in CustomerSpec.RULES:
        windows = "{…}" if key == "windows" else f"{{'{key}': …}}"
        return f"task={{'name': 'churn', 'windows': {windows}}}"
    if key in {field.name for field in fields(SplitSettings)}:
        return f"split={{'{key}': …}}"
    return f"Dataset.from_pandas(…, {key}=…)" if key in shape() else ""
