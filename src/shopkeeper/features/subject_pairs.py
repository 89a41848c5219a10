"""What is known of a customer together with each category or item, of him and it, and of it in the whole shop.

Shapes: n rows (customer, cutoff), C subjects, n * C pairs in the order of rows, V = n_items + 1, M events of a block.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shopkeeper.data.requests import Events, Requests
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY

KNOWN = (
    *("own_lines", "own_lines_90d", "own_days_since", "own_share"),  # purchases of the subject
    *("own_views_30d", "own_days_since_view"),  # all other events about it
    *("shop_share_30d", "shop_share_30d_year_ago"),  # of everybody's purchase lines
)
BLOCK = 2_000_000  # events worked on at once: bounds memory, changes no result
# Of a bundle: the subject of each item, since when that is known, and the shares of some days.
SUBJECT, SINCE, WHEN, SHARES = "pairs.subject", "pairs.since", "pairs.when", ("pairs.share", "pairs.share_year_ago")
Shares = tuple[np.ndarray, np.ndarray]  # float64 (n, C): of 30 days before, and of 30 days that followed a year ago


def of_pairs(
    events: Events,
    start: np.ndarray,
    end: np.ndarray,
    cutoff_n: np.ndarray,
    subject_V: np.ndarray,
    since_V: np.ndarray,
    C: int,
    share_nC: Shares,
) -> np.ndarray:
    """What was known of each pair strictly before its cutoff: float64 (n * C, features), as `KNOWN` names them.

    Args:
        events: of all histories; that of row j is start[j]:end[j].
        start, end, cutoff_n: int64 (n,).
        subject_V: the subject of each item, from 1; 0: none.
        since_V: µs; that is known strictly after this instant.
        C: how many subjects.
        share_nC: each one's share of the whole shop's purchase lines.
    """
    n, e = len(start), events
    assert e.timestamp is not None
    found = {name: np.zeros(n * C) for name in KNOWN}
    found["own_days_since"][:] = found["own_days_since_view"][:] = np.nan
    lines = np.zeros(n)
    for some, owner, rows in blocks(e, start, end):
        cutoff = cutoff_n[some][owner]
        item, time = e.item[rows], e.timestamp[rows]
        bought = e.event_type[rows] == EVENT_CODE["purchase"]
        days = (cutoff - time) / MICROSECONDS_PER_DAY
        code = np.where(since_V[item] < cutoff, subject_V[item], 0)
        size, first = (some.stop - some.start) * C, some.start * C
        place = slice(first, first + size)
        pair = owner * C + code - 1
        for name, which in (
            ("own_lines", bought),
            ("own_lines_90d", bought & (days <= 90)),
            ("own_views_30d", ~bought & (days <= 30)),
        ):
            found[name][place] = np.bincount(pair[which & (code > 0)], minlength=size)
        for name, which in (("own_days_since", bought), ("own_days_since_view", ~bought)):
            of = which & (code > 0)
            found[name][first + pair[of]] = days[of]  # histories are in order: the last one stays
        lines[some] = np.bincount(owner[bought], minlength=some.stop - some.start)
    own = found["own_lines"].reshape(n, C)
    found["own_share"] = np.divide(own, lines[:, None], out=np.zeros((n, C)), where=lines[:, None] > 0).ravel()
    found["shop_share_30d"], found["shop_share_30d_year_ago"] = (one.ravel() for one in share_nC)
    return np.stack([found[name] for name in KNOWN], axis=1)


def blocks(events: Events, start: np.ndarray, end: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Ranges start:end (n,) in groups of about `BLOCK` events: which rows, and of each event whose it is and where."""
    length = np.cumsum(end - start)
    edges = np.unique(np.searchsorted(length, np.arange(BLOCK, int(length[-1]) if len(length) else 0, BLOCK), "right"))
    edges = np.unique(np.concatenate([[0], edges, [len(start)]]))
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        offsets, rows = Requests(events, start[low:high], end[low:high]).flat()
        yield slice(low, high), np.repeat(np.arange(high - low), np.diff(offsets)), rows
