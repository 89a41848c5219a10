"""What sets a segment apart, as five questions: who they are, what they buy, why they are a segment, when and where.

Everything is from strictly before the instant. Of few customers only their number is said: a profile of three people
would be about persons.

Shapes: n customers, M events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shopkeeper.campaigns.segments.clusters import CHANNEL, TRAITS
from shopkeeper.campaigns.segments.rules import net_money
from shopkeeper.data.prepared import Prepared
from shopkeeper.features.customer.block import order_starts
from shopkeeper.schema import CATEGORY_COLUMNS, EVENT_CODE, MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import local

Columns = Mapping[str, np.ndarray]
SHOWN = 3  # entries of a list in a profile
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
HOURS = ("night 0-6", "morning 6-12", "afternoon 12-18", "evening 18-24")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Orders:
    """What the log shows of orders before the instant, counted per customer and kind."""

    bought: np.ndarray  # int64 (lines,): place of the customer in the table of n
    kind: np.ndarray  # int64 (lines,): code of the category or item of the line, 0 unknown
    kinds: Sequence[str]  # by code, from 1
    of: str  # category or item
    starter: np.ndarray  # int64 (orders,): place of the customer
    weekday: np.ndarray  # int64 (orders,) 0 is Monday
    hour: np.ndarray  # int64 (orders,) quarter of the day


def orders_of(prepared: Prepared, customer: np.ndarray, at: int) -> Orders:
    """Orders of customers (n,) before an instant, on the shop's clocks."""
    events = prepared.events
    assert events.timestamp is not None
    place = np.full(prepared.n_users + 1, -1)
    place[customer] = np.arange(len(customer))
    time = np.asarray(events.timestamp)
    bought = (np.asarray(events.event_type) == EVENT_CODE["purchase"]) & (time < at)
    first = order_starts(bought, prepared.event_user, events.order, time)
    asked = place[prepared.event_user] >= 0
    lines, starts = np.flatnonzero(bought & asked), np.flatnonzero(first & asked)
    code, names = prepared.first_category
    since = _category_since(prepared)
    of = "category"
    if names:
        kind = code[events.item[lines]]
        if since is not None:
            kind = np.where(since[events.item[lines]] < at, kind, 0)
    else:
        of, kind, names = "item", np.asarray(events.item[lines], np.int64), prepared.items["item_id"].to_pylist()
    clock = local(time[starts], prepared.zone)
    weekday = (clock // MICROSECONDS_PER_DAY + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    quarter = clock % MICROSECONDS_PER_DAY * 4 // MICROSECONDS_PER_DAY
    owner = prepared.event_user
    return Orders(place[owner[lines]], kind, [str(n) for n in names], of, place[owner[starts]], weekday, quarter)


def profiles(
    label: np.ndarray, column: Columns, orders: Orders, attributes: Mapping[str, np.ndarray], smallest: int
) -> list[dict[str, Any]]:
    """A profile of each segment, the one with most customers first.

    Args:
        label: segment of each customer, str (n,).
        column: features by name, (n,) each.
        orders: of the same n.
        attributes: what is known of them beside the log, by name, str (n,) each.
        smallest: of fewer customers only their number is told.
    """
    names, code, count = np.unique(label.astype(str), return_inverse=True, return_counts=True)
    money = net_money(column)
    traits = [name for name in column if name in TRAITS or name.startswith(CHANNEL)]
    spread = {name: _place(column[name]) for name in traits}
    told = []
    for s in np.argsort(-count, kind="stable"):
        own = code == s
        who: dict[str, Any] = {"customers": int(count[s]), "share": _round(count[s] / len(label))}
        profile: dict[str, Any] = {"segment": str(names[s]), "who": who}
        told.append(profile)
        if count[s] < smallest:
            continue
        who["money_share"] = _round(money[own].sum() / money.sum()) if money.sum() > 0 else None
        who["attributes"] = {name: top[0] for name, of in attributes.items() if (top := _favourites(of, own, 1))}
        profile["what"] = {
            "orders": _median(column["orders"][own]),
            "money_per_order": _median(column["money_per_order"][own]) if money.sum() > 0 else None,
            "lines_per_order": _median(column["lines_per_order"][own]),
            "of": orders.of,
            "most": _most(orders.kind, own[orders.bought], orders.kinds),
        }
        apart = sorted(traits, key=lambda name: -abs(_mean(spread[name][own])))[:SHOWN]
        profile["why"] = [
            {
                "trait": name,
                "median": _median(column[name][own]),
                "median_of_all": _median(column[name]),
                "place": _round(0.5 + _mean(spread[name][own])),
            }
            for name in apart
        ]
        started = own[orders.starter]
        profile["when"] = {
            "days_since_order": _median(column["days_since_order"][own]),
            "days_between_orders": _median(column["gap_mean"][own]),
            "weekday": _most(orders.weekday + 1, started, DAYS),
            "time_of_day": _most(orders.hour + 1, started, HOURS),
        }
        channels = {n.removeprefix(CHANNEL): _round(_mean(column[n][own])) for n in column if n.startswith(CHANNEL)}
        profile["where"] = {"channels": channels}
    return told


def _place(values: np.ndarray) -> np.ndarray:
    """Share of customers below each, half of the equals counted, less a half; NaN where unknown: float64 (n,)."""
    known = ~np.isnan(values)
    _, code, count = np.unique(values[known], return_inverse=True, return_counts=True)
    found = np.full(len(values), np.nan)
    found[known] = ((np.cumsum(count) - count / 2) / max(known.sum(), 1))[code] - 0.5
    return found


def _most(code: np.ndarray, own: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent kinds of a segment: share among what is known, and how many times the share of all."""
    everyone = np.bincount(code, minlength=len(names) + 1)[1:]
    of_own = np.bincount(code[own], minlength=len(names) + 1)[1:]
    n_all, n = everyone.sum(), of_own.sum()
    top = [i for i in np.argsort(-of_own, kind="stable")[:SHOWN] if of_own[i]]
    return [
        {"name": names[i], "share": _round(of_own[i] / n), "times_usual": _round(of_own[i] / n / (everyone[i] / n_all))}
        for i in top
    ]


def _favourites(of: np.ndarray, own: np.ndarray, shown: int) -> list[dict[str, Any]]:
    names, code = np.unique(of.astype(str), return_inverse=True)
    known = np.where(names == UNKNOWN, 0, np.cumsum(names != UNKNOWN))
    return _most(known[code], own, names[names != UNKNOWN].tolist())[:shown]


def _category_since(prepared: Prepared) -> np.ndarray | None:
    name = next((c for c in CATEGORY_COLUMNS if c in prepared.items.column_names), None)
    return None if name is None else prepared.known_since("items", name)


def _median(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return _round(np.median(known)) if len(known) else None


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def _round(value: float) -> float:
    return float(f"{value:.4g}")
