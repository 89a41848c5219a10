"""Customer models as plain arrays and the NumPy that reads them: one function per family, and the calibration.

Shapes: n rows (customers), F features, T trees, M nodes of the largest tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

FLOOR = 1e-6  # as in `customers.calibration`: probabilities stay within [FLOOR, 1 - FLOOR]
CELLS = 500_000  # rows x trees worked on at once
Arrays = Mapping[str, np.ndarray]


def constant(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """The base rate for everybody."""
    return np.full(len(features_nF), arrays["probability"][0])


def logistic(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Logistic regression on log(1 + x), clipped to the training range and standardised; undefined counts as mean."""
    x_nF = np.clip(np.log1p(features_nF), arrays["low"], arrays["high"])
    z_nF = np.nan_to_num((x_nF - arrays["mean"]) / arrays["scale"], nan=0.0)
    return _sigmoid(z_nF @ arrays["weight"] + arrays["intercept"][0])


def trees(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Gradient-boosted trees: all rows walk all trees together, one level a step.

    Node m of tree t asks `x[feature] <= threshold` and goes to `left` or `right`; a missing value goes where
    `default_left` says; leaves have feature -1 and a `value`.
    """
    n_trees = len(arrays["feature"])
    step = max(1, CELLS // max(1, n_trees))
    parts = [_walk(features_nF[first : first + step], arrays) for first in range(0, len(features_nF), step)]
    return _sigmoid(np.concatenate(parts)) if parts else np.zeros(0)


def _walk(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Sum of the leaves that each row ends in, float64 (n,)."""
    n, (T, M) = len(features_nF), arrays["feature"].shape
    flat = {name: table.reshape(-1) for name, table in arrays.items()}
    root_T = np.arange(T) * M
    node_nT = np.broadcast_to(root_T, (n, T))
    rows_n1 = np.arange(n)[:, None]
    while True:
        asked_nT = flat["feature"][node_nT]
        inner_nT = asked_nT >= 0
        if not inner_nT.any():
            return flat["value"][node_nT].sum(axis=1)
        x_nT = features_nF[rows_n1, np.maximum(asked_nT, 0)]
        unknown_nT = np.isnan(x_nT)
        x_nT = np.where(unknown_nT & ~flat["nan_is_missing"][node_nT], 0.0, x_nT)
        below_nT = x_nT <= flat["threshold"][node_nT]
        left_nT = np.where(np.isnan(x_nT), flat["default_left"][node_nT], below_nT)
        next_nT = root_T + np.where(left_nT, flat["left"][node_nT], flat["right"][node_nT])
        node_nT = np.where(inner_nT, next_nT, node_nT)


SCORERS: dict[str, Callable[[np.ndarray, Arrays], np.ndarray]] = {
    "constant": constant,
    "logistic": logistic,
    "trees": trees,
}


def calibrated(probability_n: np.ndarray, calibrator: Mapping[str, Any]) -> np.ndarray:
    """Temperature, Platt, isotonic or nothing, as fitted by `customers.calibration`."""
    p = np.clip(probability_n, FLOOR, 1 - FLOOR)
    method, parameters = calibrator["method"], calibrator["parameters"]
    if method == "isotonic":
        p = np.interp(p, parameters["x"], parameters["y"])
    elif method != "identity":
        z = parameters["slope"][0] * (np.log(p) - np.log1p(-p)) + parameters["intercept"][0]
        p = _sigmoid(np.clip(z, -50, 50))
    return np.clip(p, FLOOR, 1 - FLOOR)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))
