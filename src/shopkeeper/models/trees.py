"""LightGBM's trees in a model's folder, as `trees.txt`: its own text format, nothing executable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.files import write_text

FILE = "trees.txt"
END = "end of trees"


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
