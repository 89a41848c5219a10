"""The requests of one part of a split, on their way to its file.

Shapes: B requests, N targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.data.prepared import Prepared

Lists = tuple[np.ndarray, np.ndarray]  # offsets int64 (n+1,) and what stands between them


@dataclass(frozen=True)
class Part:
    """Requests of one part: history b is rows start[b]:end[b], its targets are row[offsets[b]:offsets[b+1]]."""

    user: np.ndarray  # int32 (B,)
    start: np.ndarray  # int64 (B,)
    end: np.ndarray  # int64 (B,)
    instant: np.ndarray | None  # int64 (B,) µs; None for order-only data
    offsets: np.ndarray  # int64 (B+1,)
    row: np.ndarray  # int64 (N,) first line of each target
    lines: Lists | None = None  # offsets (N+1,), rows of all lines; None: each has one
    basket: Lists | None = None  # offsets (B+1,), rows: lines of the order that are known
    barred: Lists | None = None  # offsets (B+1,), items that may not be recommended
    page: np.ndarray | None = None  # str (B,): the category that is looked at, whose items alone are candidates

    def __len__(self) -> int:
        return len(self.user)


def some_of(part: Part, kept: np.ndarray) -> Part:
    """The requests of a mask, bool (B,)."""

    def lists(old: Lists, mask: np.ndarray) -> Lists:
        n = np.diff(old[0])
        return np.concatenate([[0], np.cumsum(n[mask])]).astype(np.int64), old[1][np.repeat(mask, n)]

    def maybe(old: Lists | None, mask: np.ndarray) -> Lists | None:
        return None if old is None else lists(old, mask)

    offsets, row = lists((part.offsets, part.row), kept)
    return Part(
        part.user[kept],
        part.start[kept],
        part.end[kept],
        None if part.instant is None else part.instant[kept],
        offsets,
        row,
        maybe(part.lines, np.repeat(kept, np.diff(part.offsets))),
        maybe(part.basket, kept),
        maybe(part.barred, kept),
        None if part.page is None else part.page[kept],
    )


def part_of(
    p: Prepared,
    request: np.ndarray,
    rows: np.ndarray,
    user: np.ndarray,
    end: np.ndarray,
    instant: np.ndarray | None,
    start: np.ndarray | None = None,
) -> Part:
    """Put requests and their target rows together; `request` (ascending) says which request a row belongs to.

    An item that occurs twice among the targets of a request (two lines of an order) is one target, at its first row;
    its further lines are kept beside it.
    """
    lines = None
    if len(rows) > len(user):
        key = request * (p.n_items + 1) + p.events.item[rows]
        _, first, inverse, count = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
        if len(first) < len(rows):
            by_row = np.argsort(first, kind="stable")  # targets in the order of their first lines
            place = np.empty_like(by_row)
            place[by_row] = np.arange(len(by_row))
            at = np.concatenate([[0], np.cumsum(count[by_row])]).astype(np.int64)
            lines = (at, rows[np.argsort(place[inverse], kind="stable")])
        first = np.sort(first)
        request, rows = request[first], rows[first]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(request, minlength=len(user)))]).astype(np.int64)
    assert len(offsets) == len(user) + 1
    start = p.offsets[user - 1] if start is None else start
    return Part(user.astype(np.int32), start.astype(np.int64), end.astype(np.int64), instant, offsets, rows, lines)
