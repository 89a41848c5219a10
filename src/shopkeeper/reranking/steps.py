"""The steps by name, with their settings: what `rerank.steps` lists, one after another.

    - mmr: {attributes: [category], weight: 0.3}          # variety
    - calibrated: {attribute: category, weight: 0.5}      # the customer's own mix
    - fresh: {half_life_days: 30, weight: 0.2}            # what is new
    - lift: {attribute: margin, weight: 0.2}              # what has more of something
    - available: {attribute: stock}                       # what is there: above 0, or unknown
    - exclude: {items: [sku-1]}                           # or {attribute: category, values: [gift card]}
    - cap: {attribute: category, most: 3}
    - explore: {least: 2}                                 # so many places for what the customer has not had
    - pin: {items: [sku-1], place: 2}

Shapes: B requests, N candidates of each, C values of an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Protocol

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError, nearest
from shopkeeper.metrics.beyond_accuracy import member
from shopkeeper.metrics.ranks import Flat
from shopkeeper.reranking import rules, variety
from shopkeeper.reranking.facts import Facts, Need
from shopkeeper.reranking.lists import Lists


@dataclass(frozen=True)
class Asked:
    """What a step may look at: the requests of the lists, the items' facts, and how long the lists shall be."""

    requests: Requests
    facts: Facts
    k: int
    filter_seen: bool = False  # whether items of the history may not be shown

    def shut(self, items: Sequence[int]) -> np.ndarray:
        """Which of these items each request may not be shown, or does not ask about: bool (B, items)."""
        found = np.zeros((len(self.requests), len(items)), bool)
        if (hidden := self.requests.hidden(self.filter_seen)) is not None:
            found |= _held(hidden, items)
        if self.requests.candidates is not None:
            found |= ~_held(self.requests.candidates, items)
        return found

    def codes(self, attribute: str, item_BN: np.ndarray) -> np.ndarray:
        """Which value of an attribute each candidate has, as known by then: int64 (B, N), 0 = unknown."""
        code_V, _ = self.facts.codes(attribute)
        found: np.ndarray = np.where(self.facts.known(attribute, item_BN, self.requests.instant), code_V[item_BN], 0)
        return found


class Step(Protocol):
    """What every step does."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """What it asks of the facts."""

    def __call__(self, lists: Lists, asked: Asked) -> Lists:
        """The lists afterwards."""


@dataclass(frozen=True)
class MMR:
    """Items unlike those before them."""

    attributes: Sequence[str] = ("category",)
    weight: float = 0.3

    @property
    def needs(self) -> tuple[Need, ...]:
        """Values of its attributes."""
        return tuple(("codes", name) for name in self.attributes)

    def __call__(self, lists: Lists, asked: Asked) -> Lists:
        """By maximal marginal relevance."""
        code_ABN = np.stack([asked.codes(name, lists.item) for name in self.attributes])
        return variety.mmr(lists, code_ABN, self.weight, asked.k)


@dataclass(frozen=True)
class Calibrated:
    """The mix of an attribute that the customer's history has; without one the list stays."""

    attribute: str = "category"
    weight: float = 0.5

    @property
    def needs(self) -> tuple[Need, ...]:
        """Values of its attribute."""
        return (("codes", self.attribute),)

    def __call__(self, lists: Lists, asked: Asked) -> Lists:
        """By the divergence of the two mixes."""
        code_V, names = asked.facts.codes(self.attribute)
        offsets, rows = asked.requests.flat()
        owner = np.repeat(np.arange(len(asked.requests)), np.diff(offsets))
        item = asked.requests.events.item[rows]
        instant = asked.requests.instant
        known = asked.facts.known(self.attribute, item[:, None], None if instant is None else instant[owner])[:, 0]
        code = np.where(known, code_V[item], 0)
        count_BC = np.zeros((len(asked.requests), len(names) + 1))
        np.add.at(count_BC, (owner, code), 1.0)
        count_BC[:, 0] = 0
        wanted_BC = count_BC / np.maximum(count_BC.sum(axis=1, keepdims=True), 1)
        return variety.calibrated(lists, asked.codes(self.attribute, lists.item), wanted_BC, self.weight, asked.k)


