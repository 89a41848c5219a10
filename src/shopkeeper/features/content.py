"""What items are, from the shop's item table as it was known at a cutoff: for those that nobody has asked for yet.

An attribute counts by what it holds: text as a whole and as its words, lists of text as their parts, numbers of more
than `LEVELS` different values as one of ten levels, others as they are, lists of numbers (an embedding made elsewhere)
as they are. A query of the shop's search counts by its text (`query`), and by those of its words that an attribute of
products holds as that attribute's. A word is known by a hash of the attribute and itself, so that it is the same one in
other data. One that a single item has tells nothing of others and is left out.

Shapes: V = n_items + 1, U tokens, E entries (an item has a token), F numbers of the embeddings.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.data.listed import attributes_of, told
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError, nearest

LEVELS = 10
QUERY = "query"
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Content:
    """Tokens and given numbers of all items; row 0 is padding and has none."""

    key_U: np.ndarray  # int64, ascending: hashes of the tokens
    token_E: np.ndarray  # int64, position in `key_U`
    offset_V: np.ndarray  # int64: entries of item i are offset_V[i] to offset_V[i + 1]; the last ones end with E
    weight_E: np.ndarray  # float32: of an attribute with n tokens, each counts 1 / sqrt(n)
    number_VF: np.ndarray  # float32, of length 1 each

    @property
    def hash(self) -> str:
        """SHA-256 over all of it."""
        digest = hashlib.sha256()
        for name, values in vars(self).items():
            digest.update(f"{name} {values.shape}".encode() + values.tobytes())
        return digest.hexdigest()


def item_content(prepared: Prepared, names: Sequence[str] | str, until: int | None, trained_V: np.ndarray) -> Content:
    """The content of all items.

    Args:
        prepared: its item table is read.
        names: columns of that, and `query` where the log has queries; `all`: every one.
        until: the training cutoff in µs, before which a value must have been known; None: where the split has none,
            values that events have shown count for items with training rows alone.
        trained_V: bool (V,), which items have training rows.

    Raises:
        UserError: the item table has no such column.
    """
    there = attributes_of(prepared.items)
    asked = prepared.queries is not None and QUERY not in there
    there += [QUERY] if asked else []
    chosen = there if names == "all" else [names] if isinstance(names, str) else list(names)
    entries: list[tuple[np.ndarray, np.ndarray, int]] = []  # items and keys of an attribute's tokens
    numbers: list[np.ndarray] = []
    texts: list[tuple[str, int, pa.Array]] = []  # attributes that hold text, with what is known of products
    for place, name in enumerate(chosen):
        if name not in there:
            has = f"; it has {', '.join(there)}" if there else ", nor any other attribute"
            raise UserError(f"model.content: the items of {prepared.name} have no '{name}'{has}.{nearest(name, there)}")
        if name == QUERY and asked:
            continue
        known_V = told(prepared, name, until)
        if until is None and prepared.known_since("items", name) is not None:
            known_V = told(prepared, name, np.iinfo(np.int64).max) & trained_V
        column = prepared.items[name].combine_chunks()
        if pa.types.is_list(column.type) and not pa.types.is_string(column.type.value_type):
            numbers.append(_numbers(prepared, name, column, known_V))
        else:
            entries.append((*_tokens(name, column, known_V), place))
            if pa.types.is_string(column.type):
                texts.append((name, place, column.take(pa.array(np.flatnonzero(known_V) - 1))))
    if QUERY in chosen and asked:
        entries += _asked(prepared, texts, chosen.index(QUERY), trained_V)
    return _put_together(entries, numbers, prepared.n_items + 1)


def _asked(
    prepared: Prepared, texts: Sequence[tuple[str, int, pa.Array]], place: int, trained_V: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """The tokens of queries that training has seen, as `_tokens` and with the place of the attribute.

    `texts`: name, place and known values of attributes whose words they share.
    """
    queries = prepared.queries
    assert queries is not None
    there = queries.filter(pc.is_valid(queries["query"]))
    item = there["item"].to_numpy().astype(np.int64)
    seen = trained_V[item]
    item, said = item[seen], [_parts(text) for text, kept in zip(there["query"].to_pylist(), seen, strict=True) if kept]
    found = []
    for name, at, values in [(QUERY, place, there["query"]), *texts]:
        held = {word for value in pc.unique(values).to_pylist() for word in _parts(value)}
        words = [[word for word in parts if word in held] for parts in said]
        owner = np.repeat(item, [len(parts) for parts in words])
        found.append((owner, np.array([_key(f"{name}={word}") for parts in words for word in parts], np.int64), at))
    return found


def _tokens(name: str, column: pa.Array, known_V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items, ascending, and hashes of what an attribute says of them: int64 (E,) each."""
    item = np.flatnonzero(known_V)
    values = column.take(pa.array(item - 1)).to_pylist()
    parts: Callable[[object], list[str]] = _parts
    if (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)) and len(set(values)) > LEVELS:
        number = np.array(values, np.float64)
        edges = np.quantile(number, np.arange(1, LEVELS) / LEVELS)
        values, parts = np.searchsorted(edges, number, "right").tolist(), lambda level: [f"~{level}"]
    said = [parts(value) for value in values]
    key_of = {word: _key(f"{name}={word}") for word in dict.fromkeys(word for words in said for word in words)}
    owner = np.repeat(item, [len(words) for words in said])
    return owner, np.array([key_of[word] for words in said for word in words], np.int64)


