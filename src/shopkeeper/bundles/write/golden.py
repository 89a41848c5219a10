"""Requests whose answers are known from the trained model: invented ones travel with the bundle, more are checked.

Shapes: B requests, V = n_items + 1, K list length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import SAME_RANK, SAME_SCORE
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.bundles.answer.histories import Event
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.programs.base import Program
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES, MICROSECONDS_PER_DAY, NO_HISTORY, NOTHING_LEFT

LONGEST = 1000  # last events of a golden history; longer ones would only make the file big
GROUPS = ("order", "session")  # columns that say which events belong together
SAYS_NOTHING = 2  # items in a history that may be somebody's: too few to tell whose
TRIES = 20


@dataclass(frozen=True)
class Case:
    """One request in internal ids."""

    items: list[int]
    types: list[int]  # event type codes
    filter_seen: bool
    exclude: tuple[int, ...] = ()
    typed: bool = True  # False: the client writes no types, and `types` is what such events count as
    times: list[int] | None = None  # µs UTC, for a model that reads them
    columns: Mapping[str, list[Any]] = field(default_factory=dict)  # of GROUPS (0: none), `price`, `channel` (codes)
    instant: int | None = None  # µs UTC, for a model that reads it
    strangers: int = 0  # so many ids that nobody knows stand before and between the items


@dataclass(frozen=True)
class Draw:
    """Draws cases with what a program reads of them."""

    prepared: Prepared
    program: Program

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of events that the program reads, of those that the log has."""
        read = dict.fromkeys((*self.program.columns, *(n for n in self.program.inputs if n in ("price", "channel"))))
        return tuple(name for name in read if getattr(self.prepared.events, name) is not None)

    @property
    def channels(self) -> list[str]:
        """Names of the log's channels by code, from 1."""
        return [str(name) for name in self.prepared.manifest.get("channels") or ()]

    def invented(self, split: Split, count: int, seed: int, usual: str) -> list[Case]:
        """Requests that travel with a bundle: histories that belong to nobody, an empty one first.

        Each event is drawn from the log on its own, of any customer, so that popular items and types are common. A
        history of three items or more that some customer has, at the beginning or anywhere (of one event type, too),
        is drawn again, then cut to two items, which say nothing about anybody. In turn: typed, without types, with
        unknown ids, with items to leave out; the second one is longer than the model reads.
        """
        rng = np.random.default_rng(seed)
        events = self.prepared.events
        longest = min(LONGEST, (self.program.max_length or 250) + 50)
        own = _Sequences.of(self.prepared)
        cases = [Case([], [], filter_seen=False)]
        for number in range(1, count):
            length = longest if number == 1 else int(np.exp(rng.uniform(0, np.log(60))))
            typed = number % 4 != 2
            for _ in range(TRIES):
                rows = rng.integers(0, len(events.item), length)
                items = events.item[rows].tolist()
                if not own.hold(items):
                    break
            else:
                rows, items = rows[:2], items[:2]
            types = events.event_type[rows].tolist() if typed else [EVENT_CODE[usual]] * len(items)
            left = rng.choice(split.catalogue, min(2, len(split.catalogue))) if number % 4 == 0 else np.zeros(0, int)
            strangers = 2 if number % 4 == 3 else 0
            cases.append(Case(items, types, number % 2 == 0, tuple(left.tolist()), typed, strangers=strangers))
        return self._with_times(cases, seed)

    def random(self, count: int, seed: int) -> list[Case]:
        """Histories that nobody had: any items in any order, of 1 to 300 events, of the types that the model reads."""
        rng = np.random.default_rng(seed)
        types = self.program.event_types
        codes = [EVENT_CODE[t] for t in types] if types else np.unique(self.prepared.events.event_type).tolist()
        cases = []
        for number in range(count):
            length = int(np.exp(rng.uniform(0, np.log(300))))
            items = rng.integers(1, self.prepared.n_items + 1, length).tolist()
            cases.append(Case(items, rng.choice(codes, length).tolist(), number % 2 == 0))
        return self._with_times(cases, seed)

    def odd(self, split: Split, count: int, seed: int, usual: str) -> list[Case]:
        """The same as clients write them: in turn without types, with items to leave out, with ids that nobody knows,
        with both and longer than the model reads.
        """
        rng = np.random.default_rng(seed)
        long = min(LONGEST, (self.program.max_length or 250) + 50)
        cases = []
        for number, case in enumerate(self.random(count, seed)):
            kind = number % 4
            if kind == 0:
                case = replace(case, typed=False, types=[EVENT_CODE[usual]] * len(case.items))
            if kind in (1, 3):
                case = replace(case, exclude=tuple(rng.choice(split.catalogue, min(3, len(split.catalogue))).tolist()))
            if kind == 3 and number % 40 == 3:
                case = replace(case, items=rng.integers(1, self.prepared.n_items + 1, long).tolist(),
                               types=rng.choice(case.types, long).tolist())  # fmt: skip
            if kind in (2, 3):
                case = replace(case, strangers=min(2, len(case.items)))
            cases.append(case)
        return self._with_times(cases, seed)

    def real(self, split: Split, count: int, seed: int) -> list[Case]:
        """An empty history, then those of randomly chosen test requests: to check a bundle with, never to keep.

        Seen items are masked in every other one.
        """
        requests, _ = split.part("test")
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(len(requests), min(count - 1, len(requests)), replace=False))
        events, timed = requests.events, self.program.needs_time
        when = requests.instant if self.program.needs_instant else None
        cases = [self._empty()]
        for number, row in enumerate(chosen):
            end = requests.end[row]
            if when is not None and events.timestamp is not None:  # a bundle reads what is strictly before the instant
                end -= np.count_nonzero(events.timestamp[requests.start[row] : end] >= when[row])
            span = slice(max(requests.start[row], end - LONGEST), end)
            cases.append(Case(
                events.item[span].tolist(), events.event_type[span].tolist(), number % 2 == 0,
                times=events.timestamp[span].tolist() if timed and events.timestamp is not None else None,
                columns={name: getattr(events, name)[span].tolist() for name in self.columns},
                instant=None if when is None else int(when[row]),
            ))  # fmt: skip
        return cases

    def _empty(self) -> Case:
        return self._with_times([Case([], [], filter_seen=False)], 0)[0]

    def _with_times(self, cases: list[Case], seed: int) -> list[Case]:
        """With what is read of these: times before the end of the log, an instant after it, orders, sessions, all of
        them invented, and any events' prices and channels.
        """
        timely = self.program.needs_time or self.program.needs_instant
        if not (timely or self.columns):
            return cases
        rng = np.random.default_rng(seed + 1)
        last = self.prepared.span[1] if timely else 0
        timed = []
        for case in cases:
            gaps = rng.exponential(rng.choice([0.01, 1.0, 20.0]), len(case.items)) * MICROSECONDS_PER_DAY
            case = replace(case, times=(last - np.cumsum(gaps.astype(np.int64))[::-1]).tolist())
            columns: dict[str, list[Any]] = {}
            for name in self.columns:
                if name in GROUPS:  # about every other event belongs to the order before it, some to none
                    number = np.cumsum(rng.random(len(case.items)) < 0.5) + 1
                    columns[name] = np.where(rng.random(len(number)) < 0.8, number, 0).tolist()
                else:
                    told = getattr(self.prepared.events, name)
                    columns[name] = told[rng.integers(0, len(told), len(case.items))].tolist()
            case = replace(case, columns=columns)
            if self.program.needs_instant:
                case = replace(case, instant=int(last + 1 + rng.exponential(3 * MICROSECONDS_PER_DAY)))
            timed.append(case if self.program.needs_time else replace(case, times=None))
        return timed


