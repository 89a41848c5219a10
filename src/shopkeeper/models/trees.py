"""LightGBM's trees: how they are grown, and how they lie in a model's folder, as `trees.txt`.

That is LightGBM's own text format, nothing executable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.files import write_text

FILE = "trees.txt"
END = "end of parameters"


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
    """LightGBM's parameters for `aim` (objective, metric, …); same data, seed and version give the same trees."""
    return {
        **aim,
        "learning_rate": learning_rate,
        "num_leaves": num_leaves,
        "min_data_in_leaf": min_data_in_leaf,
        "feature_fraction": feature_fraction,
        "lambda_l2": lambda_l2,
        "num_threads": num_threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


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
