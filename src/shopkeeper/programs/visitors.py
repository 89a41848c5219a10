"""For visitors without a history: popularity within what is known of a request (the channel, the month, the weekday,
the customer's kind), and how it takes the place of another model's answer.

Shapes: B requests, S segments + 1 (0: not known), V = n_items + 1 columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.schema import MICROSECONDS_PER_DAY, NO_TIME
from shopkeeper.timeline.zones import local

CHANNEL, MONTH, WEEKDAY = "channel", "month", "weekday"
OF_TIME = (MONTH, WEEKDAY)


def segment_popularity(requests: Requests, a: Mapping[str, np.ndarray]) -> np.ndarray:
    """What sells, times by how much more it does in each of the request's segments: float32 (B, V).

    `base` (V,), `zone`, and for each kind of segment `lift/<name>` (S, V), row 0 of ones; `of/<name>` (U + 1,) is the
    segment of each customer, where the kind is an attribute of theirs.
    """
    scores_BV = np.repeat(a["base"][None, :], len(requests), axis=0).astype(np.float32)
    for name in (key[5:] for key in a if key.startswith("lift/")):
        lift_SV = a[f"lift/{name}"]
        segment_B = _segments(requests, name, a)
        scores_BV *= lift_SV[np.where(segment_B < len(lift_SV), segment_B, 0)]
    return scores_BV


Scorer = Callable[[Requests], np.ndarray]


def either(requests: Requests, types: Sequence[int] | None, first: Scorer, otherwise: Scorer) -> np.ndarray:
    """What `first` says where the history has an event of these types (codes; None: any), else `otherwise`: (B, V)."""
    some_B = np.diff(requests.flat(types)[0]) > 0
    parts = ((np.flatnonzero(some_B), first), (np.flatnonzero(~some_B), otherwise))
    found = [(rows, score(requests.take(rows))) for rows, score in parts if len(rows) or not len(requests)]
    scores_BV = np.empty((len(requests), found[0][1].shape[1]), np.float32)
    for rows, scores in found:
        scores_BV[rows] = scores
    return scores_BV


def _segments(requests: Requests, name: str, a: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which segment each request is of: int64 (B,), 0 where that is not said."""
    none = np.zeros(len(requests), np.int64)
    if name == CHANNEL:
        return none if requests.channel is None else requests.channel.astype(np.int64)
    if name in OF_TIME:
        if requests.instant is None:
            return none
        said = requests.instant != NO_TIME
        return np.where(said, of_time(np.where(said, requests.instant, 0), name, str(a["zone"])), 0)
    of_U = a.get(f"of/{name}", none[:0])
    if requests.user is None:
        return none
    known = requests.user < len(of_U)
    return of_U[np.where(known, requests.user, 0)].astype(np.int64) * known if len(of_U) else none


def of_time(instants: np.ndarray, name: str, zone: str) -> np.ndarray:
    """Month (1 = January) or weekday (1 = Monday) on the shop's clocks of instants in µs: int64."""
    day = local(instants, zone) // MICROSECONDS_PER_DAY
    if name == WEEKDAY:
        return (day + 3) % 7 + 1  # 1970-01-01 was a Thursday
    return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
