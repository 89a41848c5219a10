"""Tables as people have them, pandas, Polars, Arrow or a file, as columns of a log; and Arrow as a DataFrame.

What is done here is what a file would not need: an index becomes a column, a category the text that it stands for, a
nullable number a number or nothing. What values mean is the business of `ingest`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shopkeeper.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

IDS = ("user_id", "item_id", "order_id", "session_id", "channel")


def as_arrow(frame: Any, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a frame (all: None), with the values that its categories and nullable numbers stand for.

    Args:
        frame: a pandas or Polars frame, an Arrow table, or anything that gives Arrow (`__arrow_c_stream__`).
        columns: names of columns, or of levels of a pandas index.

    Raises:
        UserError: no table, a column that is missing or there twice, values of several kinds in one column.

    Examples:
        >>> as_arrow(pa.table({"who": ["a", "b"], "what": [1, 2]}), ["what"]).to_pydict()
        {'what': [1, 2]}
    """
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(frame, pandas.DataFrame):
        return _of_pandas(frame, columns)
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(frame, polars.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, str | Path):
        raise UserError(f"{frame} is a path, and a table in memory is wanted here; use Dataset.from_file")
    try:
        table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    except (TypeError, ValueError, pa.ArrowException):
        raise UserError(
            f"a {type(frame).__name__} is no table; give a pandas or Polars DataFrame, an Arrow table, or the path of "
            f"a file to Dataset.from_file"
        ) from None
    names = list(table.column_names) if columns is None else list(columns)
    _check_names(table.column_names, names, [])
    return pa.table({name: _plain(table[name], name) for name in names})


def is_table(value: Any) -> bool:
    """Whether it is a frame of pandas or Polars, or an Arrow table: where a column or a list is wanted."""
    kinds: list[type] = [pa.Table]
    kinds += [sys.modules[name].DataFrame for name in ("pandas", "polars") if name in sys.modules]
    return isinstance(value, tuple(kinds))


def is_series(value: Any) -> bool:
    """Whether it is a series of pandas, whose rows have names."""
    return "pandas" in sys.modules and isinstance(value, sys.modules["pandas"].Series)


def _of_pandas(frame: pd.DataFrame, columns: Sequence[str] | None) -> pa.Table:
    levels = [name for name in frame.index.names if name is not None]
    names = [str(c) for c in frame.columns] if columns is None else list(columns)
    have = [str(c) for c in frame.columns]
    _check_names(have, names, [str(level) for level in levels], frame)
    found: dict[str, pa.ChunkedArray] = {}
    for name in names:
        if name in have:
            series = frame.iloc[:, have.index(name)]
        else:
            series = frame.index.get_level_values(name).to_series().reset_index(drop=True)
        if str(series.dtype).startswith("period"):
            series = series.dt.to_timestamp()
        try:
            values = pa.Array.from_pandas(series)
        except (pa.ArrowException, TypeError, ValueError) as e:
            kinds = sorted({type(v).__name__ for v in series.dropna().head(10_000)})
            why = f"values of several kinds ({', '.join(kinds)})" if len(kinds) > 1 else f"{kinds[0] if kinds else '?'}"
            raise UserError(
                f"column '{name}' holds {why}, which is no column of a table ({str(e).splitlines()[0]}); make it one "
                f"kind first, e.g. frame['{name}'] = frame['{name}'].astype(str)"
            ) from None
        found[name] = _plain(values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values]), name)
    return pa.table(found)


def _check_names(
    have: Sequence[str], wanted: Sequence[str], levels: Sequence[str], frame: pd.DataFrame | None = None
) -> None:
    """A `UserError` for a name that is no column and no level of the index, or is there twice; `frame`: of pandas."""
    for name in wanted:
        if (n := list(have).count(name)) > 1:
            raise UserError(f"{n} columns are called '{name}'; give each its own name, so that it is clear which one")
        if name not in have and name not in levels:
            raise UserError(f"there is no column '{name}'.{nearest(name, [*have, *levels])}{_hidden(frame, name)}")
        if name in have and name in levels:
            raise UserError(f"'{name}' is the name of a column and of the index; rename one of them")


