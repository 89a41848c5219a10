"""Fitted arrays of the models without a network, as one `weights.npz`: plain NumPy arrays, nothing executable."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shopkeeper.errors import UserError
from shopkeeper.files import atomic_file

FILE = "weights.npz"


def save_arrays(folder: Path, model: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` and the model's name into `folder/weights.npz`, under a temporary name and renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / FILE) as tmp, open(tmp, "wb") as f:
        np.savez(f, model=np.array(model), **{k: np.asarray(v) for k, v in arrays.items()})  # type: ignore[arg-type]


def load_arrays(folder: Path, model: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read what `save_arrays` wrote; a `UserError` when it is missing, damaged or of another model.

    A name that ends in `/` stands for all that begin with it.
    """
    path = Path(folder) / FILE
    again = f"train {model} again or name another run folder"
    try:
        with np.load(path, allow_pickle=False) as file:
            found = str(file["model"])
            if found != model:
                raise UserError(f"{path} was written by model '{found}', not '{model}'; {again}")
            rooms = tuple(name for name in names if name.endswith("/"))
            within = [name for name in file.files if name.startswith(rooms)] if rooms else []
            return {name: file[name] for name in [*names, *within] if name not in rooms}
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {again}") from None
    except KeyError as e:
        raise UserError(f"{path} lacks {e}: it is not a file of model '{model}'; {again}") from None
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as e:
        if isinstance(e, UserError):
            raise
        raise UserError(f"{path} is damaged ({e}); {again}") from None
