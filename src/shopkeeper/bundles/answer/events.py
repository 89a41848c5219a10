"""One event as a client writes it, for both families of bundles, and instants as text.

"sku-1"                                                             an item id: the bundle's usual type, no time
["sku-1", "purchase", "2026-03-01T10:00:00Z", 9.5, 2, "o-1", "web"]   in the order of COLUMNS; the end may be missing
{"item_id": "sku-1", "timestamp": "2026-03-01T10:00:00Z"}           by name; what is missing or null is unknown
{"query": "red shoes"}                                              what was typed, in place of an item: a search
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, SupportsIndex, overload

from shopkeeper.data.queries import query_id
from shopkeeper.errors import UserError, nearest
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES
from shopkeeper.timeline.zones import instant_of

COLUMNS = ("item_id", "event_type", "timestamp", "price", "quantity", "order_id", "channel", "session_id")
QUERY = "query"
NAN = float("nan")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HOW = (
    "an event is an item id as text, or [item id, event type, …] (ids are text, also where they are digits), "
    f"or a mapping with the keys {', '.join(COLUMNS)}; a search has the key query in place of item_id"
)


class Row(NamedTuple):
    """An event, checked; what is unknown is None or NaN."""

    item_id: str
    event_type: int  # code
    timestamp: int | None = None  # µs UTC
    price: float = NAN
    quantity: float = NAN
    order_id: str | None = None
    channel: str | None = None
    session_id: str | None = None


class Ids(Sequence[Row]):
    """Events of which the items alone are known, oldest first: a `Row` is made when somebody asks for it.

    Most of what is asked of a recommender is like this, and a graph asks for no rows.
    """

    def __init__(self, ids: Sequence[str], code: int):
        self.ids, self.code = ids, code

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, at: SupportsIndex) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Ids: ...
    def __getitem__(self, at: Any) -> Row | Ids:
        return Ids(self.ids[at], self.code) if isinstance(at, slice) else Row(self.ids[at], self.code)


def types_of(rows: Sequence[Row]) -> list[int]:
    """Codes of the events' types."""
    return [rows.code] * len(rows) if isinstance(rows, Ids) else [row.event_type for row in rows]


def read_event(event: Any, where: str, usual: str, zone: str) -> Row:
    """An event, checked. `where` begins messages; `usual` is the type of an event without one; `zone` of naive times.

    Raises:
        UserError: not an event, an unknown key or event type, a time, price or quantity that is none.
    """
    if isinstance(event, str):
        return Row(event, EVENT_CODE[usual])
    if isinstance(event, Mapping):
        if wrong := [key for key in event if key not in (*COLUMNS, QUERY)]:
            raise UserError(f"{where}: an event has no '{wrong[0]!s:.80}'.{nearest(str(wrong[0]), (*COLUMNS, QUERY))}")
        if event.get(QUERY) is not None:
            event = _search(event, where)
        values: list[Any] = [event.get(name) for name in COLUMNS]
    elif isinstance(event, Sequence) and 2 <= len(event) <= len(COLUMNS):
        values = [*event, *[None] * (len(COLUMNS) - len(event))]
    else:
        raise UserError(f"{where} has the event {event!r:.80}; write it anew: {HOW}")
    item_id, kind, time, price, quantity, order_id, channel, session_id = values
    kind = usual if kind is None else kind
    texts = (item_id, kind, *(x for x in (order_id, channel, session_id) if x is not None))
    if not all(isinstance(x, str) for x in texts):
        raise UserError(f"{where} has the event {event!r:.80}; write it anew: {HOW}")
    if kind not in EVENT_CODE:
        raise UserError(f"{where}: unknown event type '{kind:.80}'.{nearest(kind, EVENT_TYPES)}")
    at = None if time is None else read_instant(time, where, zone)
    amounts = (_number(price, "price", where), _number(quantity, "quantity", where))
    return Row(item_id, EVENT_CODE[kind], at, *amounts, order_id, channel, session_id)


def _search(event: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A search with the id of its query as the item's."""
    typed, kind = event[QUERY], event.get("event_type")
    found = query_id(typed) if isinstance(typed, str) else ""
    if not found:
        raise UserError(f"{where}: query is {typed!r:.80}; write what was typed, as text, or leave the event out")
    if kind not in (None, "search"):
        raise UserError(
            f"{where}: an event of type '{kind!s:.80}' has a query, which only a search has; leave query out"
        )
    return {**{k: v for k, v in event.items() if k != QUERY}, "item_id": found, "event_type": "search"}


def read_instant(value: Any, where: str, zone: str) -> int:
    """Text as in ISO 8601 or a `datetime` -> µs UTC; without an offset it is what the shop's clocks showed."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        at = None
    if isinstance(at, datetime):
        try:
            if at.tzinfo is None:
                return instant_of((at.replace(tzinfo=UTC) - EPOCH) // MICROSECOND, zone)
            return (at - EPOCH) // MICROSECOND
        except (ValueError, OverflowError):  # beyond the years that clocks know
            pass
    raise UserError(
        f"{where}: {value!r:.80} is no time; write text such as '2026-03-01T10:00:00Z' "
        f"(without an offset it is read on the clocks of {zone})"
    )


def write_instant(instant: int) -> str:
    """µs UTC -> the text that `read_instant` reads."""
    return (EPOCH + instant * MICROSECOND).isoformat()


def _number(value: Any, name: str, where: str) -> float:
    if value is None:
        return NAN
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where}: {name} is {value!r:.80}, not a number; give one, or null")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if math.isinf(found):
        raise UserError(f"{where}: {name} is beyond all numbers; give a finite one, or null")
    return found
