"""The standard error of a mean where rows belong together, as one customer's at several cutoffs do."""

from __future__ import annotations

import numpy as np


def clustered_error(value: np.ndarray, cluster: np.ndarray) -> float:
    """Standard error of the mean of rows, of which those of one cluster are one draw.

    What is drawn independently are the sums of clusters. Of one row each it is the standard deviation (with n, not
    n - 1) over the root of n. K.-Y. Liang and S. Zeger, Longitudinal data analysis using generalized linear models,
    Biometrika 73 (1986).

    Args:
        value: float (n,), in the unit of the answer; at least one, none NaN.
        cluster: int (n,), from 0 on.
    """
    off = np.bincount(cluster, value - value.mean())
    return float(np.sqrt((off**2).sum())) / len(value)
