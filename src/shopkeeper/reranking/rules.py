"""What a shop decides: what is lifted, left out, held to a number, or put at a place.

Shapes: B requests, N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shopkeeper.reranking.lists import Lists


def boost(lists: Lists, extra_BN: np.ndarray, weight: float) -> Lists:
    """By (1 - w) value + w extra; `extra_BN` float64 in [0, 1], such as how new an item is, or its margin."""
    return lists.valued((1 - weight) * lists.value + weight * extra_BN)


def cap(lists: Lists, code_BN: np.ndarray, most: int) -> Lists:
    """At most so many of each value of an attribute, the best ones; items whose value is unknown (0) all stay."""
    B, N = code_BN.shape
    group = np.arange(B)[:, None] * (int(code_BN.max(initial=0)) + 1) + code_BN
    order = np.argsort(group, axis=None, kind="stable")
    ordered = group.ravel()[order]
    first = np.searchsorted(ordered, ordered)
    nth_BN = np.empty(B * N, np.int64)
    nth_BN[order] = np.arange(B * N) - first
    return lists.without((nth_BN.reshape(B, N) >= most) & (code_BN > 0))


def pin(lists: Lists, items: Sequence[int], place: int, shut_BP: np.ndarray | None = None) -> Lists:
    """These items, in this order, from a place on (1 is the first); a shorter list ends with them.

    `shut_BP`: which of them a request may not be shown.
    """
    lists = lists.without(np.isin(lists.item, items))
    B = len(lists.item)
    pinned_BP = np.repeat(np.asarray(items, np.int32)[None, :], B, axis=0)
    if shut_BP is not None:
        pinned_BP = np.where(shut_BP, 0, pinned_BP).astype(np.int32)
    item = np.concatenate([lists.item, pinned_BP], axis=1)
    rank = np.concatenate(
        [
            np.repeat(np.arange(lists.item.shape[1], dtype=float)[None, :], B, axis=0),
            np.full(pinned_BP.shape, place - 1.5),
        ],
        axis=1,
    )
    return Lists(item, np.zeros(item.shape)).put(rank)


def reserve(lists: Lists, new_BN: np.ndarray, least: int, k: int) -> Lists:
    """At least so many of the first k are among `new_BN` (bool), the best of them; both kinds keep their order.

    >>> item, new = np.array([[4, 2, 7, 9]]), np.array([[False, False, False, True]])
    >>> reserve(Lists(item, np.ones(item.shape)), new, 1, 2).item
    array([[4, 9, 2, 7]])
    """
    new_BN = new_BN & (lists.item > 0)
    best = new_BN & (np.cumsum(new_BN, axis=1) <= least)
    others = ~best & (lists.item > 0)
    kept = best | (others & (np.cumsum(others, axis=1) <= k - best.sum(axis=1, keepdims=True)))
    N = lists.item.shape[1]
    return lists.put(np.where(kept, 0, N) + np.arange(N))
