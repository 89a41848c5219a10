"""Which purchase a return or cancellation undoes."""

from __future__ import annotations

import numpy as np

from shopkeeper.schema import EVENT_CODE

PURCHASE, RETURN = EVENT_CODE["purchase"], EVENT_CODE["return"]
UNKNOWN = -1.0  # units that nobody wrote down


def link_returns(
    user: np.ndarray, item: np.ndarray, event_type: np.ndarray, quantity: np.ndarray | None
) -> np.ndarray | None:
    """Row of the purchase that each return undoes: int64 (n,), -1 where there is none; None where nothing is returned.

    Rows are sorted by (user, timestamp, file order). A return takes the latest purchase before it of the same user,
    item and quantity that no later return has taken (as brackets match). Where that leaves one of a customer's returns
    of an item without a purchase, they are looked at anew in time: each takes the latest untouched purchase of as many
    units, else part of the latest one of which as many are left. No more units of a purchase come back than were
    bought: a return that no single purchase can hold is without a purchase. Where units are unknown a purchase comes
    back as a whole, once.
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
    units = np.full(len(rows), UNKNOWN) if quantity is None else np.nan_to_num(quantity[rows], nan=UNKNOWN)
    order = np.lexsort((np.arange(len(rows)), units, pair))
    starts = np.flatnonzero((np.diff(pair[order], prepend=-1) != 0) | (np.diff(units[order], prepend=-2.0) != 0))
    _match_brackets(rows[order], event_type[rows[order]] == RETURN, starts, links)
    back = event_type[rows] == RETURN
    rest = np.isin(pair, np.unique(pair[back & (links[rows] < 0)]))  # of these not all came back as they were bought
    order = np.argsort(pair[rest], kind="stable")
    links[rows[rest]] = -1
    _match_in_time(rows[rest][order], pair[rest][order], back[rest][order], units[rest][order], links)
    return links


def _match_in_time(rows: np.ndarray, pair: np.ndarray, back: np.ndarray, units: np.ndarray, links: np.ndarray) -> None:
    """One return after another: the latest untouched purchase of as many units, else the latest with as many left.

    Rows of one pair stand together, in time. A later return cannot take a purchase from an earlier one.
    """
    now, bought = -1, list[list[float]]()  # of the pair: purchases so far, oldest first: row, units, units left
    for row, of, returned, n in zip(rows.tolist(), pair.tolist(), back.tolist(), units.tolist(), strict=True):
        if of != now:
            now, bought = of, []
        if not returned:
            bought.append([row, n, n])
            continue
        same = (p for p in reversed(bought) if p[1] == p[2] == n)
        some = (p for p in reversed(bought) if UNKNOWN in (n, p[2]) or n <= p[2] * (1 + 1e-9))
        found = next(same, None) or next(some, None)
        if found is None:
            continue
        links[row] = int(found[0])
        if UNKNOWN in (n, found[2]) or n >= found[2] * (1 - 1e-9):
            bought.remove(found)  # all of it came back
        else:
            found[2] -= n


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
