"""What a prepared dataset says of its shop, for features of customers: nothing that was not known at each instant.

Shapes: n rows (customer, cutoff), T days, V = n_items + 1 columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.errors import UserError, nearest
from shopkeeper.features.customer.block import order_starts
from shopkeeper.features.customer.compute import GROUPS, customer_features
from shopkeeper.features.customer.declared import Affinity, Attributes, Features, beside
from shopkeeper.features.customer.moments import YEAR
from shopkeeper.features.customer.shop import Kinds, Shop, Told, UsualPrices
from shopkeeper.features.point_in_time import attributes_as_of
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from shopkeeper.timeline import floor_day
from shopkeeper.timeline.zones import local

PLACED = 1_000_000  # rows (customer, day) whose places are told at once: bounds memory, changes no result
STEPS = 101  # quantiles of a feature that place a customer among others
# Groups whose features may place a customer: those before `position` that read nothing of the shop but its categories.
FIRST = tuple(g for g in GROUPS if GROUPS[g].__module__.endswith(".rfm") or g == "trends")


def lacking(declared: Features, prepared: Prepared) -> dict[str, str]:
    """Groups that are declared and that a dataset cannot give, with what it lacks."""
    e, there = prepared.events, declared.groups
    columns = set(prepared.items.column_names) if {"category", "brand"} & set(there) else set()
    found = {group: f"its items have no {group}" for group in ("category", "brand") if group not in columns}
    if e.price is None:
        found |= dict.fromkeys(("price_level", "discounts"), "its log has no prices")
    by_the_hour = ("sessions", "time_of_day")
    if set(by_the_hour) & set(there) and not _has_hours(prepared):
        found |= dict.fromkeys(by_the_hour, "its log has days and no time of day")
    return {group: why for group, why in found.items() if group in there}


def without_lacking(declared: Features, prepared: Prepared) -> Features:
    """The declaration without the groups that a dataset cannot give."""
    nothing: dict[str, Any] = dict.fromkeys(lacking(declared, prepared))
    return replace(declared, **nothing)


def shop_of(prepared: Prepared, declared: Features, cutoffs: np.ndarray) -> Shop:
    """What a dataset says of its shop, as far as the declaration reads it, for rows at these instants (n,).

    Raises:
        UserError: a named category, brand or attribute is none of the dataset's.
    """
    there, items = declared.groups, {"category", "brand"}
    kinds = {name: _kinds(prepared, name, there.get(name)) for name in items if name in there or name == "category"}
    days = {"price_level": _price_edges, "season": _season, "position": _positions}
    when = np.zeros(0, np.int64)
    if set(days) & set(there):
        floor = {t: floor_day(t, prepared.zone) for t in np.unique(cutoffs).tolist()}
        when = np.unique(np.array([*floor.values()], np.int64))
    told = {g: Told(when, of(prepared, declared, when)) for g, of in days.items() if g in there}
    return Shop(
        prepared.zone,
        channel_names(prepared.manifest),
        kinds["category"],
        kinds.get("brand"),
        UsualPrices.of(prepared.events) if "discounts" in there else None,
        told.get("price_level"),
        told.get("season"),
        told.get("position"),
        beside(declared).vectors,
        _attributes(prepared, there["attributes"]) if "attributes" in there else None,
    )


def _has_hours(prepared: Prepared) -> bool:
    time = prepared.events.timestamp
    return time is not None and bool((local(time, prepared.zone) % MICROSECONDS_PER_DAY != 0).any())


def _kinds(prepared: Prepared, name: str, told: Affinity | None) -> Kinds | None:
    """The kinds of all items by a column of their table; None without one."""
    codes, names = item_kinds(prepared, name)
    if codes is None:
        return None
    wanted = () if told is None else told.named
    if unknown := [one for one in wanted if one not in set(names)]:
        raise UserError(
            f"features.{name}.named: dataset={prepared.name} has no {name} '{unknown[0]}'.{nearest(unknown[0], names)}"
        )
    if taken := {"number", "newest"} & set(wanted):
        raise UserError(
            f"features.{name}.named: {name}_affinity_{min(taken)} is another feature already; leave '{min(taken)}' out"
        )
    since = prepared.known_since("items", name)
    return Kinds(codes, since, tuple(names.index(one) + 1 for one in wanted))


def _bought_by_time(prepared: Prepared) -> np.ndarray:
    """Rows of all purchases, oldest first: int64."""
    e = prepared.events
    assert e.timestamp is not None
    rows = np.flatnonzero(e.event_type == EVENT_CODE["purchase"])
    return rows[np.argsort(e.timestamp[rows], kind="stable")]


def _price_edges(prepared: Prepared, declared: Features, when: np.ndarray) -> np.ndarray:
    """What divides the prices of all purchases before each day into equal shares: float64 (T, levels - 1)."""
    assert declared.price_level is not None
    e, levels = prepared.events, declared.price_level.levels
    assert e.timestamp is not None
    assert e.price is not None
    rows = _bought_by_time(prepared)
    rows = rows[np.nan_to_num(e.price[rows]) > 0]
    end = np.searchsorted(e.timestamp[rows], when)
    price, at = np.asarray(e.price[rows], np.float64), np.arange(1, levels) / levels
    return np.stack([np.quantile(price[:n], at) if n else np.full(levels - 1, np.nan) for n in end.tolist()])


def _season(prepared: Prepared, declared: Features, when: np.ndarray) -> np.ndarray:
    """Orders of the days that followed each day a year ago, over those of as many before it: float64 (T, 2).

    NaN where the log does not reach so far back, or nothing was ordered. Beside it 1 where the log reaches back a year,
    else 0.
    """
    assert declared.season is not None
    e, day, n = prepared.events, MICROSECONDS_PER_DAY, declared.season.days
    assert e.timestamp is not None
    owner = prepared.event_user
    starts = order_starts(np.asarray(e.event_type == EVENT_CODE["purchase"]), owner, e.order, e.timestamp)
    at = np.sort(e.timestamp[starts])
    before, then, after = (np.searchsorted(at, when - ago * day) for ago in (YEAR + n, YEAR, YEAR - n))
    known = (when - (YEAR + n) * day >= prepared.span[0]) & (then > before)
    share = np.where(known, (after - then) / np.maximum(then - before, 1), np.nan)
    return np.stack([share, when - YEAR * day >= prepared.span[0]], axis=1)


def _positions(prepared: Prepared, declared: Features, when: np.ndarray) -> np.ndarray:
    """Quantiles of features of all customers who are active and agree on each day: float64 (T, features, STEPS)."""
    told, e, time = declared.position, prepared.events, prepared.events.timestamp
    assert told is not None
    assert time is not None
    bought = np.concatenate([[0], np.cumsum(e.event_type == EVENT_CODE["purchase"])])

    def active(t: int) -> np.ndarray:
        end = lower_bound(time, prepared.offsets[:-1], prepared.offsets[1:], t)
        start = prepared.offsets[:-1]
        if told.days is not None:
            start = lower_bound(time, start, end, t - told.days * MICROSECONDS_PER_DAY)
        who = np.flatnonzero(bought[end] > bought[start]) + 1
        return who if prepared.consent is None else who[prepared.consent.holds(who, t)]

    declared_first = Features.from_json({g: s for g, s in declared.as_json().items() if g in FIRST})
    shop = Shop(prepared.zone, channel_names(prepared.manifest), _kinds(prepared, "category", None))
    steps = np.full((len(when), len(told.of), STEPS), np.nan)

    def tell(rows: list[int], users: list[np.ndarray]) -> None:
        day = np.repeat(when[rows], [len(who) for who in users])
        table = customer_features(e, prepared.offsets, np.concatenate(users), day, declared_first, shop)
        if unknown := [name for name in told.of if name not in table.names]:
            raise UserError(
                f"features.position.of: '{unknown[0]}' is no feature of a group above that is declared, and places "
                f"customers (those of features=usual, and trends)."
                f"{nearest(unknown[0], table.names)}"
            )
        values = table.values[:, [table.names.index(name) for name in told.of]]
        for row in rows:
            for place, column in enumerate(values[day == when[row]].T):
                if len(known := column[~np.isnan(column)]):
                    steps[row, place] = np.quantile(known, np.linspace(0, 1, STEPS))

    rows: list[int] = []
    users: list[np.ndarray] = []
    for row, t in enumerate(when.tolist()):
        rows.append(row)
        users.append(active(t))
        if sum(map(len, users)) >= PLACED or row == len(when) - 1:
            tell(rows, users)
            rows, users = [], []
    return steps


def _attributes(prepared: Prepared, told: Attributes) -> Callable[[np.ndarray, np.ndarray], Mapping[str, np.ndarray]]:
    """Columns of the users' table as they were known, by the names of their features."""
    table, versions = prepared.users, prepared.user_versions
    there = [*table.column_names[2:], *([] if versions is None else versions.column_names[2:])]
    for name in told.values:
        if name not in there:
            raise UserError(
                f"features.attributes.values: the users of {prepared.name} have no '{name}'.{nearest(name, there)}"
            )

    def asked(user: np.ndarray, cutoff: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        then = None if versions is None else attributes_as_of(versions, cutoff - 1, user)
        for name, values in told.values.items():
            if then is not None and name in then.column_names:
                column = then[name].combine_chunks()
            else:
                column = table[name].combine_chunks().take(pa.array(user - 1))
                if (since := prepared.known_since("users", name)) is not None:
                    column = pc.if_else(pa.array(since[user] < cutoff), column, pa.scalar(None, column.type))
            found |= _columns(name, values, column)
        return found

    return asked


def _columns(name: str, values: Any, column: pa.Array) -> dict[str, np.ndarray]:
    if values:
        text = np.array(["" if v is None else str(v) for v in column.to_pylist()], object)
        unknown = pc.is_null(column).to_numpy(zero_copy_only=False)
        return {f"attribute_{name}_{one}": np.where(unknown, np.nan, text == str(one)) for one in values}
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)):
        raise UserError(
            f"features.attributes.values: '{name}' holds text; name the values that have a feature each, e.g. [a, b]"
        )
    number = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    if (number < 0).any():
        raise UserError(
            f"features.attributes.values: '{name}' is below 0 for some, and features are 0 or more; leave it out"
        )
    return {f"attribute_{name}": number}


