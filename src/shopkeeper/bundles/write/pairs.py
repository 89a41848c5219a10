"""What a bundle holds of categories or items that it is asked about together with a customer, and its golden answers.

A bundle does not know what the whole shop has bought: it holds each subject's share of that for every day of the shop,
as evaluation does (`shop_shares`). Whoever asks later than the log ends gets the newest day that it could be said of.

Shapes: n customers, C subjects, T days, V = n_items + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.write.golden_customers import Person, as_cohort, inactive, why_blank
from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.build_cohort import came_back
from shopkeeper.customers.subjects import YEAR, Subjects, paired, shop_shares, subjects_of
from shopkeeper.data.prepared import Prepared
from shopkeeper.features.subject_pairs import SHARES, SINCE, SUBJECT, WHEN
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import add_days, floor_day

DAYS = 400  # before the cutoff, of which shares are kept
AHEAD = YEAR - 30  # days after the log's end for which the share of a year before is known


def asked_about(prepared: Prepared, cohort: Cohort) -> Subjects:
    """The subjects of a cohort of pairs."""
    return subjects_of(prepared, cohort.subject_kind, cohort.subjects, 0, 0)


def pair_arrays(prepared: Prepared, cohort: Cohort) -> dict[str, np.ndarray]:
    """Which items are of which subject, and what share of the shop's purchases each had on each day."""
    subjects, day = asked_about(prepared, cohort), MICROSECONDS_PER_DAY
    first, end = prepared.span
    at = floor_day(int(cohort.cutoff.max()), prepared.zone)
    back, on = min(DAYS, max(at - first, 0) // day), max(end - at, 0) // day
    when = np.array([add_days(at, ahead, prepared.zone) for ahead in range(-back, on + AHEAD + 1)], np.int64)
    month, year_ago = shop_shares(prepared, when, subjects)
    month[when > end] = month[when <= end][-1]
    return {SUBJECT: subjects.of_item, SINCE: subjects.since, WHEN: when, SHARES[0]: month, SHARES[1]: year_ago}


def trained_answers(model: Any, prepared: Prepared, cohort: Cohort, people: Sequence[Person]) -> list[Answer]:
    """What the trained model says, asked as evaluation asks; the whole shop is the log's, not these people's."""
    subjects = asked_about(prepared, cohort)
    log, rows = as_cohort(prepared, cohort, people)
    at, place = np.unique(rows.cutoff, return_inverse=True)
    month, year_ago = shop_shares(prepared, at, subjects)
    asked = paired(log, rows, subjects, came_back, (month[place], year_ago[place]))
    predictions = model.predict(asked)
    return [answer_of(predictions, row, subjects.names, inactive(one, cohort)) for row, one in enumerate(people)]


def answer_of(predictions: Predictions, row: int, names: Sequence[str], reason: str = "") -> Answer:
    """What a trained model says of a customer and each subject; `row`: the customer's place."""
    some = slice(row * len(names), (row + 1) * len(names))
    if reason := why_blank(predictions, some.start, reason):
        return Answer.of_pairs(None, reason)
    return Answer.of_pairs(list(zip(names, predictions.value[some].tolist(), strict=True)), "")
