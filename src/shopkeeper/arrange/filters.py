"""Filters over a whole log; each is counted before and after: rows, users, items.

Order: event types, retention, repeats, bots, consecutive repeats, k-core, shortest and longest history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shopkeeper.arrange.pieces import counted, taken
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset_parts import Bots, Filters, Repeats
from shopkeeper.ingest.log import Log
from shopkeeper.schema import MICROSECONDS_PER_DAY, event_codes
from shopkeeper.timeline.zones import days_before, local

Row = dict[str, Any]


def k_core(user: np.ndarray, item: np.ndarray, k: int) -> np.ndarray:
    """Rows left when users and items with fewer than `k` rows are dropped again and again until none is left.

    `user` and `item` are codes from 0 (int, (n,)); returns a mask (bool (n,)). O(n) a round, in which what was dropped
    is taken from the counts, so that memory is a few bytes a row; once less than half is left, the rest goes on alone.
    The k-core of a bipartite multigraph is unique, so the order of dropping does not matter (Seidman 1983, Network
    structure and minimum degree).
    """
    mask = np.ones(len(user), bool)
    if not len(user) or k <= 1:
        return mask
    per_user, per_item = (counted(codes, int(codes.max()) + 1) for codes in (user, item))
    left = len(user)
    while True:
        few_users, few_items = ((n > 0) & (n < k) for n in (per_user, per_item))
        if not (few_users.any() or few_items.any()):
            return mask
        gone = taken(few_users, user)
        gone |= taken(few_items, item)
        gone &= mask
        rows = np.flatnonzero(gone)
        mask[rows] = False
        left -= len(rows)
        if left < len(mask) / 2:
            rest = mask.copy()
            mask[rest] = k_core(user[rest], item[rest], k)
            return mask
        per_user -= np.bincount(user[rows], minlength=len(per_user))
        per_item -= np.bincount(item[rows], minlength=len(per_item))


def apply_filters(log: Log, filters: Filters, zone: str = "UTC") -> list[Row]:
    """Drop rows of the log in place; returns the table of counts. Raises `UserError` when nothing is left.

    Days and hours are those of the shop's time zone.
    """
    table: list[Row] = []
    asked = filters.asked

    def drop(name: str, mask: np.ndarray) -> None:
        before, setting = _counts(log, "before"), asked[name]
        log.keep(mask)
        table.append({"filter": name, "setting": setting, **before, **_counts(log, "after")})
        if not len(log):
            raise UserError(f"filters.{name}={setting} leaves no rows of {before['rows_before']:,}; relax it")

    if filters.event_types:
        drop("event_types", np.isin(log.event_type, np.array(event_codes(list(filters.event_types)), np.int8)))
    if filters.retention_days:
        times = _times(log, "retention_days")
        drop("retention_days", times >= days_before(int(times.max()), float(filters.retention_days), zone))
    if filters.repeats:
        span, orders = repeats_of(filters.repeats, "order_id" in log.ids)
        drop("repeats", ~_sent_again(log, span, orders, filters.repeats.at_once))
    if filters.bots:
        drop("bots", ~_is_bot(log, filters.bots, zone)[log.user])
    if filters.consecutive_repeats:
        drop("consecutive_repeats", ~_repeats(log))
    if filters.k_core:
        drop("k_core", k_core(log.user, log.item, filters.k_core))
    if filters.min_history:
        drop("min_history", (np.bincount(log.user) >= filters.min_history)[log.user])
    if filters.max_history:
        drop("max_history", (np.bincount(log.user) <= filters.max_history)[log.user])
    return table


def as_lines(table: Sequence[Row]) -> list[str]:
    """The table of counts for the screen: a line of names, then a line for each filter; nothing without filters."""
    names = [f"{what} {when}" for what in ("rows", "users", "items") for when in ("before", "after")]
    lines = [["filter", *names]]
    for row in table:
        setting = row["setting"]
        words = [f"{k}={v}" for k, v in setting.items()] if isinstance(setting, Mapping) else setting
        text = " ".join(words) if isinstance(words, list) else str(words)
        lines.append([f"{row['filter']} {text}", *(f"{row[name.replace(' ', '_')]:,}" for name in names)])
    first, *rest = (max(map(len, column)) for column in zip(*lines, strict=True))
    shown = [
        "  ".join([line[0].ljust(first), *(c.rjust(w) for c, w in zip(line[1:], rest, strict=True))]) for line in lines
    ]
    return shown if table else []


def sent_again_line(manifest: Mapping[str, Any]) -> str:
    """What is said of equal lines of one order that no setting has judged; else ""."""
    told, n = manifest["config"], manifest.get("sent_again")
    repeats = (told.get("filters") or {}).get("repeats") or {}
    first = (told.get("rows") or {}).get("orders") == "first"
    if not n or (repeats and not (first and repeats.get("at_once") is False)):
        return ""
    lines = f"{n:,} lines repeat a line of their order (item, quantity and price are equal) and are counted"
    if "time_span" not in manifest:
        return f"{lines}; without times nothing tells two pieces from an order that was sent again"
    if first:
        return f"{lines}, as of one sending; if a join made them, `filters: {{repeats: {{seconds: 0}}}}` drops them"
    return (
        f"{lines}; where pages were loaded again, `filters: {{repeats: {{seconds: 3600}}}}` drops them, or "
        f"`rows: {{orders: first}}` whatever else of an order is sent later, where no two orders share a number"
    )


def _counts(log: Log, when: str) -> Row:
    def distinct(codes: np.ndarray) -> int:
        return int(np.count_nonzero(counted(codes, int(codes.max()) + 1))) if len(codes) else 0

    return {f"rows_{when}": len(log), f"users_{when}": distinct(log.user), f"items_{when}": distinct(log.item)}


def _times(log: Log, name: str) -> np.ndarray:
    if log.timestamp is None:
        raise UserError(f"filters.{name} needs time stamps, and this data has only an order; remove it")
    return log.timestamp


def _is_bot(log: Log, limits: Bots, zone: str) -> np.ndarray:
    """Users with more events in some hour (`per_hour`) or day (`per_day`) of the shop's clock than a person can make.

    Where the clock is put back, the hour that it shows twice is two hours.
    """
    times = _times(log, "bots")
    ahead = local(times, zone) - times
    bot = np.zeros(len(log.ids["user_id"].values), bool)
    hour, day = MICROSECONDS_PER_DAY // 24, MICROSECONDS_PER_DAY
    for most, span in ((limits.per_hour, hour), (limits.per_day, day)):
        if most:
            window = (times + ahead % span if span == hour else times + ahead) // span
            window -= window.min()
            cell = log.user.astype(np.int64) * (int(window.max()) + 1) + window
            cells, count = np.unique(cell, return_counts=True)
            bot[cells[count > most] // (int(window.max()) + 1)] = True
    return bot


def repeats_of(setting: Repeats, has_orders: bool) -> tuple[int, bool]:
    """The span in µs of `filters.repeats`, and whether only rows with an order count (default where there are any)."""
    of = setting.of or ("orders" if has_orders else "all")
    if of == "orders" and not has_orders:
        raise UserError("filters.repeats.of=orders needs columns.order_id; name it, or set of: all")
    return int(setting.seconds * 1_000_000), of == "orders"


def _sent_again(log: Log, span: int, orders: bool, at_once: bool) -> np.ndarray:
    """Rows that equal an earlier one of the same user in order, item, event type, quantity and price, at most `span`
    µs after the last such row (a page that was loaded again, two files that overlap).

    Without `at_once` equal rows of one instant stay or go together: by what came before that instant.
    """
    times = _times(log, "repeats")
    keys: list[np.ndarray] = [log.user, log.item, log.event_type]
    if "order_id" in log.ids:
        keys.append(log.ids["order_id"].codes)
    keys += [np.nan_to_num(v, nan=-1.0) for v in (log.quantity, log.price) if v is not None]
    order = np.lexsort((times, *keys))
    a, b = order[:-1], order[1:]
    equal = np.ones(len(b), bool)
    for key in keys:
        equal &= key[a] == key[b]
    again = equal & (times[b] - times[a] <= span)
    if orders:
        again &= log.ids["order_id"].codes[b] >= 0
    if not at_once:
        tied = equal & (times[b] == times[a])
        first = np.maximum.accumulate(np.where(tied, 0, np.arange(1, len(b) + 1)))  # place in `order`
        again = np.append(False, again & ~tied)[first]
    same = np.zeros(len(log), bool)
    same[b] = again
    return same


def _repeats(log: Log) -> np.ndarray:
    """Rows that repeat the item and event type of the same user's row before them (in time, then file order)."""
    keys = (log.user,) if log.timestamp is None else (log.timestamp, log.user)
    order = np.lexsort(keys)
    same = np.zeros(len(log), bool)
    a, b = order[:-1], order[1:]
    same[b] = (log.user[a] == log.user[b]) & (log.item[a] == log.item[b]) & (log.event_type[a] == log.event_type[b])
    return same
