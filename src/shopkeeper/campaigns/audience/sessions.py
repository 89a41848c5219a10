"""A rule for what happens in a session, held against the log: how often it would have applied, and what came of it.

A session is ready for the offer at the first event by which so many things were looked at in it and (where the rule
says so) something lies in the cart, nothing having been bought. The shop's own page knows when a visitor turns to go;
the log only knows whether such a session ended with a purchase: those would have had the offer for nothing.

Shapes: R rows of the log, S sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.campaigns.audience.lists import rows_between
from shopkeeper.campaigns.audience.settings import Audience
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.session_rows import first_rows
from shopkeeper.errors import UserError
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES, MICROSECONDS_PER_DAY


@dataclass(frozen=True)
class Ready:
    """Sessions that the rule would have applied to."""

    table: pa.Table  # user_id, began, ready_at, views, in_cart, bought_after
    sessions: int  # of the time looked back at

    @property
    def bought(self) -> int:
        """How many of them bought after all."""
        return int(sum(self.table["bought_after"].to_pylist()))


def ready_sessions(prepared: Prepared, audience: Audience, at: int) -> Ready:
    """Those of the days before an instant.

    Raises:
        UserError: the log knows no views, or nobody was there.
    """
    rule, events = audience.sessions, prepared.events
    assert rule is not None
    if events.timestamp is None:
        raise UserError(f"dataset '{prepared.name}' has no time stamps: sessions need them; choose another")
    customer = np.arange(1, prepared.n_users + 1)
    if prepared.consent is not None:
        customer = customer[prepared.consent.holds(customer, at)]
    since = at - round(rule.days * MICROSECONDS_PER_DAY)
    owner, rows = rows_between(prepared, customer, since, at, EVENT_TYPES)
    session = None if events.session is None else events.session[rows]
    begin = first_rows(events.timestamp[rows], session, owner, rule.gap_minutes)
    order = np.argsort(begin, kind="stable")  # a session's rows together, also where two go on side by side
    owner, rows, begin = owner[order], rows[order], begin[order]
    kind, item, time = events.event_type[rows], events.item[rows], events.timestamp[rows]
    viewed = kind == EVENT_CODE["view"]
    if not viewed.any():
        raise UserError(f"dataset={prepared.name} has no views in the {rule.days:g} days: no rule for sessions applies")
    new = np.append(True, np.diff(begin) != 0)[: len(rows)]
    number = np.cumsum(new) - 1
    start = np.flatnonzero(new)

    def so_far(flag: np.ndarray) -> np.ndarray:
        total = np.cumsum(flag)
        return total - (total[start] - flag[start])[number]

    views = so_far(viewed.astype(np.int64))
    bought = so_far((kind == EVENT_CODE["purchase"]).astype(np.int64))
    in_cart = _in_cart(number, item, kind)
    holds = (views >= rule.views) & (bought == 0) & ((in_cart > 0) | (not rule.cart))
    first = np.flatnonzero(holds)
    first = first[np.unique(number[first], return_index=True)[1]]
    last = np.append(start[1:], len(rows)) - 1
    ids = prepared.users["user_id"].combine_chunks().cast(pa.string())
    of = number[first]
    table = pa.table(
        {
            "user_id": ids.take(pa.array(customer[owner[first]] - 1)),
            "began": pa.array(time[start[of]], pa.timestamp("us", "UTC")),
            "ready_at": pa.array(time[first], pa.timestamp("us", "UTC")),
            "views": views[first],
            "in_cart": in_cart[first],
            "bought_after": bought[last[of]] > 0,
        }
    )
    if not table.num_rows:
        raise UserError(
            f"audience={audience.name}: no session of the {rule.days:g} days was ready for it; ask for less"
        )
    return Ready(table, len(start))


def _in_cart(number: np.ndarray, item: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Different items in the cart after each event of its session: int64 (R,); what is bought leaves it."""
    carts = np.isin(kind, [EVENT_CODE[name] for name in ("add_to_cart", "remove_from_cart", "purchase")])
    rows = np.flatnonzero(carts)
    inside = (kind[rows] == EVENT_CODE["add_to_cart"]).astype(np.int64)
    key = number[rows] * (int(item.max(initial=0)) + 1) + item[rows]
    order = np.argsort(key, kind="stable")
    change = inside[order].copy()
    same = key[order][1:] == key[order][:-1]
    change[1:] -= np.where(same, inside[order][:-1], 0)
    steps = np.zeros(len(number), np.int64)
    steps[rows[order]] = change
    total = np.cumsum(steps)
    start = np.searchsorted(number, np.arange(number[-1] + 1)) if len(number) else np.zeros(0, np.int64)
    found: np.ndarray = total - (total[start] - steps[start])[number]
    return found


def card_of(ready: Ready, audience: Audience, prepared: Prepared, as_of: str) -> dict[str, Any]:
    """What the rule is, and what the log says of it."""
    n, rule = ready.table.num_rows, audience.sessions
    assert rule is not None
    return {
        "audience": audience.name,
        "title": audience.title,
        "message": audience.message,
        "dataset": prepared.name,
        "as_of": as_of,
        "rule": {"views": rule.views, "cart": rule.cart, "gap_minutes": rule.gap_minutes,
                 "control": {"share": audience.control.share, "key": audience.control.key or audience.name}},
        "sessions": {"of_the_days": ready.sessions, "ready": n, "bought_after_all": ready.bought, "days": rule.days},
        "warnings": [
            f"{ready.bought:,} of {n:,} such sessions ended with a purchase without any offer: they would have had it "
            "for nothing"
        ] if ready.bought else [],
    }  # fmt: skip


def as_markdown(said: dict[str, Any]) -> str:
    """The card for people."""
    s, rule = said["sessions"], said["rule"]
    cart = " and something in the cart" if rule["cart"] else ""
    return "\n".join([
        f"# {said['title'] or said['audience']}", "", said["message"], "",
        f"For visitors who turn to go, with {rule['views']} views or more in the session{cart}, nothing bought in it, "
        f"and {rule['gap_minutes']:g} minutes without an event at most.",
        "",
        f"In the {s['days']:g} days before {said['as_of']} {s['ready']:,} of {s['of_the_days']:,} sessions of "
        f"{said['dataset']} were so ({s['ready'] / s['of_the_days']:.1%}), {s['bought_after_all']:,} of them bought "
        "all the same.",
        "", *(f"- {text}" for text in said["warnings"]), "",
    ])  # fmt: skip
