"""For how long customers stay away who come back: the windows of lists and of customer models that suit a shop.

Of many gaps between a customer's days of purchase nine in ten are shorter than the horizon, so that who stays away
longer may be gone for good; a shop of weekly baskets needs another one than a shop of furniture. A log must hold four
windows of that length: one to be asked about, and one each to learn from, to calibrate on and to test on. Lists are
judged in windows of the same length: nearly everybody who comes back is asked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


class Pauses(NamedTuple):
    """How long customers of a log stay away between two days of purchase."""

    days: int  # whole weeks, since people have habits of the week: nine in ten pauses are no longer
    n: int  # pauses that tell it
    span: float  # days between the first and the last purchase
    whole: bool  # whether these are all the purchases of the log

    def horizon(self, days: float | None = None) -> int:
        """The window of customer models (days), as far as there is room; 0: none for a week. `days`: the log's span."""
        span = max(float(days or 0), self.span)
        return min(self.days, WEEK * int((span - 1) // (WINDOWS * WEEK)))  # the last day may be cut off


def pauses_of(told: Mapping[str, Any], paths: Sequence[Path]) -> Pauses | None:
    """The pauses between the first purchases in a dataset's files; None where none are asked for, or they tell nothing.

    `told`: the config.
    """
    if "purchase" not in (told.get("target_events") or ["purchase"]):
        return None
    try:
        return pauses(*bought_days(told, paths))
    except UserError:  # is said when the rows are looked at
        return None


def bought_days(told: Mapping[str, Any], paths: Iterable[Path]) -> tuple[pl.DataFrame, bool]:
    """`user` (a hash) and `day` of the purchases among the first rows of files, each day once, in that order; and
    whether these are all rows.
    """
    config = parse(dict(told))
    parts, read = [], 0
    for path in paths:
        for block in blocks_of(config, [path], path.parent, None, Counter(), Counter()):
            for rows in check(block, config)[0]:
                if rows.timestamp is None or "user_id" not in rows.ids:
                    return _days([]), False
                taken = np.flatnonzero(rows.event_type == EVENT_CODE["purchase"])
                users = pl.Series(pl.from_arrow(rows.ids["user_id"].cast("string"))).hash()
                parts.append(
                    pl.DataFrame(
                        {"user": users.gather(taken), "day": rows.timestamp[taken] // MICROSECONDS_PER_DAY}
                    ).unique()
                )
                read += len(rows)
            if read >= ROWS:
                return _days(parts), False
    return _days(parts), True


def _days(parts: list[pl.DataFrame]) -> pl.DataFrame:
    empty = pl.DataFrame(schema={"user": pl.UInt64, "day": pl.Int64})
    return pl.concat([empty, *parts]).unique().sort("user", "day")


def pauses(bought: pl.DataFrame, whole: bool = True) -> Pauses | None:
    """What the pauses between purchases (`bought_days`) are; None where they are too few to tell."""
    if not bought.height:
        return None
    gaps = (bought["day"] - bought["day"].shift(1)).filter(bought["user"] == bought["user"].shift(1)).to_numpy()
    if len(gaps) < GAPS:
        return None
    wanted = WEEK * math.ceil(np.quantile(gaps, BACK_WITHIN) / WEEK)
    return Pauses(wanted, len(gaps), float(np.ptp(bought["day"].to_numpy())), whole)


def window_lines(found: Pauses | None, days: float | None = None) -> list[str]:
    """Lines of the block of customers' windows in a dataset config; [] where pauses tell none.

    `days`: how many the whole log spans, where more is known than the rows that were read say.
    """
    if found is None or not (horizon := found.horizon(days)):
        return []
    why = (
        f"nine in ten of {found.n:,} pauses between two days of a customer's purchases were no longer"
        if horizon == found.days
        else "customers who come back stay away for longer at times, and the log has no room for longer windows"
    )
    return [
        f"{BLOCK}: # what customer models ask: is there no purchase in horizon_days, of whoever bought in active_days",
        f"  horizon_days: {horizon} # {why}",
        f"  active_days: {horizon}",
    ]
