"""Places of the shop in a bundle: a model's best, filtered and put in order, and who answers where it cannot.

What `reranking.placement.Placed` does with a trained model is done here with what was exported. Scores are 1 / place.

Shapes: B requests, N candidates of each, K list length, V = n_items + 1 columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.answer.histories import Histories
from shopkeeper.bundles.answer.integrity import AGAIN, read_arrays
from shopkeeper.bundles.answer.items import Hidden, ItemModel, Parsed
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError, nearest
from shopkeeper.programs.ranking import LIST_SCORERS, below, reads_page
from shopkeeper.reranking.facts import Facts
from shopkeeper.reranking.lists import Lists, filled
from shopkeeper.reranking.steps import Asked, Pin, Step, in_order, steps_of

FILE = "placements.npz"
KEPT = 64 << 20  # bytes of what is kept of categories


@dataclass(frozen=True)
class Place:
    """One of them."""

    asks: str  # as of `split.asks`; empty: nothing of a page or a basket
    candidates: int
    first: tuple[ItemModel, list[Step]]  # who answers, and the steps behind it
    fallback: list[tuple[str, ItemModel, list[Step]]]  # each with its name


@dataclass(frozen=True)
class Places:
    """The places that a bundle was exported with."""

    path: Path
    places: dict[str, Place]
    facts: Facts
    category_V: np.ndarray  # int64 (V,): number of each item's category in `categories`, from 1; 0: none
    categories: list[str]
    catalogue: np.ndarray | None = None  # internal ids; bundles of before do not say
    elsewhere: dict[int, np.ndarray] = field(default_factory=dict, repr=False)  # by category, what is not of it
    only: dict[int, np.ndarray] = field(default_factory=dict, repr=False)  # by category, float32 (V,): `graph.CLOSED`

    @classmethod
    def of(cls, model: ItemModel, content: Mapping[str, bytes]) -> Places:
        """From the checked files of a recommender's bundle; a `UserError` when they do not fit together."""
        manifest, words, path = model.manifest, model.vocabulary, model.path
        said = manifest.get("placements") or {}
        if not said:
            return cls(path, {}, Facts((), ""), np.zeros(1, np.int64), [])
        if FILE not in content:
            raise UserError(f"{path / FILE} is not listed in the manifest, which names placements; {AGAIN}")
        arrays = read_arrays(content[FILE])
        found = {}
        for name, place in said.items():
            where = f"{path / 'manifest.json'}: placements.{name}"
            taken_out = steps_of(place["filter"], f"{where}.filter")
            others = [(str(told["model"]), _program(model, told, arrays), taken_out) for told in place["fallback"]]
            ordered = [*taken_out, *steps_of(place["rerank"], f"{where}.rerank")]
            found[name] = Place(str(place["asks"]), int(place["candidates"]), (model, ordered), others)
        facts = Facts.of_arrays(below(arrays, "facts"), words.item_ids, str((manifest.get("data") or {})["dataset"]))
        category = below(arrays, "category")
        names = list(map(str, category["names"]))
        return cls(path, found, facts, category["code_V"], names, category.get("catalogue"))

    def named(self, name: Any) -> Place:
        """A place; a `UserError` where the bundle has none of that name, or none is named."""
        if isinstance(name, str) and name in self.places:
            return self.places[name]
        if not self.places:
            how = "category" if name is None else name
            raise UserError(f"{self.path} has no placements; export the run again with placements=[{how}]")
        if name is None:  # a category alone
            pages = [one for one, place in self.places.items() if place.asks == "category"] or [*self.places]
            raise UserError(f"category is told without a placement; name the one whose page it is, e.g. '{pages[0]}'")
        raise UserError(f"{self.path} has no placement {name!r:.60}.{nearest(str(name), list(self.places))}")

    def answer(
        self,
        name: Any,
        asked: Histories,
        seen: Counter[str],
        k: int | None = None,
        filter_seen: bool | None = None,
        exclude: Sequence[Sequence[str]] | None = None,
        basket: Sequence[Sequence[str]] | None = None,
        category: Sequence[str | None] | None = None,
    ) -> list[Answer]:
        """As `Bundle.answer` of a place: the list that its filter, order and fallback make.

        Raises:
            UserError: no such place, a category that there is not, whatever `ItemModel.answer` refuses.
        """
        place = self.named(name)
        model, steps = place.first
        k, parsed, left_out = model.understood(asked, seen, k, filter_seen, exclude, basket)
        if place.asks == "product":  # the item whose page it is, the history's last one
            pages = [one.every[-1:] if not (basket and basket[n]) else [] for n, one in enumerate(parsed)]
            left_out = [a + b for a, b in zip(left_out, pages, strict=True)]
        look = _Look([*left_out]) if category is None else self._look(place, category, parsed, left_out)
        instant = asked.instant
        requests = Requests.from_histories([one.every for one in parsed], instant=_listed(instant))
        if any(isinstance(step, Pin) for step in steps):  # which puts in what no candidate may be
            requests = replace(requests, barred=_flat(left_out), candidates=self._open_to(look))
        n = min(max(k, place.candidates), int(model.manifest["n_catalogue"]))

        def listed(rows: np.ndarray, one: ItemModel, changes: list[Step]) -> np.ndarray:
            counted = seen if one is model else Counter[str]()  # what a history holds is counted once
            own = [parsed[b] if one is model else one.read(asked.rows[b], counted) for b in rows]
            when = None if instant is None else instant[rows]
            if one is model and look.closed is not None:
                best = one.best(own, when, [left_out[b] for b in rows], n, counted, look.closed)
            else:
                pages = None if look.page is None else [look.page[b] for b in rows]
                best = one.best(own, when, [look.hidden[b] for b in rows], n, counted, page=pages)
            question = Asked(requests.take(rows), self.facts, k)
            found = in_order(Lists.of(best[0].astype(np.int32), best[1]), changes, question)
            return np.pad(found, ((0, 0), (0, k - found.shape[1])))

        item_BK = listed(np.arange(len(parsed)), model, steps)
        if place.fallback:
            item_BK[requests.lengths == 0] = 0
        given: dict[str, np.ndarray] = {}
        for called, other, taken_out in place.fallback:
            there = np.count_nonzero(item_BK, axis=1)
            if (short := np.flatnonzero(there < k)).size:
                item_BK[short] = filled(item_BK[short], listed(short, other, taken_out))
                given[called] = np.count_nonzero(item_BK, axis=1) - there
        found = model.answers(parsed, item_BK, np.broadcast_to(1 / np.arange(1, k + 1), item_BK.shape))
        return [
            one._replace(fallback={called: int(n[b]) for called, n in given.items() if n[b]})
            for b, one in enumerate(found)
        ]

    def _look(
        self, place: Place, category: Sequence[str | None], parsed: Sequence[Parsed], left_out: Sequence[list[int]]
    ) -> _Look:
        """What the category of each request shows: by a graph's own list of it, or by what is not of it."""
        model, _ = place.first
        numbers = self._numbers(category, len(parsed))
        closed: np.ndarray | None = None
        alike = numbers[0] if len({*numbers}) == 1 and all(one.items for one in parsed) else None
        if alike is not None and self.catalogue is not None and model.closes:  # the list of nobody stays as it is
            closed = self._only(alike, self.catalogue)
        hidden: list[Hidden] = [*left_out]
        if closed is None or place.fallback:
            elsewhere = [None if number is None else self._not_of(number) for number in numbers]
            hidden = [
                a if b is None else b if not a else np.append(b, np.array(a, np.int64))
                for a, b in zip(left_out, elsewhere, strict=True)
            ]
        page: list[np.ndarray] | None = None
        answering = [model, *(other for _, other, _ in place.fallback)]
        if any(reads_page(str(one.manifest["scorer"]), one.arrays) for one in answering):
            page = [self._of(number) for number in numbers]
        return _Look(hidden, closed, page, numbers)

    def _open_to(self, look: _Look) -> tuple[np.ndarray, np.ndarray] | None:
        """The items that each request may be shown by its category, as `Requests` has candidates; None: all."""
        return None if look.numbers is None else _flat([self._of(number) for number in look.numbers])

    def _of(self, number: int | None) -> np.ndarray:
        """Items of a category, ascending; None: all."""
        every = np.arange(1, len(self.category_V))
        return every if number is None else every[self.category_V[1:] == number]

    def _numbers(self, category: Sequence[str | None], n: int) -> list[int | None]:
        """Each request's category, of n requests; None where it names none."""
        how = "category wants one name per history, e.g. category=['books'] for one history"
        if isinstance(category, str) or not isinstance(category, Sequence) or len(category) != n:
            raise UserError(f"category is {category!r:.80}, for {n} histories; {how}")
        for name in category:
            if name is not None and name not in self.categories:
                raise UserError(f"there is no category {name!r:.60}.{nearest(str(name), self.categories)}")
        return [None if name is None else self.categories.index(name) + 1 for name in category]

    def _only(self, category: int, catalogue: np.ndarray) -> np.ndarray:
        """What a graph adds to scores so that the items of a category alone are shown, kept for the next who asks."""
        if (known := self.only.get(category)) is not None:
            return known
        found = np.full(len(self.category_V), -np.inf, np.float32)
        found[catalogue[self.category_V[catalogue] == category]] = 0
        if (len(self.only) + 1) * found.nbytes <= KEPT:
            self.only[category] = found
        return found

    def _not_of(self, category: int) -> np.ndarray:
        """Items that are not of a category, kept for the next who asks where there is room."""
        if (known := self.elsewhere.get(category)) is not None:
            return known
        found = np.flatnonzero(self.category_V != category)[1:]
        if (len(self.elsewhere) + 1) * self.category_V.nbytes <= KEPT:
            self.elsewhere[category] = found
        return found


