"""The log in memory: every column as one flat array in file order, ids as codes into a dictionary of texts.

About 30 bytes a row whatever the ids look like: texts are kept once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from shopkeeper.bars import over_bytes
from shopkeeper.data.consent import Consent
from shopkeeper.data.threads import each_ahead, side_by_side
from shopkeeper.errors import UserError
from shopkeeper.ingest.block import REJECTED, Block
from shopkeeper.ingest.checks import ORDER, Rows, check
from shopkeeper.ingest.dataset import DatasetConfig
from shopkeeper.ingest.overlap import LATER_FILE, doubts_orders, numbers_of, read_once, say_orders_twice
from shopkeeper.ingest.raw import find_files
from shopkeeper.ingest.reading import blocks_of
from shopkeeper.ingest.values import as_floats

WORST_SHOWN = 3
BESIDE = 32_000_000  # rows above which steps are done one after the other, as those side by side have to be in memory
logger = logging.getLogger(__name__)


@dataclass
class Ids:
    """A column of ids: int32 codes (n,), -1 where missing, into `values` (text, in no particular order)."""

    codes: np.ndarray
    values: pa.Array

    def only_used(self) -> Ids:
        """The same ids without values that no row has: customers of rows that are gone are none of the log's."""
        used = np.zeros(len(self.values) + 1, bool)
        used[self.codes] = True
        used[-1] = False  # where -1 points to
        place = np.append(np.cumsum(used[:-1], dtype=np.int32) - 1, np.int32(-1))
        return Ids(place[self.codes].astype(np.int32), self.values.filter(pa.array(used[:-1])))


@dataclass
class Log:
    """Checked events in file order (n rows)."""

    ids: dict[str, Ids]  # user_id, item_id, and where there are such columns session_id, order_id, channel, "file:…"
    event_type: np.ndarray  # int8
    timestamp: np.ndarray | None = None  # int64 microseconds UTC
    price: np.ndarray | None = None  # float64
    quantity: np.ndarray | None = None  # float64
    rejected: pa.Table = field(default_factory=REJECTED.empty_table)
    consent: Consent | None = None  # by user code + 1, where a consent table was applied
    left_out: dict[str, int] = field(default_factory=dict)  # rows that were no events, by why; see `rows.py`
    real_users: pa.Array | None = None  # text of each user code before pseudonyms, where these were given
    orders_aside: pa.Array | None = None  # text of each order of which rules keep lines out (`rows.orders`)

    def __len__(self) -> int:
        return len(self.event_type)

    @property
    def user(self) -> np.ndarray:
        """Codes of the users, int32 (n,)."""
        return self.ids["user_id"].codes

    @property
    def item(self) -> np.ndarray:
        """Codes of the items, int32 (n,)."""
        return self.ids["item_id"].codes

    def keep(self, mask: np.ndarray) -> None:
        """Keep only the rows of a mask (bool (n,)), column by column so that memory stays flat."""
        if not mask.all():
            self.take(mask)

    def take(self, rows: np.ndarray) -> None:
        """Keep rows by a mask (bool (n,)), or put them into an order (int (n,))."""
        columns: list[tuple[Any, str]] = [(ids, "codes") for ids in self.ids.values()]
        columns += [(self, name) for name in ("event_type", "timestamp", "price", "quantity")]

        def cut(column: tuple[Any, str]) -> None:
            values = getattr(*column)
            if values is not None:
                setattr(*column, values[rows])

        if len(self) > BESIDE:
            list(map(cut, columns))
        else:
            side_by_side(cut, columns)


def read_log(config: DatasetConfig, raw: Path, progress: bool = True, before: tuple[int, int] = (0, 0)) -> Log:
    """Read and check all files of a dataset.

    `before`: kept and rejected rows that are there already, which count when the share of rejected ones is judged.

    Raises `UserError` when a file is missing or damaged, when no row is left, and when the share of rejected rows is
    above `max_rejected_share`: the message names the file, the first bad row, its column and what to do.
    """
    kinds = [(kind, find_files(config, raw, kind.files)) for kind in config.logs or (config,)]
    total = sum(p.stat().st_size for _, paths in kinds for p in paths)
    with over_bytes(f"read {config.name}", total, progress) as advance:
        left_out: Counter[str] = Counter()
        read = ((block, kind) for kind, paths in kinds for block in blocks_of(kind, paths, raw, advance, left_out))
        log = collect(read, config, before, left_out)
        log.left_out = dict(left_out)
    return sorted_log(log, config.order_by) if config.order_by else log