def item_categories(prepared: Prepared) -> np.ndarray | None:
    """Category code of every item, int32 (n_items + 1,), from the item table's column `category`; None without one."""
    return item_kinds(prepared, "category")[0]


def item_kinds(prepared: Prepared, name: str) -> tuple[np.ndarray | None, list[str]]:
    """Code of every item by a column of their table, int32 (n_items + 1,), and the names of codes from 1.

    0 where it is unknown: that is none. None where there is no such column.
    """
    if "items" not in prepared.__dict__ and not (prepared.place / "items.parquet").is_file():
        return None, []
    table = prepared.items
    if name not in table.column_names:
        return None, []
    column = table[name].to_pylist()
    known = np.array([i for i, x in enumerate(column) if x is not None and str(x).strip()], np.int64)
    codes = np.zeros(max(len(column), prepared.n_items) + 1, np.int32)  # an item without a row has no kind
    names, code = np.unique(np.array([str(column[i]) for i in known]), return_inverse=True)
    codes[table["item"].to_numpy()[known]] = code + 1
    return codes, names.tolist()


MOST_CHANNELS = 127  # a feature each; a column with more values is hardly a channel


def channel_names(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Channels of a dataset that features tell apart, in the order of their codes: the first that occurred."""
    return tuple(str(c) for c in (manifest.get("channels") or ())[:MOST_CHANNELS])
