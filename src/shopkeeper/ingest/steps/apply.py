"""A dataset's steps over the blocks of a file: groups of rows stay whole, and each row is still named by its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from shopkeeper.ingest.block import Block, Reject
from shopkeeper.ingest.steps.cells import split
from shopkeeper.ingest.steps.columns import also, first_of, text, time
from shopkeeper.ingest.steps.groups import discount, fill
from shopkeeper.ingest.steps.join import join
from shopkeeper.ingest.steps.settings import Also, Discount, Fill, FirstOf, Join, Split, Step, Text, Time
from shopkeeper.ingest.steps.step import AT, Shaped, Spoiled, Tools, runs

# What each step does: a function of the frame, the step's settings and tools.
RUN: dict[type, Callable[[pl.DataFrame, Any, Tools], Shaped]] = {
    Fill: fill,
    Discount: discount,
    FirstOf: first_of,
    Text: text,
    Also: also,
    Split: split,
    Join: join,
    Time: time,
}


def stepped(blocks: Iterator[Block], steps: Sequence[Step], tools: Tools, by: str | None) -> Iterator[Block]:
    """The blocks of one file after a dataset's steps; with `by`, neighbouring rows that agree in it are kept together.

    Rows that a step cannot use are rejected beside those that the reader could not.
    """
    for block in map(_with_rows, blocks) if by is None else _whole_groups(blocks, by):
        frame = pl.DataFrame(pl.from_arrow(_plain(block.table)))
        frame = frame.with_columns(pl.int_range(frame.height, dtype=pl.Int64).alias(AT))
        spoiled: list[Spoiled] = []
        for step in steps:
            done = RUN[type(step)](frame, step, tools)
            frame, spoiled = done.frame, [*spoiled, *done.spoiled]
        at = frame[AT].to_numpy()
        places = np.array([s.at for s in spoiled], np.int64)
        lost = block.row_of(places) if spoiled else places
        broken = [Reject(block.file, int(row), s.column, s.reason, s.value[:200])
                  for row, s in zip(lost, spoiled, strict=True)]  # fmt: skip
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


def _whole_groups(blocks: Iterator[Block], by: str) -> Iterator[Block]:
    """Blocks that end where a run of equal values of `by` does: what may go on in the next block waits for it."""
    held: tuple[pa.Table, np.ndarray, str] | None = None
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
                yield _block(*held, [])
        run = runs(pl.DataFrame(pl.from_arrow(table.select([by]))), by)
        cut = int(np.searchsorted(run, run[-1]))
        held = table.slice(cut), rows[cut:], block.file
        yield _block(table.slice(0, cut), rows[:cut], block.file, block.broken)
    if held is not None:
        yield _block(*held, [])


def _block(table: pa.Table, rows: np.ndarray, file: str, broken: list[Reject]) -> Block:
    return Block(file, table, rows.__getitem__, broken)