def collect(
    blocks: Iterator[tuple[Block, DatasetConfig]],
    config: DatasetConfig,
    before: tuple[int, int] = (0, 0),
    left_out: Counter[str] | None = None,
) -> Log:
    """Check blocks, each as its kind of files wants it, and join what passes, in their order.

    `left_out`: rows that were no events, by why, counted while the blocks were made; lines of orders that a later file
    has are added.
    """
    parts: list[Rows] = []
    paths: list[Path | None] = []  # of each part
    rejects: list[pa.Table] = []
    once = config.rows.once_each
    if once and "order_id" not in config.columns:
        raise UserError(
            f"dataset '{config.name}': rows.orders is {config.rows.orders}; say in columns.order_id which column "
            f"numbers orders"
        )
    aside: list[Rows] = []  # rows that are out by a rule, which may say what became of an order of an earlier file
    paths_aside: list[Path | None] = []

    def checked(read: tuple[Block, DatasetConfig]) -> tuple[Path | None, list[Rows], list[Rows], pa.Table]:
        block, kind = read
        out: list[Rows] = []
        try:
            rows, bad = check(block, kind, out if once else None)
        except (pa.ArrowException, pl.exceptions.PolarsError) as e:
            reason = str(e).splitlines()[0]
            raise UserError(f"{block.file} does not hold what its config says ({reason}); correct columns") from e
        return block.path, rows, out, bad

    for path, rows, out, bad in each_ahead(checked, blocks):
        parts += rows
        paths += [path] * len(rows)
        aside += out
        paths_aside += [path] * len(out)
        if len(bad):
            rejects.append(bad)
    if not parts and not rejects and left_out:
        counted = ", ".join(f"{n:,} × {why}" for why, n in left_out.items())
        raise UserError(f"dataset '{config.name}': no row is an event ({counted}); look at event_type.map and rows")
    rejected = pa.concat_tables(rejects).combine_chunks() if rejects else REJECTED.empty_table()
    judge(rejected, events := sum(map(len, parts)), config, before)
    if once:
        parts, paths = parts + aside, paths + paths_aside
    lengths = list(map(len, parts))
    log = _join(parts, rejected)
    if once and "order_id" in log.ids:
        _each_order_once(log, numbers_of(paths, lengths), events, left_out)
        if events and not len(log):
            raise UserError(
                f"dataset '{config.name}': no order is left, as rules keep each one out in the last file that has it; "
                f"look at reject and cancelled"
            )
    elif "order_id" in log.ids and len(set(paths)) > 1:
        _doubt_orders(log, numbers_of(paths, lengths), config)
    return log


def _each_order_once(log: Log, file: np.ndarray, events: int, left_out: Counter[str] | None) -> None:
    """Drop lines of orders that a later file has, too, in place, and all rows behind the first so many `events`.

    `file` is the number of each row's, int32 (n,); the rows behind the events are those that rules keep out.
    """
    order = log.ids["order_id"]
    orders_aside = np.unique(order.codes[events:])
    log.orders_aside = order.values.take(pa.array(orders_aside[orders_aside >= 0]))
    keep = read_once(order.codes, log.timestamp, log.event_type, log.item, file)
    keep[events:] = False
    again = order.codes[:events][~keep[:events]]
    log.keep(keep)
    if events < len(keep):
        log.ids = {name: ids.only_used() for name, ids in log.ids.items()}
    if not len(again):
        return
    if left_out is not None:
        left_out[LATER_FILE] += len(again)
    logger.info("%s lines of %s orders stand in several files and count once, as the last file in raw.files has them",
              f"{len(again):,}", f"{len(np.unique(again)):,}")  # fmt: skip


def _doubt_orders(log: Log, file: np.ndarray, config: DatasetConfig) -> None:
    """Say that orders stand in several files, which may overlap: exports of a shop, views of a database.

    `file` is the number of each row's, int32 (n,).
    """
    if not doubts_orders(config):
        return
    order = log.ids["order_id"].codes
    again = order[~read_once(order, log.timestamp, log.event_type, log.item, file)]
    say_orders_twice(config, len(again), len(np.unique(again)))


def reasons(rejected: pa.Table) -> list[tuple[str, str, int]]:
    """Column ("row" where the whole row is at fault), reason and number of rows, most frequent first."""
    counts = rejected.group_by(["column", "reason"], use_threads=False).aggregate([("row", "count")]).to_pylist()
    rows = [(c["column"] or "row", c["reason"], c["row_count"]) for c in counts]
    return sorted(rows, key=lambda r: (-r[2], r[0], r[1]))


def shown_share(share: float, beside: float) -> str:
    """A share in percent, with as many digits as it needs to look different from another one: 1.05% beside .01.

    Examples:
        >>> shown_share(0.0105, 0.01), shown_share(0.119, 0.01)
        ('1.05%', '11.9%')
    """
    texts = (f"{share:.{n}%}" for n in range(1, 7) if f"{share:.{n}%}" != f"{beside:.{n}%}")
    return next(texts, f"{share:.1%}")


