"""How settings are searched (conf/tuning/*.yaml)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from shopkeeper.errors import Rule, UserError, check, or_null, whole
from shopkeeper.shapes import ANY, PLAIN, Items, Maybe, Name
from shopkeeper.typed import held

SAMPLERS, PRUNERS = ("tpe", "random", "gp"), ("median", "hyperband", "halving", "none")


def _whole(least: int) -> Rule:
    return f"must be a whole number from {least}", lambda x: type(x) is int and x >= least


HOURS: Rule = ("must be a number above 0", lambda x: type(x) in (int, float) and 0 < x < math.inf)


@dataclass(frozen=True)
class Tuning:
    """A search's sampler, budget and place."""

    sampler: str = held(Name(SAMPLERS), "tpe")
    pruner: str = held(Name(PRUNERS), "median")
    trials: int | None = held(ANY, 20)  # finished, pruned and failed ones, over all processes; None: hours alone end it
    hours: float | None = held(ANY, None)  # and no longer than this, per process
    trial_hours: float | None = held(ANY, None)  # a trial that runs longer fails
    seeds: tuple[int, ...] = held(Items(whole(0), least=1), (1,))  # each trial's value is the mean over these
    startup_trials: int = held(ANY, 8)  # drawn at random before the sampler learns, and run to their end
    seed: int | None = held(ANY, 1)  # of the sampler; None: another search each time
    models: tuple[str, ...] | None = None  # several models, each with this same budget
    shipped_first: bool = False  # the first trial has the shipped settings
    storage: str | None = None  # any SQLAlchemy URL; None: SQLite in the study's folder
    heartbeat_seconds: int = held(ANY, 15)  # a trial that is silent for three of these was killed
    name: str | None = held(Maybe(PLAIN), None)  # None: <dataset>-<split>-<model>
    space: Mapping[str, Any] | None = None  # conf/tuning/space, checked by `space.read_space`

    RULES: ClassVar[dict[str, Rule]] = {
        "trials": or_null(_whole(1)),
        "startup_trials": _whole(0),
        "heartbeat_seconds": _whole(1),
        "seed": or_null(_whole(0)),
        "hours": or_null(HOURS),
        "trial_hours": or_null(HOURS),
    }

    def __post_init__(self) -> None:
        check(vars(self), self.RULES, "tuning.")
        if self.trials is None and self.hours is None:
            raise UserError("a search needs an end: set tuning.trials or tuning.hours")
        if self.name is not None and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UserError(f"tuning.name={self.name} may hold letters, digits and . _ - alone")