def _parts(value: object) -> list[str]:
    """The whole text and its words, each once; the parts of a list."""
    if isinstance(value, list):
        return list(dict.fromkeys(str(part).strip().casefold() for part in value if part is not None))
    text = str(value).strip().casefold()
    return list(dict.fromkeys([text, *WORD.findall(text)])) if text else []


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def _numbers(prepared: Prepared, name: str, column: pa.Array, known_V: np.ndarray) -> np.ndarray:
    """An embedding that the table holds, each row of length 1: float32 (V, F); 0 where unknown."""
    item = np.flatnonzero(known_V)
    rows = column.take(pa.array(item - 1)).to_pylist()
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise UserError(
            f"model.content: '{name}' of the items of {prepared.name} has lists of {min(widths)} to {max(widths)} "
            f"numbers; an embedding has as many for each item"
        )
    number_VF = np.zeros((prepared.n_items + 1, *(widths or {0})), np.float32)
    if rows:
        given = np.nan_to_num(np.array(rows, np.float32))
        number_VF[item] = given / np.maximum(np.linalg.norm(given, axis=1, keepdims=True), 1e-12)
    return number_VF


def _put_together(
    entries: Sequence[tuple[np.ndarray, np.ndarray, int]], numbers: Sequence[np.ndarray], n_columns: int
) -> Content:
    none = np.zeros(0, np.int64)
    owner_E = np.concatenate([none, *(owner for owner, _, _ in entries)])
    key_E = np.concatenate([none, *(key for _, key, _ in entries)])
    place_E = np.concatenate([none, *(np.full(len(key), place) for _, key, place in entries)])
    key_U, token_E, count_U = np.unique(key_E, return_inverse=True, return_counts=True)
    shared = count_U > 1
    keep = shared[token_E]
    owner_E, place_E = owner_E[keep], place_E[keep]
    token_E = (np.cumsum(shared) - 1)[token_E[keep]]
    order = np.lexsort((token_E, place_E, owner_E))
    owner_E, place_E, token_E = owner_E[order], place_E[order], token_E[order]
    field_E = owner_E * (int(place_E.max(initial=0)) + 1) + place_E
    n_E = np.bincount(field_E)[field_E] if len(field_E) else none
    return Content(
        key_U[shared],
        token_E.astype(np.int64),
        np.searchsorted(owner_E, np.arange(n_columns)).astype(np.int64),
        (1 / np.sqrt(np.maximum(n_E, 1))).astype(np.float32),
        np.hstack([np.zeros((n_columns, 0), np.float32), *numbers]),
    )
