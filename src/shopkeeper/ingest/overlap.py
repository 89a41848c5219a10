"""Exports that overlap: an order that stands in several files is read from the last of them (`rows.orders: once`).

Two lines of one order in one file are two lines, however equal. The same order in a second export, made later or for
another span of days, is the same order: the number and the instant agree, and its lines with it. The last file in the
order of `raw.files` counts, as an order may have been edited since; where a `reject` rule keeps it out there (it was
cancelled, or its payment failed), it is out. An order that a file's end cut in two has no line in both files, and keeps
all of them. `orders: first` looks at what was sent again, as well (`arrange/order_numbers.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from shopkeeper.ingest.dataset import DatasetConfig

logger = logging.getLogger(__name__)
LATER_FILE = "lines of orders that stand in a later file, too"
KEY = ("order", "time", "kind")


def read_once(
    order: np.ndarray, time: np.ndarray | None, kind: np.ndarray, item: np.ndarray, file: np.ndarray
) -> np.ndarray:
    """Which of n rows no later file has, bool (n,).

    All arguments are one number a row: codes of order (-1: none) and item, µs, and the file.

    An order's lines of one instant and event type are looked at together, so that its cancellation is kept from
    whichever file tells of it.
    """
    rows = np.flatnonzero(_in_several(order, file))
    keep = np.ones(len(order), bool)
    if not len(rows):
        return keep
    lines = pl.DataFrame({
        "order": order[rows], "time": np.zeros(len(rows), np.int64) if time is None else time[rows],
        "kind": kind[rows], "item": item[rows], "file": file[rows],
    }).with_columns(last=pl.col("file").max().over(KEY))  # fmt: skip
    latest = lines.filter(pl.col("file") == pl.col("last")).select(*KEY, "item", there=True).unique()
    lines = lines.join(latest, on=[*KEY, "item"], how="left", maintain_order="left")
    again = (pl.col("file") < pl.col("last")) & pl.col("there").any().over(*KEY, "file")
    keep[rows[lines.select(again.alias("again"))["again"].to_numpy()]] = False
    return keep


def doubts_orders(config: DatasetConfig) -> bool:
    """Whether no setting tells what lines are whose order stands in several files."""
    return not config.filters.repeats and config.rows.orders is None


def say_orders_twice(config: DatasetConfig, lines: int, orders: int) -> None:
    """The doubt about lines of orders that a later file has, too; nothing where there are none."""
    if lines:
        logger.warning(
            "%s: %s lines of %s orders stand in several files or entries of raw.fetch and count twice; where these "
            "overlap, rows: {orders: once} takes each order from the last of them (orders: all says they do not)",
            config.name,
            f"{lines:,}",
            f"{orders:,}",
        )


def numbers_of(paths: Sequence[Path | None], lengths: Sequence[int]) -> np.ndarray:
    """The number of each row's file in the order of reading, int32 (n,), from the file and length of each part."""
    first = {path: number for number, path in enumerate(dict.fromkeys(paths))}
    return np.repeat(np.array([first[path] for path in paths], np.int32), lengths)


def _in_several(order: np.ndarray, file: np.ndarray) -> np.ndarray:
    """Rows whose order has lines in more than one file, bool (n,)."""
    return (order >= 0) & differs(order, file)


def differs(order: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Rows of whose order (-1: of those without) some have another value, bool (n,)."""
    size, kind = int(order.max(initial=-1)) + 2, np.iinfo(value.dtype)
    low, high = np.full(size, kind.max, value.dtype), np.full(size, kind.min, value.dtype)
    np.minimum.at(low, order, value)
    np.maximum.at(high, order, value)
    return (high > low)[order]