@dataclass(frozen=True)
class Fresh:
    """What is new: half as much after so many days."""

    half_life_days: float = 30.0
    weight: float = 0.2

    @property
    def needs(self) -> tuple[Need, ...]:
        """Since when items are there."""
        return (("ages", ""),)

    def __call__(self, lists: Lists, asked: Asked) -> Lists:
        """By days since an item's first event."""
        age_BN = asked.facts.age_days(lists.item, asked.requests.instant)
        return rules.boost(lists, np.exp2(-age_BN / self.half_life_days), self.weight)


@dataclass(frozen=True)
class Lift:
    """More of a number, such as the margin: by its rank among all items, 0 where it is unknown."""

    attribute: str = "margin"
    weight: float = 0.2

    @property
    def needs(self) -> tuple[Need, ...]:
        """Which items have less of it."""
        return (("ranks", self.attribute),)

    def __call__(self, lists: Lists, asked: Asked) -> Lists:
        """By the share of items that have less of it."""
        share_V = asked.facts.ranks(self.attribute)
        known = asked.facts.known(self.attribute, lists.item, asked.requests.instant)
        return rules.boost(lists, np.where(known, share_V[lists.item], 0.0), self.weight)


@dataclass(frozen=True)
class Available:
    """What is there: a stock above 0, or one that nobody knows; below 0 is none, too."""

    attribute: str = "stock"

    @property
    def needs(self) -> tuple[Need, ...]:
        """The number of its attribute."""
        return (("numbers", self.attribute),)

    def __call__(self, lists: Lists, asked: Asked) -> Lists:
        """Without what is out of stock."""
        number_BN = asked.facts.numbers(self.attribute)[lists.item]
        known = asked.facts.known(self.attribute, lists.item, asked.requests.instant)
        return lists.without(known & (number_BN <= 0))


@dataclass(frozen=True)
class Exclude:
    """Never these items, or those with one of these values of an attribute."""

    items: Sequence[str] = ()
    attribute: str = ""
    values: Sequence[str] = ()

    @property
    def needs(self) -> tuple[Need, ...]:
        """Values of its attribute, where it has one."""
        return (("codes", self.attribute),) if self.attribute else ()

    def __call__(self, lists: Lists, asked: Asked) -> Lists:
        """Without them."""
        gone = np.isin(lists.item, asked.facts.items([str(i) for i in self.items]))
        if self.attribute:
            _, names = asked.facts.codes(self.attribute)
            if unknown := [str(v) for v in self.values if str(v) not in names]:
                raise UserError(f"rerank: no item's '{self.attribute}' is '{unknown[0]}'.{nearest(unknown[0], names)}")
            codes = [names.index(str(v)) + 1 for v in self.values]
            gone |= np.isin(asked.codes(self.attribute, lists.item), codes)
        return lists.without(gone)


@dataclass(frozen=True)
class Cap:
    """At most so many of each value of an attribute in a list."""

    attribute: str = "category"
    most: int = 3

    @property
    def needs(self) -> tuple[Need, ...]:
        """Values of its attribute."""
        return (("codes", self.attribute),)

    def __call__(self, lists: Lists, asked: Asked) -> Lists:
        """Without what is too many."""
        return rules.cap(lists, asked.codes(self.attribute, lists.item), self.most)


@dataclass(frozen=True)
class Explore:
    """So many places of a list, or more, are for items that the customer's history has not: the best of them."""

    least: int = 2

    @property
    def needs(self) -> tuple[Need, ...]:
        """Nothing."""
        return ()

    def __call__(self, lists: Lists, asked: Asked) -> Lists:
        """With places reserved, where the order has fewer of them."""
        offsets, rows = asked.requests.flat()
        had = member(lists.item, Flat(offsets, asked.requests.events.item[rows]))
        return rules.reserve(lists, ~had, self.least, asked.k)


