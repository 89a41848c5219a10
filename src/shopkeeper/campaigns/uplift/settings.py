"""What `uplift` is told: the campaign's table, and how models are grown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shopkeeper.errors import number, whole
from shopkeeper.shapes import NUMBER, TEXT, Items, Maybe, Needed, OneOf, Yaml
from shopkeeper.typed import held

LEARNER_NAMES = ("t", "s", "x", "r", "class")  # of `learners.LEARNERS`


@dataclass(frozen=True)
class Trees:
    """How the trees of every model are grown."""

    trees: int = held(whole(1), 100)
    learning_rate: float = held(number(above=True), 0.05)
    leaves: int = held(whole(2), 8)
    least_in_leaf: int = held(whole(1), 100)
    lambda_l2: float = held(number(), 5.0)


@dataclass(frozen=True)
class Campaign:
    """A campaign as conf/campaign/*.yaml has it."""

    name: str
    file: str  # CSV, as .gz too, or Parquet, below paths.raw
    treatment: str  # the column that says in which arm a customer was
    control: str = held(Needed(OneOf(TEXT, NUMBER)), "")  # its value for those who got nothing
    outcomes: tuple[str, ...] = held(Needed(Items(TEXT, 1)), ())  # columns: 0 and 1, or amounts
    features: tuple[str, ...] = held(Needed(Items(TEXT, 1)), ())  # columns that were known before
    # Chance of an arm among its customers and the control group: a number, a column; None: as many as there are.
    probability: Any = held(Maybe(OneOf(TEXT, NUMBER)), None)
    customer: str | None = None  # column with ids; None: a row is a customer
    dataset: str | None = None  # the shop in whose report it is shown; None: in none
    title: str = held(TEXT, "")
    source: str = held(TEXT, "")
    licence: str = held(TEXT, "")
    plain: Yaml = field(default_factory=dict, repr=False)
