"""LightGBM's trees as rectangles of numbers that `bundles.answer.scorers.trees` walks.

Shapes: T trees, M nodes of the largest tree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shopkeeper.errors import UserError

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