@dataclass(frozen=True)
class Pin:
    """These items at a place, in every list that may show them; 1 is the first place."""

    items: Sequence[str] = ()
    place: int = 1

    @property
    def needs(self) -> tuple[Need, ...]:
        """Nothing."""
        return ()

    def __call__(self, lists: Lists, asked: Asked) -> Lists:
        """With them there."""
        items = asked.facts.items([str(i) for i in self.items])
        return rules.pin(lists, items, self.place, asked.shut(items))


def _held(lists: tuple[np.ndarray, np.ndarray], items: Sequence[int]) -> np.ndarray:
    """Which of these items each list has (offsets and items): bool (B, items)."""
    offsets, held = lists
    B = len(offsets) - 1
    owner = np.repeat(np.arange(B), np.diff(offsets))
    found = [np.bincount(owner[held == item], minlength=B) > 0 for item in items]
    return np.stack(found, axis=1) if found else np.zeros((B, 0), bool)


KINDS: dict[str, Callable[..., Step]] = {
    "mmr": MMR,
    "calibrated": Calibrated,
    "fresh": Fresh,
    "lift": Lift,
    "available": Available,
    "exclude": Exclude,
    "cap": Cap,
    "explore": Explore,
    "pin": Pin,
}
LISTED = ("attributes", "items", "values")


def steps_of(settings: Any, where: str = "rerank.steps") -> list[Step]:
    """The steps that a configuration lists; `where` begins messages.

    Raises:
        UserError: no list of steps, a step or a setting that there is not, a value out of range; with its place.
    """
    if isinstance(settings, str) or not isinstance(settings, Sequence):
        raise UserError(f"{where} must be a list of steps, e.g. [{{mmr: {{weight: 0.3}}}}]")
    return [_step(step, f"{where}[{n}]") for n, step in enumerate(settings)]


def in_order(lists: Lists, steps: Sequence[Step], asked: Asked) -> np.ndarray:
    """Candidates after all steps, one after another: int32 (B, at most k), best first; 0 where there are no more."""
    for change in steps:
        lists = change(lists, asked)
    return lists.item[:, : asked.k]


def _step(step: Any, where: str) -> Step:
    named = isinstance(step, str)
    if named:
        step = {step: {}}
    if not isinstance(step, Mapping) or len(step) != 1:
        raise UserError(f"{where} must be one step with its settings, e.g. {{mmr: {{weight: 0.3}}}}")
    ((kind, settings),) = step.items()
    if kind not in KINDS:
        order = " An order that has a name, as in `evaluate rerank=[…]`, is told here by the steps in its file."
        raise UserError(f"{where}: there is no step '{kind}'.{nearest(str(kind), list(KINDS))}{order if named else ''}")
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        raise UserError(f"{where}.{kind} must be settings, such as {{weight: 0.3}}")
    shape = {f.name: f for f in fields(KINDS[kind])}  # type: ignore[arg-type]
    for name, value in settings.items():
        place = f"{where}.{kind}.{name}"
        if name not in shape:
            raise UserError(f"there is no setting {place}.{nearest(str(name), list(shape))}")
        _check(place, name, value, shape[name].default)
    if kind == "exclude" and bool(settings.get("attribute")) != bool(settings.get("values")):
        raise UserError(f"{where}.exclude: attribute and values belong together; give both, or items")
    return KINDS[kind](**settings)


def _check(place: str, name: str, value: Any, usual: Any) -> None:
    assert usual is not MISSING, "every setting of a step has a default"
    if name in LISTED:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise UserError(f"{place} is {value!r:.80}; give a list")
        if name == "attributes" and not value:
            raise UserError(f"{place} is empty; name at least one attribute")
    elif isinstance(usual, str):
        if not isinstance(value, str):
            raise UserError(f"{place} is {value!r:.80}; give the name of an attribute")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{place} is {value!r:.80}; give a number")
    elif name == "weight":
        if not 0 <= value <= 1:
            raise UserError(f"{place} is {value}; give a number from 0 to 1")
    elif isinstance(usual, int):
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{place} is {value}; give a whole number from 1")
    elif not 0 < value < float("inf"):
        raise UserError(f"{place} is {value}; give a number above 0")
