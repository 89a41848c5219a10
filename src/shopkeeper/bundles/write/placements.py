"""Places of the shop in a bundle: what of them is written, and how they are held against the trained model.

Shapes: B requests, K list length, V = n_items + 1 columns.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import SAME_RANK, Answer
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.bundles.answer.places import FILE
from shopkeeper.bundles.answer.verify import replay
from shopkeeper.bundles.write import golden as cases_of
from shopkeeper.bundles.write.golden import Case
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.queries import as_typed
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.models.settings import ModelSettings
from shopkeeper.programs.base import GRAPH, Exportable, Program
from shopkeeper.reranking.placement import Placed
from shopkeeper.reranking.settings import Placement
from shopkeeper.schema import EVENT_CODE

ORDERS = ("cart", "checkout")  # places that know part of an order
REAL_CASES, RANDOM_CASES = 60, 40  # of each place


@dataclass(frozen=True)
class Place:
    """A place as `export` is told of it, and the trained model as it answers there."""

    settings: Placement
    placed: Placed


@dataclass(frozen=True)
class _Question:
    """A request at a place in internal ids: part of the history may lie in the basket."""

    case: Case
    basket: int = 0  # so many last items
    category: str | None = None


class PlaceQuestions:
    """The places that travel with a recommender.

    Raises:
        UserError: a fallback that is a graph or has no program, a category's page where items have no category.
    """

    def __init__(self, places: Mapping[str, Place], program: Program, prepared: Prepared):
        self.places, self.prepared = places, prepared
        self.fallbacks: list[tuple[str, Program]] = []  # each with its settings, as text, once
        timed = prepared.events.timestamp is not None
        for name, place in places.items():
            for other, (key, settings) in zip(place.placed.fallback, place.settings.fallback.items(), strict=True):
                text = _text(settings)
                if text not in [known for known, _ in self.fallbacks]:
                    self.fallbacks.append((text, _program(other.model, f"placement={name}: fallback.{key}", timed)))
            if place.settings.asks == "category" and not prepared.first_category[1]:
                raise UserError(f"placement={name} is a category's page, and items of {prepared.name} have no category")
        programs = [one for _, one in self.fallbacks]
        reads_instant = any(place.placed.about.reads_instant for place in places.values())
        columns = dict.fromkeys(name for one in (program, *programs) for name in one.columns)
        self.program = replace(  # who asks it, tells what its places read, too
            program,
            needs_time=program.needs_time or any(one.needs_time for one in programs),
            needs_instant=program.needs_instant or (timed and reads_instant),
            columns=tuple(columns),
            people=max([program.people, *(one.people for one in programs)]),
        )

    @property
    def depth(self) -> int:
        """The longest list of candidates."""
        return max((place.settings.candidates for place in self.places.values()), default=0)

    def write(self, folder: Path) -> None:
        """What steps know of items, which category they are of, and what fallbacks read, as one file of arrays."""
        if not self.places:
            return
        code_V, names = self.prepared.first_category
        arrays: dict[str, np.ndarray] = {"category/code_V": code_V, "category/names": np.array(names, dtype=np.str_)}
        for place in self.places.values():
            for one in (place.placed.first, *place.placed.fallback):
                arrays |= {f"facts/{key}": values for key, values in one.facts.arrays().items()}
        catalogue = next(iter(self.places.values())).placed.first.catalogue
        arrays["category/catalogue"] = np.asarray(catalogue, np.int64)
        for number, (_, program) in enumerate(self.fallbacks):
            own = {**program.arrays, "catalogue": catalogue}
            own |= {} if program.known is None else {"known_V": program.known}
            arrays |= {f"fallback/{number}/{key}": values for key, values in own.items()}
        with open(folder / FILE, "wb") as f:
            np.savez(f, **arrays)  # type: ignore[arg-type]

    def manifest(self) -> dict[str, Any]:
        """The block `placements`: nothing where there are none."""
        found = {}
        for name, place in self.places.items():
            told = place.settings
            numbers = [[known for known, _ in self.fallbacks].index(_text(one)) for one in told.fallback.values()]
            found[name] = {
                "asks": told.asks,
                "candidates": told.candidates,
                "filter": list(told.filter or ()),
                "rerank": list(told.rerank or ()),
                "fallback": [
                    {"model": key, "arrays": str(number), **_told(self.fallbacks[number][1], self.prepared)}
                    for key, number in zip(told.fallback, numbers, strict=True)
                ],
            }
        return {"placements": found} if found else {}

    def golden(self, draw: cases_of.Draw, split: Split, count: int, seed: int, usual: str, k: int) -> Iterator[Any]:
        """Invented requests of every place, in turn, with the lists that the trained model makes there."""
        if not self.places:
            return
        each = max(1, count // len(self.places))
        for number, name in enumerate(self.places):
            cases = draw.invented(split, each, seed + 1 + number, usual)
            asked = self._questions(name, cases, seed, usual)
            expected, given, sure = self._expected(name, asked, k)
            fallbacks = list(self.places[name].settings.fallback)
            for one, items_K, given_F, kept in zip(asked, expected.tolist(), given.tolist(), sure, strict=True):
                if kept:
                    ids = [self._id(i) for i in items_K if i > 0]
                    listed = [(item_id, 1 / place) for place, item_id in enumerate(ids, start=1)]
                    reason = cases_of.reason(self.program, one.case, listed)
                    filled = {called: n for called, n in zip(fallbacks, given_F, strict=True) if n}
                    yield {"placement": name, **self._external(one, draw.channels),
                           "expected": Answer(listed, None, reason, fallback=filled).as_json()}  # fmt: skip

    def compared(
        self, bundle: Bundle, draw: cases_of.Draw, split: Split, seed: int, usual: str, k: int
    ) -> tuple[list[str], int]:
        """Where the bundle differs, of requests that do not travel along, and how many these are."""
        wrong, compared = [], 0
        for name in self.places:
            cases = draw.real(split, REAL_CASES, seed + 1) + draw.random(RANDOM_CASES, seed)
            asked = self._questions(name, cases, seed, usual)
            expected, _, sure = self._expected(name, asked, k)
            for one, items_K in zip(np.array(asked, object)[sure], expected[sure].tolist(), strict=True):
                got = replay(bundle, {"placement": name, **self._external(one, draw.channels)})
                compared += 1
                wanted = [self._id(i) for i in items_K if i > 0]
                if (listed := [item_id for item_id, _ in got.items or ()]) != wanted:
                    wrong.append(f"placement={name}, request {compared}: {listed} instead of {wanted}")
        return wrong, compared

    def _questions(self, name: str, cases: Sequence[Case], seed: int, usual: str) -> list[_Question]:
        """Cases as this place asks them: with part of the history in the basket, on a category's page."""
        asks, (_, categories) = self.places[name].settings.asks, self.prepared.first_category
        rng = np.random.default_rng(seed)
        found = []
        for case in cases:
            if asks in ORDERS and len(case.items) > 1:
                found.append(_with_basket(case, int(rng.integers(1, min(4, len(case.items)))), usual))
            elif asks == "category":
                found.append(_Question(case, 0, str(rng.choice(categories))))
            else:
                found.append(_Question(case))
        return found

    def _expected(self, name: str, asked: Sequence[_Question], k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The trained model's lists (B, K), as `Placed.filled` what each fallback gave, and bool (B,): whether they
        stay where scores differ as runtimes' may.
        """
        place = self.places[name]
        requests = self._requests(place.settings.asks, asked)
        item_BK, given_BF = place.placed.filled(requests, k)
        sure = np.ones(len(asked), bool)
        if self.program.scorer == GRAPH:
            for seed in range(2):
                shaken = copy.copy(place.placed)
                shaken.first = copy.copy(place.placed.first)
                shaken.first.model = _Shaken(place.placed.first.model, seed)
                sure &= (shaken.recommend(requests, k) == item_BK).all(axis=1)
        return item_BK, given_BF, sure

    def _requests(self, asks: str, asked: Sequence[_Question]) -> Requests:
        requests = cases_of.requests_of([one.case for one in asked])
        shut = []
        for one in asked:
            own = list(one.case.exclude) + (one.case.items[-one.basket :] if one.basket else [])
            shut.append(own + (one.case.items[-1:] if asks == "product" else []))
        requests = replace(requests, barred=_lists(shut))
        if asks == "category":
            code_V, names = self.prepared.first_category
            catalogue = next(iter(self.places.values())).placed.first.catalogue
            open_to = [catalogue[code_V[catalogue] == names.index(str(one.category)) + 1].tolist() for one in asked]
            requests = replace(requests, candidates=_lists(open_to))
        return requests

    def _external(self, one: _Question, channels: Sequence[str]) -> dict[str, Any]:
        """As a client writes it."""
        case, item_ids = one.case, self.prepared.items["item_id"].to_pylist()
        basket = [item_ids[i - 1] for i in case.items[len(case.items) - one.basket :]]
        if one.basket:
            case = _cut(case, len(case.items) - one.basket)
        told: dict[str, Any] = {
            "history": cases_of.external(case, item_ids, channels),
            "exclude": [item_ids[i - 1] for i in case.exclude],
        }
        told |= {"basket": basket} if basket else {}
        told |= {} if one.category is None else {"category": one.category}
        return told if case.instant is None else told | {"as_of": write_instant(case.instant)}

    def _id(self, item: int) -> str:
        item_id = str(self.prepared.items["item_id"][item - 1].as_py())
        return item_id if self.prepared.queries is None else as_typed(item_id)


@dataclass(frozen=True)
class _Shaken:
    """A model whose scores differ by less than those of two runtimes may."""

    model: Any
    seed: int

    @property
    def about(self) -> Any:
        """The model's."""
        return self.model.about

    def score(self, requests: Requests) -> np.ndarray:
        """A little off."""
        scores_BV = np.asarray(self.model.score(requests), np.float64)
        noise = np.random.default_rng(self.seed).uniform(-SAME_RANK, SAME_RANK, scores_BV.shape)
        return scores_BV + noise * np.maximum(1, np.abs(scores_BV))


def _program(model: Any, where: str, timed: bool) -> Program:
    """What a fallback runs; a `UserError` where it cannot travel."""
    if (why := model.about.not_exported) or not isinstance(model, Exportable):
        raise UserError(f"{where} cannot travel in a bundle: {why or 'it has no `program`'}; name another model")
    program: Program = model.program(timed)
    if program.scorer == GRAPH:
        raise UserError(f"{where} is a network, and fallbacks in a bundle are arrays; name another model")
    return program


def _told(program: Program, prepared: Prepared) -> dict[str, Any]:
    """What a bundle's manifest says of a fallback."""
    return {
        "scorer": program.scorer,
        "columns": [name for name in program.columns if getattr(prepared.events, name) is not None],
        "history": {
            "max_length": program.max_length,
            "event_types": None if program.event_types is None else list(program.event_types),
            "needs_time": program.needs_time,
        },
    }


def _text(settings: ModelSettings) -> str:
    """A model's settings as one text: equal ones are one fallback."""
    return json.dumps(settings.plain, sort_keys=True, default=str)


def _lists(of_each: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Offsets int64 (B+1,) and items int32."""
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in of_each])]).astype(np.int64)
    return offsets, np.array([item for one in of_each for item in one], np.int32)


def _cut(case: Case, n: int) -> Case:
    """Its first n events."""
    times = None if case.times is None else case.times[:n]
    columns = {name: list(values[:n]) for name, values in case.columns.items()}
    return replace(case, items=case.items[:n], types=case.types[:n], times=times, columns=columns)


def _with_basket(case: Case, n: int, usual: str) -> _Question:
    """Its last n events as lines of one order that a client names by their ids alone (`answer.baskets`)."""
    left = len(case.items) - n
    types = [*case.types[:left], *[EVENT_CODE[usual]] * n]
    times = case.times
    if times is not None:
        now = max(times[:left], default=0) if case.instant is None else case.instant - 1
        times = [*times[:left], *[now] * n]
    order = max((int(x) for x in case.columns.get("order", ())), default=0) + 1
    line = {"order": order, "price": float("nan")}
    columns = {name: [*values[:left], *[line.get(name, 0)] * n] for name, values in case.columns.items()}
    return _Question(replace(case, types=types, times=times, columns=columns), n)
