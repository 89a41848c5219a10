"""From rows of a file to events, where one is not the other: lists exploded, nested fields named, other kinds left out.

    rows:
      explode: items          one event for each entry; several columns of equal length are exploded together
      empty: keep             a row whose list is empty stays as one event without an entry, or leave_out
      once: messageId         a row whose id stands in an earlier row of these files is left out
    columns:
      item_id: items.item_id  a field of the entry; `items` itself where entries are texts
    event_type: {column: event_name, map: {purchase: purchase}, others: leave_out}

Works block by block between a reader and the checks; rejected events keep the row of the file that they stand in. What
is left out is counted in the manifest. Names of nested things: `paths.py`; lists in a cell of text: `cells.py`.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.errors import UserError
from shopkeeper.ingest.block import Block, Reject, Wanted
from shopkeeper.ingest.cells import lists
from shopkeeper.ingest.dataset import DatasetConfig
from shopkeeper.ingest.paths import entry, inner, kinds, place
from shopkeeper.ingest.values import as_ids

log = logging.getLogger(__name__)
NESTED = ("json_lines", "parquet")  # formats whose columns may hold more than one value
OTHER_KINDS, SENT_AGAIN, EMPTY = "other kinds of events", "sent again", "empty lists"


def is_reshaped(config: DatasetConfig, names: Iterable[str]) -> bool:
    """Whether rows of the files are not simply events whose columns are called so."""
    nested = config.reader.format in NESTED and any("." in name or "[" in name for name in names)
    return bool(nested or config.rows.lists or config.rows.once or config.others != "reject")


class Events(NamedTuple):
    """Events of a block: the row that each comes from, and its entry in each exploded list, -1 where there is none."""

    row: np.ndarray  # int32 (n,)
    # By list: the entries of all rows, and numbers int64 (n,), None where they are entry by entry those of the events.
    entries: dict[str, tuple[pa.Array, np.ndarray | None]]

    def chosen(self, keep: np.ndarray) -> Events:
        """Those of a mask."""
        kept = {
            name: (all_, np.flatnonzero(keep) if at is None else at[keep]) for name, (all_, at) in self.entries.items()
        }
        return Events(self.row[keep], kept)


class Shaping:
    """Makes events of the blocks of one log, in the order of its files; ids of `once` are remembered between blocks.

    `wanted`: the columns that events shall have, and the cheapest type of each. `others`, if told, counts the kinds
    that are left out, by what the file calls them.
    """

    def __init__(self, config: DatasetConfig, wanted: Wanted, others: Counter[str] | None = None) -> None:
        self.config, self.told, self.names = config, wanted, wanted.names
        self.others = others
        kind = config.columns.get("event_type", "") if config.others == "leave_out" else ""
        self.kind = kind if kind in self.names else ""
        self.made = kind if kind not in self.names else ""  # by a step: its rows are looked at afterwards
        self.left_out: Counter[str] = Counter()
        self.seen = _Seen()
        self.empty = {name for name in self.names if config.reader.format in NESTED}  # so far

    @property
    def wanted(self) -> Wanted:
        """What a reader shall read."""
        rows, types = self.config.rows, dict(self.told.types)
        if rows.once:
            types.setdefault(rows.once, pa.string())
        if self.config.reader.format not in NESTED:  # cells that hold lists are read whole
            types = {name: kind for name, kind in types.items() if not self._list_of(name)}
            types.update(dict.fromkeys(rows.lists, pa.string()))
        return replace(self.told, types=types, explode=rows.lists, exact=self.told.exact or rows.once is not None)

    def __call__(self, block: Block) -> Block:
        """Events of a block. Call it for the blocks of a log in their order, once for each."""
        found, left_out = self._events(block)
        self.left_out += left_out
        if found is None:
            assert block.reread is not None
            return self(block.reread())
        # Here and not where a check reads a block once more, which is done beside the blocks behind it.
        self.empty -= {name for name in self.empty if found.table[name].null_count < len(found.table)}
        again = block.reread
        return found if again is None else replace(found, reread=lambda: self._reread(again()))

    def _reread(self, block: Block) -> Block:
        found, _ = self._events(block)
        assert found is not None
        return found

    def of_known_kinds(self, block: Block) -> Block:
        """The events whose kind, which a step has made, the map knows."""
        keep = self._is_known(_whole(block.table.column(self.made)))
        self.left_out[OTHER_KINDS] += int((~keep).sum())
        at = np.flatnonzero(keep)
        return replace(block, table=block.table.filter(pa.array(keep)), row_of=lambda i: block.row_of(at[i]))

    def tell(self) -> None:
        """Say which names of nested files led to nothing in all of them: a typing error looks like an absent value."""
        lost = [name for name in self.names if name in self.empty and name not in self.told.optional]
        if lost:
            log.warning("dataset %s: nothing was found at %s in any file; look at columns", self.config.name,
                        ", ".join(f"'{name}'" for name in lost))  # fmt: skip

    def _events(self, block: Block) -> tuple[Block | None, Counter[str]]:
        """None, and nothing left out, for a block whose rows are not known and in which something is wrong."""
        table, left = block.table.combine_chunks(), Counter[str]()
        rows = np.arange(len(table), dtype=np.int32)
        if self.config.rows.once:
            keep = self.seen.first_time(_value(table, self.config.rows.once))
            left[SENT_AGAIN] = int((~keep).sum())
            table, rows = table.filter(pa.array(keep)), rows[keep]
        inside = bool(self._list_of(self.kind))
        if self.kind and not inside:
            keep = self._is_known(_value(table, self.kind))
            left[OTHER_KINDS] = int((~keep).sum())
            if left[OTHER_KINDS]:
                table, rows = table.filter(pa.array(keep)), rows[keep]
        events, wrong = self._explode(table, left)
        if wrong and block.reread is not None:
            return None, Counter()
        if inside:
            keep = self._is_known(self._named(table, self.kind, events))
            left[OTHER_KINDS] = int((~keep).sum())
            events = events.chosen(keep)
        columns = {name: self._named(table, name, events) for name in self.names}
        wrong = [
            reject._replace(file=block.file, row=int(block.row_of(rows[reject.row : reject.row + 1])[0]))
            for reject in wrong
        ]
        row_of = lambda i: block.row_of(rows[events.row[i]])  # noqa: E731 (of what is rejected alone)
        return Block(block.file, pa.table(columns), row_of, [*block.broken, *wrong]), left

    def _list_of(self, name: str) -> str:
        """The exploded list in whose entries a name lies; "" where in none."""
        return max(
            (x for x in self.config.rows.lists if re.match(re.escape(x) + r"($|[.\[])", name)), key=len, default=""
        )

    def _named(self, table: pa.Table, name: str, events: Events) -> pa.Array:
        """What a name leads to for each event."""
        if not (of := self._list_of(name)):
            column = _value(table, name)
            return (
                column
                if len(events.row) == len(column) and not self.config.rows.lists
                else column.take(pa.array(events.row))
            )
        entries, at = events.entries[of]
        if path := name.removeprefix(of).lstrip("."):
            to = place(path, ())
            found = inner(entries, (to.column, *to.inside) if to.column else ())
            if found is None:
                return pa.nulls(len(events.row), pa.string())
            entries = found
            entries = entries if to.key is None else entry(entries, to.key)
        return entries if at is None else entries.take(pa.array(at, mask=at < 0))

    def _explode(self, table: pa.Table, left: Counter[str]) -> tuple[Events, list[Reject]]:
        """The events of rows, and what is wrong with rows (numbered from 0 here) of which none were made."""
        n, names = len(table), self.config.rows.lists
        if not names:
            return Events(np.arange(n, dtype=np.int32), {}), []
        found: dict[str, pa.Array] = {}
        wrong: dict[int, Reject] = {}
        for name in names:
            found[name], bad = self._lists(_value(table, name), name)
            for i in np.flatnonzero(bad).tolist():
                wrong.setdefault(i, Reject("", i, name, "not a list", str(_value(table, name)[i])[:200]))
        lengths = np.stack([_lengths(found[name]) for name in names])
        longest = lengths.max(0)
        for i in np.flatnonzero(((lengths != longest) & (lengths > 0)).any(0)).tolist():
            said = ", ".join(
                str(k) for k, name in zip(lengths[:, i].tolist(), names, strict=True) if name in table.column_names
            )
            there = " ".join(name for name in names if name in table.column_names)
            wrong.setdefault(i, Reject("", i, there, "lists of different lengths", said))
        counts = longest if self.config.rows.empty == "leave_out" else np.maximum(longest, 1)
        counts[list(wrong)] = 0
        left[EMPTY] = int((counts == 0).sum()) - len(wrong)
        row = np.repeat(np.arange(n, dtype=np.int32), counts)
        entries: dict[str, tuple[pa.Array, np.ndarray | None]] = {}
        place_in_row: np.ndarray | None = None
        for name, length in zip(names, lengths, strict=True):
            offsets, values = found[name].offsets.to_numpy(), found[name].values
            if offsets[-1] - offsets[0] == len(row) and np.array_equal(length, counts):
                entries[name] = values.slice(offsets[0], len(row)), None
                continue
            if place_in_row is None:
                place_in_row = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            at = offsets[:-1].astype(np.int64)[row] + place_in_row
            entries[name] = values, np.where(length[row] > 0, at, -1)
        return Events(row, entries), [wrong[i] for i in sorted(wrong)]

    def _lists(self, column: pa.Array, name: str) -> tuple[pa.Array, np.ndarray]:
        """A column as lists, whatever it was read as, and which cells are none, bool (n,)."""
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(pa.string()), pa.string()
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            inside = [n for n in self.names if self._list_of(n) == name]
            return lists(column, kinds(inside, [name], [name])[name])
        if pa.types.is_fixed_size_list(kind):
            column = column.cast(pa.list_(kind.value_type))
        elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise UserError(f"rows.explode: column '{name}' holds {kind}, and no lists; take it out of rows.explode")
        return column, np.zeros(len(column), bool)

    def _is_known(self, kind: pa.Array) -> np.ndarray:
        """Events of a kind that the map knows."""
        ids = as_ids(kind, self.kind or self.made)
        known = self.config.event_map or {}
        texts = [text.casefold() if self.config.any_case else text for text in ids.dictionary.to_pylist()]
        codes = ids.indices.fill_null(len(texts)).to_numpy()
        if self.others is not None:
            rows = np.bincount(codes, minlength=len(texts) + 1).tolist()
            names = zip(texts, ids.dictionary.to_pylist(), rows, strict=False)
            self.others.update({name: n for text, name, n in names if n and text not in known})
        return np.array([*(t in known for t in texts), False])[codes]


def _value(table: pa.Table, name: str) -> pa.Array:
    """What a name leads to in each row of a file; null where it leads nowhere, which readers allow optional ones."""
    to = place(name, table.column_names)
    column = inner(_whole(table.column(to.column)), to.inside) if to.column in table.column_names else None
    if column is None:
        return pa.nulls(len(table), pa.string())
    return column if to.key is None else entry(column, to.key)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, which is copied only where it is not."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _lengths(column: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)


class _Seen:
    """Which texts there were before, by 64-bit hashes: of ten million, two are taken for one with a chance of 3e-6."""

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []  # sorted uint64, each at least twice as long as the next

    def first_time(self, texts: pa.Array) -> np.ndarray:
        """Bool (n,): false where a text is in an earlier block, or further up; blank ones are always new."""
        text = pl.Series(pl.from_arrow(texts.cast(pa.string())))
        blank = ((text.str.strip_chars() == "") | text.is_null()).fill_null(True).to_numpy()
        hashes, at = np.unique(text.hash(0).to_numpy()[~blank], return_index=True)
        new = np.ones(len(hashes), bool)
        for run in self.runs:
            there = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            new &= run[there] != hashes
        keep = blank.copy()
        keep[np.flatnonzero(~blank)[at[new]]] = True
        if new.any():
            self.runs.append(hashes[new])
        while len(self.runs) > 1 and len(self.runs[-2]) < 2 * len(self.runs[-1]):
            self.runs[-2:] = [np.union1d(*self.runs[-2:])]
        return keep
