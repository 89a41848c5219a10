"""Kinds of requests and of customers: columns `slice:…` of the table, strings.

They are made from what was known before the instant (history, lifecycle, attributes) or from what was asked for
(popularity, category and price of the targets). A request with several targets belongs to the slice of its target of
middle popularity or price, and of its first category.

Shapes: B requests, N targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.customers.base import Cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.evaluation.table import SLICE
from shopkeeper.features.point_in_time import attributes_as_of
from shopkeeper.schema import CATEGORY_COLUMNS, MICROSECONDS_PER_DAY
from shopkeeper.tasks.base import Bands
from shopkeeper.timeline.zones import local

LAPSED_DAYS, LOYAL_DAYS = 90, 5
MOST_VALUES = 12  # further values of a category or attribute are put together as "other"

# The order in which people expect the bands; other values come by number of requests.
ORDER = (
    "none", "1-4", "5-19", "20-49", "50-199", "200+",
    "new", "returning", "loyal", "lapsed",
    "head", "middle", "tail", "not in training",
    "warm", "some warm", "cold",
    "night 0-6", "morning 6-12", "afternoon 12-18", "evening 18-24",
    "weekday", "weekend",
    "lowest quarter", "second quarter", "third quarter", "highest quarter",
    "other", "unknown",
)  # fmt: skip


def add_slices(table: pa.Table, prepared: Prepared, split: Split, part: str) -> pa.Table:
    """The per-request table with its slice columns; those that the data cannot give are absent.

    `history_length`; `lifecycle` (new: seen on at most one day before; lapsed: silent for 90 days; loyal: seen on
    five days or more; else returning); `item_popularity` (head: the items that together have the first half of the
    training events; middle: the next 40 %; tail: the rest); `user` and `item` (warm: has training rows); `category`;
    `channel`; `time_of_day` and `weekday` (the shop's); `price_band` (quarters of the prices in training); and
    every attribute of users with few enough values, as known at the instant, numbers as quarters of the requests.
    """
    requests, targets = split.part(part)
    asked = split.request_table(part)
    rows = table["request"].to_numpy()
    found: dict[str, np.ndarray | None] = {
        "history_length": _bands(requests.lengths, (1, 5, 20, 50, 200), ORDER[:6]),
        "lifecycle": _lifecycle(requests, prepared.zone),
        "item_popularity": _popularity(prepared, split, targets),
        "user": _warm_users(asked),
        "item": _warm_items(asked),
        "category": _category(prepared, targets),
        "channel": _channel(prepared, requests),
        "time_of_day": _time_of_day(requests, prepared.zone),
        "weekday": _weekday(requests, prepared.zone),
        "price_band": _price_band(prepared, split, targets),
        **({} if requests.user is None else user_attributes(prepared, requests.user, requests.instant)),
    }
    for name, values in found.items():
        if values is None or f"{SLICE}{name}" in table.column_names:
            continue
        column = pa.array(values[rows].tolist(), pa.string())
        table = table.append_column(f"{SLICE}{name}", column)
    return table


def _bands(values: np.ndarray, edges: Sequence[float], names: Sequence[str]) -> np.ndarray:
    return np.array(names, object)[np.digitize(values, edges)]


def banded(cohort: Cohort, slices: Mapping[str, Bands]) -> dict[str, np.ndarray]:
    """Kinds of customers, from features that were known at the cutoff; those that the cohort has not are absent."""
    column = dict(zip(cohort.feature_names, cohort.features.T, strict=True))
    return {
        name: np.array(of.names)[np.digitize(column[of.feature], of.edges)]
        for name, of in slices.items()
        if of.feature in column
    }


def last_channel(prepared: Prepared, cohort: Cohort) -> dict[str, np.ndarray]:
    """The channel of each customer's last event before the cutoff, as `last_channel`; {} where the log has none."""
    names, channel = prepared.manifest.get("channels") or [], cohort.events.channel
    if channel is None or not names or not len(cohort):
        return {}
    some = cohort.end > cohort.start
    code = np.where(some, np.asarray(channel[np.where(some, cohort.end - 1, 0)], np.int64), 0)
    return {"last_channel": np.array(["unknown", *names], object)[code]}


def _lifecycle(requests: Requests, zone: str) -> np.ndarray | None:
    time, instant = requests.events.timestamp, requests.instant
    if time is None or instant is None or len(time) == 0:
        return None
    day = local(np.asarray(time), zone) // MICROSECONDS_PER_DAY
    changes = np.concatenate([[0], np.cumsum(day[1:] != day[:-1])])  # days begun up to each row, users run on
    some = requests.lengths > 0
    last = np.where(some, requests.end - 1, 0)
    days = np.where(some, changes[last] - changes[np.where(some, requests.start, 0)] + 1, 0)
    silent = (instant - np.asarray(time)[last]) / MICROSECONDS_PER_DAY
    kind = np.select([days >= LOYAL_DAYS, days >= 2], ["loyal", "returning"], "new").astype(object)
    kind[some & (silent >= LAPSED_DAYS)] = "lapsed"
    return kind


def _popularity(prepared: Prepared, split: Split, targets: Targets) -> np.ndarray:
    _, rows = split.training_rows()
    count_V = np.bincount(prepared.events.item[rows], minlength=prepared.n_items + 1)
    order = np.argsort(-count_V, kind="stable")
    # Share of the training events that more popular items have: the item that crosses a border is still above it.
    share_V = np.empty(len(count_V))
    share_V[order] = (np.cumsum(count_V[order]) - count_V[order]) / max(count_V.sum(), 1)
    middle = _middle_target(targets, count_V[targets.item].astype(np.float64))
    item = np.where(middle >= 0, targets.item[middle], 0)
    band = _bands(share_V[item], (0.5, 0.9), ("head", "middle", "tail"))
    band[count_V[item] == 0] = "not in training"
    return band


def _middle_target(targets: Targets, key: np.ndarray) -> np.ndarray:
    """Index of the target with the (lower) median key of each request; -1 where there is none."""
    order = np.lexsort((key, targets.request))
    n = np.diff(targets.offsets)
    at = targets.offsets[:-1] + np.maximum(n - 1, 0) // 2
    return np.where(n > 0, order[np.minimum(at, len(order) - 1)], -1) if len(order) else np.full(len(n), -1)


def _warm_users(asked: pa.Table) -> np.ndarray | None:
    if "warm_user" not in asked.column_names:
        return None
    return np.where(asked["warm_user"].to_numpy(zero_copy_only=False), "warm", "cold").astype(object)


def _warm_items(asked: pa.Table) -> np.ndarray | None:
    if "warm_targets" not in asked.column_names:
        return None
    lists = asked["warm_targets"].combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    warm = np.concatenate([[0], np.cumsum(lists.values.to_numpy(zero_copy_only=False))])
    n, n_warm = np.diff(offsets), warm[offsets[1:]] - warm[offsets[:-1]]
    return np.select([n_warm == n, n_warm == 0], ["warm", "cold"], "some warm").astype(object)


def _category(prepared: Prepared, targets: Targets) -> np.ndarray | None:
    name = next((c for c in CATEGORY_COLUMNS if c in prepared.items.column_names), None)
    if name is None:
        return None
    values = prepared.items[name].to_pylist()
    firsts = ((v[0] if v else None) if isinstance(v, list) else v for v in values)  # of several genres the first
    of_item = np.array(["unknown", *("unknown" if v is None else str(v) for v in firsts)], object)
    some = np.diff(targets.offsets) > 0
    first = np.where(some, targets.item[np.minimum(targets.offsets[:-1], max(len(targets.item) - 1, 0))], 0)
    return _most_frequent(of_item[first])


def _channel(prepared: Prepared, requests: Requests) -> np.ndarray | None:
    names = prepared.manifest.get("channels") or []
    if requests.channel is None or not names:
        return None
    return np.array(["unknown", *names], object)[requests.channel]


def _time_of_day(requests: Requests, zone: str) -> np.ndarray | None:
    if requests.instant is None:
        return None
    hour = local(requests.instant, zone) % MICROSECONDS_PER_DAY * 24 / MICROSECONDS_PER_DAY
    return _bands(hour, (6, 12, 18), ("night 0-6", "morning 6-12", "afternoon 12-18", "evening 18-24"))


def _weekday(requests: Requests, zone: str) -> np.ndarray | None:
    if requests.instant is None:
        return None
    weekday = (local(requests.instant, zone) // MICROSECONDS_PER_DAY + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    return np.where(weekday < 5, "weekday", "weekend").astype(object)


def _price_band(prepared: Prepared, split: Split, targets: Targets) -> np.ndarray | None:
    price = prepared.events.price
    if price is None:
        return None
    _, rows = split.training_rows()
    known = price[rows][~np.isnan(price[rows])]
    if len(known) == 0:
        return None
    of_target = targets.price(prepared.events)
    middle = _middle_target(targets, of_target)
    own = np.where(middle >= 0, of_target[middle], np.nan)
    return _quarters(own, known)


def _quarters(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    names = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
    band = _bands(values, np.quantile(known, [0.25, 0.5, 0.75]), names)
    band[np.isnan(values)] = "unknown"
    return band


def user_attributes(prepared: Prepared, user: np.ndarray, instant: np.ndarray | None) -> dict[str, np.ndarray]:
    """One slice per attribute of users, `user_<name>`, as it was known strictly before the instant, as features are.

    Of an attribute with versions the one that held; one that comes from events is unknown until one has shown it.
    `user` int (n,) internal ids, `instant` int64 (n,) µs or None. Identifiers (mostly different values) are left out.
    """
    found: dict[str, np.ndarray] = {}
    columns = {
        name: prepared.users[name].combine_chunks().take(pa.array(user - 1)) for name in prepared.users.column_names
    }
    if prepared.user_versions is not None and instant is not None:
        known = attributes_as_of(prepared.user_versions, instant - 1, user)
        columns |= {name: known[name].combine_chunks() for name in known.column_names}
    for name, column in columns.items():
        kind = column.type
        if name in ("user", "user_id"):
            continue
        since = prepared.known_since("users", name)
        if since is not None and instant is not None:
            column = pc.if_else(pa.array(since[user] < instant), column, pa.scalar(None, kind))
        n_values = len(column.drop_null().unique())  # what is unknown is no value
        if n_values == 0:
            continue
        if (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and n_values > MOST_VALUES:
            number = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            if not np.isnan(number).all():
                found[f"user_{name}"] = _quarters(number, number[~np.isnan(number)])
        elif pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind):
            if n_values > max(MOST_VALUES, len(column) // 10):
                continue
            found[f"user_{name}"] = _most_frequent(
                np.array(pc.fill_null(column.cast(pa.string()), "unknown").to_pylist(), object)
            )
    return found


def _most_frequent(values: np.ndarray) -> np.ndarray:
    """The most frequent values, the rest as "other"; what is unknown is no value and stays "unknown"."""
    kinds, code, count = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    unknown = kinds == "unknown"
    if len(kinds) - unknown.sum() <= MOST_VALUES + 1:
        return values
    kept = unknown.copy()
    kept[np.argsort(-np.where(unknown, 0, count), kind="stable")[:MOST_VALUES]] = True
    return np.where(kept[code], values, "other").astype(object)
