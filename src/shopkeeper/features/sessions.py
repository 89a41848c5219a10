"""Histories cut into sessions, for models that compare sessions.

Shapes: R rows, one per session and item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.data.session_rows import first_rows
from shopkeeper.schema import MICROSECONDS_PER_DAY


@dataclass(frozen=True)
class Sessions:
    """Histories cut into sessions: one row per session and item, at the item's newest event."""

    session: np.ndarray  # int64 (R,), by history, the oldest first
    item: np.ndarray  # int32 (R,)
    place: np.ndarray  # int64 (R,) events before the session's end; 0 = the newest
    owner: np.ndarray  # int64 (R,): which history
    end: np.ndarray  # float64, per session: day of its newest event; 0 without time

    @classmethod
    def of(cls, requests: Requests, types: list[int], n_columns: int, gap_hours: float) -> Sessions:
        """The events of these types (codes) on items below `n_columns`, in the sessions of `data.session_rows`.

        Of two that go on side by side the one with the newer last event is the later one.
        """
        offsets, rows = requests.flat(types)
        events = requests.events
        owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
        known = events.item[rows] < n_columns
        rows, owner = rows[known], owner[known]
        time = np.zeros(len(rows), np.int64) if events.timestamp is None else events.timestamp[rows]
        begin = first_rows(time, None if events.session is None else events.session[rows], owner, 60 * gap_hours)
        if (np.diff(begin) < 0).any():  # sessions side by side: each for itself, by its last row
            newest = np.zeros(len(rows), np.int64)
            newest[begin] = np.arange(len(rows))  # of a session's rows the last one stays
            order = np.argsort(newest[begin], kind="stable")
            rows, owner, time, begin = rows[order], owner[order], time[order], begin[order]
        new = np.append(True, np.diff(begin) != 0)[: len(rows)]
        day = time / MICROSECONDS_PER_DAY
        number = np.cumsum(new) - 1
        last = np.append(np.flatnonzero(new)[1:] - 1, len(rows) - 1)[: number[-1] + 1 if len(rows) else 0]
        place = last[number] - np.arange(len(rows))
        key = number * n_columns + events.item[rows]
        newest = len(rows) - 1 - np.unique(key[::-1], return_index=True)[1]
        return cls(number[newest], events.item[rows][newest], place[newest], owner[newest], day[last])

    def lengths(self, n: int) -> np.ndarray:
        """Events of each of the n histories from the first that counts here: int64 (n,)."""
        length = np.zeros(n, np.int64)
        np.maximum.at(length, self.owner, self.place + 1)
        return length

    def last(self, n: int) -> Sessions:
        """Only the last session of each of the n histories; `end` by history."""
        latest = np.full(n, -1)
        np.maximum.at(latest, self.owner, self.session)
        kept = self.session == latest[self.owner]
        end = np.where(latest >= 0, np.append(self.end, 0.0)[latest], 0.0)
        return Sessions(self.session[kept], self.item[kept], self.place[kept], self.owner[kept], end)
