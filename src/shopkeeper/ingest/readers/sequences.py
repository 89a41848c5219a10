"""Sequence files: per line a user and that user's items in order, or one `user item` pair (option `pairs: true`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.errors import UserError
from shopkeeper.ingest.block import Block, Reject, Wanted, shown
from shopkeeper.ingest.chunks import read_chunks
from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.ingest.readers.delimited import read_blank_separated


def read_sequences(
    path: Path, wanted: Wanted | None, told: ReaderSettings, advance: Callable[[int], object] | None
) -> Iterator[Block]:
    """Columns `user_id` and `item_id` of a sequence file; order-only data, so the order of the lines matters."""
    if told.pairs:
        own = ReaderSettings("blank_separated", names=("user_id", "item_id"), encoding=told.encoding)
        yield from read_blank_separated(path, wanted, own, advance)
        return
    empty = True
    for chunk in read_chunks(path, quotes=False, encoding=told.encoding or "utf-8", advance=advance):
        try:
            text = chunk.data.decode("utf-8")
        except UnicodeDecodeError as e:
            line = chunk.line + chunk.data.count(b"\n", 0, e.start)
            raise UserError(f"{path}, line {line}: not UTF-8; set reader.encoding (latin-1, …)") from None
        lines = text.split("\n")
        if lines and lines[-1] == "":
            lines.pop()
        split = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pa.array(lines, pa.string())))
        offsets = split.offsets.to_numpy().astype(np.int64)
        tokens = split.flatten()
        length = np.diff(offsets)
        blank = np.array([not line.strip() for line in lines], bool)
        alone = (length == 1) & ~blank
        full = (length >= 2) & ~blank
        empty = empty and not (alone | full).any()
        events = np.where(full, length - 1, 0)
        users = np.repeat(offsets[:-1], events)
        is_item = np.repeat(full, length)
        is_item[offsets[:-1][full]] = False
        rows = chunk.line + np.repeat(np.arange(len(lines)), events)
        table = pa.table({"user_id": tokens.take(pa.array(users)), "item_id": tokens.filter(pa.array(is_item))})
        broken = [
            Reject(shown(path), chunk.line + int(i), "item_id", "a user without items", lines[i].strip()[:200])
            for i in np.flatnonzero(alone)
        ]
        yield Block(shown(path), table, rows.__getitem__, broken)
    if empty:
        raise UserError(f"{path} is empty; expected lines of a user and items")
