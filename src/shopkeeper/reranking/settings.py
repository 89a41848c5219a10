"""What a config says of another order of lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shopkeeper.errors import whole
from shopkeeper.shapes import ANY, Needed, Yaml
from shopkeeper.typed import held


@dataclass(frozen=True)
class Ordering:
    """An order as conf/rerank/*.yaml has it."""

    steps: Any = held(Needed(ANY))  # one after another; `steps.steps_of` makes a class of each
    candidates: int = held(whole(1), 100)  # a model's best that are put in order
    plain: Yaml = field(default_factory=dict, repr=False)
