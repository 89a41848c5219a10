"""What a config says of another order of lists, and of a place in the shop that has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shopkeeper.errors import whole
from shopkeeper.models.settings import ModelSettings
from shopkeeper.shapes import ANY, PLAIN, TEXT, Each, Needed, Yaml
from shopkeeper.timeline import SplitSettings
from shopkeeper.typed import held


@dataclass(frozen=True)
class Ordering:
    """An order as conf/rerank/*.yaml has it."""

    steps: Any = held(Needed(ANY))  # one after another; `steps.steps_of` makes a class of each
    candidates: int = held(whole(1), 100)  # a model's best that are put in order
    plain: Yaml = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Placement:
    """A place in the shop as conf/placement/*.yaml has it."""

    name: str
    question: str = held(TEXT, "")  # what is asked there, for the report
    split: SplitSettings = held(Each(PLAIN), factory=SplitSettings)  # what is asked otherwise than by the runs' split
    models: tuple[str, ...] | None = None  # who may answer; None: every run
    candidates: int = held(whole(1), 100)
    filter: Any = held(ANY, ())  # `steps` that take items out,
    rerank: Any = held(ANY, ())  # and that put them in order
    fallback: Mapping[str, ModelSettings] = field(default_factory=dict)  # models for who has no history, in this order
    baselines: Mapping[str, ModelSettings] = field(default_factory=dict)  # models that stand in its table, too
    plain: Yaml = field(default_factory=dict, repr=False)

    @property
    def asks(self) -> str:
        """What it is asked beside who comes, as of `split.asks`; empty: nothing of a page or a basket."""
        return self.split.asks or ""
