"""Tables about customers (links, consent, erasure), read from CSV or Parquet; errors name file, row and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.errors import UserError, nearest
from shopkeeper.ids.columns import normal_ids


def read_columns(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), columns: Mapping[str, str] | None = None
) -> dict[str, pa.Array]:
    """Columns of a table under our names; `columns` maps our names to the file's.

    Everything but times is text; ids are spelled as in the log (`ids`).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing; put the table there or correct its `file` in the dataset's config")
    try:
        if path.suffix in (".parquet", ".pq"):
            frame = pl.read_parquet(path)
        else:
            frame = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as e:
        reason = (str(e).splitlines() or [""])[0]
        raise UserError(f"{path} cannot be read as a table ({reason}); save it as CSV (UTF-8) or Parquet") from None
    mapping = dict(columns or {})
    for ours in mapping:
        if ours not in (*required, *optional):
            raise UserError(f"{path}: unknown column `columns.{ours}`.{nearest(ours, (*required, *optional))}")
    out: dict[str, pa.Array] = {}
    for ours in (*required, *optional):
        theirs = mapping.get(ours, ours)
        if theirs not in frame.columns:
            if ours in required or ours in mapping:
                raise UserError(f"{path} has no column '{theirs}'.{nearest(theirs, frame.columns)}")
            continue
        series = frame[theirs]
        if series.dtype.is_temporal():
            series = series.cast(pl.Datetime("us"))
        elif not series.dtype.is_numeric():
            series = series.cast(pl.String)
        array = series.to_arrow()
        if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
            array = array.cast(pa.string())
        if ours not in ("valid_from", "valid_until", "granted", "withdrawn"):
            array = normal_ids(array)
            array = pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
        if ours in required and array.null_count:
            row = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
            raise UserError(f"{path}, row {row + 2}, column '{theirs}': the value is missing; fill it in")
        out[ours] = array
    return out


def instants(column: pa.Array, path: Path, name: str, missing: int | None = None) -> np.ndarray:
    """Microseconds UTC (int64) from ISO texts, time stamps or integers; `missing` stands for what is empty."""
    if pa.types.is_integer(column.type):
        value = column.cast(pa.int64())
    elif pa.types.is_timestamp(column.type):
        value = column.cast(pa.timestamp("us")).cast(pa.int64())
    else:
        text = pl.Series(pl.from_arrow(column.cast(pa.string()))).str.strip_chars()
        text = text.set(text == "", None)
        iso = text.str.strip_suffix("Z").str.replace(" ", "T", literal=True)
        value = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
        value = value.fill_null(iso.str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us", strict=False))
        value = value.fill_null(iso.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")))
        numbers = text.cast(pl.Int64, strict=False)
        whole = value.cast(pl.Int64).fill_null(numbers)
        bad = (whole.is_null() & text.is_not_null()).arg_true()
        if len(bad):
            row = int(bad[0])
            message = f"{path}, row {row + 2}, column {name}: '{text[row]}' is no instant; write 2024-01-31T12:00:00Z"
            raise UserError(message)
        value = whole.to_arrow()
    if value.null_count and missing is None:
        row = int(np.flatnonzero(value.is_null().to_numpy(zero_copy_only=False))[0])
        raise UserError(f"{path}, row {row + 2}, column {name}: the value is missing; fill it in")
    return pc.fill_null(value, 0 if missing is None else missing).to_numpy(zero_copy_only=False).astype(np.int64)
