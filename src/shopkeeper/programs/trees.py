"""LightGBM's trees as rectangles of numbers, and the walk through them.

Node m of tree t asks `x[feature] <= threshold` and goes to `left` or `right`; a missing value goes where `default_left`
says; leaves have feature -1 and a `value`.

Shapes: n rows, F features, T trees, M nodes of the largest tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shopkeeper.errors import UserError

CELLS = 500_000  # rows x trees worked on at once
COLUMNS: dict[str, tuple[Any, Any]] = {
    "feature": (np.int32, -1),
    "threshold": (np.float64, 0.0),
    "left": (np.int32, 0),
    "right": (np.int32, 0),
    "default_left": (np.bool_, False),
    "nan_is_missing": (np.bool_, False),
    "value": (np.float64, 0.0),
}


def tree_arrays(dump: dict[str, Any]) -> dict[str, np.ndarray]:
    """`booster.dump_model()` -> one (T, M) array per column; node 0 is the root, unused places are empty leaves.

    Raises:
        UserError: a split by category or a zero that counts as missing, which the NumPy scorer does not know.
    """
    forest = [_rows(tree["tree_structure"]) for tree in dump["tree_info"]]
    width = max(map(len, forest), default=1)
    arrays: dict[str, np.ndarray] = {
        name: np.full((len(forest), width), empty, dtype) for name, (dtype, empty) in COLUMNS.items()
    }
    for t, rows in enumerate(forest):
        for name in COLUMNS:
            arrays[name][t, : len(rows)] = [row.get(name, COLUMNS[name][1]) for row in rows]
    return arrays


def _rows(root: dict[str, Any]) -> list[dict[str, Any]]:
    """Nodes of one tree, parents before children."""
    rows: list[dict[str, Any]] = []
    waiting: list[tuple[dict[str, Any], dict[str, Any] | None, str]] = [(root, None, "")]
    while waiting:
        node, parent, side = waiting.pop()
        if parent is not None:
            parent[side] = len(rows)
        if "leaf_value" in node:
            rows.append({"value": node["leaf_value"]})
            continue
        if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
            raise UserError(
                f"LightGBM splits with decision '{node['decision_type']}' and missing values as "
                f"'{node['missing_type']}' cannot be exported yet; train without categorical features, zero_as_missing"
            )
        row = {
            "feature": node["split_feature"],
            "threshold": node["threshold"],
            "default_left": node["default_left"],
            "nan_is_missing": node["missing_type"] == "NaN",
        }
        rows.append(row)
        waiting += [(node["left_child"], row, "left"), (node["right_child"], row, "right")]
    return rows


def tree_sums(features_nF: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Sum of the leaves that each row ends in, float64 (n,): all rows walk all trees together, one level a step."""
    step = max(1, CELLS // max(1, len(arrays["feature"])))
    parts = [_walk(features_nF[first : first + step], arrays) for first in range(0, len(features_nF), step)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _walk(features_nF: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Sum of the leaves that each row ends in, float64 (n,)."""
    n, (T, M) = len(features_nF), arrays["feature"].shape
    flat = {name: arrays[name].reshape(-1) for name in COLUMNS}
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
