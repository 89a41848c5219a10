"""Columns as they come from a file, turned into what a log holds: id dictionaries, floats, text for messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.errors import UserError
from shopkeeper.ids.columns import normal_ids, plain_text
from shopkeeper.ingest.readers.delimited import NO_NUMBER

CODES = pa.dictionary(pa.int32(), pa.string())
# What people are reached by, as values tell it and not names: a column `mail` may say how often somebody was mailed.
CONTACT_KEYS = {
    "e-mail addresses": r"[^@\s]+@[^@\s]+\.[^@\s.]+",
    # Behind 00 at least ten digits: branches and customers have numbers with leading zeros, too.
    "phone numbers": r"'?(\+[\s().\-/]*[1-9]([\s().\-/]*\d){6,14}|00[\s().\-/]*[1-9]([\s().\-/]*\d){9,14})",
    "hashes of such": r"[0-9a-fA-F]{64}",
}
LOOKED_AT = 1000  # known texts of a column, of which half must be keys


def as_ids(column: pa.Array, name: str) -> pa.DictionaryArray:
    """Ids in the spelling of `ids`, dictionary-encoded (each text once); missing and blank ones are null."""
    return _dictionary(column, name, normal_ids)


def as_texts(column: pa.Array, name: str) -> pa.DictionaryArray:
    """Texts that are no ids (attributes, what rules look at), exactly as they are written; blank ones are null."""
    return _dictionary(column, name, plain_text)


def _dictionary(column: pa.Array, name: str, spelled: Callable[[pa.Array], pa.Array]) -> pa.DictionaryArray:
    if pa.types.is_nested(column.type):
        raise UserError(f"column '{name}' holds {column.type}; ids must be text or whole numbers")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    before, indices = column.dictionary, column.indices.cast(pa.int32())
    values = spelled(before)
    if values is not before and not pa.types.is_integer(before.type):  # two spellings may have become one
        once = values.dictionary_encode()
        values, indices = once.dictionary, once.indices.take(indices)
    blank = pc.fill_null(pc.or_(pc.equal(pc.binary_length(values), 0), pc.utf8_is_space(values)), True)
    return _without(indices, values, blank)


def without(ids: pa.DictionaryArray, names: Collection[str]) -> pa.DictionaryArray:
    """The same ids, null where the text is one of `names`, which stand for nobody (`missing` of a dataset)."""
    named = pc.is_in(ids.dictionary, value_set=pa.array(sorted(names), pa.string()))
    return _without(ids.indices, ids.dictionary, named)


def _without(indices: pa.Array, values: pa.Array, gone: pa.Array) -> pa.DictionaryArray:
    if pc.any(gone).as_py():
        codes = np.flatnonzero(gone.to_numpy(zero_copy_only=False)).astype(np.int32)
        indices = pc.if_else(pc.is_in(indices, pa.array(codes)), pa.scalar(None, pa.int32()), indices)
        values = pc.fill_null(values, "")
    return pa.DictionaryArray.from_arrays(indices, values)


def as_floats(column: pa.Array, decimal: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as float64 (NaN where missing) and which values are no numbers (bool); text as of `plain_numbers`."""
    if pa.types.is_dictionary(column.type):
        values, bad = as_floats(column.dictionary, decimal)
        codes = column.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        return np.append(values, np.nan)[codes], np.append(bad, False)[codes]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = pl.Series(pl.from_arrow(column)).cast(pl.String).str.strip_chars()
        missing = text.is_null() | text.is_in(NO_NUMBER)
        numbers = plain_numbers(text.set(missing, None), decimal)
        bad = (numbers.is_null() & ~missing).to_numpy()
        return numbers.fill_null(float("nan")).to_numpy().copy(), bad
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        if pa.types.is_null(column.type):
            return np.full(len(column), np.nan), np.zeros(len(column), bool)
        return np.full(len(column), np.nan), ~column.is_null().to_numpy(zero_copy_only=False)
    if column.null_count == 0 and column.type == pa.float64():
        return column.to_numpy(), np.zeros(len(column), bool)
    values = column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
    return values, np.zeros(len(column), bool)


