"""Which rows belong to one order: also those that have others between them, as where two baskets are open at once."""

from __future__ import annotations

import numpy as np


def first_lines(owner: np.ndarray, order: np.ndarray) -> np.ndarray:
    """For each of M rows the position of the first row of its owner's order, int64 (M,); its own where it has none.

    `owner` and `order` are whole numbers (M,), order 0 = none; rows of one owner need not stand together. One order
    number under two owners is two orders.

    >>> first_lines(np.array([1, 1, 1, 1, 1, 2]), np.array([7, 8, 7, 0, 0, 8]))
    array([0, 1, 0, 3, 4, 5])
    """
    same = (order[1:] == order[:-1]) & (order[1:] > 0) & (owner[1:] == owner[:-1])
    begins = np.concatenate([[True], ~same])[: len(order)]
    run, head = np.cumsum(begins) - 1, np.flatnonzero(begins)  # runs of neighbouring rows
    numbered = np.flatnonzero(order[head] > 0)
    number = order[head[numbered]]
    first = np.zeros(int(order.max(initial=0)) + 1, np.int64)
    first[number[::-1]] = numbered[::-1]  # the first run with a number is written last
    torn = np.zeros(len(first), bool)
    torn[number[first[number] != numbered]] = True
    if torn.any():  # seldom: only now is it worth a sort
        runs = numbered[torn[number]]
        key = owner[head[runs]].astype(np.int64) * len(first) + order[head[runs]]
        _, earliest, inverse = np.unique(key, return_index=True, return_inverse=True)
        head[runs] = head[runs[earliest[inverse]]]
    return head[run]


def first_of_steps(owner: np.ndarray, time: np.ndarray | None, order: np.ndarray | None) -> np.ndarray:
    """For each of M rows the position of the first row of its step: lines of one order or of one instant, int64 (M,).

    Rows of one owner stand together, in time. An instant in which lines of an earlier order stand belongs to that one.

    >>> first_of_steps(np.ones(4, int), np.array([0, 0, 5, 6]), np.array([1, 2, 3, 2]))
    array([0, 0, 2, 0])
    """
    head = np.arange(len(owner))
    if time is not None and len(owner):
        same = (time[1:] == time[:-1]) & (owner[1:] == owner[:-1])
        head = np.maximum.accumulate(np.where(np.append(False, same), 0, head))
    if order is None:
        return head
    of_order = head[first_lines(owner, order)]
    if (of_order == head).all():  # as nearly always: no order has lines in several instants
        return head
    earliest = np.arange(len(owner))  # of an instant: where the oldest order begins that has a line in it
    np.minimum.at(earliest, head, of_order)
    while (earliest[earliest] < earliest).any():
        earliest = earliest[earliest]
    return earliest[head]
