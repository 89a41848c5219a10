"""Kinds of requests, and for whom the winner is not the best.

Slices are columns `slice:…` of the per-request table, strings, made from what was known before the request's instant
(history, lifecycle, attributes) or from what was asked for (popularity, category and price of the targets). A request
with several targets belongs to the slice of its target of middle popularity or price, and of its first category.

Shapes: B requests, N targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.data.requests import Requests, Targets
from shopkeeper.evaluation.beyond import CATEGORY_COLUMNS
from shopkeeper.evaluation.compare import LOWER_IS_BETTER, align, digits_apart, finite_values, metric_label
from shopkeeper.evaluation.family import METHOD, Part, judge, least_p
from shopkeeper.evaluation.intervals import finite, mean_interval, per_user
from shopkeeper.evaluation.table import users_of
from shopkeeper.features.point_in_time import attributes_as_of
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import local

SMALL = 100  # requests; a smaller slice, or one of too few customers, is marked and not tested
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
        if values is None or f"slice:{name}" in table.column_names:
            continue
        column = pa.array(values[rows].tolist(), pa.string())
        table = table.append_column(f"slice:{name}", column)
    return table


def slice_columns(table: pa.Table) -> list[str]:
    """Names of the slices of a table, without their prefix."""
    return [name.removeprefix("slice:") for name in table.column_names if name.startswith("slice:")]


def slice_results(
    tables: Mapping[str, pa.Table],
    metric: str,
    *,
    winner: str | None = None,
    small: int = SMALL,
    confidence: float = 0.95,
    resamples: int = 1000,
    test: str = "randomisation",
    seed: int = 0,
) -> dict[str, Any]:
    """Each model in each slice with n and interval, and the slices in which the winner loses.

    Gives {"metric", "winner", "small_below", "slices": [{"slice", "value", "n", "n_users", "small",
    "models": {name: {"value", "low", "high", "n"}}}], "losses": [{"slice", "value", "n", "to", "difference", "low",
    "high", "p_value", "p_adjusted", "statement"}], "tests", "method"}. `winner` defaults to the best mean. Its
    deficits in the slices that are not small are judged against every other model, all of them (`tests`) as one family:
    `low` and `high` of the losses hold together, and exclude 0. A model that leads over all loses rarely by chance, so
    having been chosen on the same requests makes it none the easier to accuse.
    """
    aligned = align(tables)
    names = list(aligned)
    first = aligned[names[0]]
    everyone, user = np.unique(users_of(first), return_inverse=True)
    n_all = len(everyone)
    value = np.stack([finite_values(aligned[name], name, metric) for name in names], axis=1)
    sign = -1 if metric.partition("@")[0] in LOWER_IS_BETTER else 1
    if winner is None:
        filled, n_known = np.nan_to_num(value).sum(0), (~np.isnan(value)).sum(0)
        means = np.divide(sign * filled, n_known, out=np.full(len(names), -np.inf), where=n_known > 0)
        winner = names[int(np.argmax(means))]
    own = names.index(winner)
    others = [j for j in range(len(names)) if j != own]
    parts: list[Part] = []
    rows: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for column in slice_columns(first):
        label = np.asarray(pc.fill_null(first[f"slice:{column}"].cast(pa.string()), "unknown").to_pylist(), object)
        for kind, mask in _kinds(label):
            some, who = value[mask], user[mask]
            interval = mean_interval(some, who, confidence=confidence, resamples=resamples, seed=seed)
            n, n_users = int(mask.sum()), len(np.unique(who))
            facts = {"slice": column, "value": kind, "n": n}
            models = dict(zip(names, interval.as_dicts(), strict=True))
            few = bool(n < small or least_p(n_users) > 1 - confidence)
            rows.append({**facts, "n_users": n_users, "small": few, "models": models})
            kept = np.flatnonzero((~np.isnan(some[:, [own]] - some[:, others])).any(0))
            if len(kept) and not few:
                tests += [{**facts, "to": names[others[i]]} for i in kept]
                within = some[:, [own]] - some[:, [others[i] for i in kept]]
                parts.append(Part(*per_user(within, who), users=np.unique(who)))
    found = judge(parts, n_all, confidence=confidence, resamples=resamples, test=test, seed=seed)
    losses = []
    for i, one in enumerate(tests):
        one["difference"] = float(found.mean[i])
        one |= {k: finite(getattr(found, k)[i]) for k in ("low", "high", "p_value", "p_adjusted")}
        if sign * one["difference"] < 0 and (found.low[i] > 0 or found.high[i] < 0):
            bounds = sorted((-sign * one["low"], -sign * one["high"]))
            digits = digits_apart(one["difference"], *bounds)
            one["statement"] = (
                f"in {one['slice'].replace('_', ' ')} = {one['value']} ({one['n']:,} requests) {winner} is worse "
                f"than {one['to']} by {abs(one['difference']):.{digits}f} {metric_label(metric)} "
                f"({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})"
            )
            losses.append(one)
    losses.sort(key=lambda t: sign * t["difference"])
    return {
        "metric": metric,
        "winner": winner,
        "small_below": small,
        "slices": rows,
        "losses": losses,
        "tests": len(tests),
        "method": METHOD[test],
    }


def _kinds(label: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Values of a slice with their masks: known bands in their order, else the most frequent first."""
    kinds, count = np.unique(label.astype(str), return_counts=True)
    place = {name: i for i, name in enumerate(ORDER)}
    ordered = sorted(zip(kinds, count, strict=True), key=lambda x: (place.get(x[0], -int(x[1])), x[0]))
    if any(k in place for k in kinds):
        ordered = sorted(ordered, key=lambda x: (place.get(x[0], -1), -int(x[1]), x[0]))
    return [(str(kind), label == kind) for kind, _ in ordered]


def _bands(values: np.ndarray, edges: Sequence[float], names: Sequence[str]) -> np.ndarray:
    return np.array(names, object)[np.digitize(values, edges)]


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
    """One slice per attribute of users, `user_<name>`, as it was known at the instant.

    Of an attribute with versions the one that held; one that comes from events is unknown until one has shown it.
    `user` int (n,) internal ids, `instant` int64 (n,) µs or None. Identifiers (mostly different values) are left out.
    """
    found: dict[str, np.ndarray] = {}
    columns = {
        name: prepared.users[name].combine_chunks().take(pa.array(user - 1)) for name in prepared.users.column_names
    }
    if prepared.user_versions is not None and instant is not None:
        known = attributes_as_of(prepared.user_versions, instant, user)
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
