"""Files of one kind as blocks for the checks: read, then taken through the dataset's steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa

from shopkeeper.data.threads import ahead
from shopkeeper.errors import UserError
from shopkeeper.ingest.block import Block, MissingColumnError, Wanted
from shopkeeper.ingest.checks import wanted_columns
from shopkeeper.ingest.dataset import DatasetConfig
from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.ingest.exports import looks_like
from shopkeeper.ingest.paths import place
from shopkeeper.ingest.raw import find_files
from shopkeeper.ingest.readers import reader
from shopkeeper.ingest.rows import Shaping, is_reshaped
from shopkeeper.ingest.steps import by_of, columns_read, follows
from shopkeeper.ingest.steps.apply import stepped
from shopkeeper.ingest.steps.settings import FirstOf
from shopkeeper.ingest.steps.step import FILE, Group, Tools
from shopkeeper.ingest.table import ROW, with_rows
from shopkeeper.ingest.values import CODES


def blocks_of(
    config: DatasetConfig,
    paths: list[Path],
    raw: Path,
    advance: Callable[[int], object] | None,
    left_out: Counter[str],
    others: Counter[str] | None = None,
) -> Iterator[Block]:
    """Blocks of some files, one after the other, as the checks take them. Rows that are no events are counted; in
    `others`, if told, by the kinds that the map of events does not know.

    Raises `UserError` for a file that cannot be read, and for one that lacks a column: it says which export it looks
    like.
    """
    wanted = replace(wanted_columns(config), optional=config.optional)
    read: dict[str, pl.DataFrame] = {}  # a second file is read once for all blocks

    def table(name: str, told: ReaderSettings | None, columns: Sequence[str]) -> pl.DataFrame:
        if name not in read or not set(columns) <= set(read[name].columns):
            read[name] = whole_table(config, raw, name, told, columns, numbered=True)
        return read[name]

    tools = Tools(config.reader.decimal, table)
    if config.steps:
        wanted = Wanted(dict.fromkeys(columns_read(config.steps, wanted.names), CODES), config.optional, exact=True)
    shaping = Shaping(config, wanted, others) if is_reshaped(config, wanted.names) else None
    asked = wanted if shaping is None else shaping.wanted
    for path in paths:
        blocks = _read(config, path, asked, advance)
        blocks = _complete(blocks, wanted) if shaping is None else map(shaping, blocks)
        if config.steps:
            by = by_of(config.steps)
            blocks = stepped(blocks, config.steps, tools, None if by is None else Group(by, follows(config.steps)))
        if shaping is not None and shaping.made:
            blocks = map(shaping.of_known_kinds, blocks)
        if config.table is not None and config.columns["user_id"] == ROW:
            blocks = (with_rows(block, f"{path.name}:" if len(paths) > 1 else "") for block in blocks)
        yield from (replace(block, path=path) for block in blocks)
    if shaping is not None:
        if others is None:  # else somebody looks at the first rows
            shaping.tell()
        left_out.update(+shaping.left_out)


def whole_table(
    config: DatasetConfig,
    raw: Path,
    name: str,
    told: ReaderSettings | None = None,
    columns: Sequence[str] | None = None,
    numbered: bool = False,
) -> pl.DataFrame:
    """Columns (None: all) of a file below raw.folder, or of those that a pattern matches, as text.

    `told` is how it is read; None: as the log. `numbered`: with the number of each row's file, from 0, in FILE.

    Raises:
        UserError: a file that is missing, has no rows, or a line that cannot be read.
    """
    told = told or config.reader
    wanted = None if columns is None else Wanted(dict.fromkeys(columns, pa.string()), exact=True)
    frames = []
    for number, path in enumerate(find_files(config, raw, [name])):
        for block in reader(told.format)(path, wanted, told, None):
            if block.broken:
                bad = block.broken[0]
                raise UserError(f"{path}, line {bad.row}: {bad.reason}; mend or remove the line")
            frame = pl.DataFrame(pl.from_arrow(block.table))
            frames.append(frame.with_columns(pl.lit(number, pl.Int32).alias(FILE)) if numbered else frame)
    if not frames:
        raise UserError(f"{name} holds no rows; leave the table out of the config or mend the file")
    return pl.concat(frames, how="vertical_relaxed")


def _read(
    config: DatasetConfig, path: Path, wanted: Wanted, advance: Callable[[int], object] | None
) -> Iterator[Block]:
    first = True
    try:
        for block in ahead(reader(config.reader.format)(path, wanted, config.reader, advance)):
            if first:
                _check_one_of(config, path, block)
                first = False
            yield block
    except MissingColumnError as said:
        lost = [place(name, said.have).column for name in wanted.names if name not in config.optional]
        missing = list(dict.fromkeys([*(name for name in lost if name not in said.have), *said.any_of]))
        alike = "" if len(said.have) == 1 < len(wanted.names) else looks_like(said.have, missing, config.export)
        raise UserError(f"{said}{alike}") from None  # of one column: another delimiter, which is said already


def _check_one_of(config: DatasetConfig, path: Path, block: Block) -> None:
    """A `MissingColumnError` where a file has none of the columns of which the first that is filled is an id or a time.

    Each of them is optional, so that the reader cannot say it.
    """
    there = block.table.column_names
    needed = [config.columns.get(name) for name in ("user_id", "item_id", "timestamp", "event_type")]
    made: set[str] = set()  # by the steps before, of columns that the reader asks for itself
    for step in config.steps:
        if (
            isinstance(step, FirstOf)
            and step.into in needed
            and made.isdisjoint(step.columns)
            and not any(place(c, there).column in there for c in step.columns)
        ):
            have = next(reader(config.reader.format)(path, None, config.reader, None)).table.column_names
            names = " or ".join(f"'{column}'" for column in step.columns)
            raise MissingColumnError(f"{path}: no column {names} in the header.", have, step.columns)
        made |= step.makes()


def _complete(blocks: Iterator[Block], wanted: Wanted) -> Iterator[Block]:
    """Blocks with every column that was wanted: the optional ones that a file lacks are blank."""
    for block in blocks:
        lacking = [name for name in wanted.names if name in wanted.optional and name not in block.table.column_names]
        yield _blank(block, lacking) if lacking else block


def _blank(block: Block, columns: list[str]) -> Block:
    table, again = block.table, block.reread
    for name in columns:
        table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
    return replace(block, table=table, reread=None if again is None else lambda: _blank(again(), columns))
