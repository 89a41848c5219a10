"""Sets of whole numbers as sorted arrays: faster than NumPy's own set operations on long ones."""

from __future__ import annotations

import numpy as np


def among(ascending: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Whether each key is in the sorted array, bool in the shape of `keys`; faster than `np.isin` on long arrays."""
    if len(ascending) == 0:
        return np.zeros(keys.shape, bool)
    found: np.ndarray = ascending[np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)] == keys
    return found


def distinct(keys: np.ndarray) -> np.ndarray:
    """Each key once, ascending, without those below 0; faster than `np.unique` on long arrays."""
    keys = np.sort(keys[keys >= 0])
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
