"""A dataset's steps over the blocks of a file: groups of rows stay whole, and each row is still named by its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from shopkeeper.errors import UserError
from shopkeeper.ingest.block import Block, Reject
from shopkeeper.ingest.steps.cells import split, stack
from shopkeeper.ingest.steps.columns import also, first_of, text, time
from shopkeeper.ingest.steps.groups import discount, fill
from shopkeeper.ingest.steps.join import join
from shopkeeper.ingest.steps.settings import Also, Discount, Fill, FirstOf, Join, Split, Stack, Step, Text, Time
from shopkeeper.ingest.steps.step import AT, Group, Shaped, Spoiled, Tools, runs, texts

# What each step does: a function of the frame, the step's settings and tools.
RUN: dict[type, Callable[[pl.DataFrame, Any, Tools], Shaped]] = {
    Fill: fill,
    Discount: discount,
    FirstOf: first_of,
    Text: text,
    Also: also,
    Split: split,
    Stack: stack,
    Join: join,
    Time: time,
}


def stepped(blocks: Iterator[Block], steps: Sequence[Step], tools: Tools, group: Group | None) -> Iterator[Block]:
    """The blocks of one file after a dataset's steps; neighbouring rows of one `group` are kept together.

    Rows that a step cannot use are rejected beside those that the reader could not.
    """
    for block in map(_with_rows, blocks) if group is None else _whole_groups(blocks, group):
        frame = pl.DataFrame(pl.from_arrow(_plain(block.table)))
        frame = frame.with_columns(pl.int_range(frame.height, dtype=pl.Int64).alias(AT))
        spoiled: list[Spoiled] = []
        for step in steps:
            done = RUN[type(step)](frame, step, tools)
            frame, spoiled = done.frame, [*spoiled, *done.spoiled]
        at = frame[AT].to_numpy()
        places = np.array([s.at for s in spoiled], np.int64)
        lost = block.row_of(places) if spoiled else places
        broken = [
            Reject(block.file, int(row), s.column, s.reason, s.value[:200])
            for row, s in zip(lost, spoiled, strict=True)
        ]
        yield Block(block.file, frame.drop(AT).to_arrow(), _of(block.row_of, at), [*block.broken, *broken])


def _of(row_of: Callable[[np.ndarray], np.ndarray], at: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda positions: row_of(at[positions])


def _with_rows(block: Block) -> Block:
    return block if block.reread is None else block.reread()


def _plain(table: pa.Table) -> pa.Table:
    """Dictionaries as the text that they hold: a step compares and rewrites values."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table


def _whole_groups(blocks: Iterator[Block], group: Group) -> Iterator[Block]:
    """Blocks that end where a run of a group does: what may go on in the next block waits for it.

    Raises:
        UserError: a value that comes back behind others, as in a file that was sorted by something else.
    """
    held: tuple[pa.Table, np.ndarray, str] | None = None
    begun = _Begun(group)
    for block in map(_with_rows, blocks):
        if not block.table.num_rows:
            yield block
            continue
        table, rows = _plain(block.table), block.row_of(np.arange(block.table.num_rows))
        if held is not None:
            if held[2] == block.file:
                table = pa.concat_tables([held[0], table], promote_options="permissive")
                rows = np.concatenate([held[1], rows])
            else:
                begun.add(held[2], held[0], held[1])
                yield _block(*held, [])
        run = runs(pl.DataFrame(pl.from_arrow(table.select([group.by]))), group)
        cut = int(np.searchsorted(run, run[-1]))
        held = table.slice(cut), rows[cut:], block.file
        begun.add(block.file, table.slice(0, cut), rows[:cut])
        yield _block(table.slice(0, cut), rows[:cut], block.file, block.broken)
    if held is not None:
        begun.add(held[2], held[0], held[1])
        yield _block(*held, [])
    begun.check()


class _Begun:
    """Where each run of equal values began: 16 bytes for each order of a file."""

    def __init__(self, group: Group) -> None:
        self.by, self.follow = group
        self.hashes = [np.empty(0, np.uint64)]
        self.rows = [np.empty(0, np.int64)]
        self.file = ""

    def add(self, file: str, table: pa.Table, rows: np.ndarray) -> None:
        """Whole runs of a file, in the order in which they stand there."""
        text = texts(pl.DataFrame(pl.from_arrow(table.select([self.by]))), self.by)
        text = text.fill_null(strategy="forward") if self.follow else text
        first = (text != text.shift(1)).fill_null(True).to_numpy() & text.is_not_null().to_numpy()
        self.file = file
        self.hashes.append(text.hash().to_numpy()[first])
        self.rows.append(rows[first])

    def check(self) -> None:
        """A `UserError` for a value with two runs."""
        hashes, rows = np.concatenate(self.hashes), np.concatenate(self.rows)
        order = np.argsort(hashes, kind="stable")
        again = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        if len(again):
            one, other = (int(rows[order][again[0] + i]) for i in (0, 1))
            raise UserError(
                f"{self.file}: rows {one:,} and {other:,} are of one {self.by}, and other ones stand between them, so "
                f"that what stands on its first line alone is lost; sort the file by {self.by}, or export it again"
            )


def _block(table: pa.Table, rows: np.ndarray, file: str, broken: list[Reject]) -> Block:
    return Block(file, table, rows.__getitem__, broken)