class RejectedError(UserError):
    """Too many rows that are no events. Where a log is a table in memory, its parts are said in other words."""

    def __init__(self, rejected: pa.Table, out: int, total: int, allowed: float) -> None:
        self.first = rejected.slice(0, 1).to_pylist()[0]
        self.allowed = allowed
        counts = "; ".join(f"{n:,} × {column}: {reason}" for column, reason, n in reasons(rejected)[:WORST_SHOWN])
        self.share = f"{out:,} of {total:,} rows ({shown_share(out / total, allowed)}) are rejected [{counts}]"
        super().__init__(
            f"{self.first['file']}, row {self.first['row']}{self.what}; in all {self.share}: mend them, correct the "
            f"dataset's config, or allow it with max_rejected_share (now {allowed})"
        )

    @property
    def what(self) -> str:
        """What is wrong with the first of them, behind its place."""
        at = f", column '{self.first['column']}'" if self.first["column"] else ""
        return f"{at}: {self.first['reason']} (value {self.first['value']!r})"


def judge(rejected: pa.Table, kept: int, config: DatasetConfig, before: tuple[int, int] = (0, 0)) -> None:
    """A `UserError` when no row was kept or the share of rejected ones is above `max_rejected_share`.

    `before`: kept and rejected rows of the files that are there already.
    """
    total, out = kept + len(rejected) + sum(before), len(rejected) + before[1]
    if not kept + len(rejected):
        if any(before):
            raise UserError(f"{', '.join(config.files)} hold no rows to add; leave the extending until there are some")
        raise UserError(f"the files of dataset '{config.name}' hold no rows; check raw.files and the reader's options")
    if len(rejected) and (out / total > config.max_rejected_share or not kept):
        raise RejectedError(rejected, out, total, config.max_rejected_share)


def _join(parts: list[Rows], rejected: pa.Table) -> Log:
    """The pieces as one log. The list is emptied, each piece goes once it is in the whole."""
    names = list(dict.fromkeys(name for p in parts for name in p.ids))
    lengths = list(map(len, parts))
    pieces = [[p.ids.pop(name, None) or _nobody(len(p)) for p in parts] for name in names]
    kinds, times = [p.event_type for p in parts], [p.timestamp for p in parts]
    prices, quantities = [p.price for p in parts], [p.quantity for p in parts]
    parts.clear()
    with ThreadPoolExecutor(2) as pool:  # Arrow lets go of the interpreter while it joins
        joined = pool.map(join_ids, pieces)
        if sum(lengths) > BESIDE:
            joined = iter([*joined])  # all of them before the rest
        event_type = _whole(kinds, lengths)
        assert event_type is not None
        time, price, quantity = (_whole(column, lengths) for column in (times, prices, quantities))
        ids = dict(zip(names, joined, strict=True))
    return Log(ids, event_type, time, price, quantity, rejected)


def _whole(parts: list[np.ndarray] | list[np.ndarray | None], lengths: Sequence[int]) -> np.ndarray | None:
    """Pieces of a column as one array, NaN where one has none; None where no piece has it. The list is emptied."""
    dtype = next((values.dtype for values in parts if values is not None), None)
    if dtype is None:
        return None
    whole, at = np.empty(sum(lengths), dtype), 0
    parts.reverse()
    for n in lengths:
        values = parts.pop()
        whole[at : at + n] = np.nan if values is None else values
        at += n
    return whole


def join_ids(parts: list[pa.DictionaryArray]) -> Ids:
    """Dictionary-encoded pieces as one column over one dictionary. The list is emptied, each piece once it is read.

    Texts are in the order of their first appearance in the pieces' dictionaries.
    """
    once = pa.chunked_array([part.dictionary.cast(pa.string()) for part in parts], pa.string()).dictionary_encode()
    place = once.combine_chunks()
    place, values = place.indices.to_numpy(), place.dictionary
    codes = np.empty(sum(map(len, parts)), np.int32)
    at = first = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        size = len(part.dictionary)
        own = place[first : first + size]
        indices, missing = part.indices, part.indices.null_count
        found = (indices.fill_null(size) if missing else indices).to_numpy(zero_copy_only=False)
        codes[at : at + len(part)] = (np.append(own, np.int32(-1)) if missing else own)[found]
        at, first = at + len(part), first + size
    pa.default_memory_pool().release_unused()
    return Ids(codes, values)


def sorted_log(log: Log, columns: Sequence[str]) -> Log:
    """The log in the order of some columns of numbers, the first first; these columns leave it."""
    keys = []
    for column in columns:
        ids = log.ids.pop(f"{ORDER}{column}")
        texts = pl.Series(pl.from_arrow(ids.values)).cast(pl.String).str.strip_chars()
        whole = texts.cast(pl.Int64, strict=False).gather(ids.codes)  # as floats, long ids in a row would be one
        keys.append(as_floats(ids.values, None)[0][ids.codes] if whole.null_count() else whole.to_numpy())
    log.take(np.lexsort(keys[::-1]))  # is stable
    return log


def _nobody(n: int) -> pa.DictionaryArray:
    """A column of ids that files of one kind have not, for those of another."""
    return pa.DictionaryArray.from_arrays(pa.nulls(n, pa.int32()), pa.array([], pa.string()))
