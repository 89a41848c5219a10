"""Requests whose answers are known from the trained model: invented ones travel with the bundle, more are checked.

Shapes: B requests, V = n_items + 1, K list length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.bundle import Answer, Bundle, Event
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.bundles.answer.verify import SAME_RANK, SAME_SCORE
from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.data.requests import Requests
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES, MICROSECONDS_PER_DAY

LONGEST = 1000  # last events of a golden history; longer ones would only make the file big
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
    strangers: int = 0  # so many ids that nobody knows stand before and between the items


def invented_cases(
    prepared: Prepared,
    split: Split,
    count: int,
    seed: int,
    usual: str,
    max_length: int | None = None,
    timed: bool = False,
) -> list[Case]:
    """Requests that travel with a bundle: histories that belong to nobody, an empty one first.

    Each event is drawn from the log on its own, of any customer, so that popular items and types are common. A history
    of three items or more that some customer has, at the beginning or anywhere (of one event type, too), is drawn
    again, then cut to two items, which say nothing about anybody. In turn: typed, without types, with unknown ids,
    with items to leave out; the second one is longer than the model reads.
    """
    rng = np.random.default_rng(seed)
    events = prepared.events
    longest = min(LONGEST, (max_length or 250) + 50)
    own = _Sequences.of(prepared)
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
        exclude = tuple(rng.choice(split.catalogue, min(2, len(split.catalogue))).tolist()) if number % 4 == 0 else ()
        cases.append(Case(items, types, number % 2 == 0, exclude, typed, strangers=2 if number % 4 == 3 else 0))
    return _with_times(cases, prepared, seed) if timed else cases


def _with_times(cases: list[Case], prepared: Prepared, seed: int) -> list[Case]:
    """The cases with invented times before the end of the log."""
    rng = np.random.default_rng(seed + 1)
    timed = []
    for case in cases:
        gaps = rng.exponential(rng.choice([0.01, 1.0, 20.0]), len(case.items)) * MICROSECONDS_PER_DAY
        times = prepared.span[1] - np.cumsum(gaps.astype(np.int64))[::-1]
        timed.append(replace(case, times=times.tolist()))
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


def real_cases(split: Split, count: int, seed: int, timed: bool = False) -> list[Case]:
    """An empty history, then those of randomly chosen test requests: to check a bundle with, never to keep.

    Seen items are masked in every other one.
    """
    requests, _ = split.part("test")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(requests), min(count - 1, len(requests)), replace=False))
    cases = [Case([], [], filter_seen=False, times=[] if timed else None)]
    for number, row in enumerate(chosen):
        start, end = max(requests.start[row], requests.end[row] - LONGEST), requests.end[row]
        events = requests.events
        times = events.timestamp[start:end].tolist() if timed and events.timestamp is not None else None
        items, types = events.item[start:end].tolist(), events.event_type[start:end].tolist()
        cases.append(Case(items, types, number % 2 == 0, times=times))
    return cases


def random_cases(
    prepared: Prepared, count: int, seed: int, event_types: Sequence[str] | None, timed: bool = False
) -> list[Case]:
    """Histories that nobody had: any items in any order, of 1 to 300 events, of the types that the model reads."""
    rng = np.random.default_rng(seed)
    codes = [EVENT_CODE[t] for t in event_types] if event_types else np.unique(prepared.events.event_type).tolist()
    cases = []
    for number in range(count):
        length = int(np.exp(rng.uniform(0, np.log(300))))
        items = rng.integers(1, prepared.n_items + 1, length).tolist()
        cases.append(Case(items, rng.choice(codes, length).tolist(), number % 2 == 0))
    return _with_times(cases, prepared, seed) if timed else cases


def trained_scores(model: Any, cases: Sequence[Case], catalogue: np.ndarray) -> np.ndarray:
    """What the trained model says, float32 (B, V): -inf outside the catalogue and, where asked, for seen items."""
    times = None if any(c.times is None for c in cases) else [c.times or [] for c in cases]
    requests = Requests.from_histories([c.items for c in cases], [c.types for c in cases], times)
    scores_BV = np.array(model.score(requests), np.float32)
    closed = np.ones(scores_BV.shape[1], bool)
    closed[catalogue] = False
    scores_BV[:, closed] = -np.inf
    for scores_V, case in zip(scores_BV, cases, strict=True):
        if case.filter_seen:
            scores_V[case.items] = -np.inf
        scores_V[list(case.exclude)] = -np.inf
    return scores_BV


def best(scores_BV: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
    """The k best items of each row and their scores; equal scores: the lower id first; never a -inf."""
    answers = []
    for scores_V in scores_BV:
        top = np.argsort(-scores_V, kind="stable")[:k]
        answers.append([(int(i), float(scores_V[i])) for i in top if np.isfinite(scores_V[i])])
    return answers


def external(case: Case, item_ids: Sequence[str]) -> list[Event]:
    """A history as a client writes it: ids alone, or lists with types and times; ids that nobody knows among them."""
    events: list[Event] = [item_ids[i - 1] for i in case.items]
    if case.typed:
        events = [[item_ids[i - 1], EVENT_TYPES[t - 1]] for i, t in zip(case.items, case.types, strict=True)]
    if case.times is not None:
        kinds = [EVENT_TYPES[t - 1] if case.typed else None for t in case.types]
        events = [
            [item_ids[i - 1], kind, write_instant(at)]
            for i, kind, at in zip(case.items, kinds, case.times, strict=True)
        ]
    for number in range(case.strangers):
        name = f"unknown-{number + 1}"
        while name in item_ids:
            name += "-x"
        events.insert(2 * number, [name, EVENT_TYPES[0]] if case.typed else name)
    return events


def answer(bundle: Bundle, cases: Sequence[Case]) -> list[Answer]:
    """What the bundle answers, one batch per setting of `filter_seen`."""
    answers: list[Answer] = [[] for _ in cases]
    for flag in (False, True):
        rows = [b for b, case in enumerate(cases) if case.filter_seen is flag]
        if rows:
            got = bundle.recommend([external(cases[b], bundle.item_ids) for b in rows], filter_seen=flag)
            for b, answer_ in zip(rows, got, strict=True):
                answers[b] = answer_
    return answers


def disagreements(scores_BV: np.ndarray, answers: Sequence[Answer], internal: dict[str, int], k: int) -> list[str]:
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
