"""Columns of ids in the one spelling of `spelling.py`, and what is doubtful about them.

`doubts` counts spellings that a tool may have made of others, `overlap` says how many ids of two columns would meet but
for them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.ids.spelling import BLANKS, EXPONENT, POINT_ZERO, without_exponent

_MARKS = b".+ \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"  # an ASCII id without any of these is spelled as it should be
# What tools make of ids on the way and cannot be undone (the same text may be an id elsewhere): in words, as a pattern,
# and the bytes of which one is in all of them.
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
REWRITTEN = (
    ("like 17,0, a number with a decimal comma", r"^[+-]?[0-9]+,0+$", b","),
    ("like 4,0084E+12, a number that has lost digits", r"^[+-]?[0-9],[0-9]+[eE][+-]?[0-9]+$", b","),
    ("like 1,234,567 or 1.234.567, a number in groups",
     r"^[+-]?[0-9]{1,3}(?:(?:,[0-9]{3})+|(?:\.[0-9]{3}){2,})$", b",."),
    ("with quotes or =\"…\" around, a spreadsheet's text", r"^(?:=?[\"'].*[\"']|')", b"\"'"),
    ("like #### or #NAME?, a spreadsheet's error", r"^#(?:#+|NAME\?|NUM!|DIV/0!)$", b"#"),
    ("like 1-Mar or Mar-05, a spreadsheet's date", rf"^(?:[0-3]?[0-9]-{_MONTH}|{_MONTH}-[0-9]{{2}})$", b"-"),
)  # fmt: skip
# Texts that stand for "nobody" or "nothing" in one shop or another; compared without case. Some are real ids elsewhere.
PLACEHOLDERS = (
    "0", "00", "-1", "-", "--", "?", "na", "n/a", "#n/a", "nan", "null", "nil", "none", "\\n", "undefined", "unknown",
    "unbekannt", "missing", "empty", "(not set)", "not set", "(none)", "(null)", "(empty)", "(blank)", "blank",
    "guest", "anonymous", "anon", "default", "test", "dummy", "no_user", "nouser", "9999", "99999", "999999",
    "n.a.", "<na>", "<null>", "[null]", "#value!", "#ref!", "(other)", "not available", "not applicable", "no id",
    "not logged in", "logged out", "anonym", "invalid", "void", "walk-in", "walk-in customer", "walkin",
    "cash customer", "cash sale", "guest customer", "guest user",
    "gast", "gastkunde", "laufkunde", "laufkundschaft", "barkunde", "barverkauf", "anonymer kunde",
    "invité", "anonyme", "inconnu", "client de passage", "client comptoir", "visiteur",
    "invitado", "anónimo", "desconocido", "público general", "ospite", "anonimo", "sconosciuto", "cliente generico",
    "anoniem", "onbekend", "gość", "nieznany", "klient detaliczny", "anonymní", "neznámý",
    "гость", "аноним", "неизвестно", "неизвестный", "розничный покупатель", "гість", "анонім", "невідомо", "невідомий",
    "роздрібний покупець",
    "00000000-0000-0000-0000-000000000000",
)  # fmt: skip
LONGEST = max(len(text.encode()) for text in PLACEHOLDERS)  # bytes


def normal_ids(values: pa.Array) -> pa.Array:
    """A column of ids (n,) of any plain type as texts in this project's spelling; "" for blanks, null stays null.

    Cheap where nothing is to be done: one look at the bytes. Dictionaries: give their values.
    """
    text = plain_text(values)
    if _plain(text):
        return text
    if not _bytes(text).isascii():  # Arrow 25 has NFC, too, and takes letters apart with it
        wide = pc.fill_null(pc.match_substring_regex(text, pattern=r"[^\x00-\x7F]"), False)
        composed = [unicodedata.normalize("NFC", t) for t in text.filter(wide).to_pylist()]
        text = pc.replace_with_mask(text, wide, pa.array(composed, pa.string()))
    text = pc.utf8_trim(text, characters=BLANKS)
    text = pc.replace_substring_regex(text, pattern=POINT_ZERO, replacement=r"\1")
    exponent = pc.fill_null(pc.match_substring_regex(text, pattern=EXPONENT), False)
    if pc.any(exponent).as_py():
        known = pa.array([without_exponent(t) for t in text.filter(exponent).to_pylist()], pa.string())
        text = pc.replace_with_mask(text, exponent, known)
    return text


def plain_text(values: pa.Array) -> pa.Array:
    """Any plain type as text; whole numbers that are stored as floats or decimals without their `.0`."""
    kind = values.type
    if pa.types.is_string(kind):
        return values
    if pa.types.is_floating(kind):
        as_float = values.cast(pa.float64())
        whole = pc.and_(pc.equal(pc.floor(as_float), as_float), pc.less(pc.abs(as_float), 2.0**53))
        whole_part = pc.if_else(whole, as_float, pa.scalar(None, pa.float64())).cast(pa.int64()).cast(pa.string())
        known = pc.if_else(pc.is_nan(as_float), pa.scalar(None, pa.float64()), as_float)
        return pc.coalesce(whole_part, known.cast(pa.string()))
    if pa.types.is_decimal(kind):
        return pc.replace_substring_regex(values.cast(pa.string()), pattern=r"\.0+$", replacement="")
    return values.cast(pa.string())


def _bytes(text: pa.Array) -> bytes:
    """All characters of a column of texts, one after another."""
    if not len(text):
        return b""
    _, offsets, data = text.buffers()
    if data is None:
        return b""
    at = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    return data.slice(int(at[0]), int(at[-1] - at[0])).to_pybytes()


def _plain(text: pa.Array) -> bool:
    """Whether no text can need anything: ASCII without blanks, points and the sign of an exponent."""
    data = _bytes(text)
    return data.isascii() and len(data.translate(None, _MARKS)) == len(data)


@dataclass(frozen=True)
class Overlap:
    """How many of n different ids are in another column: as they are, and only up to a spelling."""

    ids: int
    found: int
    zeros: int  # not found, but found without leading zeros
    case: int  # not found, but found without regard to letter case
    example: tuple[str, str] | None = None  # one such pair: (here, there)


def overlap(ids: pa.Array, others: pa.Array) -> Overlap:
    """How many different `ids` (texts or numbers) are among `others`, and how many would be but for their spelling.

    `17.0` and `17` are one id here as everywhere. Leading zeros and letter case are looked at for the rest.
    """
    mine, theirs = (pc.unique(pc.drop_null(normal_ids(_decoded(x)))) for x in (ids, others))
    there = pc.is_in(mine, value_set=theirs)
    rest = mine.filter(pc.invert(there))
    counts, example = {}, None
    for name, change in (("zeros", _without_zeros), ("case", pc.utf8_lower)):
        place = pc.index_in(change(rest), value_set=change(theirs))
        hit = place.is_valid()
        counts[name] = int(pc.sum(hit).as_py() or 0)
        if counts[name] and example is None:
            here = rest.filter(hit)[0].as_py()
            example = (here, theirs[place.filter(hit)[0].as_py()].as_py())
        rest = rest.filter(pc.invert(hit))
    return Overlap(len(mine), len(mine) - len(rest) - sum(counts.values()), counts["zeros"], counts["case"], example)


@dataclass(frozen=True)
class Doubts:
    """What cannot be known of the spelling of n different ids: pairs that a tool may have made of one id."""

    zeros: int = 0  # ids that are another id but for leading zeros
    case: int = 0  # … but for letter case
    exponents: int = 0  # `4.00840E+12`: digits are lost
    rewritten: tuple[tuple[str, int], ...] = ()  # how tools wrote ids over, in words, with how many look so


def doubts(ids: pa.Array) -> Doubts:
    """Doubtful spellings among different ids (texts as `normal_ids` gives them, no nulls).

    Only ids that could be meant are compared with all: those with leading zeros, and those with capital letters.
    """
    data = _bytes(ids)
    some = [(words, pattern) for words, pattern, marks in REWRITTEN if any(mark in data for mark in marks)]
    return Doubts(
        zeros=_twins(ids, r"^0+[0-9]", _without_zeros) if b"0" in data else 0,
        case=_twins(ids, r"[A-Z]", pc.utf8_lower) if data != data.lower() else 0,
        exponents=_count(ids, EXPONENT) if b"+" in data or b"." in data else 0,
        rewritten=tuple((words, n) for words, pattern in some if (n := _count(ids, pattern))),
    )


def _count(ids: pa.Array, pattern: str) -> int:
    return int(pc.sum(pc.match_substring_regex(ids, pattern=pattern)).as_py() or 0)


def _twins(ids: pa.Array, pattern: str, change: Callable[[pa.Array], pa.Array]) -> int:
    """How many of the ids that match are, once changed, another id, or the same as an earlier one that was changed."""
    some = ids.filter(pc.match_substring_regex(ids, pattern=pattern))
    if not len(some):
        return 0
    changed = change(some)
    plain = pc.is_in(changed, value_set=ids).to_numpy(zero_copy_only=False)  # the plain spelling is there itself
    shared = changed.dictionary_encode().indices.to_numpy()  # two that are spellings of one another: `AB`, `Ab`
    first = np.full(len(some), -1)
    first[shared[::-1]] = np.arange(len(some))[::-1]
    return int(np.count_nonzero(plain | (first[shared] < np.arange(len(some)))))


def placeholders(ids: pa.Array) -> np.ndarray:
    """Positions (intp) of ids that stand for "nobody" or "nothing" in one shop or another."""
    short = np.flatnonzero(pc.less_equal(pc.binary_length(ids), LONGEST).to_numpy(False))
    some = pc.utf8_lower(ids.take(pa.array(short)))
    return short[pc.is_in(some, value_set=pa.array(PLACEHOLDERS)).to_numpy(zero_copy_only=False)]


def _without_zeros(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, pattern=r"^0+([0-9])", replacement=r"\1")


def _decoded(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
