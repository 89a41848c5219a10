"""What features read beside a customer's own events: facts of items and of the shop, as they were known.

Shapes: V = n_items + 1 columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Kinds:
    """A kind of every item, such as its category."""

    code_V: np.ndarray  # int32, 0 = unknown, which counts as none
    # int64 µs: the event in which an item's kind was first written; before the end of that instant it is unknown.
    since_V: np.ndarray | None = None  # None: known from the start


@dataclass(frozen=True)
class Shop:
    """The shop in which events happen; what it does not know, features do not know."""

    zone: str = "UTC"  # a day is one of its days
    channels: tuple[str, ...] = ()  # code c of a log's column is `channels[c - 1]`
    category: Kinds | None = None


NO_SHOP = Shop()
