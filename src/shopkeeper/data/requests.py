"""Requests and targets: the questions put to a recommender, and what really happened, as flat arrays.

Shapes: B requests, N target items in all, M rows of the shared event arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shopkeeper.data.nightly import Nightly
from shopkeeper.schema import PAD


@dataclass(frozen=True)
class Events:
    """Flat columns of an event log (M rows), possibly memory-mapped. Columns that the data lacks are None."""

    item: np.ndarray  # int32
    event_type: np.ndarray  # int8, codes of schema.EVENT_TYPES
    timestamp: np.ndarray | None = None  # int64, microseconds since 1970 UTC; None for order-only data
    price: np.ndarray | None = None  # float64, per unit, NaN where unknown
    quantity: np.ndarray | None = None  # float64, units, NaN where unknown
    order: np.ndarray | None = None  # int32, dense from 1; 0 = not part of an order
    session: np.ndarray | None = None  # int32, dense from 1; 0 = unknown
    channel: np.ndarray | None = None  # int8, index into manifest["channels"] from 1; 0 = unknown


@dataclass(frozen=True)
class Requests:
    """B questions: the history of request b is rows `start[b]:end[b]` of `events`, all before `instant[b]`.

    The request's instant lives only here: a model that reads it must say so (`about.reads_instant`).
    """

    events: Events
    start: np.ndarray  # int64 (B,)
    end: np.ndarray  # int64 (B,)
    instant: np.ndarray | None = None  # int64 (B,) microseconds UTC
    user: np.ndarray | None = None  # int32 (B,) internal ids; 0 = a person who was never seen
    channel: np.ndarray | None = None  # int8 (B,)
    candidates: tuple[np.ndarray, np.ndarray] | None = None  # offsets int64 (B+1,), items int32: rank only these
    nightly: Nightly | None = None  # only for a model that says so: target events until the midnight before
    barred: tuple[np.ndarray, np.ndarray] | None = None  # and never these: what lies in the basket, the page's item

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, rows: slice) -> Requests:
        """Requests of a slice, sharing the event arrays."""
        first, last, _ = rows.indices(len(self))

        def cut(lists: tuple[np.ndarray, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray] | None:
            if lists is None:
                return None
            span = lists[0][first : last + 1]
            return span - span[0], lists[1][span[0] : span[-1]]

        return self._some(rows, cut)

    def take(self, rows: np.ndarray) -> Requests:
        """The requests at these positions, sharing the event arrays."""

        def taken(lists: tuple[np.ndarray, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray] | None:
            if lists is None:
                return None
            offsets, at = _stretches(lists[0], rows)
            return offsets, lists[1][at]

        return self._some(rows, taken)

    def _some(self, rows: Any, lists: Callable[[Any], Any]) -> Requests:
        columns = {name: getattr(self, name) for name in ("start", "end", "instant", "user", "channel")}
        columns = {name: None if column is None else column[rows] for name, column in columns.items()}
        return replace(self, **columns, candidates=lists(self.candidates), barred=lists(self.barred))

    def hidden(self, filter_seen: bool) -> tuple[np.ndarray, np.ndarray] | None:
        """What may not be recommended: what is barred, with `filter_seen` the history, too; None: everything may.

        Offsets int64 (B+1,) and items, some of them twice.
        """
        if not filter_seen:
            return self.barred
        offsets, rows = self.flat()
        item = self.events.item[rows]
        if self.barred is None:
            return offsets, item
        owner = np.repeat(np.arange(len(self)), np.diff(offsets))
        owner = np.append(owner, np.repeat(np.arange(len(self)), np.diff(self.barred[0])))
        order = np.argsort(owner, kind="stable")
        return offsets + self.barred[0], np.append(item, self.barred[1])[order]

    def holding(self, basket: tuple[np.ndarray, np.ndarray]) -> Requests:
        """The same requests with further rows at the end of each history: the lines of the order so far.

        `basket`: offsets int64 (B+1,) and rows of `events`, which happen right before the instant. Histories then lie
        behind the log in arrays of their own, so that rows of the log keep their numbers.
        """
        offsets, rows = self.flat()
        owner = np.append(*(np.repeat(np.arange(len(self)), np.diff(at)) for at in (offsets, basket[0])))
        order = np.argsort(owner, kind="stable")
        of_basket = (np.arange(len(owner)) >= len(rows))[order]
        source = np.append(rows, basket[1])[order]
        columns: dict[str, np.ndarray | None] = {}
        for name, column in vars(self.events).items():
            values = None if column is None else np.concatenate([column, column[source]])
            if name == "timestamp" and values is not None and self.instant is not None:
                values[len(column) :][of_basket] = self.instant[owner[order]][of_basket] - 1
            columns[name] = values
        at = offsets + basket[0] + len(self.events.item)
        return replace(self, events=Events(**columns), start=at[:-1], end=at[1:])  # type: ignore[arg-type]

    @property
    def lengths(self) -> np.ndarray:
        """Number of events in each history, int64 (B,)."""
        return self.end - self.start

    def last_items(self, length: int, types: Sequence[int] | None = None) -> np.ndarray:
        """The last `length` items of each history, oldest first, padded with 0 on the left: int32 (B, length).

        With `types` (event codes) only events of those types count.
        """
        if types is None or len(self) == 0:
            return gather_last(self.events.item, self.start, self.end, length)
        # Neighbouring requests share a stretch of the log: only that stretch is looked at.
        low, high = int(self.start.min()), max(int(self.end.max()), int(self.start.min()))
        keep = np.isin(self.events.event_type[low:high], np.asarray(types, np.int8))
        return gather_last(self.events.item[low:high], self.start - low, self.end - low, length, keep)

    def flat(self, types: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """All histories one after another: offsets int64 (B+1,) and absolute row numbers int64."""
        lengths = self.lengths
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(offsets[-1], dtype=np.int64) + np.repeat(self.start - offsets[:-1], lengths)
        if types is None:
            return offsets, rows
        kept = np.isin(self.events.event_type[rows], np.asarray(types, np.int8))
        counts = np.add.reduceat(np.append(kept, False).astype(np.int64), offsets[:-1]) if len(lengths) else kept[:0]
        counts = np.where(lengths > 0, counts, 0)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), rows[kept]

    @classmethod
    def from_histories(
        cls,
        histories: Sequence[Sequence[int]],
        event_types: Sequence[Sequence[int]] | None = None,
        timestamps: Sequence[Sequence[int]] | None = None,
        instant: Sequence[int] | None = None,
    ) -> Requests:
        """Requests for people who were never in the data, from lists of internal item ids (oldest first)."""
        lengths = np.array([len(h) for h in histories], np.int64)
        ends = np.cumsum(lengths)

        def flat(lists: Sequence[Sequence[int]], dtype: type) -> np.ndarray:
            return np.array([x for xs in lists for x in xs], dtype)

        item = flat(histories, np.int32)
        events = Events(
            item=item,
            event_type=np.ones(len(item), np.int8) if event_types is None else flat(event_types, np.int8),
            timestamp=None if timestamps is None else flat(timestamps, np.int64),
        )
        at = None if instant is None else np.array(instant, np.int64)
        return cls(events, start=ends - lengths, end=ends, instant=at, user=np.zeros(len(lengths), np.int32))


def _stretches(offsets: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of lists `offsets[b]:offsets[b+1]` those at some positions: their own offsets, and the positions in them."""
    n = np.diff(offsets)[chosen]
    own = np.concatenate([[0], np.cumsum(n)]).astype(np.int64)
    return own, np.arange(own[-1]) + np.repeat(offsets[:-1][chosen] - own[:-1], n)


