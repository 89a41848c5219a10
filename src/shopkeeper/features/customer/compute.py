"""All declared features of any customers at any instants, in one pass over the log; in training and in bundles.

Every feature is 0 or more, or NaN where it is undefined (e.g. the gap between orders of a customer with one order).
Times are in days, money in the log's currency.

Shapes: n rows (customer, cutoff), F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.features.customer import affinities, moments, rfm
from shopkeeper.features.customer.block import Block
from shopkeeper.features.customer.declared import USUAL, Features
from shopkeeper.features.customer.shop import NO_SHOP, Shop

BLOCK = 2_000_000  # events worked on at once: bounds memory, changes no result
# By the name of its declaration: columns by name, of a block and of what is declared.
GROUPS: Mapping[str, Callable[[Block, Any], dict[str, np.ndarray]]] = {
    "recency": rfm.recency,
    "frequency": rfm.frequency,
    "money": rfm.money,
    "gaps": rfm.gaps,
    "baskets": rfm.baskets,
    "returns": rfm.returns,
    "looks": rfm.looks,
    "visits": rfm.visits,
    "habit": rfm.habit,
    "channels": rfm.channels,
    "trends": moments.trends,
    "category": affinities.category,
    "brand": affinities.brand,
    "price_level": affinities.price_level,
    "discounts": affinities.discounts,
    "sessions": moments.sessions,
    "time_of_day": moments.time_of_day,
    "time_of_week": moments.time_of_week,
    "season": moments.season,
    "position": moments.position,
    "item_vectors": affinities.item_vectors,
    "attributes": moments.attributes,
}


@dataclass(frozen=True)
class FeatureTable:
    """Features of n (customer, cutoff) rows."""

    names: tuple[str, ...]
    values: np.ndarray  # float64 (n, F)


def customer_features(
    events: Events,
    offsets: np.ndarray,
    user: np.ndarray,
    cutoff: np.ndarray,
    declared: Features = USUAL,
    shop: Shop = NO_SHOP,
    block: int = BLOCK,
) -> FeatureTable:
    """Features of customers `user` (n,) at instants `cutoff` (n,), in the order given.

    Args:
        events: the log, sorted by (user, timestamp, file order).
        offsets: int64 (n_users + 1,): events of user u are rows offsets[u-1]:offsets[u].
        user: internal ids, 1..n_users.
        cutoff: int64 µs UTC; only events strictly before count.
        declared: which.
        shop: what is read beside the events.
        block: events worked on at once.

    Raises:
        UserError: the log has no time stamps, or nothing is declared.
    """
    if events.timestamp is None:
        raise UserError("customer features need time stamps, and this dataset has only an order; use another dataset")
    names: tuple[str, ...] = ()
    values, user, cutoff = np.empty((len(user), 0)), np.asarray(user, np.int64), np.asarray(cutoff, np.int64)
    nobody = (np.zeros(0, np.int64), 1, 0)  # has the same features
    for rows, first, last in [*_blocks(offsets, user, block)] or [nobody]:
        low, high = int(offsets[first - 1]), int(offsets[last])
        at = offsets[first - 1 : last + 1] - low
        own = Block(_cut(events, low, high), at, user[rows] - first, cutoff[rows], shop, user[rows])
        for group, told in declared.groups.items():
            own.found.update(GROUPS[group](own, told))
        columns = own.found
        if not columns:
            raise UserError(
                "features: every group is left out, and models would know nothing; name one, e.g. features.recency=true"
            )
        if not names:
            names = tuple(columns)
            values = np.empty((len(user), len(names)))
        values[rows] = np.stack([np.asarray(c, np.float64) for c in columns.values()], axis=1)
    return FeatureTable(names, values)


def _cut(events: Events, low: int, high: int) -> Events:
    """Rows low:high of every column, in memory."""

    def part(column: np.ndarray | None) -> np.ndarray | None:
        return None if column is None else np.asarray(column[low:high])

    return Events(
        np.asarray(events.item[low:high]),
        np.asarray(events.event_type[low:high]),
        part(events.timestamp),
        part(events.price),
        part(events.quantity),
        part(events.order),
        part(events.session),
        part(events.channel),
    )


def _blocks(offsets: np.ndarray, user: np.ndarray, block: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Rows of `user` in groups of neighbouring customers with about `block` events: (rows, first user, last user)."""
    order = np.argsort(user, kind="stable")
    people = user[order]
    bucket = np.asarray(offsets)[people - 1] // max(block, 1)  # by where the customer's events begin
    change = bucket[1:] != bucket[:-1]
    edges = [0, *(np.flatnonzero(change) + 1).tolist(), len(user)] if len(user) else []
    for a, b in pairwise(edges):
        yield order[a:b], int(people[a]), int(people[b - 1])
