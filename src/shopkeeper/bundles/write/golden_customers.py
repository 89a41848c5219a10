"""Customers whose scores are known from the trained model: invented ones travel with a bundle, real ones are checked.

Shapes: n customers, M events of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.build_cohort import features_of
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Events
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES, MICROSECONDS_PER_DAY, NO_HISTORY

STRANGER = "unknown-item"
LONGEST = 40  # events of an invented customer


@dataclass(frozen=True)
class Person:
    """One customer in internal ids: a table of events in order of time, and the instant asked about."""

    events: Events  # item 0: one that nobody knows
    instant: int
    typed: bool = True  # False: the client writes no types; all are the usual one


def invented_people(prepared: Prepared, cohort: Cohort, count: int, seed: int) -> list[Person]:
    """Customers who do not exist: one without events, one with a future only, one long gone, then mixtures.

    Each event is drawn from the log on its own, of any customer; when it happens is invented, of about every third one
    with the event before it. In turn: as they are,
    without types, with an item that nobody knows, with events at and after the instant.
    """
    rng = np.random.default_rng(seed)
    log = prepared.events
    usual = EVENT_CODE[usual_type(cohort)]
    instant = int(cohort.cutoff.max())
    people = []
    for number in range(count):
        length = 0 if number == 0 else 2 if number < 3 else int(np.exp(rng.uniform(0, np.log(LONGEST))))
        rows = rng.integers(0, len(log.item), length)
        gaps = rng.exponential(np.exp(rng.uniform(np.log(0.5), np.log(30))), length) * MICROSECONDS_PER_DAY
        time = np.sort(instant - 1 - np.cumsum(gaps).astype(np.int64))
        shift = {1: 200, 2: -20_000}.get(number, 0)  # days: nothing before the instant; nothing for a long time
        time += shift * MICROSECONDS_PER_DAY + (int(gaps.sum()) if number == 1 else 0)
        with_before = np.where(rng.random(length) < 0.3, 0, np.arange(length))
        of = np.maximum.accumulate(with_before) if length else with_before
        time, kind = time[of], np.asarray(log.event_type[rows])[of]
        typed = number % 4 != 1
        kind = kind if typed else np.full(length, usual, np.int8)
        if length and number > 2:
            kind[-1] = usual  # mostly somebody whom evaluation would ask about
        if length and number > 2 and number % 4 == 3:
            time = np.append(time[1:], instant + (number % 8 == 3) * MICROSECONDS_PER_DAY)
        item = np.asarray(log.item[rows]).astype(np.int32)
        if length > 1 and number % 4 == 2:
            item[length // 2] = 0
        order = None
        if log.order is not None:  # about every other line belongs to the order before it
            new = rng.random(length) < 0.5
            order = np.where(log.order[rows] > 0, np.cumsum(new) + 1, 0).astype(np.int32)

        def drawn(column: np.ndarray | None, rows: np.ndarray = rows) -> np.ndarray | None:
            return None if column is None else np.asarray(column[rows])

        events = Events(item, kind, time, drawn(log.price), drawn(log.quantity), order, None, drawn(log.channel))
        people.append(Person(events, instant, typed))
    return people


def told_apart(cohort: Cohort) -> np.ndarray:
    """Rows of a cohort that a client's events lead to: of sessions, those whose first events are the newest there.

    Of pairs, the first of each customer.
    """
    if cohort.session is None:
        return np.arange(0, len(cohort), len(cohort.subjects) or 1)
    K = cohort.session.shape[1]
    return np.flatnonzero((cohort.session == cohort.end[:, None] - np.arange(K, 0, -1)).all(axis=1))


def real_people(cohort: Cohort, rows: Sequence[int]) -> list[Person]:
    """Customers of a cohort with all that was known of them: to check a bundle with, never to keep."""
    people = []
    for row in rows:
        span = slice(int(cohort.start[row]), int(cohort.end[row]))
        columns: dict[str, Any] = {n: None if c is None else c[span] for n, c in vars(cohort.events).items()}
        asked = int(cohort.cutoff[row]) + (cohort.session is not None)  # a session is asked right behind an event
        people.append(Person(Events(**columns), asked))
    return people


def usual_type(cohort: Cohort) -> str:
    """What an event without a type counts as: what makes a customer active."""
    usual = "purchase" if cohort.session is None else "view"
    return cohort.active_events[0] if cohort.active_events else usual


def trained_answers(model: Any, prepared: Prepared, cohort: Cohort, people: Sequence[Person]) -> list[Answer]:
    """What the trained model says, asked as evaluation asks: a cohort with features made by `features_of`.

    Evaluation asks about active customers only: the others are blank.
    """
    asked = as_cohort(prepared, cohort, people)[1]
    predictions = model.predict(asked)
    reasons = [inactive(person, cohort) for person in people]
    return [answer_of(predictions, row, cohort.answers, reason) for row, reason in enumerate(reasons)]


def as_cohort(prepared: Prepared, cohort: Cohort, people: Sequence[Person]) -> tuple[Prepared, Cohort]:
    """People as a log, and what is asked of them as of their instants with the customers' features of that log."""
    events, offsets = joined(people)
    who, cutoff = np.arange(1, len(people) + 1), np.array([p.instant for p in people], np.int64)
    log = prepared.part(offsets, events)
    table = features_of(log, who, cutoff, cohort.declared)
    start = offsets[:-1]
    assert events.timestamp is not None
    end = lower_bound(events.timestamp, start, offsets[1:], cutoff)
    return log, replace(
        cohort, customer=who.astype(np.int32), cutoff=cutoff, features=table.values, feature_names=table.names,
        events=events, label=None, start=start, end=end, observed_until=cutoff, subject=None, subjects=(),
    )  # fmt: skip


