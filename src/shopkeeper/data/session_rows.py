"""Which session each row of a log is of, and which sessions of a customer go on at an instant.

Shapes: M events, sorted by customer and time; S sessions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.data.requests import Events
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY

MINUTE = 60_000_000  # µs
SAME_SESSION = MICROSECONDS_PER_DAY  # an id that is silent for longer and comes back is another session


def session_rows(events: Events, user: np.ndarray, gap_minutes: float) -> np.ndarray:
    """First row of the session of each event, int64 (M,); `user`: whose each event is.

    A session is all rows of one user with the same session id, whatever lies between them (two tabs); an id that is
    silent for more than a day and comes back is another session. Rows without an id (0) are cut where more than
    `gap_minutes` pass between two of them.
    """
    assert events.timestamp is not None
    return first_rows(events.timestamp, events.session, user, gap_minutes)


def first_rows(time: np.ndarray, session: np.ndarray | None, user: np.ndarray, gap_minutes: float) -> np.ndarray:
    """The same of rows that are told by their columns: instants (µs), session ids (0: none) and whose they are."""
    gap = round(gap_minutes * MINUTE)
    if session is None:
        begins = np.append(True, (user[1:] != user[:-1]) | (np.diff(time) > gap))[: len(time)]
        return np.maximum.accumulate(np.where(begins, np.arange(len(time)), 0))
    key = user.astype(np.int64) * (int(session.max(initial=0)) + 1) + session
    by_session = np.argsort(key, kind="stable")  # inside a session by time
    key, at = key[by_session], time[by_session]
    longest = np.where(session[by_session] > 0, SAME_SESSION, gap)[1:]
    begins = np.append(True, (key[1:] != key[:-1]) | (np.diff(at) > longest))[: len(time)]
    first = np.empty(len(time), np.int64)
    first[by_session] = by_session[np.maximum.accumulate(np.where(begins, np.arange(len(time)), 0))]
    return first


def none_goes_on(after: int) -> str:
    """Why somebody is not asked about."""
    return f"no session that goes on after {after} events without a purchase"


@dataclass(frozen=True)
class LaidOut:
    """Rows of a log by session, the sessions by their first row."""

    order: np.ndarray  # int64 (M,) rows
    first: np.ndarray  # int64 (S,) where each session begins among them
    length: np.ndarray  # int64 (S,)

    @classmethod
    def of(cls, events: Events, user: np.ndarray, gap_minutes: float) -> LaidOut:
        """The sessions of a log."""
        row = session_rows(events, user, gap_minutes)
        order = np.argsort(row, kind="stable")
        first = np.flatnonzero(np.append(True, np.diff(row[order]) != 0)[: len(order)])
        return cls(order, first, np.diff(np.append(first, len(order))))

    def going_on(self, events: Events, at: np.ndarray, after: int, gap_minutes: float) -> np.ndarray:
        """Which sessions go on at an instant each, `at` (S,): int64, ascending.

        They have `after` events or more and no purchase, and their last event is no older than `gap_minutes`. All
        events must lie before the instant.
        """
        time = events.timestamp
        assert time is not None
        newest = time[self.order[self.first + self.length - 1]] if len(self.order) else np.zeros(0, np.int64)
        bought = np.concatenate([[0], np.cumsum(events.event_type[self.order] == EVENT_CODE["purchase"])])
        here = (newest >= at - round(gap_minutes * MINUTE)) & (self.length >= after)
        return np.flatnonzero(here & (bought[self.first + self.length] == bought[self.first]))

    def first_rows(self, chosen: np.ndarray, after: int) -> np.ndarray:
        """The rows of the first events of some sessions: int64 (sessions, after)."""
        return np.asarray(self.order[self.first[chosen][:, None] + np.arange(after)])
