"""For how long customers stay away who come back: the label windows of customer models that suit a shop.

Of many gaps between a customer's days of purchase nine in ten are shorter than the horizon, so that who stays away
longer may be gone for good; a shop of weekly baskets needs another one than a shop of furniture. A log must hold four
windows of that length: one to be asked about, and one each to learn from, to calibrate on and to test on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shopkeeper.errors import UserError
from shopkeeper.ingest.checks import check
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.reading import blocks_of
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from shopkeeper.timeline.customers import BLOCK

ROWS = 1_000_000  # that are read at most
GAPS = 50  # fewer tell nothing
BACK_WITHIN = 0.9  # share of the gaps
WEEK, WINDOWS = 7, 4


def window_lines(told: Mapping[str, Any], paths: Sequence[Path], days: float | None = None) -> list[str]:
    """Lines of the block of customers' windows in a dataset config, by the purchases in its files; [] where none tell.

    `told`: the config; `days`: how many the whole log spans, where more is known than the rows that are read say.
    """
    if "purchase" not in (told.get("target_events") or ["purchase"]):
        return []
    try:
        return _lines(bought_days(told, paths), days)
    except UserError:  # is said when the rows are looked at
        return []


def bought_days(told: Mapping[str, Any], paths: Iterable[Path]) -> pl.DataFrame:
    """`user` (a hash) and `day` of the purchases among the first rows of files, each day once, in that order."""
    config = parse(dict(told))
    parts, read = [], 0
    for path in paths:
        for block in blocks_of(config, [path], path.parent, None, Counter(), Counter()):
            for rows in check(block, config)[0]:
                if rows.timestamp is None or "user_id" not in rows.ids:
                    return _days([])
                taken = np.flatnonzero(rows.event_type == EVENT_CODE["purchase"])
                users = pl.Series(pl.from_arrow(rows.ids["user_id"].cast("string"))).hash()
                parts.append(
                    pl.DataFrame(
                        {"user": users.gather(taken), "day": rows.timestamp[taken] // MICROSECONDS_PER_DAY}
                    ).unique()
                )
                read += len(rows)
            if read >= ROWS:
                return _days(parts)
    return _days(parts)


def _days(parts: list[pl.DataFrame]) -> pl.DataFrame:
    empty = pl.DataFrame(schema={"user": pl.UInt64, "day": pl.Int64})
    return pl.concat([empty, *parts]).unique().sort("user", "day")


def windows_by_gaps(bought: pl.DataFrame, days: float | None = None) -> tuple[int, int, bool] | None:
    """The horizon that suits purchases (`bought_days`) in days, how many gaps tell it, and whether the log allows it.

    Whole weeks, since people have habits of the week. None: too few gaps, or a log of less than four weeks.
    """
    if not bought.height:
        return None
    gaps = (bought["day"] - bought["day"].shift(1)).filter(bought["user"] == bought["user"].shift(1)).to_numpy()
    if len(gaps) < GAPS:
        return None
    span = max(float(days or 0), float(np.ptp(bought["day"].to_numpy())))
    wanted = WEEK * math.ceil(np.quantile(gaps, BACK_WITHIN) / WEEK)
    room = WEEK * int((span - 1) // (WINDOWS * WEEK))  # the last day may be cut off
    return (min(wanted, room), len(gaps), wanted <= room) if room else None


def _lines(bought: pl.DataFrame, days: float | None) -> list[str]:
    found = windows_by_gaps(bought, days)
    if found is None:
        return []
    horizon, n, fits = found
    why = (
        f"nine in ten of {n:,} pauses between two days of a customer's purchases were no longer"
        if fits
        else "customers who come back stay away for longer at times, and the log has no room for longer windows"
    )
    return [
        f"{BLOCK}: # what customer models ask: is there no purchase in horizon_days, of whoever bought in active_days",
        f"  horizon_days: {horizon} # {why}",
        f"  active_days: {horizon}",
    ]
