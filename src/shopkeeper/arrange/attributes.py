"""Item and user tables: internal id, external id, attributes; and versions of attributes (`features/point_in_time.py`).

A table's config: `file` (below raw.folder), `reader`, `id` (column of the external id), `columns` (attribute ->
column of the file; all when left out), `lists` (attribute -> separator: a list of texts), `id_map` (`file` of two
blank-separated columns: our id, the table's id), `valid_from` (column: the table holds versions), and `from_events`
(attribute -> column of the log; the first known value in time stays, so no later row changes it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.arrange.order import Arranged
from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.dataset import DatasetConfig
from shopkeeper.ingest.dataset_parts import IdMap, ReaderSettings, SideTable
from shopkeeper.ingest.matches import matched
from shopkeeper.ingest.reading import whole_table
from shopkeeper.ingest.times import to_micros
from shopkeeper.ingest.values import as_ids, check_no_contact_keys, typed

KEY = "external id"  # name of a column that no table of ours has


def entity_table(
    kind: str, spec: SideTable, config: DatasetConfig, raw: Path, log: Arranged, matches: list[dict[str, Any]]
) -> pa.Table:
    """The table of `item` or `user` (`kind`): row i-1 is id i; attributes of an id without a row are null.

    `matches` gets how many ids the file knows (`matches.py`).
    """
    names = log.names[f"{kind}_id"]
    table = pa.table({kind: pa.array(np.arange(1, len(names) + 1, dtype=np.int32)), f"{kind}_id": names})
    for attribute, column in spec.from_events.items():
        value, _ = _first_known(kind, log, f"file:{column}")
        table = table.append_column(attribute, value)
    if spec.file and not spec.valid_from:
        frame = _read_table(kind, spec, config, raw)
        double = frame.filter(pl.col(f"{kind}_id").is_duplicated())
        if double.height:
            raise UserError(
                f"{spec.file}: {kind} '{double[f'{kind}_id'][0]}' has more than one row; keep one, "
                f"or name the column of its dates in {kind}s.valid_from"
            )
        matches.append(_matched(kind, spec, log, frame))
        own = pl.DataFrame(pl.from_arrow(table)).with_columns(pl.Series(KEY, pl.from_arrow(_keys(kind, log))))
        joined = own.join(frame.rename({f"{kind}_id": KEY}), on=KEY, how="left", maintain_order="left").drop(KEY)
        table = _plain(joined.to_arrow())
    if config.table is None:  # whose features are told, and looked at, by themselves
        _check_attributes(kind, spec, config, table)
    return table


def _keys(kind: str, log: Arranged) -> pa.Array:
    """External ids by internal id as tables from outside know them: before pseudonyms."""
    return log.real_users if kind == "user" and log.real_users is not None else log.names[f"{kind}_id"]


def _matched(kind: str, spec: SideTable, log: Arranged, frame: pl.DataFrame) -> dict[str, Any]:
    what = "items" if kind == "item" else "customers"
    ids = _keys(kind, log)
    ids = ids.dictionary_decode() if pa.types.is_dictionary(ids.type) else ids
    return matched(str(spec.file), what, ids, frame[f"{kind}_id"].to_arrow().cast(pa.string()))


def version_table(
    kind: str, spec: SideTable, config: DatasetConfig, raw: Path, log: Arranged, matches: list[dict[str, Any]]
) -> pa.Table:
    """Versions of attributes: internal id, `valid_from` (timestamp[us, UTC]), attributes; by id, then time."""
    frame = _read_table(kind, spec, config, raw)
    matches.append(_matched(kind, spec, log, frame))
    names = _keys(kind, log)
    ids = pc.index_in(frame[f"{kind}_id"].to_arrow().cast(names.type), value_set=names)
    frame = frame.with_columns(pl.Series(kind, pl.from_arrow(ids), dtype=pl.Int32) + 1).filter(pl.col(kind) > 0)
    frame = frame.drop(f"{kind}_id").sort(kind, "valid_from", maintain_order=True)
    table = _plain(frame.select(kind, "valid_from", pl.exclude(kind, "valid_from")).to_arrow())
    _check_attributes(kind, spec, config, table)
    return table


def _check_attributes(kind: str, spec: SideTable, config: DatasetConfig, table: pa.Table) -> None:
    """A `UserError` for an attribute of customers by which they are reached."""
    for name in table.column_names if kind == "user" else ():
        if name == "user_id":
            continue
        of_log = name in spec.from_events
        where = f"dataset '{config.name}'" if of_log else f"{spec.file}"
        way_out = "take it out of users.from_events" if of_log else "name the others in users.columns"
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            check_no_contact_keys(name, column, where, way_out)


def known_table(kind: str, spec: SideTable, log: Arranged) -> pa.Table | None:
    """Since when each attribute that comes `from_events` is known: timestamp[us, UTC] per id, null where it never is.

    Row i-1 is id i, as in the entity table. None where no attribute comes from events or the log has no time.
    """
    columns = spec.from_events
    if not columns or "timestamp" not in log.columns:
        return None
    table = pa.table({kind: pa.array(np.arange(1, len(log.names[f"{kind}_id"]) + 1, dtype=np.int32))})
    for attribute, column in columns.items():
        _, row = _first_known(kind, log, f"file:{column}")
        at = log.columns["timestamp"][np.maximum(row, 0)]
        table = table.append_column(attribute, pa.array(at, pa.timestamp("us", "UTC"), mask=row < 0))
    return table


def _first_known(kind: str, log: Arranged, column: str) -> tuple[pa.Array, np.ndarray]:
    """The first known value of each id in time, and the row that has it: (n,), int64 (n,) with -1 where none has."""
    ids = log.user if kind == "user" else log.columns["item"]
    codes = log.columns[column]  # 0 = unknown
    known = np.flatnonzero(codes > 0)
    if "timestamp" in log.columns:  # rows are sorted by user; the first in time counts
        known = known[np.argsort(log.columns["timestamp"][known], kind="stable")]
    else:
        known = known[np.argsort(log.rows[known], kind="stable")]
    row = np.full(len(log.names[f"{kind}_id"]) + 1, -1, np.int64)
    row[ids[known][::-1]] = known[::-1]
    row = row[1:]
    code = np.where(row >= 0, codes[np.maximum(row, 0)], 0).astype(np.int64)
    return log.names[column].take(pa.array(code - 1, mask=code == 0)), row


def _read_table(kind: str, spec: SideTable, config: DatasetConfig, raw: Path) -> pl.DataFrame:
    told = spec.reader or config.reader
    frame = whole_table(config, raw, str(spec.file), told)
    key = spec.id or f"{kind}_id"
    wanted = dict(spec.columns or {c: c for c in frame.columns if c and c not in (key, spec.valid_from)})
    for column in [key, *wanted.values(), *([spec.valid_from] if spec.valid_from else [])]:
        if column not in frame.columns:
            raise UserError(f"{spec.file}: no column '{column}'.{nearest(str(column), frame.columns)}")
    ids = pl.Series(f"{kind}_id", pl.from_arrow(as_ids(frame[key].to_arrow(), key).cast(pa.string())))
    out = pl.DataFrame({f"{kind}_id": ids}).with_columns(frame[c].alias(a) for a, c in wanted.items())
    for attribute, separator in spec.lists.items():
        if attribute not in wanted:
            raise UserError(f"{kind}s.lists.{attribute} is not in {kind}s.columns.{nearest(attribute, wanted)}")
        out = out.with_columns(pl.when(pl.col(attribute) != "").then(pl.col(attribute).str.split(separator)))
    out = out.with_columns(typed(out[a], told.decimal) for a in wanted if out[a].dtype == pl.String)
    if spec.valid_from:
        micros, why = to_micros(frame[spec.valid_from].to_arrow(), spec.timestamp or config.timestamp)
        if (why != "").any():
            row = int(np.flatnonzero(why != "")[0])
            where = f"{spec.file}, data row {row + 1}, column '{spec.valid_from}'"
            raise UserError(f"{where}: {why[row]}; mend it, or say in {kind}s.timestamp how its times are written")
        out = out.with_columns(pl.Series("valid_from", micros).cast(pl.Datetime("us", "UTC")))
    if spec.id_map:
        out = _mapped(kind, out, spec.id_map, config, raw)
    return out.filter(pl.col(f"{kind}_id").is_not_null())


def _mapped(kind: str, frame: pl.DataFrame, spec: IdMap, config: DatasetConfig, raw: Path) -> pl.DataFrame:
    told = spec.reader or ReaderSettings("blank_separated", names=("ours", "theirs"))
    read = whole_table(config, raw, spec.file, told)
    pairs = pl.DataFrame(
        {c: pl.from_arrow(as_ids(read[c].to_arrow(), c).cast(pa.string())) for c in ("ours", "theirs")}
    )
    joined = pairs.join(frame.rename({f"{kind}_id": "theirs"}), on="theirs", how="inner", maintain_order="left")
    return joined.drop("theirs").rename({"ours": f"{kind}_id"})


def _plain(table: pa.Table) -> pa.Table:
    """Polars' view types as the plain Arrow types that every Parquet reader knows."""
    fields = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
            kind = pa.string()
        elif pa.types.is_large_list(kind):
            inner = kind.value_type
            kind = pa.list_(inner if pa.types.is_floating(inner) or pa.types.is_integer(inner) else pa.string())
        fields.append(pa.field(field.name, kind))
    return table.cast(pa.schema(fields))
