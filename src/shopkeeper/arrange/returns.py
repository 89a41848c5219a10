"""Which purchase a return or cancellation undoes."""

from __future__ import annotations

import numpy as np

from shopkeeper.schema import EVENT_CODE

PURCHASE, RETURN = EVENT_CODE["purchase"], EVENT_CODE["return"]


def link_returns(
    user: np.ndarray, item: np.ndarray, event_type: np.ndarray, quantity: np.ndarray | None
) -> np.ndarray | None:
    """Row of the purchase that each return undoes: int64 (n,), -1 where there is none; None where nothing is returned.

    Rows are sorted by (user, timestamp, file order). First a return takes the latest purchase before it of the same
    user, item and quantity that no later return has taken (as brackets match); what is left takes the latest
    purchase before it of the same user and item (part of an order, or several orders at once).
    """
    rows = np.flatnonzero((event_type == PURCHASE) | (event_type == RETURN))
    returned = event_type[rows] == RETURN
    if not returned.any():
        return None
    # Only pairs of user and item with a return matter.
    pair = user[rows].astype(np.int64) * (int(item.max()) + 1) + item[rows]
    rows = rows[np.isin(pair, np.unique(pair[returned]))]
    links = np.full(len(user), -1, np.int64)
    pair = user[rows].astype(np.int64) * (int(item.max()) + 1) + item[rows]
    if quantity is not None:
        units = np.nan_to_num(quantity[rows], nan=-1.0)
        order = np.lexsort((np.arange(len(rows)), units, pair))
        starts = np.flatnonzero((np.diff(pair[order], prepend=-1) != 0) | (np.diff(units[order], prepend=-2.0) != 0))
        _match_brackets(rows[order], event_type[rows[order]] == RETURN, starts, links)
    order = np.argsort(pair, kind="stable")
    ordered, same = rows[order], pair[order]
    bought = event_type[ordered] == PURCHASE
    latest = np.maximum.accumulate(np.where(bought, np.arange(len(ordered)), -1))
    found = (~bought) & (links[ordered] < 0) & (latest >= 0) & (same[np.maximum(latest, 0)] == same)
    links[ordered[found]] = ordered[latest[found]]
    return links


def _match_brackets(rows: np.ndarray, closes: np.ndarray, starts: np.ndarray, links: np.ndarray) -> None:
    """Within each group that begins at `starts`: each closing row is linked to the opening row that it matches."""
    if not len(rows):
        return
    length = np.diff(np.append(starts, len(rows)))
    step = np.where(closes, -1, 1).astype(np.int64)
    total = np.cumsum(step)
    depth = total - np.repeat(total[starts] - step[starts], length)  # depth within the group, before clipping
    group = np.repeat(np.arange(len(starts), dtype=np.int64), length)
    # Running minimum per group: groups are pushed apart so that one accumulation serves them all.
    apart = (2 * len(rows) + 2) * group
    lowest = np.minimum(np.minimum.accumulate(depth - apart) + apart, 0)
    level = np.where(closes, depth + 1, depth) - lowest
    order = np.lexsort((np.arange(len(rows)), level, group))
    a, b = order[:-1], order[1:]  # on one level a closing row follows its opening row, or has none
    pairs = closes[b] & ~closes[a] & (group[a] == group[b]) & (level[a] == level[b])
    links[rows[b[pairs]]] = rows[a[pairs]]
