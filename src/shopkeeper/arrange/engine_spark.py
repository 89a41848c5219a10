"""Apache Spark as the engine of preparation: raw files read and checked by its workers.

**File order.** A Spark frame has none, so every row gets its place while it is read. Text: Spark hands out a file in
splits; the line that a split begins with is known from the lines counted in the splits before it (one cheap pass),
and a worker gets the lines of a split one after another in the order of the file, so it counts on from there. No
partition number, sort or `monotonically_increasing_id` enters; a split that was not counted stops the run. Parquet:
Spark's own `_metadata.row_index`.

**Checks.** The workers run the same readers and checks on the same bytes as `engine=arrays` does, batch by batch, so
the rejected rows, their reasons and their line numbers are the same. A record must be one line here: quoted line
breaks end in a `UserError`. What workers cannot do, `engine` does before Spark begins.
"""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.arrange.engine_plan import Checked, Frame
from shopkeeper.arrange.order_numbers import split_orders_of
from shopkeeper.arrange.overlap_spark import read_twice
from shopkeeper.errors import UserError
from shopkeeper.ingest.block import REJECTED, Block
from shopkeeper.ingest.checks import Rows, check, wanted_columns
from shopkeeper.ingest.chunks import record_starts
from shopkeeper.ingest.dataset import DatasetConfig
from shopkeeper.ingest.dataset_parts import IF_THERE, ReaderSettings
from shopkeeper.ingest.dataset_shape import ID_COLUMNS
from shopkeeper.ingest.overlap import doubts_orders, say_orders_twice
from shopkeeper.ingest.raw import find_files
from shopkeeper.ingest.readers import reader
from shopkeeper.ingest.readers.parquet import partitions
from shopkeeper.timeline import DAY
from shopkeeper.timeline.zones import local

LINES = ("csv", "tsv", "dat", "blank_separated", "recbole", "json_lines")  # formats with a record per line
FORMATS = (*LINES, "parquet")  # that the workers read
WITH_HEADER = ("csv", "tsv", "blank_separated", "recbole")
KEPT, REJECT, ERROR = 0, 1, 2
FILE_BITS = 40  # place = number of the file << 40 | row in the file


def unread(told: ReaderSettings) -> list[str]:
    """What of the files the workers cannot read, each of which sees some lines."""
    wide = re.match("utf.?(16|32)", (told.encoding or "").lower())
    no = {"format": told.format not in FORMATS, "header": told.header == IF_THERE, "encoding": wide is not None}
    return [f"reader.{name}: {getattr(told, name)}" for name, cannot in no.items() if cannot]


def settle(frame: Frame) -> Frame:
    """Compute a frame now and keep it (memory, then disk), without the plan that led to it."""
    return nw.from_native(nw.to_native(frame).localCheckpoint())


def read(spark: Any, config: DatasetConfig, raw: Path) -> tuple[Checked, pa.Table, int]:
    """The checked frame of a dataset's files, its rejected rows and the number of rows kept.

    Raises `UserError` for what the readers cannot read and for what this engine cannot do (named, with the way out).
    """
    kind = config.reader.format
    paths = find_files(config, raw, config.files)
    for path in paths:
        next(iter(reader(kind)(path, wanted_columns(config), config.reader, None)), None)  # header, options, damage
    ids = {name: f"id{i}" for i, name in enumerate(_id_names(config))} | {"user_id": "user", "item_id": "item"}
    names = [name for name in ("price", "quantity") if name in config.columns]
    dated = "order_id" in ids and "timestamp" in config.columns and config.order_days is not None
    day = [("day", pa.int64())] if dated else []
    shape = pa.schema(
        [("kind", pa.int8()), ("place", pa.int64()), *((column, pa.string()) for column in ids.values()),
         ("event_type", pa.int8()), ("time", pa.int64()), *day, *((name, pa.float64()) for name in names), *REJECTED]
    )  # fmt: skip
    if kind in LINES:
        found = _text(spark, config, paths, ids, shape)
    else:
        found = _parquet(spark, config, paths, ids, shape)
    found = found.localCheckpoint()
    bad = found.where(f"kind <> {KEPT}").select("kind", "place", *REJECTED.names).toArrow().sort_by("place")
    errors = bad.filter(pc.equal(bad["kind"], ERROR))
    if len(errors):
        raise UserError(errors["reason"][0].as_py())
    rejected = bad.select(REJECTED.names).cast(REJECTED).combine_chunks()
    kept = found.where(f"kind = {KEPT}").drop("kind", *REJECTED.names)
    if len(paths) > 1 and "order_id" in ids and doubts_orders(config):
        say_orders_twice(config, *read_twice(kept, ids["order_id"], FILE_BITS))
    frame = nw.from_native(kept)
    if dated:
        assert config.order_days is not None
        frame = settle(split_orders_of(frame, ids["user_id"], ids["order_id"], config.order_days))
    checked = Checked(frame, ids, "timestamp" in config.columns, config.zone)
    return checked, rejected, found.where(f"kind = {KEPT}").count()


