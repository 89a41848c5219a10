"""What a model of one's own has learned, as files that hold data alone: JSON, NumPy arrays, Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.errors import UserError
from shopkeeper.files import read_json, write_text

if TYPE_CHECKING:
    import pandas as pd

LIST, ARRAYS, PLAIN = "own.json", "own.npz", (bool, int, float, str, type(None))


def write_state(folder: Path, learned: Mapping[str, Any], owner: str) -> None:
    """Write attributes by name; a `UserError` for one that is no data.

    Examples:
        >>> import tempfile; place = Path(tempfile.mkdtemp())
        >>> write_state(place, {"a_": np.arange(2), "b_": {"x": 1.5}}, "Mine")
        >>> {k: np.asarray(v).tolist() for k, v in read_state(place).items()}
        {'a_': [0, 1], 'b_': {'x': 1.5}}
    """
    import pandas as pd

    arrays, listed = dict[str, np.ndarray](), dict[str, Any]()
    for name, value in learned.items():
        if isinstance(value, pd.DataFrame | pd.Series):
            listed[name] = {"kind": "series" if isinstance(value, pd.Series) else "frame"}
            pq.write_table(_table(value, f"{owner}.{name}"), folder / f"own-{name}.parquet")
        elif isinstance(value, np.ndarray) and value.dtype != object:
            arrays[name] = np.ascontiguousarray(value)
            listed[name] = {"kind": "array"}
        else:
            value = _without_numpy(value)
            if isinstance(value, float) and not math.isfinite(value):  # which JSON has not
                arrays[name], listed[name] = np.array(value), {"kind": "number"}
                continue
            if not _is_json(value):
                raise UserError(
                    f"{owner}.{name} is a {type(value).__name__}, which cannot be written as data; keep numbers, text, "
                    f"lists and dicts of finite numbers and text (text for keys), NumPy arrays (not of objects), or "
                    f"pandas frames"
                )
            listed[name] = {"kind": "json", "value": value}
    np.savez(folder / ARRAYS, **arrays)  # type: ignore[arg-type]
    write_text(folder / LIST, json.dumps(listed, indent=2, allow_nan=False) + "\n")  # dicts keep their order


def read_state(folder: Path) -> dict[str, Any]:
    """What `write_state` wrote."""
    found: dict[str, Any] = {}
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        for name, said in read_json(folder / LIST).items():
            if said["kind"] == "json":
                found[name] = said["value"]
            elif said["kind"] == "array":
                found[name] = arrays[name]
            elif said["kind"] == "number":
                found[name] = float(arrays[name])
            else:
                frame = pq.read_table(folder / f"own-{name}.parquet").to_pandas()
                found[name] = frame.iloc[:, 0] if said["kind"] == "series" else frame
    return found


def _table(value: pd.DataFrame | pd.Series[Any], where: str) -> pa.Table:
    import pandas as pd

    frame = value.to_frame(value.name or "value") if isinstance(value, pd.Series) else value
    try:
        return pa.Table.from_pandas(frame)
    except (pa.ArrowException, TypeError, ValueError) as e:
        raise UserError(f"{where} cannot be written as data ({str(e).splitlines()[0]}); keep plain columns") from None


def _without_numpy(value: Any) -> Any:
    """NumPy's numbers as Python's, in lists and dicts, too."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_without_numpy(inner) for inner in value]
    return {k: _without_numpy(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _is_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_json(v) for k, v in value.items())
    return isinstance(value, PLAIN) and not (isinstance(value, float) and not math.isfinite(value))