@dataclass(frozen=True)
class _Sequences:
    """What every customer has had: all events, and those of one type, each with a gap (0) between customers."""

    of_kind: list[np.ndarray]

    @classmethod
    def of(cls, prepared: Prepared) -> _Sequences:
        item, kind = np.asarray(prepared.events.item), np.asarray(prepared.events.event_type)
        user = prepared.event_user
        kinds = np.unique(kind)
        masks = [np.ones(len(item), bool)] + ([kind == k for k in kinds] if len(kinds) > 1 else [])
        ends = [np.flatnonzero(np.diff(user[mask])) + 1 for mask in masks]
        return cls([np.insert(item[mask], end, 0) for mask, end in zip(masks, ends, strict=True)])

    def hold(self, items: Sequence[int]) -> bool:
        """Whether a list of three items or more is a run of some customer's sequence."""
        if len(items) < SAYS_NOTHING + 1:
            return False
        for sequence in self.of_kind:
            at = np.flatnonzero(sequence[: max(0, len(sequence) - len(items) + 1)] == items[0])
            for place, item in enumerate(items[1:], start=1):
                at = at[sequence[at + place] == item]
            if len(at):
                return True
        return False


def trained_scores(model: Any, cases: Sequence[Case], catalogue: np.ndarray) -> np.ndarray:
    """What the trained model says, float32 (B, V): -inf outside the catalogue and, where asked, for seen items."""
    requests = requests_of(cases)
    scores_BV = np.array(model.score(requests), np.float32)
    closed = np.ones(scores_BV.shape[1], bool)
    closed[catalogue] = False
    scores_BV[:, closed] = -np.inf
    for scores_V, case in zip(scores_BV, cases, strict=True):
        if case.filter_seen:
            scores_V[case.items] = -np.inf
        scores_V[list(case.exclude)] = -np.inf
    return scores_BV


def requests_of(cases: Sequence[Case]) -> Requests:
    """As evaluation asks: requests by people who were never seen."""
    instants = [case.instant for case in cases]

    def all_or_none(name: str) -> list[list[int]] | None:
        columns = [getattr(case, name) for case in cases]
        return None if any(column is None for column in columns) else columns

    asked = Requests.from_histories(
        [c.items for c in cases],
        [c.types for c in cases],
        all_or_none("times"),
        None if None in instants else instants,  # type: ignore[arg-type]
    )
    columns: dict[str, Any] = {
        name: np.array([x for case in cases for x in case.columns[name]], np.float64 if name == "price" else np.int32)
        for name in cases[0].columns
    }
    return replace(asked, events=replace(asked.events, **columns))


