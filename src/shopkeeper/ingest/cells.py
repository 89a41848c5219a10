"""Lists that stand in a cell of a text file: `[1,2]`, `['a','b']`, `["a", "b"]`, `[{"id": "a", "price": 2}]`.

As Yandex Metrica's Logs API, ClickHouse, warehouses and pandas write them. Quotes of a list may be escaped once more
by the file (`[\\'a\\',\\'b\\']`).
"""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import polars as pl
import pyarrow as pa

_PIECE = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\[\],\s'"][^\[\],]*"""
NOTHING = ("null", "NULL", "None", "nan", "NaN")  # without quotes, as JSON, ClickHouse and Python write what is missing
_NOTHING_INSIDE = r"[\[,]\s*(?:null|NULL|None|nan|NaN)\s*[\],]"
_WHOLE = r"""(?s)^\s*\[.*\]\s*$"""


def lists(column: pa.Array, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Cells as lists of a kind (of texts, or of records of texts), and which cells are none, bool (n,): null there.

    A blank cell is null and no fault.
    """
    text = pl.Series(pl.from_arrow(column)).cast(pl.String)
    text = text.set((text.str.strip_chars() == "").fill_null(False), None)
    if pa.types.is_struct(kind.value_type):
        return _records(text, kind)
    bad = ~text.str.contains(_WHOLE).fill_null(True)
    text = text.set(bad, None)
    twice = text.str.contains(r"^\s*\[\\'").fill_null(False)
    if twice.any():  # a quote inside of a text has three backslashes there
        text = text.str.replace_all(r"\\(.)", "${1}").zip_with(twice, text)
    pieces = text.str.extract_all(_PIECE)
    piece = pl.element().str.strip_chars_end()
    value = piece.str.replace_all(r"""^(?:'|")|(?:'|")$""", "")
    if text.str.contains("\\", literal=True).any():
        json_texts = _json_texts(pieces)
        value = value.str.replace_all(r"\\(.)", "${1}")
        value = pl.when(piece.is_in(list(json_texts))).then(piece.replace(json_texts)).otherwise(value)
    if text.str.contains(_NOTHING_INSIDE).any():
        value = pl.when(piece.is_in(NOTHING)).then(None).otherwise(value)
    plain = pieces.list.eval(value)
    plain = plain.set(text.is_null(), None) if text.null_count() else plain
    return plain.to_arrow(), bad.to_numpy()


def _json_texts(pieces: pl.Series) -> dict[str, str]:
    """Texts in double quotes that JSON writes with escapes, `"\\u0447\\u0430\\u0439"`, and what they mean."""
    every = pieces.explode().drop_nulls().str.strip_chars_end()
    found = {}
    for piece in every.filter(every.str.starts_with('"') & every.str.contains("\\", literal=True)).unique():
        with suppress(ValueError):
            found[piece] = str(json.loads(piece))
    return found


def _records(text: pl.Series, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    wanted = pl.Series(pl.from_arrow(pa.array([], kind))).dtype
    bad = np.zeros(len(text), bool)
    try:
        return text.str.json_decode(wanted).to_arrow(), bad
    except pl.exceptions.PolarsError:
        values = text.to_list()
    for i, value in enumerate(values):
        if value is not None and not _are_records(value):
            bad[i], values[i] = True, None
    return pl.Series(values, dtype=pl.String).str.json_decode(wanted).to_arrow(), bad


def _are_records(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, list) and all(isinstance(x, dict | None) for x in value)
