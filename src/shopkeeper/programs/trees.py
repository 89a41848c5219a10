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

CELLS = 20_000  # rows x trees worked on at once: what is read stays near the processor
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
    """Sum of the leaves that each row ends in, float64 (n,). A row that has ended in a tree walks it no further."""
    n, (T, M) = len(features_nF), arrays["feature"].shape
    flat = {name: arrays[name].reshape(-1) for name in COLUMNS}
    feature, root_T = flat["feature"].astype(np.int64), np.arange(T) * M
    child = np.stack([flat["right"], flat["left"]], axis=1) + np.repeat(root_T, M)[:, None]
    child = child.reshape(-1)  # of node m: 2 m is where it goes right, 2 m + 1 left
    x, leaf = features_nF.reshape(-1).astype(np.float64), np.empty(n * T, np.int64)
    cell, node, row = np.arange(n * T), np.tile(root_T, n), np.repeat(np.arange(n) * features_nF.shape[1], T)
    while True:
        asked = feature.take(node)
        inner = np.flatnonzero(asked >= 0)
        if len(inner) < len(asked):
            ended = np.flatnonzero(asked < 0)
            leaf[cell.take(ended)] = node.take(ended)
            cell, node, row, asked = (values.take(inner) for values in (cell, node, row, asked))
        if not len(cell):
            sums: np.ndarray = flat["value"].take(leaf).reshape(n, T).sum(axis=1)
            return sums
        value = x.take(row + asked)
        left = value <= flat["threshold"].take(node)
        unknown = np.flatnonzero(np.isnan(value))
        if len(unknown):
            at = node.take(unknown)
            left[unknown] = np.where(flat["nan_is_missing"][at], flat["default_left"][at], flat["threshold"][at] >= 0.0)
        node = child.take(2 * node + left)
