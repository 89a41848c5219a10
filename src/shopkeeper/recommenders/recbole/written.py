"""What RecBole is given to learn from: its "atomic files", in internal ids and an order of ours.

It casts time stamps to float32 before it sorts by them, which makes steps of 128 s of today's Unix seconds. So an
event's time is its place in its customer's history, a small whole number, and only training rows are written: what is
asked later is not in the files at all. Every item of the catalogue stands in the item file, so that it has an id.

Shapes: R rows that are learned from, V = n_items + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.data.listed import attributes_of, told
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, nearest

LEVELS = 10  # of a number with more different values
Field = tuple[str, list[str]]  # RecBole's type of a column, and its text for each item of the catalogue


@dataclass(frozen=True)
class Learnt:
    """Rows that are learned from, by customer, oldest first."""

    user_R: np.ndarray  # int64, internal ids
    item_R: np.ndarray  # int32
    place_R: np.ndarray  # int64: the row's place in its customer's history, from 0


def learnt(split: Split, codes: Sequence[int], once: bool) -> Learnt:
    """The training rows of some event types; with `once`, of each customer and item the first one alone."""
    offsets, rows = split.training_rows(list(codes))
    user = np.repeat(np.arange(1, len(offsets)), np.diff(offsets))
    item = np.asarray(split.prepared.events.item[rows])
    if once and len(rows):
        _, first = np.unique(user * (split.prepared.n_items + 1) + item, return_index=True)
        kept = np.sort(first)
        user, item = user[kept], item[kept]
    start = np.flatnonzero(np.diff(user, prepend=-1))
    place = np.arange(len(user)) - np.repeat(start, np.diff(np.append(start, len(user))))
    return Learnt(user, item, place)


def interactions_file(rows: Learnt) -> str:
    """RecBole's `.inter` file."""
    lines = (f"{u}\t{i}\t{t}" for u, i, t in zip(*(x.tolist() for x in vars(rows).values()), strict=True))
    return "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *lines, ""])


def items_file(catalogue: np.ndarray, fields: dict[str, Field]) -> str:
    """RecBole's `.item` file."""
    head = "\t".join(["item_id:token", *(f"{name}:{kind}" for name, (kind, _) in fields.items())])
    lines = ("\t".join(row) for row in zip(map(str, catalogue.tolist()), *(v for _, v in fields.values()), strict=True))
    return "\n".join([head, *lines, ""])


def item_fields(
    prepared: Prepared, split: Split, content: str | Sequence[str], trained_V: np.ndarray
) -> dict[str, Field]:
    """Attributes of the catalogue's items as they were known at the training cutoff, as codes.

    Text is one token, lists of text several, numbers of more than `LEVELS` different values ten levels. Lists of
    numbers are left out. A `UserError` for a column that there is not.
    """
    there = attributes_of(prepared.items)
    chosen = (
        there if content == "all" else [] if content == "none" else [content] if isinstance(content, str) else content
    )
    until = (split.timeline.get("cutoffs") or {}).get("validation", {}).get("us")
    fields: dict[str, Field] = {}
    for place, name in enumerate(chosen):
        if name not in there:
            raise UserError(f"model.content: the items of {prepared.name} have no '{name}'.{nearest(name, there)}")
        known_V = told(prepared, name, until)
        if until is None and prepared.known_since("items", name) is not None:
            known_V = told(prepared, name, np.iinfo(np.int64).max) & trained_V
        column = prepared.items[name].combine_chunks()
        lists = pa.types.is_list(column.type)
        if lists and not pa.types.is_string(column.type.value_type):
            continue
        values = column.take(pa.array(split.known - 1)).to_pylist()
        values = [v if known else None for v, known in zip(values, known_V[split.known], strict=True)]
        said = _levels(values) if not lists and _is_number(column.type) else values
        code: dict[Any, str] = {}
        text = [
            [code.setdefault(p, str(len(code))) for p in (v if lists else [v]) if p is not None]
            for v in (v or [] if lists else v for v in said)
        ]
        if code:
            clean = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
            fields[f"{clean}_{place}"] = ("token_seq" if lists else "token", [" ".join(parts) for parts in text])
    return fields


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _levels(values: list[Any]) -> list[Any]:
    """Numbers as one of ten levels, where they have more different values."""
    known = np.array([v for v in values if v is not None and v == v], np.float64)
    if len(np.unique(known)) <= LEVELS:
        return [v if v is not None and v == v else None for v in values]
    edges = np.quantile(known, np.arange(1, LEVELS) / LEVELS)
    return [int(np.searchsorted(edges, v, "right")) if v is not None and v == v else None for v in values]
