"""What a bundle reads of histories, for both families: raw events in external ids -> flat arrays of internal ones.

Shapes: n histories, M events of all of them, V = known items + 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.events import Ids, Row, read_event, read_instant
from shopkeeper.bundles.answer.integrity import AGAIN
from shopkeeper.bundles.answer.numbering import Numbering, different
from shopkeeper.data.queries import TEXT, bucket_id, query_id
from shopkeeper.data.requests import Events, Requests
from shopkeeper.errors import UserError
from shopkeeper.ids.spelling import normal_id
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES

VOCABULARY = "vocabulary.json"
# One event of a history: an item id, or more of what is known of it (`events.COLUMNS`).
Event = str | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Vocabulary:
    """The ids of the training data, and which columns its log had."""

    item_ids: list[str]  # item_ids[i-1] is the external id of internal item i; empty: any id is as good as another
    internal: Mapping[str, int]
    channels: list[str]
    columns: tuple[str, ...]  # of price, quantity, order, session, channel: what the log lacked is not read
    content: dict[str, Any]  # all of the file

    @classmethod
    def of(cls, path: Path, content: dict[str, Any]) -> Vocabulary:
        """From the checked file; a `UserError` where ids are given twice."""
        item_ids: list[str] = content["item_ids"] or []  # not a copy: there may be a million
        if not different(item_ids):
            raise UserError(f"{path / VOCABULARY}: item_ids are not different from each other; {AGAIN}")
        return cls(item_ids, Numbering.of(item_ids), list(content["channels"]), tuple(content["columns"]), content)

    def item(self, item_id: str, seen: Counter[str]) -> int | None:
        """Internal id of an external one; another spelling of it (blanks around it, `17.0`) is read and counted."""
        item = self.internal.get(item_id)
        if item is None and item_id.startswith(TEXT) and (buckets := self.content.get("query_buckets")):
            return self._asked(query_id(item_id.removeprefix(TEXT)), int(buckets))
        if item is None and (item := self.internal.get(normal_id(item_id))) is not None:
            seen["respelled"] += 1
        return item

    def named(self, name: str, seen: Counter[str]) -> int | None:
        """The same of an id as answers show it: a query's text stands for the query."""
        item = self.item(name, seen)
        return self.internal.get(query_id(name)) if item is None and self.content.get("query_buckets") else item

    def shown(self, item: int) -> str:
        """An item's id as answers show it: a query's text."""
        item_id = self.item_ids[item - 1]
        return item_id.removeprefix(TEXT) if self.content.get("query_buckets") else item_id

    def _asked(self, query: str, buckets: int) -> int | None:
        """The item of a query in one spelling, or of the bucket of what is not kept as text."""
        hidden = bucket_id(query.removeprefix(TEXT), buckets)
        return self.internal.get(query, self.internal.get(hidden))


@dataclass(frozen=True)
class Histories:
    """n histories, each in order of time, cut at the instant asked about."""

    rows: Sequence[Sequence[Row]]
    instant: np.ndarray | None  # int64 (n,) µs UTC; None: nobody said when

    def __len__(self) -> int:
        return len(self.rows)


def read(histories: Any, as_of: Any, rules: Mapping[str, Any], vocabulary: Vocabulary, seen: Counter[str]) -> Histories:
    """Check every event, put each history in order of time, leave out what is not before the instant.

    `rules`: `history` of the manifest. Where an event has no time, its history stays as it was written: oldest first.

    Raises:
        UserError: no list of histories, an event that is none or lacks the time that the model needs, no instant where
            the model needs one, an instant that is none.
    """
    if isinstance(histories, str) or not isinstance(histories, Sequence):
        raise UserError("histories must be a list with one list of events per person, e.g. [['sku-1', 'sku-2']]")
    usual, zone = str(rules["usual_type"]), str(rules.get("time_zone", "UTC"))
    rows = [_history(events, f"history {n}", usual, zone, vocabulary, seen) for n, events in enumerate(histories)]
    if rules.get("needs_time"):
        for n, (events, history) in enumerate(zip(histories, rows, strict=True)):
            for event, row in zip(events, history, strict=True):
                if row.timestamp is None:
                    raise UserError(
                        f"history {n}: the event {event!r:.80} has no timestamp; this model reads times, so it needs "
                        f"each event as [item id, event type, time] or with the key 'timestamp'"
                    )
    rows = [h if isinstance(h, Ids) or any(r.timestamp is None for r in h) else
            sorted(h, key=lambda row: row.timestamp or 0) for h in rows]  # fmt: skip
    seen["requests"] += len(rows)
    seen["events"] += sum(map(len, rows))
    if as_of is None:
        if rules.get("needs_instant"):
            raise UserError("this model needs to know when it is asked; give as_of='2026-03-01', or one for each")
        return Histories(rows, None)
    instants = _instants(as_of, len(rows), zone)
    cut = [
        history if isinstance(history, Ids) else [r for r in history if r.timestamp is None or r.timestamp < instant]
        for history, instant in zip(rows, instants.tolist(), strict=True)
    ]
    seen["future_events"] += sum(map(len, rows)) - sum(map(len, cut))
    return Histories(cut, instants)


