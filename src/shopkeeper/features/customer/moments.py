"""When and how a customer buys: trends, sessions, times of day and week, the season, the place among others.

Shapes: n rows (customer, cutoff), M events of the block.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.data.session_rows import session_rows
from shopkeeper.errors import UserError, nearest
from shopkeeper.features.customer.block import MONEY_UNIT, Block, ratio
from shopkeeper.features.customer.declared import Attributes, Position, Season, Sessions, Windows
from shopkeeper.features.point_in_time import first_of_key
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import local

Columns = dict[str, np.ndarray]
YEAR = 365  # days
HOURS = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}


def trends(b: Block, told: Windows) -> Columns:
    """Of the orders, and the money, of twice as many days the share of the newer half: .5 is as before."""
    found = {}
    for w in told.windows:
        new, both = (b.total(b.new_order, b.since(days)) for days in (w, 2 * w))
        found[f"orders_trend_{w}d"] = ratio(new, both)
    for w in told.windows:
        new, both = (b.total(b.spent, b.since(days)) * MONEY_UNIT for days in (w, 2 * w))
        found[f"money_trend_{w}d"] = ratio(new, both)
    return found


def sessions(b: Block, told: Sessions) -> Columns:
    """Sessions of the last days, events of one, and what share of them has an order."""
    row = session_rows(b.events, b.owner, told.gap_minutes)
    begins = row == np.arange(len(row))
    ordered = np.zeros(len(row), bool)
    at = np.flatnonzero(b.new_order)
    ordered[at] = first_of_key(row[at], np.zeros(len(at), np.int64))
    n = b.total(begins)
    return {
        **{f"sessions_{w}d": b.total(begins, b.since(w)) for w in told.windows},
        "events_per_session": ratio(b.end - b.start, n),
        "sessions_with_order_share": ratio(b.total(ordered), n),
    }


def time_of_day(b: Block, _: bool) -> Columns:
    """The share of orders placed at night (0 to 6), in the morning, afternoon and evening, by the shop's clocks."""
    hour = local(b.time, b.shop.zone) % MICROSECONDS_PER_DAY // (MICROSECONDS_PER_DAY // 24)
    return {
        f"order_share_{name}": ratio(b.total(b.new_order & (hour >= low) & (hour < high)), b.orders)
        for name, (low, high) in HOURS.items()
    }


def time_of_week(b: Block, _: bool) -> Columns:
    """The share of orders placed on a Saturday or Sunday."""
    weekend = (b.day + 3) % 7 >= 5  # 1970-01-01 was a Thursday, Monday is 0
    return {"order_share_weekend": ratio(b.total(b.new_order & weekend), b.orders)}


def season(b: Block, told: Season) -> Columns:
    """What followed a year ago: the customer's orders, and the whole shop's over those of as many days before.

    NaN of days before the log begins: what was ordered then nobody knows.
    """
    since, until = b.since(YEAR), b.since(YEAR - told.days)
    own = (b.total(b.new_order, since) - b.total(b.new_order, until)).astype(np.float64)
    shop = np.full(len(b.person), np.nan)
    if b.shop.season is not None:
        said = b.shop.season.values[b.shop.season.row(b.cutoff)]
        if said.ndim == 1:  # a bundle of before shops told how far back their logs reach
            said = np.stack([said, np.ones(len(said))], axis=1)
        shop, own = said[:, 0], np.where(said[:, 1] > 0, own, np.nan)
    return {f"orders_year_ago_{told.days}d": own, f"shop_season_{told.days}d": shop}


def position(b: Block, told: Position) -> Columns:
    """Where a customer stands among those with an order in the last days: from 0, the least, to 1, for each feature."""
    found = {}
    for place, name in enumerate(told.of):
        if name not in b.found:
            raise UserError(f"features.position.of: '{name}' is no feature of a group above.{nearest(name, b.found)}")
        value, where = np.asarray(b.found[name], np.float64), np.full(len(b.person), np.nan)
        if b.shop.positions is not None:
            day = b.shop.positions.row(b.cutoff)
            for one in np.unique(day).tolist():
                rows = np.flatnonzero((day == one) & ~np.isnan(value))
                steps = b.shop.positions.values[one, place]
                below, until = (np.searchsorted(steps, value[rows], side) for side in ("left", "right"))
                where[rows] = np.where(np.isnan(steps[0]), np.nan, (below + until) / (2 * len(steps)))
        found[f"{name}_position"] = where
    return found


def attributes(b: Block, told: Attributes) -> Columns:
    """What else is known of the customer at the cutoff: numbers as they are, of text 1 where it is the named value."""
    said = {} if b.shop.attributes is None else b.shop.attributes(b.user, b.cutoff)
    return {name: said.get(name, np.full(len(b.person), np.nan)) for name in attribute_columns(told)}


def attribute_columns(told: Attributes) -> list[str]:
    """Names of its features."""
    return [
        f"attribute_{name}" + (f"_{value}" if values else "")
        for name, values in told.values.items()
        for value in (values or ("",))
    ]