def plain_numbers(text: pl.Series, decimal: str | None = None) -> pl.Series:
    """Written numbers as Float64, null where one cannot be known. `decimal` is the decimal sign, None: nobody said.

    Signs of thousands (the other of dot and comma, blanks, apostrophes) must stand between groups of three digits. The
    sign of thousands is never read as a decimal sign; `1,299` is refused where nobody said what the comma is. Signs of
    currency are refused: what they mean differs between rows.
    """
    point = decimal or "."
    numbers = (text if point == "." else text.str.replace(point, ".", literal=True)).cast(pl.Float64, strict=False)
    odd = text.is_not_null() & (numbers.is_null() | (point != "." and text.str.contains(".", literal=True)))
    if not odd.any():
        return numbers
    signs = [("," if point == "." else "."), " ", "\u00a0", "\u202f", "\u2009", "'", "\u2019"]
    groups = "|".join(rf"[1-9]\d{{0,2}}(?:{re.escape(sign)}\d{{3}})+" for sign in signs if sign != point)
    written = text.filter(odd)
    known = written.str.contains(rf"^[+-]?(?:{groups})(?:{re.escape(point)}\d*)?$")
    if decimal is None:
        known &= ~written.str.contains(r"^[+-]?\d+,\d{3}$")
    bare = written.str.replace_all("[" + re.escape("".join(s for s in signs if s != point)) + "]", "")
    bare = bare.str.replace(point, ".", literal=True).cast(pl.Float64, strict=False)
    return numbers.scatter(odd.arg_true(), bare.set(~known, None))


def values_at(column: pa.Array, positions: np.ndarray) -> pa.Array:
    """Values as text for rejected.parquet and messages, at most 200 characters each; missing ones are empty."""
    found = column.take(pa.array(positions))
    if pa.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    if pa.types.is_nested(found.type) or pa.types.is_binary(found.type):
        text = pa.array([str(v) for v in found.to_pylist()], pa.string())
    else:
        text = found.cast(pa.string())
    text = pc.fill_null(text, "")
    short = pc.binary_join_element_wise(pc.utf8_slice_codeunits(text, 0, 199), "…", "")
    return pc.if_else(pc.greater(pc.utf8_length(text), 200), short, text)


def typed(column: pl.Series, decimal: str | None = None) -> pl.Series:
    """Text as numbers where all of it is (blank = null), so that ages and years are numbers; "007" stays text.

    With a decimal sign of their own (`reader.decimal`) numbers are read as those of the log are.
    """
    text = column.set(column.str.strip_chars() == "", None)
    known = text.drop_nulls()
    if not len(known) or known.str.contains(r"^[+-]?0\d").any():
        return text
    for kind in (pl.Int64, pl.Float64):
        cast = text.cast(kind, strict=False) if kind == pl.Int64 or not decimal else plain_numbers(text, decimal)
        if cast.null_count() == text.null_count():
            return cast
    return text


def contact_keys(texts: pa.Array | pa.ChunkedArray) -> str:
    """Which kind of contact key a column of texts holds, "" for none.

    >>> contact_keys(pa.array(["ann@shop.org", None, " Bo@Shop.org "])), contact_keys(pa.array(["+44 20 7946 0018"]))
    ('e-mail addresses', 'phone numbers')
    >>> contact_keys(pa.array(["gold", "bo@example.org", "silver"])), contact_keys(pa.array(["0012345678", "0012"]))
    ('', '')
    """
    known = [x.strip() for x in texts.drop_null().slice(0, LOOKED_AT).to_pylist() if x.strip()]
    for kind, form in CONTACT_KEYS.items():
        if known and 2 * sum(re.fullmatch(form, x) is not None for x in known) >= len(known):
            return kind
    return ""


def check_no_contact_keys(column: str, texts: pa.Array | pa.ChunkedArray, where: str, way_out: str) -> None:
    """A `UserError` where a column of texts holds contact keys: they live in a table of their own."""
    if kind := contact_keys(texts):
        raise UserError(
            f"{where}: the column '{column}' holds {kind}, and what people are reached by foretells nothing; {way_out} "
            "and keep it in a table of its own, for `shopkeeper upload-file`"
        )
