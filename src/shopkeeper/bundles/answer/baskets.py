"""A basket as a client gives it: the order so far, which stands behind the history and is not recommended again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shopkeeper.bundles.answer.events import Row, read_event
from shopkeeper.bundles.answer.histories import Event, Histories
from shopkeeper.errors import UserError

ORDER = "the basket's order"  # that its lines belong to, where they name none
HOW = "one list of lines per history, e.g. basket=[['sku-1']] for one history"


def with_baskets(
    asked: Histories, basket: Sequence[Sequence[Event]], rules: Mapping[str, Any]
) -> tuple[Histories, list[list[str]]]:
    """The histories with the lines of each basket behind them, and the ids in it.

    Lines are events as in histories, of one order; without a type they count as `usual_type` of the manifest's
    `rules`, without a time they happen right before the question, or with the newest event where it has no instant.

    Raises:
        UserError: no list of lines per history, a line that is no event.
    """
    if isinstance(basket, str) or not isinstance(basket, Sequence) or len(basket) != len(asked.rows):
        raise UserError(f"basket is {basket!r:.80}, for {len(asked.rows)} histories; give {HOW}")
    usual, zone = str(rules["usual_type"]), str(rules.get("time_zone", "UTC"))
    rows, ids = [], []
    for n, (history, lines) in enumerate(zip(asked.rows, basket, strict=True)):
        if isinstance(lines, str) or not isinstance(lines, Sequence):
            raise UserError(f"basket[{n}] is {lines!r:.80} instead of a list; give {HOW}")
        newest = max((row.timestamp or 0 for row in history), default=0)
        now = newest if asked.instant is None else int(asked.instant[n]) - 1
        own = [_line(read_event(line, f"basket {n}", usual, zone), now) for line in lines]
        rows.append([*history, *own])
        ids.append([row.item_id for row in own])
    return replace(asked, rows=rows), ids


def _line(row: Row, now: int) -> Row:
    return row._replace(
        timestamp=now if row.timestamp is None else row.timestamp,
        order_id=ORDER if row.order_id is None else row.order_id,
    )
