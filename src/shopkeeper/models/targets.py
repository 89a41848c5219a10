"""Which class a `target` may name: an artifact is data, so it never chooses what is imported.

Allowed are this package's own models, told by their place alone before anything is imported, and what the person who
types the command names himself: the `conf/model/*.yaml` he works with, or `model.target=…`; in a program also the
classes that it hands over.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from shopkeeper import configuration
from shopkeeper.errors import UserError

PACKAGE = Path(__file__).parents[1]
OWN = re.compile(r"shopkeeper\.(recommenders|customers)\.((?:[a-z][a-z0-9_]*\.)?[a-z][a-z0-9_]*)\.([A-Z][A-Za-z0-9_]*)")
METHODS = ("fit", "save", "load")
# Files of models that once lay beside their folder: runs and settings that were written then still name that place.
MOVED = {
    f"shopkeeper.recommenders.{file}.": f"shopkeeper.recommenders.{folder}.{file}."
    for folder, files in {
        "counting": ("buy_it_again", "personal_frequency", "popularity", "recency"),
        "item_pairs": ("ease", "item_to_item", "slim"),
        "knn": ("item_knn", "tifu_knn"),
        "networks": ("gru4rec", "sasrec", "two_tower"),
    }.items()
    for file in files
} | {"shopkeeper.customers.gru.": "shopkeeper.customers.networks.gru."}


_handed_over: dict[str, Any] = {}  # target -> class, of the running program


def hand_over(target: str, cls: Any) -> None:
    """A class of the running program's own, under the target by which settings and runs name it.

    No artifact chooses it: a program hands over what it has defined itself, in a cell of a notebook for example.
    """
    _handed_over[target] = cls


def refuse_foreign(model: Any, where: Path | str, named: Iterable[str] = ()) -> str:
    """The target of a model's settings that were read in `where`; nothing is imported for it.

    Raises:
        UserError: it, or that of a model within the model, is neither a model of this package, nor in `named`, nor in
            a `conf/model/*.yaml`.
    """
    target = model.get("target") if isinstance(model, Mapping) else None
    if not isinstance(target, str):
        raise UserError(f"{where} names no model (no model.target as text); train again")
    for key, named_there in targets_in(model, "model"):
        if not isinstance(named_there, str):
            raise UserError(f"{where}: {key} must be text, the name of a class; train again")
        known = is_own(named_there) or named_there in _handed_over or named_there in set(named)
        if not (known or named_there in named_by_conf()):
            raise UserError(
                f"{where}: {key} '{named_there:.80}' is neither a model of this package nor named by "
                f"conf/model/*.yaml, and a file does not choose what is run; if the model is yours, name it in "
                f"conf/model/<name>.yaml"
            )
    return target


def targets_in(settings: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every `target` in settings, however deep (a model may be made of models), with its dotted key."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            if name == "target":
                yield f"{key}.target", value
            else:
                yield from targets_in(value, f"{key}.{name}")
    elif isinstance(settings, list | tuple):
        for place, value in enumerate(settings):
            yield from targets_in(value, f"{key}[{place}]")


def today(target: str) -> str:
    """A target as it is called now."""
    file = target[: target.rfind(".") + 1]
    return MOVED.get(file, file) + target[len(file) :]


def is_own(target: str) -> bool:
    """Whether a target lies among this package's models, by the names of its folders and files alone."""
    found = OWN.fullmatch(today(target))
    return found is not None and (PACKAGE / found[1] / f"{found[2].replace('.', '/')}.py").is_file()


def named_by_conf(group: str = "model") -> set[str]:
    """Targets of the `conf/<group>/*.yaml` that one works with."""
    targets: set[str] = set()
    for path in (p for folder in configuration.folders() for p in sorted((folder / group).glob("*.yaml"))):
        try:
            said = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):  # said by whoever chooses that file
            continue
        targets.update(target for _, target in targets_in(said, group) if isinstance(target, str))
    return targets


def class_of(target: str, where: str) -> Any:
    """Import what a target names; of this package only a model that is defined in the file that is named."""
    if target in _handed_over:
        return _handed_over[target]
    module, _, name = today(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as e:
        if isinstance(e, ModuleNotFoundError) and e.name and not f"{module}.".startswith(f"{e.name}."):
            raise  # a package that the model's file imports is not installed: which command installs it, the verbs say
        raise UserError(
            f"{where}: target '{target}' cannot be imported ({e}); name a class as conf/model/*.yaml do"
        ) from e
    if OWN.fullmatch(target):
        here = inspect.isclass(found) and found.__module__ == module and not getattr(found, "_is_protocol", False)
        if not here or not all(callable(getattr(found, method, None)) for method in METHODS):
            raise UserError(f"{where}: target '{target}' is no model; take one that conf/model/*.yaml name")
    return found
