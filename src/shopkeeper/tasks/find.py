"""From the name of a task in a configuration to the task: this package's own, or one that the user himself names.

As with models, an artifact is data and chooses nothing that is imported: a `target` counts only where a
`conf/task/*.yaml` that one works with, or the command line, names it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError, nearest
from shopkeeper.models.targets import named_by_conf
from shopkeeper.shapes import Yaml
from shopkeeper.tasks.base import Task

NOT_TASKS = ("__init__", "base", "find")


def own_tasks() -> list[str]:
    """Names of this package's tasks: its files."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_TASKS)


def module_of(settings: Yaml) -> str:
    """The module that holds the task of a `task:` block; nothing is imported."""
    target = settings.get("target")
    return f"shopkeeper.tasks.{settings['name']}" if target is None else str(target).rpartition(".")[0]


def find_task(settings: Yaml, named: Iterable[str] = ()) -> Task:
    """The task of a `task:` block.

    Args:
        settings: with `name`, and `target` (`module.NAME`) where it is the user's own.
        named: targets that the user's own command names.

    Raises:
        UserError: there is no such task, or its target is named by the file alone.
    """
    name, target = str(settings["name"]), settings.get("target")
    if target is None:
        if name not in own_tasks():
            raise UserError(
                f"there is no task={name}.{nearest(name, own_tasks())} One of your own needs conf/task/{name}.yaml "
                f"with its target"
            )
        task: Any = importlib.import_module(f"shopkeeper.tasks.{name}").TASK
        assert isinstance(task, Task)
        return task
    if not isinstance(target, str) or target not in {*named, *named_by_conf("task")}:
        raise UserError(
            f"task.target '{target!s:.80}' is not named by conf/task/*.yaml, and a file does not choose what is run; "
            f"if the task is yours, name it in conf/task/{name}.yaml"
        )
    module, _, attribute = target.rpartition(".")
    try:
        task = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as e:
        raise UserError(f"task={name}: target '{target}' cannot be imported ({e})") from e
    if not isinstance(task, Task) or task.name != name:
        raise UserError(f"task={name}: target '{target}' is no task of that name; it must be a tasks.base.Task")
    return task
