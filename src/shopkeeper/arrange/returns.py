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

    Rows are sorted by (user, timestamp, file order). First a return takes the latest purchase before it of the same
    user, item and quantity that no later return has taken (as brackets match). What is left takes part of the latest
    purchase before it of the same user and item of which as many units are left. No more units of a purchase come back
    than were bought: a return that no single purchase can hold is without a purchase. Where units are unknown a
    purchase comes back as a whole, once.
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
    open_pairs = np.unique(pair[back & (links[rows] < 0)])
    rest = np.isin(pair, open_pairs)
    order = np.argsort(pair[rest], kind="stable")
    _match_parts(rows[rest][order], pair[rest][order], back[rest][order], units[rest][order], links)
    return links


def _match_parts(rows: np.ndarray, pair: np.ndarray, back: np.ndarray, units: np.ndarray, links: np.ndarray) -> None:
    """Link the returns that have no purchase yet to what is left of purchases; rows of one pair stand together."""
    whole = set(links[rows[back & (links[rows] >= 0)]].tolist())  # purchases that came back as they were bought
    now, left = -1, list[tuple[int, float]]()  # of the pair: purchases so far, oldest first, and their units left
    for row, of, returned, n in zip(rows.tolist(), pair.tolist(), back.tolist(), units.tolist(), strict=True):
        if of != now:
            now, left = of, []
        if not returned:
            if row not in whole:
                left.append((row, n))
        elif links[row] < 0:
            for place in range(len(left) - 1, -1, -1):
                purchase, units_left = left[place]
                if n == UNKNOWN or units_left == UNKNOWN or n >= units_left * (1 - 1e-9):
                    if n > units_left * (1 + 1e-9) and units_left != UNKNOWN:
                        continue
                    del left[place]
                else:
                    left[place] = (purchase, units_left - n)
                links[row] = purchase
                break


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