def _history(
    events: Any, where: str, usual: str, zone: str, vocabulary: Vocabulary, seen: Counter[str]
) -> Sequence[Row]:
    if isinstance(events, str) or not isinstance(events, Sequence):
        raise UserError(
            f"{where} must be a list of events, not {type(events).__name__} {events!r:.80}; "
            f"histories holds one list per person, e.g. [['sku-1', 'sku-2']] for one person"
        )
    type_alone = len(events) == 2 and isinstance(events[1], str) and events[1] in EVENT_TYPES
    if type_alone and vocabulary.item(events[1], seen) is None:
        raise UserError(
            f"{where} is one event with its type, {events!r:.80}; write a list of events, "
            f"e.g. [[['sku-1', 'view'], ['sku-2', 'purchase']]] for one person"
        )
    if {*map(type, events)} <= {str}:  # these need none of the checks of a fuller event
        return Ids(events, EVENT_CODE[usual])
    return [read_event(event, where, usual, zone) for event in events]


def _instants(as_of: Any, n: int, zone: str) -> np.ndarray:
    """The instant that each is asked about: int64 (n,) µs UTC."""
    one = isinstance(as_of, str | datetime) or not isinstance(as_of, Sequence)
    each = [as_of] * n if one else list(as_of)
    if len(each) != n:
        raise UserError(f"as_of has {len(each)} instants for {n} histories; give one for all, or one for each")
    return np.array([read_instant(t, "as_of", zone) for t in each], np.int64)


@dataclass
class Table:
    """Rows of several histories in internal ids, one after another, on their way to arrays."""

    vocabulary: Vocabulary
    timed: bool  # times are read
    lengths: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    items: list[int] = field(default_factory=list)

    def add(self, rows: Sequence[Row], items: Sequence[int]) -> None:
        """One history more; `items`: the internal ids of its rows."""
        self.lengths.append(len(rows))
        self.rows += rows
        self.items += items

    def requests(self, instant: np.ndarray | None, seen: Counter[str]) -> Requests:
        """As a model is asked in training and evaluation: by people that it has never seen."""
        words, rows = self.vocabulary, self.rows
        code = {name: c for c, name in enumerate(words.channels, start=1)}
        if "channel" in words.columns:
            seen["unknown_channels"] += sum(row.channel is not None and row.channel not in code for row in rows)

        def column(name: str, values: Any, dtype: Any) -> np.ndarray | None:
            return np.array(list(values), dtype) if name in words.columns else None

        events = Events(
            np.array(self.items, np.int32),
            np.array([row.event_type for row in rows], np.int8),
            np.array([row.timestamp for row in rows], np.int64) if self.timed else None,
            column("price", (row.price for row in rows), np.float64),
            column("quantity", (row.quantity for row in rows), np.float64),
            column("order", _numbered(row.order_id for row in rows), np.int32),
            column("session", _numbered(row.session_id for row in rows), np.int32),
            column("channel", (code.get(row.channel or "", 0) for row in rows), np.int32),
        )
        offsets = np.array([0, *accumulate(self.lengths)], np.int64)
        return Requests(events, offsets[:-1], offsets[1:], instant, np.zeros(len(self.lengths), np.int32))


def _numbered(ids: Iterable[str | None]) -> Iterator[int]:
    """Ids as numbers from 1 in order of first appearance; 0 where there is none."""
    known: dict[str, int] = {}
    return (known.setdefault(one, len(known) + 1) if one else 0 for one in ids)