def _hidden(frame: pd.DataFrame | None, name: str) -> str:
    """Where else in a pandas frame a column may be, with the way out; a blank in front, "" where it is nowhere."""
    if frame is None:
        return ""
    if frame.columns.nlevels > 1:
        return " Columns have levels; keep one of them: frame.columns = frame.columns.get_level_values(-1)"
    if None in frame.index.names and str(frame.index.dtype) != "int64":
        return f" The index has no name; if it is that, frame = frame.rename_axis(index='{name}')"
    return ""


def _plain(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column without dictionaries and of the usual types of text; a `UserError` for what is no plain column."""
    values = without_codes(values)
    kind = values.type
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        return values.cast(pa.string())
    if pa.types.is_duration(kind) or isinstance(kind, pa.ExtensionType):
        raise UserError(
            f"column '{name}' holds {kind}, which is neither text, number nor time; make one of it first, e.g. "
            f"frame['{name}'] = frame['{name}'].astype(str)"
        )
    if pa.types.is_nested(kind):
        raise UserError(f"column '{name}' holds {kind}, and a row must be one event; write a row for each, or drop it")
    return values


def without_codes(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary's values in place of its codes; other columns as they are.

    Examples:
        >>> without_codes(pa.chunked_array([pa.array(["a", "b", "a"]).dictionary_encode()])).to_pylist()
        ['a', 'b', 'a']
    """
    if not pa.types.is_dictionary(values.type):
        return values
    kind = pa.string() if pa.types.is_string_view(values.type.value_type) else values.type.value_type
    # Arrow has no cast of a dictionary whose values are `string_view`, which Polars gives.
    return pa.chunked_array([c.dictionary.cast(kind).take(c.indices) for c in values.chunks], kind)


def as_ids(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column of ids: text or whole numbers; numbers that a missing id has made floats are whole again.

    Raises:
        UserError: numbers with a fraction, or what is no id.
    """
    kind = values.type
    if pa.types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, kind), values)
        try:
            return values.cast(pa.int64())
        except pa.ArrowInvalid:
            wrong = next(v for v in values.to_pylist() if v is not None and not float(v).is_integer())
            raise UserError(f"column '{name}' holds {wrong}, a number with a fraction, which is no id") from None
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind):
        return values
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        raise UserError(f"column '{name}' holds bytes; decode it to text first")
    raise UserError(
        f"column '{name}' holds {kind}, and ids are text or whole numbers; make text of it first, e.g. "
        f"frame['{name}'] = frame['{name}'].astype(str)"
    )


def kinds_of(columns: Mapping[str, Any], file: Path) -> dict[str, bool]:
    """Of each id column whether a Parquet file holds whole numbers: so they are given back. Empty: another file."""
    if file.suffix != ".parquet" or not file.is_file():
        return {}
    schema = pq.read_schema(file)
    return {
        ours: pa.types.is_integer(schema.field(theirs).type)
        for ours, theirs in columns.items()
        if ours in IDS and isinstance(theirs, str) and theirs in schema.names
    }


def as_given(ids: pa.ChunkedArray | pa.Array, whole: bool) -> pa.ChunkedArray | pa.Array:
    """Ids as texts, as they were given: whole numbers where `whole`, else texts.

    Examples:
        >>> as_given(pa.array(["7", "12"]), True).to_pylist()
        [7, 12]
    """
    if not whole:
        return ids
    try:
        return ids.cast(pa.int64())
    except pa.ArrowInvalid:  # pseudonyms
        return ids


def as_pandas(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as a pandas DataFrame, without metadata of others.

    Examples:
        >>> as_pandas(pa.table({"a": [1, 2]})).shape
        (2, 1)
    """
    from shopkeeper.api.errors import plain_errors

    with plain_errors():
        import pandas as pd
    frame = table.replace_schema_metadata(None).to_pandas()
    assert isinstance(frame, pd.DataFrame)
    return frame
