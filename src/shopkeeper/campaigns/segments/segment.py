"""All customers of a dataset in segments as of an instant, and as they were some days before.

Shapes: n customers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.campaigns.segments.clusters import Grouping, UngroupedError, group
from shopkeeper.campaigns.segments.profile import orders_of, profiles
from shopkeeper.campaigns.segments.rules import NO_ORDER, lifecycle, net_money, rfm, usual_gap, value_tiers
from shopkeeper.campaigns.segments.settings import SEGMENTATIONS, Segmentation
from shopkeeper.customers.build_cohort import features_of
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.slices import user_attributes
from shopkeeper.schema import MICROSECONDS_PER_DAY, NO_HISTORY
from shopkeeper.timeline import iso

NOT_THERE, NO_LONGER = "not here yet", "no longer here"  # the latter withdrew consent
Known = Callable[[int], Prepared]  # the dataset as it was known at an instant


@dataclass(frozen=True)
class Moment:
    """Customers with events before an instant who agree at it, and what was known of them."""

    at: int
    prepared: Prepared
    customer: np.ndarray  # int64 (n,)
    column: Mapping[str, np.ndarray]  # features by name

    @classmethod
    def of(cls, prepared: Prepared, at: int) -> Moment:
        """Everybody whom the dataset shows by then."""
        time, offsets = prepared.events.timestamp, prepared.offsets
        if time is None:
            raise UserError(f"dataset '{prepared.name}' has no time stamps: segments need them; choose another")
        there = np.diff(offsets) > 0
        first = np.where(there, time[np.minimum(offsets[:-1], max(len(time) - 1, 0))], at)
        customer = np.flatnonzero(first < at) + 1
        if prepared.consent is not None:
            customer = customer[prepared.consent.holds(customer, at)]
        if len(customer) == 0:
            raise UserError(f"nobody is known before {iso(at)}, or nobody agrees then; choose a later instant")
        features = features_of(prepared, customer, np.full(len(customer), at, np.int64))
        return cls(at, prepared, customer, dict(zip(features.names, features.values.T, strict=True)))

    @property
    def ordered(self) -> np.ndarray:
        """Whether each customer has ordered, bool (n,)."""
        return self.column["orders"] > 0

    def buyers(self) -> dict[str, np.ndarray]:
        """Features of those who have."""
        return {name: values[self.ordered] for name, values in self.column.items()}


@dataclass(frozen=True)
class Segments:
    """What `segments_of` finds."""

    table: pa.Table  # one row per customer of the dataset
    movement: pa.Table  # segmentation, before, now, customers
    about: dict[str, Any]  # instants, rules, grouping, profiles


def segments_of(known: Known, at: int, rules: Segmentation) -> Segments:
    """Segments of everybody at an instant (µs), and how they moved since `rules.movement_days` before.

    Groups of then are those of now, so that moving means that the customer has changed.

    Raises:
        UserError: no time stamps, or nobody there.
    """
    now = Moment.of(known(at), at)
    step = round(rules.movement_days * MICROSECONDS_PER_DAY)
    earlier = [m for i in range(1, max(rules.clusters.cutoffs, 1) + 1) if (m := _moment(known, at - i * step))]
    try:
        grouping = group(now.buyers(), [m.buyers() for m in earlier[: rules.clusters.cutoffs]], rules.clusters)
        clusters = grouping.as_json()
    except UngroupedError as e:
        grouping, clusters = None, {"number": 0, "stable": False, "reason": str(e)}
    gap, priced = usual_gap(now.buyers(), rules.lifecycle), has_money(now.prepared)
    labels = _labels(now, grouping, rules, gap, priced)
    scores = rfm(now.buyers(), priced)
    then = next((m for m in earlier if m.at == at - step), None)
    before = {} if then is None else _labels(then, grouping, rules, gap, priced)
    orders = orders_of(now.prepared, now.customer, at)
    attributes = user_attributes(now.prepared, now.customer, np.full(len(now.customer), at, np.int64))
    about = {
        "as_of": iso(at),
        "movement_since": iso(at - step),
        "usual_days_between_orders": gap,
        "clusters": clusters,
        "profiles": {
            name: profiles(label, now.column, orders, attributes, rules.smallest) for name, label in labels.items()
        },
    }
    return Segments(_table(now, labels, scores), _movement(now, labels, then, before), about)


def _moment(known: Known, at: int) -> Moment | None:
    try:
        return Moment.of(known(at), at)
    except UserError:  # before the log begins, or before anybody agreed
        return None


def _labels(
    moment: Moment, grouping: Grouping | None, rules: Segmentation, gap: float, priced: bool
) -> dict[str, np.ndarray]:
    """Segment of each customer by segmentation: str object (n,) each."""
    buyers, ordered = moment.buyers(), moment.ordered
    labels = {
        "lifecycle": lifecycle(moment.column, rules.lifecycle, gap),
        "value_tier": np.full(len(moment.customer), "none", object),
        "cluster": np.full(len(moment.customer), NO_ORDER, object),
    }
    labels["value_tier"][ordered] = value_tiers(net_money(buyers), rules.value)
    if grouping is None:
        del labels["cluster"]
    else:
        labels["cluster"][ordered] = grouping.of_customers(buyers)
    if not priced:
        del labels["value_tier"]
    return labels


def has_money(prepared: Prepared) -> bool:
    """Whether the log has any price."""
    price = prepared.events.price
    return price is not None and bool((np.nan_to_num(price) > 0).any())


def _table(now: Moment, labels: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray]) -> pa.Table:
    """A row per customer of the dataset, in the order of internal ids; blank, with the reason, who is not there."""
    n, row = now.prepared.n_users, np.asarray(now.customer) - 1
    there = np.zeros(n, bool)
    there[row] = True
    bought = row[now.ordered]
    reason = np.full(n, NO_HISTORY, object)
    if now.prepared.consent is not None:
        reason[~now.prepared.consent.holds(np.arange(1, n + 1), now.at)] = "no consent at the instant"
    reason[there] = ""

    def spread(values: np.ndarray, rows: np.ndarray, kind: pa.DataType) -> pa.Array:
        all_of = np.full(n, None, object) if values.dtype == object else np.zeros(n, values.dtype)
        all_of[rows] = values
        missing = np.ones(n, bool)
        missing[rows] = False
        return pa.array(all_of, kind, mask=missing)

    columns = {"user_id": now.prepared.users["user_id"].combine_chunks().cast(pa.string())}
    for name in SEGMENTATIONS:
        if name in labels:
            columns[name] = spread(labels[name], row, pa.string())
    columns |= {
        name: spread(score, bought, pa.string() if name == "rfm" else pa.int8()) for name, score in scores.items()
    }
    numbers = {"days_since_order": now.column["days_since_order"], "orders": now.column["orders"]}
    if "value_tier" in labels:
        numbers["net_money"] = np.round(net_money(now.column), 4)
    for name, values in numbers.items():
        columns[name] = spread(values[now.ordered], bought, pa.float64())
    columns["blank_reason"] = pa.array(reason.tolist(), pa.string())
    return pa.table(columns)


def _movement(
    now: Moment, labels: Mapping[str, np.ndarray], then: Moment | None, before: Mapping[str, np.ndarray]
) -> pa.Table:
    """How many customers were in one segment and are in another; who is who, external ids say."""
    was, stayed = np.full(len(now.customer), -1), np.zeros(0, bool)
    if then is not None:
        ids, own = (m.prepared.users["user_id"].combine_chunks().take(pa.array(m.customer - 1)) for m in (then, now))
        was = pc.fill_null(pc.index_in(own, value_set=ids), -1).to_numpy(zero_copy_only=False)
        stayed = np.isin(np.arange(len(then.customer)), was)
    rows: list[tuple[str, str, str, int]] = []
    for name, label in labels.items():
        past = np.full(len(label), NOT_THERE, object)
        if name in before:
            past = np.concatenate([np.where(was >= 0, before[name][was], NOT_THERE), before[name][~stayed]])
            label = np.concatenate([label, np.full(int((~stayed).sum()), NO_LONGER, object)])
        pairs, count = np.unique(np.stack([past.astype(str), label.astype(str)]), axis=1, return_counts=True)
        rows += [(name, str(a), str(b), int(c)) for (a, b), c in zip(pairs.T, count, strict=True)]
    columns = zip(("segmentation", "before", "now", "customers"), zip(*rows, strict=True), strict=True)
    return pa.table({name: list(values) for name, values in columns})