def reads(program: Program, case: Case) -> bool:
    """Whether the program reads any of its events."""
    known, types = program.known, program.event_types
    return any(
        (known is None or known[item]) and (types is None or EVENT_TYPES[kind - 1] in types)
        for item, kind in zip(case.items, case.types, strict=True)
    )


def reason(program: Program, case: Case, listed: Sequence[Any]) -> str:
    """Of an answer with this list."""
    if not listed:
        return NOTHING_LEFT
    return "" if reads(program, case) else NO_HISTORY


def best(scores_BV: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
    """The k best items of each row and their scores; equal scores: the lower id first; never a -inf."""
    answers = []
    for scores_V in scores_BV:
        top = np.argsort(-scores_V, kind="stable")[:k]
        answers.append([(int(i), float(scores_V[i])) for i in top if np.isfinite(scores_V[i])])
    return answers


def external(case: Case, item_ids: Sequence[str], channels: Sequence[str] = ()) -> list[Event]:
    """A history as a client writes it: ids alone, or lists with types and times; ids that nobody knows among them."""
    events: list[Any] = [item_ids[i - 1] for i in case.items]
    kinds = [EVENT_TYPES[t - 1] if case.typed else None for t in case.types]
    times = None if case.times is None else [write_instant(at) for at in case.times]
    if case.columns:
        events = [{"item_id": i, "event_type": kind} for i, kind in zip(events, kinds, strict=True)]
        for n, event in enumerate(events):
            event |= {} if times is None else {"timestamp": times[n]}
            event |= _told({name: values[n] for name, values in case.columns.items()}, channels)
    elif times is not None:
        events = [list(event) for event in zip(events, kinds, times, strict=True)]
    elif case.typed:
        events = [list(event) for event in zip(events, kinds, strict=True)]
    for number in range(case.strangers):
        name = f"unknown-{number + 1}"
        while name in item_ids:
            name += "-x"
        stranger: Event = [name, EVENT_TYPES[0], write_instant(0)] if times else [name, EVENT_TYPES[0]]
        events.insert(2 * number, stranger if times or case.typed else name)
    return events


def _told(row: Mapping[str, Any], channels: Sequence[str]) -> dict[str, Any]:
    """The further columns of an event as a client writes them; what is unknown is left out."""
    told: dict[str, Any] = {f"{name}_id": f"{name}-{row[name]}" for name in GROUPS if row.get(name)}
    if row.get("channel"):
        told["channel"] = channels[row["channel"] - 1]
    if np.isfinite(row.get("price", np.nan)):
        told["price"] = float(row["price"])
    return told


def answer(bundle: Bundle, cases: Sequence[Case]) -> list[list[tuple[str, float]]]:
    """What the bundle answers, one batch per setting of `filter_seen`."""
    ids, channels = bundle.vocabulary.item_ids, bundle.vocabulary.channels
    answers: list[list[tuple[str, float]]] = [[] for _ in cases]
    for flag in (False, True):
        rows = [b for b, case in enumerate(cases) if case.filter_seen is flag]
        instants = [cases[b].instant for b in rows]
        as_of = None if None in instants else [write_instant(at) for at in instants if at is not None]
        exclude = [[bundle.vocabulary.shown(i) for i in cases[b].exclude] for b in rows]
        got = bundle.recommend(
            [external(cases[b], ids, channels) for b in rows], filter_seen=flag, as_of=as_of, exclude=exclude
        )
        for b, items in zip(rows, got, strict=True):
            answers[b] = items
    return answers


def disagreements(
    scores_BV: np.ndarray, answers: Sequence[Sequence[tuple[str, float]]], internal: dict[str, int], k: int
) -> list[str]:
    """One line per request in which an answer is not the trained model's, given all of the model's scores.

    An item may stand at a rank when its score lies within `SAME_RANK` of the score that belongs there; the score
    given must lie within `SAME_SCORE` of the model's.
    """
    lines = []
    for b, (scores_V, got, wanted) in enumerate(zip(scores_BV, answers, best(scores_BV, k), strict=True)):
        items = [internal[item_id] for item_id, _ in got]
        if len(set(items)) != len(items) or len(items) != len(wanted):
            lines.append(f"request {b}: {len(set(items))} different items instead of {len(wanted)}")
            continue
        for rank, (item, (_, score), (right, right_score)) in enumerate(zip(items, got, wanted, strict=True), start=1):
            scale = max(1.0, abs(right_score))
            if not abs(score - scores_V[item]) <= SAME_SCORE * scale:
                lines.append(f"request {b}, rank {rank}: score {score:.6g} where the model gives {scores_V[item]:.6g}")
                break
            if not abs(scores_V[item] - right_score) <= SAME_RANK * scale:
                lines.append(f"request {b}, rank {rank}: item {item} where the model shows {right}")
                break
    return lines
