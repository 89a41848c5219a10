"""Looking things up in many sorted ranges of rows at once, by index arithmetic."""

from __future__ import annotations

import numpy as np


def lower_bound(values: np.ndarray, low: np.ndarray, high: np.ndarray, wanted: np.ndarray | int) -> np.ndarray:
    """In each range [low, high) of ascending `values`, the first position whose value is not below `wanted`.

    Rows `low:result` are exactly those strictly before `wanted`. Binary search in all ranges at once, about
    log2(longest range) steps: int64, same length as `low`; `high` where all values are below.
    """
    low, high = low.astype(np.int64), high.astype(np.int64)
    wanted = np.broadcast_to(np.asarray(wanted), low.shape)
    active = np.flatnonzero(low < high)
    while len(active):
        middle = (low[active] + high[active]) >> 1
        below = values[middle] < wanted[active]
        low[active[below]] = middle[below] + 1
        high[active[~below]] = middle[~below]
        active = active[low[active] < high[active]]
    return low
