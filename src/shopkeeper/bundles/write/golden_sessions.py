"""Sessions whose scores are known from the trained model: invented ones travel with a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.write.golden_customers import Person, answer_of, joined
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_sessions import open_sessions
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.session_rows import MINUTE, none_goes_on
from shopkeeper.schema import EVENT_CODE, NO_HISTORY


def visiting(prepared: Prepared, cohort: Cohort, people: Sequence[Person], seed: int) -> list[Person]:
    """Invented customers with a visit at the end of what is known of them; mostly one that goes on, without a purchase.

    Where the log says which session a row is of, every other event of every third visit is of another tab.
    """
    assert cohort.session is not None
    assert cohort.gap_minutes is not None
    rng, log, found = np.random.default_rng(seed), prepared.events, []
    for number, person in enumerate(people):
        e = person.events
        assert e.timestamp is not None
        n = min(len(e.item), int(rng.integers(1, 3 * cohort.session.shape[1])))
        time, kind = e.timestamp.copy(), e.event_type.copy()
        if n and number > 2:
            minutes = rng.exponential(cohort.gap_minutes / 8, n)
            time[-n:] = person.instant - 1 - (np.cumsum(minutes)[::-1] * MINUTE).astype(np.int64)
            time = np.sort(time)
            if number % 5 and person.typed:
                kind[-n:] = np.where(kind[-n:] == EVENT_CODE["purchase"], EVENT_CODE["view"], kind[-n:])
        session = None
        if log.session is not None:
            session = np.zeros(len(time), np.int32)
            if number % 3 == 0:
                session[len(time) - n :] = 1 + np.arange(n) % 2
        item = np.where(e.item == 0, 1, e.item).astype(np.int32)  # of an item that nobody knows nothing was said
        found.append(replace(person, events=replace(e, timestamp=time, event_type=kind, session=session, item=item)))
    return found


def trained_answers(model: Any, prepared: Prepared, cohort: Cohort, people: Sequence[Person]) -> list[Answer]:
    """What the trained model says of the sessions that go on, found as `score` finds them."""
    assert cohort.session is not None
    assert cohort.gap_minutes is not None
    events, offsets = joined(people)
    log = prepared.part(offsets, events)
    (at,) = {person.instant for person in people}
    after = cohort.session.shape[1]
    asked = open_sessions(
        log, at, after=after, gap_minutes=cohort.gap_minutes, observed_until=at, declared=cohort.declared
    )
    predictions = model.predict(replace(asked, answers=cohort.answers))
    row = {customer: place for place, customer in enumerate(asked.customer.tolist())}
    found = []
    for number, person in enumerate(people, 1):
        assert person.events.timestamp is not None
        none = none_goes_on(after) if (person.events.timestamp < at).any() else NO_HISTORY
        if number in row:
            found.append(answer_of(predictions, row[number], cohort.answers))
        else:
            found.append(Answer.of_customer(None, none, cohort.answers))
    return found
