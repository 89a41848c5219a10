"""Parquet files, a batch of rows at a time. Rows are counted from 1. Of records and lists only what names lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import add
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.block import Block, Wanted, check_columns, shown
from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.ingest.paths import Place, place

BATCH_ROWS = 1 << 18
NOTHING = "__HIVE_DEFAULT_PARTITION__"


def partitions(path: Path) -> dict[str, str | None]:
    """Columns that the folders above a file hold for all of its rows: `…/day=2025-11-05/shop=A%2FB/part-0.parquet`."""
    pairs = [part.split("=", 1) for part in path.parent.parts if "=" in part]
    return {unquote(key): None if value == NOTHING else unquote(value) for key, value in pairs if key}


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
            leaf_columns = [plain.schema.column(i) for i in range(len(plain.schema))]
            have, stored = kinds.names, [leaf.path for leaf in leaf_columns]
            is_text = {leaf.path for leaf in leaf_columns if leaf.logical_type.type == "STRING"}
            total = plain.metadata.num_rows
        folders = {key: value for key, value in partitions(path).items() if key not in have}
        asked = [*have, *folders] if wanted is None else wanted.names
        names = [name for name in asked if name not in folders]
        lists = [place(name, have) for name in wanted.explode] if wanted is not None else []
        optional = wanted.optional if wanted is not None else ()
        places = [to for name in names if (to := place(name, have)).column in have or name not in optional]
        check_columns(path, [*have, *folders], [to.column for to in (*places, *lists)])
        may_lack = {place(name, have) for name in optional}
        leaves = [leaf for to in places for leaf in _leaves(path, kinds, stored, to, to in may_lack)]
        for to in lists:  # whole where nothing of their entries is read, which are counted
            of_list = _leaves(path, kinds, stored, to, to in may_lack)
            leaves += of_list if not {*of_list} & {*leaves} else []
        columns = list(dict.fromkeys(leaves))
        # Of nested ones Arrow makes no dictionaries where a batch is of several row groups.
        texts = [leaf for leaf in columns if leaf in is_text and leaf in have]
        with pq.ParquetFile(path, read_dictionary=texts if wanted is not None else []) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                first = row
                row += batch.num_rows
                if advance is not None:
                    now = size * (row - 1) // max(total, 1)
                    advance(now - shown_so_far)
                    shown_so_far = now
                table = pa.Table.from_batches([batch])
                for name in (name for name in asked if name in folders):
                    table = table.append_column(name, pa.repeat(pa.scalar(folders[name], pa.string()), table.num_rows))
                yield Block(shown(path), table, partial(add, first))
    except (pa.ArrowException, OSError) as e:
        raise UserError(
            f"{path} cannot be read as Parquet, from row {row} on ({str(e).splitlines()[0]}); copy or write it again"
        ) from None


def _leaves(path: Path, kinds: pa.Schema, stored: Sequence[str], to: Place, may_lack: bool) -> list[str]:
    """The stored columns that are read for what a name leads to; where it leads nowhere and must not, a `UserError`."""
    kind, at = kinds.field(to.column).type, to.column
    for name in to.inside:
        while pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
            at = next((s for s in (f"{at}.list.element", f"{at}.list.item", f"{at}.bag.array_element", f"{at}.array")
                       if any(leaf == s or leaf.startswith(s + ".") for leaf in stored)), at)  # fmt: skip
        fields = [field.name for field in kind] if pa.types.is_struct(kind) else []
        if name not in fields and may_lack:
            return []
        if name not in fields:
            options = nearest(name, fields) if fields else f" It holds {kind}."
            raise UserError(f"{path}: '{to.column}' has no field '{name}'; correct columns.{options}")
        kind, at = kind.field(name).type, f"{at}.{name}"
    return [leaf for leaf in stored if leaf == at or leaf.startswith(at + ".")]
