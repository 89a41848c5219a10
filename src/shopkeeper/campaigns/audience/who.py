"""Who is in an audience, and for which first reason everybody else is not.

Shapes: n customers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from shopkeeper.campaigns.audience.lists import ItemLists
from shopkeeper.campaigns.audience.scores import Scores
from shopkeeper.campaigns.audience.settings import Who
from shopkeeper.errors import UserError, nearest

Condition = tuple[str, np.ndarray]  # why somebody is left out, and for whom it holds: bool (n,)
NO_SCORE = "no score: "


@dataclass(frozen=True)
class Known:
    """What is known of n customers at the instant."""

    column: Mapping[str, np.ndarray]  # features by name, float64 (n,)
    segment: Mapping[str, np.ndarray]  # segmentation -> segment, str object (n,), None where blank
    lists: Mapping[str, ItemLists] = field(default_factory=dict)  # by source: cart, due, back
    scores: Scores | None = None


def chosen(n: int, conditions: Iterable[Condition]) -> tuple[np.ndarray, Counter[str]]:
    """For whom all hold, bool (n,), and how many others there are by the first that does not."""
    left, counted = np.ones(n, bool), Counter[str]()
    for reason, holds in conditions:
        if gone := int((left & ~holds).sum()):
            counted[reason] += gone
        left &= holds
    return left, counted


def conditions(who: Who, known: Known) -> Iterator[Condition]:
    """What an audience asks of customers, one after another.

    Raises:
        UserError: a segment, feature or score that is not known.
    """
    for name, wanted in (("lifecycle", who.lifecycle), ("value_tier", who.value_tier), ("cluster", who.cluster)):
        if wanted:
            yield f"{name.replace('_', ' ')} is not {' or '.join(wanted)}", _in_segment(known, name, wanted)
    for name, (low, high) in who.features.items():
        if name not in known.column:
            raise UserError(f"audience.who.features names '{name}'.{nearest(name, known.column)}")
        value = known.column[name]
        with np.errstate(invalid="ignore"):  # what is not known is in no range
            holds = (value >= (-np.inf if low is None else low)) & (value <= (np.inf if high is None else high))
        yield _range_in_words(name, low, high), holds
    for source, reason in (
        ("cart", "nothing left in the cart"),
        ("due", "nothing is due"),
        ("back", "nothing they looked at is back in stock"),
    ):
        if getattr(who, source) is not None:
            yield reason, known.lists[source].some
    if who.score.chooses:
        yield from _by_score(who, known.scores)


def _in_segment(known: Known, name: str, wanted: tuple[str, ...]) -> np.ndarray:
    if name not in known.segment:
        why = "give segments=<folder of `shopkeeper segments`>" if name == "cluster" else "use a log that has prices"
        raise UserError(f"audience.who.{name} asks for segments that are not known; leave it out, or {why}")
    there = {str(x) for x in known.segment[name].tolist() if x is not None}
    valid = there | LIFECYCLES if name == "lifecycle" else there | TIERS if name == "value_tier" else there
    if unknown := [x for x in wanted if x not in valid]:
        raise UserError(f"audience.who.{name} names '{unknown[0]}'.{nearest(unknown[0], valid)}")
    return np.isin(known.segment[name].astype(str), wanted)


LIFECYCLES = {"new", "active", "at risk", "lapsed", "won back", "no order yet"}
TIERS = {"top", "middle", "low", "none"}


def _by_score(who: Who, scores: Scores | None) -> Iterator[Condition]:
    if scores is None:
        raise UserError(
            "audience.who.score chooses by a score and none is given; set scores=<run folder of a customer model, or "
            "the file of `shopkeeper score`>"
        )
    for reason in sorted(set(scores.blank_reason.tolist()) - {""}):
        yield f"{NO_SCORE}{reason}", scores.blank_reason != reason
    value = np.nan_to_num(scores.value, nan=-np.inf)
    if who.score.share is not None and np.isfinite(scores.value).any():
        border = np.quantile(scores.value[np.isfinite(scores.value)], 1 - who.score.share)
        yield f"a score below that of the highest {who.score.share:.0%}", value >= border
    if who.score.at_least is not None:
        yield f"a score below {who.score.at_least:g}", value >= who.score.at_least


def _range_in_words(name: str, low: float | None, high: float | None) -> str:
    """Why a feature leaves somebody out.

    >>> _range_in_words("orders", 1, None), _range_in_words("orders", 2, 2), _range_in_words("orders", 1, 3)
    ('orders below 1', 'orders other than 2', 'orders not within 1 and 3')
    """
    words = name.replace("_", " ")
    if low is None or high is None:
        return f"{words} above {high:g}" if low is None and high is not None else f"{words} below {low or 0:g}"
    return f"{words} other than {low:g}" if low == high else f"{words} not within {low:g} and {high:g}"