def _id_names(config: DatasetConfig) -> list[str]:
    own = [name for name in ID_COLUMNS if name in config.columns]
    return [*own, *config.constants, *(f"file:{column}" for column in config.carried)]


def _text(spark: Any, config: DatasetConfig, paths: list[Path], ids: Mapping[str, str], shape: pa.Schema) -> Any:
    from pyspark.sql.functions import col, lit

    files = tuple(_TextFile.of(path, config.reader) for path in paths)
    lines = reduce(lambda a, b: a.unionAll(b), [
        spark.read.option("lineSep", "\n").text(_hadoop(path)).select(
            lit(i).alias("number"), col("_metadata.file_block_start").alias("start"),
            col("value").cast("binary").alias("value"))
        for i, path in enumerate(paths)
    ])  # fmt: skip
    first: dict[tuple[int, int], int] = {}  # split -> its first line
    after = [1] * len(paths)
    for row in sorted(lines.groupBy("number", "start").count().collect()):
        first[row["number"], row["start"]] = after[row["number"]]
        after[row["number"]] += row["count"]

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        now, line = (-1, -1), 0
        for batch in batches:
            numbers, starts = batch.column(0).to_numpy(), batch.column(1).to_numpy()
            new = (np.diff(numbers, prepend=-1) != 0) | (np.diff(starts, prepend=-1) != 0)
            edges = [*np.flatnonzero(new).tolist(), batch.num_rows]
            for a, b in pairwise(edges):
                if (split := (int(numbers[a]), int(starts[a]))) != now:
                    now, line = split, first[split]  # a split that was not counted: KeyError
                yield from files[now[0]].check(batch.column(2).slice(a, b - a), line, now[0], config, ids, shape)
                line += b - a

    return lines.mapInArrow(work, _ddl(shape))