def joined(people: Sequence[Person]) -> tuple[Events, np.ndarray]:
    """The events of all as one log, and where each begins in it."""
    columns: dict[str, Any] = {
        name: None if column is None else np.concatenate([getattr(p.events, name) for p in people])
        for name, column in vars(people[0].events).items()
    }
    return Events(**columns), np.concatenate([[0], np.cumsum([len(p.events.item) for p in people])]).astype(np.int64)


def answer_of(predictions: Predictions, row: int, answers: str, reason: str = "") -> Answer:
    """What a trained model says of a row, as a bundle says it; `reason`: why it is blank, where the model has none."""
    reason = why_blank(predictions, row, reason)
    if reason:
        return Answer.of_customer(None, reason, answers, further=dict.fromkeys(predictions.further))
    further = {name: float(values[row]) for name, values in predictions.further.items()}
    quantiles = None if predictions.quantile is None else predictions.quantile[row].tolist()
    return Answer.of_customer(float(predictions.value[row]), "", answers, further=further, quantiles=quantiles)


def why_blank(predictions: Predictions, row: int, reason: str) -> str:
    """In the order that a bundle looks: no history, then why evaluation would not ask, then what the model says."""
    own = "" if predictions.blank_reason is None else str(predictions.blank_reason[row])
    return own if own == NO_HISTORY else reason or own


def inactive(person: Person, cohort: Cohort) -> str:
    """Why evaluation would not ask about this customer; "" where it would."""
    if not cohort.active_events:
        return ""
    codes = [EVENT_CODE[name] for name in cohort.active_events]
    time = person.events.timestamp
    assert time is not None
    there = np.isin(person.events.event_type, codes) & (time < person.instant)
    span = "time"
    if cohort.active_days is not None:
        there &= time >= person.instant - round(cohort.active_days * MICROSECONDS_PER_DAY)
        span = f"{cohort.active_days:g} days"
    return "" if there.any() else f"no {' / '.join(cohort.active_events)} in the {span} before the cutoff"


def external(person: Person, item_ids: Sequence[str], channels: Sequence[str]) -> list[dict[str, Any]]:
    """Events as a client writes them; what is unknown is left out."""
    e = person.events
    assert e.timestamp is not None
    said = []
    for row in range(len(e.item)):
        event: dict[str, Any] = {"item_id": item_ids[e.item[row] - 1] if e.item[row] else STRANGER}
        if person.typed:
            event["event_type"] = EVENT_TYPES[e.event_type[row] - 1]
        event["timestamp"] = write_instant(int(e.timestamp[row]))
        for name in ("price", "quantity"):
            column = getattr(e, name)
            if column is not None and not np.isnan(column[row]):
                event[name] = float(column[row])
        if e.order is not None and e.order[row]:
            event["order_id"] = f"order-{e.order[row]}"
        if e.session is not None and e.session[row]:
            event["session_id"] = f"session-{e.session[row]}"
        if e.channel is not None and e.channel[row]:
            event["channel"] = channels[e.channel[row] - 1]
        said.append(event)
    return said