@dataclass(frozen=True)
class _Look:
    """What requests at a place may be shown; all but `hidden` only where a category is told."""

    hidden: list[Hidden]  # by request
    closed: np.ndarray | None = None  # float32 (V,): `graph.CLOSED`, where one graph answers all within one category
    page: list[np.ndarray] | None = None  # items of each request's category, where a model reads them
    numbers: list[int | None] | None = None  # each request's category; None: it names none


def _listed(instant: np.ndarray | None) -> list[int] | None:
    return None if instant is None else instant.tolist()


def _flat(lists: Sequence[Sequence[int] | np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and items, as `Requests` has lists."""
    items = np.concatenate([np.zeros(0, np.int32), *(np.asarray(one, np.int32) for one in lists)])
    return np.cumsum([0, *map(len, lists)]), items


def _program(model: ItemModel, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> ItemModel:
    """A fallback as a model of its own, beside the bundle's."""
    if told["scorer"] not in LIST_SCORERS:
        raise UserError(f"{model.path} needs the scorer '{told['scorer']}', unknown to this shopkeeper; update it")
    own = below(dict(arrays), f"fallback/{told['arrays']}")
    known = own.pop("known_V", None)
    return replace(
        model,
        manifest={
            **model.manifest,
            "scorer": told["scorer"],
            "history": {**model.manifest["history"], **told["history"]},
        },
        vocabulary=replace(model.vocabulary, columns=tuple(told["columns"])),
        known=bytes([0]) + bytes([1]) * len(model.vocabulary.item_ids)
        if known is None
        else known.astype(bool).tobytes(),
        session=None,
        nearest=None,
        inputs=frozenset(),
        arrays=own,
    )
