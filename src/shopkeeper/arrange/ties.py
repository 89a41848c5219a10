"""What an arbitrary order is worth: the order inside tied time stamps, drawn anew.

Shops and rating sites write several events with one time stamp; their order in the file is not the order in which
they happened. A model that gains from it gains nothing in the world (on MovieLens-1M up to a quarter of the
leave-one-out targets change). Train once more on the shuffled variant and compare.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shopkeeper.errors import UserError
from shopkeeper.ingest.log import Ids, Log


def shuffle_ties(user: np.ndarray, timestamp: np.ndarray, seed: int) -> np.ndarray:
    """A permutation of rows that shuffles each group of equal (user, timestamp) among its own places.

    Args:
        user: any codes, (n,).
        timestamp: (n,).
        seed: the order within each group follows from it.

    Returns:
        int64 (n,): place i takes row `permutation[i]`. Rows without a tie stay where they are.
    """
    groups = np.lexsort((timestamp, user))  # stable: inside a group in file order
    drawn = np.random.default_rng(seed).random(len(user))
    shuffled = np.lexsort((drawn, timestamp, user))
    permutation = np.empty(len(user), np.int64)
    permutation[groups] = shuffled
    return permutation


def shuffle_log(log: Log, seed: int) -> dict[str, Any]:
    """Shuffle a log's ties in place, before ids are numbered: a prepared variant of its own.

    Returns what the manifest keeps. Order-only data has no ties to speak of and is refused.
    """
    if log.timestamp is None:
        raise UserError(
            "timeline.ties=shuffled needs time stamps; this data holds only an order: use timeline.ties=file"
        )
    permutation = shuffle_ties(log.user, log.timestamp, seed)
    moved = int((permutation != np.arange(len(log))).sum())
    for name, ids in log.ids.items():
        log.ids[name] = Ids(ids.codes[permutation], ids.values)
    for name in ("event_type", "timestamp", "price", "quantity"):
        column = getattr(log, name)
        if column is not None:
            setattr(log, name, column[permutation])
    return {"seed": seed, "rows_moved": moved}
