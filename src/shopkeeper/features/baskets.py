"""Histories as baskets: what repeat models count in is orders, not lines.

A basket is what one customer took in one order, also when lines of others stand between; where the log has no order
ids, at one instant; where it has no time, in one event. Baskets count from the newest (0).

Shapes: B requests, V columns, R rows of all histories.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.data.orders import first_lines
from shopkeeper.data.requests import Requests
from shopkeeper.schema import MICROSECONDS_PER_DAY


@dataclass(frozen=True)
class Baskets:
    """One row per (history, basket, item), each item once; rows of a history are together, in any order of items."""

    owner: np.ndarray  # int64 (R,): which history
    item: np.ndarray  # int32 (R,)
    basket: np.ndarray  # int64 (R,): 0 = the newest of its history
    age_days: np.ndarray  # float64 (R,) before the history's newest counted event; 0 on data that has only an order
    n_baskets: np.ndarray  # int64 (B,)
    last: np.ndarray | None  # int64 (B,) µs of the newest counted event; None without time

    @classmethod
    def of(cls, requests: Requests, types: list[int], n_columns: int) -> Baskets:
        """The events of these types (codes) on items below `n_columns`."""
        offsets, rows = requests.flat(types)
        events = requests.events
        owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
        known = events.item[rows] < n_columns
        rows, owner = rows[known], owner[known]
        item = events.item[rows]
        at = None if events.timestamp is None else events.timestamp[rows]
        head = np.arange(len(rows))  # the first row of each row's basket
        if events.order is not None:
            head = first_lines(owner, events.order[rows])
        elif at is not None and len(rows):
            same = (owner[1:] == owner[:-1]) & (at[1:] == at[:-1])
            head = np.maximum.accumulate(np.where(np.append(False, same), 0, head))
        new = head == np.arange(len(rows))
        running = (np.cumsum(new) - 1)[head]  # number of the basket over all histories, oldest first
        n_baskets = np.bincount(owner[new], minlength=len(requests))
        basket = np.cumsum(n_baskets)[owner] - 1 - running if len(rows) else running
        width = int(item.max(initial=0)) + 1
        first = np.unique(running * width + item, return_index=True)[1]
        age, last = np.zeros(len(rows)), None
        if at is not None:
            last = np.zeros(len(requests), np.int64)
            np.maximum.at(last, owner, at)
            age = (last[owner] - at) / MICROSECONDS_PER_DAY
        return cls(owner[first], item[first], basket[first], age[first], n_baskets, last)


def basket_weights(
    baskets: Baskets, half_life_days: float, basket_decay: float, group_decay: float, group_size: float
) -> np.ndarray:
    """What each row weighs in its history's frequencies, float64 (R,): newest most, summing to at most 1 an item.

    By calendar where `half_life_days` is above 0; else by place in groups of `group_size` baskets.
    """
    n = baskets.n_baskets[baskets.owner]
    if half_life_days > 0:
        return np.exp2(-baskets.age_days / half_life_days) / np.maximum(n, 1)
    m = int(group_size)
    group, place = baskets.basket // m, baskets.basket % m
    n_groups = -(-n // m)
    size = np.where(group == n_groups - 1, n - m * (n_groups - 1), m)  # the oldest group may be smaller
    weight: np.ndarray = group_decay**group * basket_decay**place / np.maximum(size * n_groups, 1)
    return weight


def newest_weights(baskets: Baskets, last_baskets: int, half_life_days: float) -> np.ndarray:
    """What each row weighs in the share of its history's `last_baskets` newest baskets (0: all), float64 (R,).

    0 for older baskets; halved for every `half_life_days` (0: never).
    """
    newest = np.maximum(baskets.n_baskets, 1)
    if last_baskets:
        newest = np.minimum(newest, last_baskets)
    weight = 1 / newest[baskets.owner]
    if half_life_days > 0:
        weight = weight * np.exp2(-baskets.age_days / half_life_days)
    return np.where(baskets.basket < newest[baskets.owner], weight, 0.0)