def emptied_by_ties(
    start: np.ndarray, end: np.ndarray, first_target: np.ndarray, timestamp: np.ndarray | None
) -> np.ndarray:
    """bool (B,): requests without a history only because what happened before the target shares its instant.

    `start`, `end`, `first_target`: rows, int64 (B,); `timestamp` int64 (M,) is that of each row, None of order-only
    data. Whoever is asked earlier than the target (at the start of a window) and came later has no history for that.
    """
    if timestamp is None:
        return np.zeros(len(start), bool)
    found = (end == start) & (first_target > start)
    found[found] = timestamp[start[found]] == timestamp[first_target[found]]
    return found


@dataclass(frozen=True)
class Targets:
    """What happened after each request: items `item[offsets[b]:offsets[b+1]]`, at rows `row` of the event arrays.

    An item that a request holds on several lines (of an order, of several orders) is one target at its first row;
    `lines` has them all, so that amounts are whole: target i is rows `lines[1][lines[0][i]:lines[0][i+1]]`.
    """

    offsets: np.ndarray  # int64 (B+1,)
    item: np.ndarray  # int32 (N,)
    row: np.ndarray  # int64 (N,)
    lines: tuple[np.ndarray, np.ndarray] | None = None  # offsets int64 (N+1,), rows int64; None: each has one line

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> Targets:
        """Targets of a slice of the requests."""
        first, last, _ = rows.indices(len(self))
        span = self.offsets[first : last + 1]
        low, high = span[0], span[-1]
        lines = self.lines
        if lines is not None:
            at = lines[0][low : high + 1]
            lines = (at - at[0], lines[1][at[0] : at[-1]])
        return Targets(span - low, self.item[low:high], self.row[low:high], lines)

    def take(self, rows: np.ndarray) -> Targets:
        """Targets of the requests at these positions."""
        offsets, at = _stretches(self.offsets, rows)
        lines = self.lines
        if lines is not None:
            of_target, line = _stretches(lines[0], at)
            lines = (of_target, lines[1][line])
        return Targets(offsets, self.item[at], self.row[at], lines)

    @property
    def all_lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Every line of the targets: the target that it belongs to, int64 (L,), and its row, int64 (L,)."""
        if self.lines is None:
            return np.arange(len(self.row), dtype=np.int64), self.row
        offsets, rows = self.lines
        return np.repeat(np.arange(len(self.row), dtype=np.int64), np.diff(offsets)), rows

    def money(self, events: Events) -> np.ndarray:
        """What was paid for each target, all its lines: float64 (N,); unknown prices count 0, unknown units 1."""
        assert events.price is not None
        target, rows = self.all_lines
        paid = np.nan_to_num(np.asarray(events.price[rows], np.float64)) * _units(events, rows)
        return np.bincount(target, paid, minlength=len(self.row))

    def earned(self, events: Events, cost: np.ndarray) -> np.ndarray:
        """What was paid for each target less what its units cost (N,), all its lines: float64 (N,).

        Lines without a price count 0, and so do targets of which nobody knows the cost.
        """
        assert events.price is not None
        target, rows = self.all_lines
        kept = (np.asarray(events.price[rows], np.float64) - cost[target]) * _units(events, rows)
        return np.bincount(target, np.nan_to_num(kept), minlength=len(self.row))

    def units(self, events: Events) -> np.ndarray:
        """How many of each target were taken, all its lines: float64 (N,); unknown units count 1."""
        target, rows = self.all_lines
        return np.bincount(target, _units(events, rows), minlength=len(self.row))

    def price(self, events: Events) -> np.ndarray:
        """Price per unit of each target, the highest of its lines: float64 (N,), NaN where none is known."""
        assert events.price is not None
        target, rows = self.all_lines
        highest = np.full(len(self.row), np.nan)
        np.fmax.at(highest, target, np.asarray(events.price[rows], np.float64))
        return highest

    @property
    def request(self) -> np.ndarray:
        """Position of the request that each target belongs to: int64 (N,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))


def _units(events: Events, rows: np.ndarray) -> np.ndarray:
    if events.quantity is None:
        return np.ones(len(rows))
    return np.nan_to_num(np.asarray(events.quantity[rows], np.float64), nan=1.0)


def gather_last(
    column: np.ndarray, start: np.ndarray, end: np.ndarray, length: int, keep: np.ndarray | None = None
) -> np.ndarray:
    """The last `length` values of each range [start, end) of a column, padded with 0 on the left: (B, length).

    With `keep` (bool over the column) only kept rows count. Pure index arithmetic, no loop over requests.
    """
    if keep is not None:
        position = np.concatenate([[0], np.cumsum(keep)])  # row -> position among the kept rows
        column, start, end = column[keep], position[start], position[end]
    if len(column) == 0:
        return np.zeros((len(start), length), column.dtype)
    rows_BL = end[:, None] - length + np.arange(length)[None, :]
    inside_BL = rows_BL >= start[:, None]
    return np.where(inside_BL, column[np.where(inside_BL, rows_BL, 0)], column.dtype.type(PAD))
