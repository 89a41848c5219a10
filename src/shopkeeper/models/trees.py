"""LightGBM's trees: how they are grown and how many, and how they lie in a model's folder, as `trees.txt`.

That is LightGBM's own text format, nothing executable.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.errors import Rule, UserError, check, number, share, whole
from shopkeeper.files import write_text

FILE = "trees.txt"
END = "end of parameters"
RULES: dict[str, Rule] = {
    "learning_rate": number(above=True),
    "num_leaves": ("must be a whole number from 2 to 131072", lambda x: whole(2)[1](x) and x <= 131072),
    "min_data_in_leaf": ("must be a whole number below 2^31", lambda x: whole(0)[1](x) and x < 2**31),
    "feature_fraction": share(above=True),
    "lambda_l2": number(),
    "num_threads": whole(1),
    **dict.fromkeys(("max_trees", "patience"), whole(1)),  # while the number of trees is looked for
    "tweedie_variance_power": number(1, above=True, below=2),
    "min_positives": whole(1),
}


def learnt(
    parameters: Mapping[str, Any],
    features: np.ndarray,
    label: np.ndarray,
    held_out: tuple[np.ndarray, np.ndarray],
    *,
    trees: int | None,
    most: int,
    patience: int,
) -> tuple[Any, int]:
    """A booster of all rows, and how many trees it has: as told, or as many as are best for rows that are held out.

    Args:
        parameters: LightGBM's.
        features: (n, F).
        label: (n,).
        held_out: rows to learn from while the number is looked for, and rows that judge it.
        trees: None: not told.
        most: limit while it is looked for.
        patience: trees without gain after which that stops.
    """
    import lightgbm as lgb

    given = dict(parameters)
    if trees is None:
        some, others = held_out
        data = lgb.Dataset(features[some], label[some], params=given)
        judged = lgb.Dataset(features[others], label[others], reference=data, params=given)
        stop = lgb.early_stopping(patience, verbose=False)
        found = lgb.train(given, data, most, valid_sets=[judged], callbacks=[stop])
        trees = max(int(found.best_iteration), 1)
    return lgb.train(given, lgb.Dataset(features, label, params=given), trees), trees


def grown(
    *,
    learning_rate: float,
    num_leaves: int,
    min_data_in_leaf: int,
    feature_fraction: float,
    lambda_l2: float,
    num_threads: int,
    **aim: Any,
) -> dict[str, Any]:
    """LightGBM's parameters for `aim` (objective, metric, …); same data, seed and version give the same trees.

    Raises:
        UserError: a value that LightGBM refuses.
    """
    told = {
        "learning_rate": learning_rate,
        "num_leaves": num_leaves,
        "min_data_in_leaf": min_data_in_leaf,
        "feature_fraction": feature_fraction,
        "lambda_l2": lambda_l2,
        "num_threads": num_threads,
    }
    check(told, RULES, "model.")
    return {**aim, **told, "deterministic": True, "force_row_wise": True, "verbose": -1}


def save_trees(folder: Path, booster: Any) -> None:
    """Write a booster; None removes what is there."""
    (folder / FILE).unlink(missing_ok=True)
    if booster is not None:
        write_text(folder / FILE, booster.model_to_string())


def open_trees(folder: Path) -> Any:
    """The booster; a `UserError` where the file is missing or damaged.

    A text that ends too early is never handed to LightGBM, which may end the process over it.
    """
    import lightgbm as lgb

    path = Path(folder) / FILE
    try:
        text = path.read_text(encoding="utf-8")
        if END not in text:
            raise ValueError("the text ends too early")
        return lgb.Booster(model_str=text)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: the run folder is incomplete; train the model again") from None
    except (lgb.basic.LightGBMError, ValueError) as e:
        raise UserError(f"{path} is damaged ({e}); train the model again") from None
