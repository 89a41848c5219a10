"""What a config says of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shopkeeper.shapes import TEXT, Items, OneOf, Yaml
from shopkeeper.typed import held


@dataclass(frozen=True)
class ModelSettings:
    """A model as conf/model/*.yaml has it; `make.make` makes it from `plain`."""

    name: str
    target: str
    task: str = held(TEXT, "")
    tasks: Any = held(OneOf(TEXT, Items(TEXT)), None)  # names of tasks, or what tasks are asked of
    parameters: Yaml = field(default_factory=dict)  # arguments of the model's class, which checks them
    plain: Yaml = field(default_factory=dict, repr=False)