@dataclass(frozen=True)
class _TextFile:
    """What a worker must know of a text file to read any of its lines: the lines before the first record."""

    path: str
    head: tuple[bytes, ...]  # skipped lines and the header
    quote: bytes  # b"" where nothing is quoted

    @staticmethod
    def of(path: Path, told: ReaderSettings) -> _TextFile:
        with open(path, "rb") as file:
            magic = file.read(4)
        packed = magic.startswith(b"\x1f\x8b")
        if magic == b"\x28\xb5\x2f\xfd" or packed != path.name.endswith(".gz"):
            said = "engine=spark reads plain text and gzip named .gz; write the file so, or use engine=arrays"
            raise UserError(f"{path}: {said}")
        head: list[bytes] = []
        skip = told.skip_lines or 0
        header = told.format in WITH_HEADER and (not told.names if told.header is None else told.header)
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            while len(head) < skip or (header and not any(line.strip() for line in head[skip:])):
                head.append(file.readline())
        quote = ('"' if told.quote is None else told.quote).encode() if told.format in ("csv", "tsv") else b""
        return _TextFile(str(path), tuple(head), quote)

    def check(
        self, lines: pa.Array, line: int, number: int, config: DatasetConfig, ids: Mapping[str, str], shape: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Lines (binary) of this file, the first of them number `line`, as rows of `shape`."""
        skip = max(0, len(self.head) - line + 1)
        lines, line = lines.slice(skip), line + skip
        if not len(lines):
            return
        text = pc.binary_join(pa.LargeListArray.from_arrays([0, len(lines)], lines), b"\n")[0].as_py()
        if self.quote and self.quote in text:
            odd = np.flatnonzero(pc.count_substring(lines, self.quote).to_numpy() & 1)
            if len(odd):
                message = (
                    f"{self.path}, line {line + odd[0]}: a quote is opened and not closed on this line, and "
                    f"engine=spark reads one record per line; use engine=arrays"
                )
                yield _error(message, line, number, shape)
                return
        shift = line - 1 - len(self.head)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(self.path).name  # messages and rejected rows name the file
            path.write_bytes(b"".join(self.head) + text + b"\n")
            try:
                blocks = reader(config.reader.format)(path, wanted_columns(config), config.reader, None)
                found = [check(block, config) for block in blocks]
            except UserError as e:
                message = str(e).replace(str(path), self.path)
                message = re.sub(r"\bline (\d+)", lambda m: f"line {int(m[1]) + shift}", message)
                yield _error(message, line, number, shape)
                return
        rejected = pa.concat_tables([bad for _, bad in found])
        at = rejected.schema.get_field_index("row")
        rejected = rejected.set_column(at, "row", pa.array(rejected["row"].to_numpy() + shift))
        rows = line + record_starts(text, quotes=False)[1]
        if config.reader.format == "blank_separated":  # its blank lines may hold blanks
            rows = rows[
                pc.not_equal(pc.ascii_trim_whitespace(lines.cast(pa.string())), "").to_numpy(False)[rows - line]
            ]
        yield from _rows([part for kept, _ in found for part in kept], rejected, rows, number, ids, shape, config.zone)


def _parquet(spark: Any, config: DatasetConfig, paths: list[Path], ids: Mapping[str, str], shape: pa.Schema) -> Any:
    from pyspark.sql.functions import col, lit

    names, shown = wanted_columns(config).names, [path.name for path in paths]
    frames = []
    for i, path in enumerate(paths):
        of_folder = partitions(path)
        columns = [
            (lit(of_folder[name]) if name in of_folder else col(f"`{name}`")).alias(f"c{j}")
            for j, name in enumerate(names)
        ]
        row = col("_metadata.row_index").alias("row")
        frames.append(spark.read.parquet(_hadoop(path)).select(lit(i).alias("number"), row, *columns))

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch.num_rows:
                continue
            number, rows = batch.column(0)[0].as_py(), batch.column(1).to_numpy() + 1
            assert pc.all(pc.equal(batch.column(0), number)).as_py()  # a partition is of one file: union keeps them
            table = pa.table(batch.columns[2:], names=names)
            kept, rejected = check(Block(shown[number], table, rows.__getitem__), config)
            yield from _rows(kept, rejected, rows, number, ids, shape, config.zone)

    return reduce(lambda a, b: a.unionAll(b), frames).mapInArrow(work, _ddl(shape))


def _rows(
    kept: list[Rows],
    rejected: pa.Table,
    rows: np.ndarray,
    number: int,
    ids: Mapping[str, str],
    shape: pa.Schema,
    zone: str,
) -> Iterator[pa.RecordBatch]:
    """What came through the checks and what did not, in one shape; `rows` are the numbers of both in file `number`."""
    rows = rows[~np.isin(rows, rejected["row"].to_numpy())]
    assert len(rows) == sum(map(len, kept)), "every row is kept or rejected"
    base, at = number << FILE_BITS, 0
    for part in kept:
        columns: dict[str, Any] = {column: part.ids[name].cast(pa.string()) for name, column in ids.items()}
        columns |= {"event_type": part.event_type, "price": part.price, "quantity": part.quantity}
        columns |= {"time": np.zeros(len(part), np.int64) if part.timestamp is None else part.timestamp}
        columns |= {"day": local(columns["time"], zone) // DAY} if "day" in shape.names else {}
        columns |= {"place": base + rows[at : at + len(part)], "kind": np.full(len(part), KEPT, np.int8)}
        at += len(part)
        yield _batch(columns, len(part), shape)
    if len(rejected):
        columns = {name: rejected[name].combine_chunks() for name in REJECTED.names}
        columns |= {"place": base + rejected["row"].to_numpy(), "kind": np.full(len(rejected), REJECT, np.int8)}
        yield _batch(columns, len(rejected), shape)


def _batch(columns: Mapping[str, Any], n: int, shape: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for name, kind in zip(shape.names, shape.types, strict=True):
        values = columns.get(name)
        arrays.append(
            pa.nulls(n, kind) if values is None else values if isinstance(values, pa.Array) else pa.array(values, kind)
        )
    return pa.RecordBatch.from_arrays(arrays, schema=shape)


def _error(message: str, line: int, number: int, shape: pa.Schema) -> pa.RecordBatch:
    columns = {"kind": [ERROR], "place": [(number << FILE_BITS) + line], "reason": [message]}
    return _batch(columns, 1, shape)


def _ddl(shape: pa.Schema) -> str:
    names = {pa.int8(): "byte", pa.int64(): "long", pa.float64(): "double", pa.string(): "string"}
    return ", ".join(f"`{field.name}` {names[field.type]}" for field in shape)


def _hadoop(path: Path) -> str:
    """A path as Spark wants it: absolute, on the file system of the machines, no character read as a pattern."""
    return "file:" + re.sub(r"([\[\]{}*?\\])", r"\\\1", str(path.resolve()))
