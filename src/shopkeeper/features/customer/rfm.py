"""Recency, frequency, money and their relatives, from a customer's own events alone.

A returned purchase stays a purchase; the return shows in `return_share` and `money_returned_share` from the moment at
which it happens. `order_weeks` and `order_months` are different weeks (from Monday) and stretches of 30 days (of the
calendar) in which something was ordered: who orders in many of them has a habit, and who placed as many orders at once
has none; with a window, those whose first order lies in it.

Nothing is set against the age of the log: what grows with it tells cutoffs apart, and a model then carries the trend
of its training cutoffs on into a season that it has not seen.

Shapes: n rows (customer, cutoff), M events of a block.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.data.ranges import lower_bound
from shopkeeper.features.customer.block import MONEY_UNIT, SECOND, Block, ratio
from shopkeeper.features.customer.declared import Look, Windows
from shopkeeper.features.point_in_time import first_of_key, prefix
from shopkeeper.schema import MICROSECONDS_PER_DAY

PER_DAY = MICROSECONDS_PER_DAY / SECOND
PERIODS = {"weeks": (7, 3), "months": (30, 0)}  # days, and how many of one had passed on 1970-01-01, a Thursday
Columns = dict[str, np.ndarray]


def recency(b: Block, _: bool) -> Columns:
    """Days since the last order, the first one and the last event of any kind."""
    return {
        "days_since_order": b.silence,
        "days_since_first_order": b.days_since(b.new_order, last=False),
        "days_since_event": b.absence,
    }


def frequency(b: Block, told: Windows) -> Columns:
    """Orders, in all and in the last days."""
    return {"orders": b.orders, **{f"orders_{w}d": b.total(b.new_order, b.since(w)) for w in told.windows}}


def money(b: Block, told: Windows) -> Columns:
    """Money of purchases, in all, in the last days and an order."""
    spent = b.total(b.spent) * MONEY_UNIT
    return {
        "money": spent,
        **{f"money_{w}d": b.total(b.spent, b.since(w)) * MONEY_UNIT for w in told.windows},
        "money_per_order": ratio(spent, b.orders),
    }


def gaps(b: Block, _: bool) -> Columns:
    """Days between orders: mean, spread, the last one, and how many of the mean the customer has been silent for."""
    gap = b.gaps(b.new_order)
    n_gaps = np.maximum(b.orders - 1, 0)
    mean = ratio(b.total(gap), n_gaps)
    spread = np.sqrt(np.maximum(ratio(b.total(gap * gap), n_gaps) - mean**2, 0))
    last = np.where(n_gaps > 0, np.append(gap, 0)[b.row_of(b.new_order, last=True)], np.nan)
    return {
        "gap_mean": mean / PER_DAY,
        "gap_std": spread / PER_DAY,
        "gap_last": last / PER_DAY,
        "recency_over_gap": ratio(b.silence, mean / PER_DAY),
    }


def baskets(b: Block, _: bool) -> Columns:
    """Lines and pieces an order, different items and categories bought, and the share of lines that are repeats."""
    new_item = np.zeros(len(b.time), bool)
    new_item[b.bought] = first_of_key(b.owner[b.bought], b.events.item[b.bought])
    items = b.total(new_item)
    return {
        "lines_per_order": ratio(b.lines, b.orders),
        "units_per_order": ratio(b.total(np.where(b.bought, b.units, 0)) * MONEY_UNIT, b.orders),
        "items": items,
        "categories": _categories(b),
        "repeat_share": 1 - ratio(items, b.lines),
    }


def returns(b: Block, _: bool) -> Columns:
    """What share of lines, and of the money, came back."""
    returned = b.is_type("return")
    return {
        "return_share": ratio(b.total(returned), b.lines),
        "money_returned_share": ratio(b.total(np.where(returned, b.money, 0)), b.total(b.spent)),
    }


def looks(b: Block, told: Look) -> Columns:
    """Views and what was put into the cart: how many in the last days, and how long ago."""
    found = {}
    for name, kind in (("view", "view"), ("cart", "add_to_cart")):
        flag = b.is_type(kind)
        found[f"{name}s_{told.days}d"] = b.total(flag, b.since(told.days))
        found[f"days_since_{name}"] = b.days_since(flag)
    return found


def visits(b: Block, told: Windows) -> Columns:
    """Days with any event: how many of the last ones, days between them, and how many such gaps the silence is long."""
    gap = ratio(b.total(b.gaps(b.visit)), np.maximum(b.total(b.visit) - 1, 0)) / PER_DAY
    return {
        **{f"visits_{w}d": b.total(b.visit, b.since(w)) for w in told.windows},
        "visit_gap_mean": gap,
        "recency_over_visit_gap": ratio(b.absence, gap),
    }


def habit(b: Block, told: Windows) -> Columns:
    """Different weeks, and stretches of 30 days, in which something was ordered."""
    found = {}
    for period, (length, passed) in PERIODS.items():
        begun = _begun(b, length, passed)
        found[f"order_{period}"] = b.total(begun)
        found |= {f"order_{period}_{w}d": b.total(begun, b.since(w)) for w in told.windows}
    return found


def channels(b: Block, _: bool) -> Columns:
    """The share of orders by each of the shop's channels."""
    found = {}
    for code, name in enumerate(b.shop.channels, 1):
        none = np.zeros(len(b.time), bool)
        here = b.new_order & (b.events.channel == code) if b.events.channel is not None else none
        found[f"channel_share_{name}"] = ratio(b.total(here), b.orders)
    return found


def _categories(b: Block) -> np.ndarray:
    """How many different categories each row has bought from, as far as that was known: float64 (n,)."""
    kinds = b.shop.category
    if kinds is None:
        return np.full(len(b.person), np.nan)
    kind = kinds.code_V[b.events.item]
    some = np.flatnonzero(b.bought & (kind > 0))
    seen = b.time[some]  # the instant from which the customer has bought from a category, as far as known
    if kinds.since_V is not None:
        seen = np.maximum(seen, kinds.since_V[b.events.item[some]])
    return _distinct(b.owner[some], kind[some], seen, b.person, b.cutoff).astype(np.float64)


def _distinct(
    owner: np.ndarray, kind: np.ndarray, seen: np.ndarray, person: np.ndarray, cutoff: np.ndarray
) -> np.ndarray:
    """How many different kinds each person has seen strictly before a cutoff: int64 (n,).

    `owner`, `kind` and `seen` are those of some events, sorted by owner; `person` those of the rows asked for.
    """
    if (np.diff(seen)[np.diff(owner) == 0] < 0).any():
        order = np.lexsort((seen, owner))
        owner, kind, seen = owner[order], kind[order], seen[order]
    running = prefix(first_of_key(owner, kind))
    start, stop = np.searchsorted(owner, person, "left"), np.searchsorted(owner, person, "right")
    return np.asarray(running[lower_bound(seen, start, stop, cutoff)] - running[start])


def _begun(b: Block, length: int, passed: int) -> np.ndarray:
    """True where a customer's first order in a period of `length` days starts: bool (M,)."""
    row, first = np.flatnonzero(b.new_order), np.zeros(len(b.time), bool)
    period = (b.day[row] + passed) // length
    first[row] = np.append(True, (period[1:] != period[:-1]) | (b.owner[row][1:] != b.owner[row][:-1]))[: len(row)]
    return first
