"""Parquet files, a batch of rows at a time. Rows are counted from 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from operator import add
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.errors import UserError
from shopkeeper.ingest.block import Block, Wanted, check_columns, shown
from shopkeeper.ingest.dataset_parts import ReaderSettings

BATCH_ROWS = 1 << 18


def read_parquet(
    path: Path, wanted: Wanted | None, told: ReaderSettings, advance: Callable[[int], object] | None
) -> Iterator[Block]:
    """Rows of a Parquet file in their stored types; text columns come dictionary-encoded."""
    size, shown_so_far, row = path.stat().st_size, 0, 1
    if size == 0:
        raise UserError(f"{path} is empty; expected a Parquet file")
    try:
        with pq.ParquetFile(path) as plain:
            kinds = plain.schema_arrow
            have = kinds.names
            total = plain.metadata.num_rows
        names = have if wanted is None else wanted.there(have).names
        check_columns(path, have, names)
        texts = [
            n for n in names if pa.types.is_string(kinds.field(n).type) or pa.types.is_large_string(kinds.field(n).type)
        ]
        with pq.ParquetFile(path, read_dictionary=texts if wanted is not None else []) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(names)):
                first = row
                row += batch.num_rows
                if advance is not None:
                    now = size * (row - 1) // max(total, 1)
                    advance(now - shown_so_far)
                    shown_so_far = now
                yield Block(shown(path), pa.Table.from_batches([batch]), partial(add, first))
    except (pa.ArrowException, OSError) as e:
        raise UserError(
            f"{path} cannot be read as Parquet, from row {row} on ({str(e).splitlines()[0]}); copy or write it again"
        ) from None
