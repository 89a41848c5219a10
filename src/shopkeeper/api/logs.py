"""From a frame, or a file, and the names of its columns to what a `conf/dataset/*.yaml` says of it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.api.frames import as_arrow, as_ids
from shopkeeper.api.told import compose
from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.guesses.files import given
from shopkeeper.ingest.guesses.gaps import ROWS, Pauses, pauses
from shopkeeper.ingest.guesses.habits import SHORT, kind_of, kind_of_all, span_days, windows_of
from shopkeeper.ingest.guesses.look import head, reader_of
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.ingest.guesses.scalars import DOUBT
from shopkeeper.ingest.guesses.times import ZONE, time_options
from shopkeeper.ingest.raw import is_pattern
from shopkeeper.ingest.times import MISSING
from shopkeeper.schema import EVENT_TYPES, INTEREST_TYPES, MICROSECONDS_PER_DAY
from shopkeeper.timeline.customers import BLOCK

log = logging.getLogger(__name__)
LOOKED_AT = 20_000  # rows, to see how times are written
CLOCK = ("write timestamp: [date, time]", "make one column of both: frame['date'] + ' ' + frame['clock']")
ID_ARGUMENTS = {
    "user_id": "user",
    "item_id": "item",
    "order_id": "order",
    "session_id": "session",
    "channel": "channel",
}


@dataclass(frozen=True)
class Columns:
    """Which column of a log holds what, as `Dataset.from_pandas` is told."""

    user: str | None
    item: str | None
    time: str | None = None
    type: str | None = None
    price: str | None = None
    quantity: str | None = None
    order: str | None = None
    session: str | None = None
    channel: str | None = None

    def named(self) -> dict[str, str]:
        """Our column -> theirs, of those that are told."""
        ours = {**ID_ARGUMENTS, "timestamp": "time", "event_type": "type", "price": "price", "quantity": "quantity"}
        return {name: str(value) for name, key in ours.items() if (value := vars(self)[key]) is not None}


@dataclass(frozen=True)
class Described:
    """What is known of a log in memory."""

    spec: dict[str, Any]
    split: str
    tables: dict[str, pa.Table] = field(repr=False)  # by the name of the file that they become


def describe(
    frame: Any,
    columns: Columns,
    *,
    types: Mapping[str, str] | None,
    event: str | None,
    time_zone: str,
    items: Any,
    users: Any,
    item_columns: Sequence[str],
    user_columns: Sequence[str],
    target: str | Sequence[str] | None,
    filter_seen: bool | None,
    name: str,
    settings: Mapping[str, Any],
) -> Described:
    """The settings of a dataset and the tables that they speak of; arguments as of `Dataset.from_pandas`."""
    named = columns.named()
    if event is None:
        event = kind_of_all(named)
        if "event_type" not in named:
            log.info("no column tells kinds of events apart; every row is taken as a %s: event='…' says another", event)
    if event not in EVENT_TYPES:
        raise UserError(
            f"event='{event}' is no kind of event.{nearest(event, EVENT_TYPES)} A column of kinds is type='…'."
        )
    if columns.user is None or columns.item is None:
        missing = "user" if columns.user is None else "item"
        raise UserError(f"{missing} names no column; say which one holds the {missing}'s id: {missing}='…'")
    if columns.user == columns.item:
        raise UserError(f"user and item are both column '{columns.user}'; say which column is whose")
    item_columns, user_columns = (
        [told] if isinstance(told, str) else list(told) for told in (item_columns, user_columns)
    )
    wanted = list(dict.fromkeys([*named.values(), *item_columns, *user_columns]))
    table = as_arrow(frame, wanted)
    if not len(table):
        raise UserError("the frame has no rows; give some")
    for ours in ID_ARGUMENTS:
        if ours in named:
            at = table.column_names.index(named[ours])
            table = table.set_column(at, named[ours], as_ids(table[named[ours]], named[ours]))
    kinds, event_type = _event_type(table, named.pop("event_type", None), types, event)
    targets = _targets(kinds, target)
    spec: dict[str, Any] = {
        "name": name,
        "target_events": targets,
        "filter_seen": _once(table, named, event_type, targets) if filter_seen is None else filter_seen,
        "raw": {"folder": name, "files": ["events.parquet"]},
        "reader": {"format": "parquet"},
        "columns": named,
        "event_type": event_type,
        "filters": {},
    }
    split = "leave_one_out"
    if "timestamp" in named:
        options, micros = _times(table[named["timestamp"]], named["timestamp"], time_zone)
        days, few = span_days(micros[micros != MISSING]), len(table) < LOOKED_AT
        spec |= {"timestamp": {"time_zone": time_zone, **options}, "refit": True}
        found = _pauses(table, named["user_id"], micros, event_type) if "purchase" in targets else None
        asked = micros[_asked(table, event_type, targets) & (micros != MISSING)] if few else None
        windows = windows_of(days, asked, None if found is None else found.days)
        spec |= {"temporal": windows} if windows else {}
        split = "temporal" if days >= SHORT and windows else split
        if BLOCK not in settings and found is not None and (horizon := found.horizon(days)):
            spec |= {BLOCK: {"horizon_days": horizon, "active_days": horizon}}
    tables = {"events": table}
    for kind, entities, carried, id_column in (
        ("items", items, item_columns, columns.item),
        ("users", users, user_columns, columns.user),
    ):
        block: dict[str, Any] = {"from_events": {c: c for c in carried}} if carried else {}
        if entities is not None:
            assert id_column is not None
            tables[kind], own = _entities(entities, id_column, f"{kind[:-1]}_id", kind)
            block |= {"file": f"{kind}.parquet", "reader": {"format": "parquet"}, "id": own}
        if block:
            spec[kind] = block
    return Described(_with(spec, settings), split, tables)


@dataclass(frozen=True)
class Guessed:
    """What `new-dataset` makes of files, with what is told in its place."""

    spec: dict[str, Any]
    split: str
    raw: Path  # the folder that the files' names are seen from
    doubts: list[str]


def guessed(path: Path, columns: Columns, name: str | None, settings: Mapping[str, Any]) -> Guessed:
    """Settings of a dataset of a file, a folder or a pattern of files; a known export is told by its columns.

    What is told of columns and settings goes before the guesses, and doubts of those columns are not said.
    """
    text, files = guess_dataset(path, name), given(path, name)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "dataset" / f"{files.name}.yaml"
        file.parent.mkdir()
        file.write_text(text, encoding="utf-8")
        config = compose("prepare", {"dataset": files.name}, Path(place))
    found, split = dict(config["dataset"]), str(config["split"]["name"])
    told = columns.named()
    have = head(files.paths[0], reader_of(files.paths[0])[0], limit=1).columns
    if unknown := [one for one in told.values() if one not in have and "rows" not in found]:
        raise UserError(f"{path} has no column '{unknown[0]}'.{nearest(unknown[0], have)}")
    if (kind := told.pop("event_type", None)) is not None:
        block = found.get("event_type")
        found["event_type"] = block if isinstance(block, dict) and block.get("column") == kind else {"column": kind}
    before = found.get("columns") or {}
    found["columns"] = {ours: theirs for ours, theirs in before.items() if theirs not in told.values()} | told
    if "timestamp" in told and "timestamp" not in before:
        split = "temporal"
        found |= {"temporal": windows_of(None)}
    constants = {k: v for k, v in (found.pop("constants", None) or {}).items() if k not in told}
    found = {k: v for k, v in found.items() if v is not None} | ({"constants": constants} if constants else {})
    found["raw"] = {**(found.get("raw") or {}), "folder": ""}
    doubts = [line.partition(DOUBT)[2].strip() for line in text.splitlines() if DOUBT in line]
    doubts = [doubt for doubt in doubts if not any(f"called like a {ours}" in doubt for ours in told)]
    return Guessed(_with(found, settings), split, _root(path), doubts)


def _root(path: Path) -> Path:
    """The folder that names of files are seen from: a file's own, a folder itself, what stands before a pattern."""
    if path.is_dir():
        return path.resolve()
    while is_pattern(path.as_posix()) and not path.exists():
        path = path.parent
    return (path.parent if path.is_file() else path).resolve()


def _with(spec: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a dataset with others in their place; of blocks, with some of their values."""
    found = dict(spec)
    for key, value in settings.items():
        base = found.get(key)
        if not (isinstance(base, Mapping) and isinstance(value, Mapping)):
            found[key] = value
            continue
        if key == "temporal":  # a window is days or a share, whichever is told
            told = {str(name).partition("_")[0] for name in value}
            base = {name: length for name, length in base.items() if name.partition("_")[0] not in told}
        found[key] = {**base, **value}
    return found


def _event_type(
    table: pa.Table, column: str | None, types: Mapping[str, str] | None, event: str
) -> tuple[list[str], Any]:
    """The kinds of event that there are, and the block `event_type`."""
    if column is None:
        if types:
            raise UserError("types says what kinds of event mean, and no column holds them; say type='…', too")
        return [event], event
    values = [v for v in pc.unique(table[column].cast(pa.string())).to_pylist() if v is not None]
    told = {str(pa.array([key]).cast(pa.string())[0]): kind for key, kind in (types or {}).items()}  # as the column
    if unknown := [k for k in told if k not in values]:
        raise UserError(
            f"types names '{unknown[0]}', which column '{column}' has not.{nearest(str(unknown[0]), values)}"
        )
    if wrong := [k for k in told.values() if k not in EVENT_TYPES]:
        raise UserError(f"types: '{wrong[0]}' is no kind of event.{nearest(str(wrong[0]), EVENT_TYPES)}")
    meant = {value: told.get(value, value) for value in values}
    if strange := [value for value, kind in meant.items() if kind not in EVENT_TYPES]:
        found = {value: kind_of(value) or "view" for value in strange}
        raise UserError(
            f"column '{column}' holds '{strange[0]}', which is no kind of event; say what it is: types={found!r}, "
            f"for example. Valid: {', '.join(EVENT_TYPES)}."
        )
    return [kind for kind in EVENT_TYPES if kind in meant.values()], {"column": column, "map": meant}


def _targets(kinds: Sequence[str], target: str | Sequence[str] | None) -> list[str]:
    if target is None:
        return ["purchase"] if "purchase" in kinds else [k for k in kinds if k in INTEREST_TYPES] or list(kinds)
    told = [target] if isinstance(target, str) else list(target)
    if wrong := [k for k in told if k not in kinds]:
        raise UserError(f"target='{wrong[0]}' is no kind of event of this log.{nearest(wrong[0], kinds)}")
    return told


def _once(table: pa.Table, named: Mapping[str, str], event_type: Any, targets: Sequence[str]) -> bool:
    """Whether nobody takes an item twice, nor one that they have looked at: `filter_seen` leaves out either."""
    pairs = table.select([named["user_id"], named["item_id"]]).rename_columns(["user", "item"])
    pairs = pairs.append_column("asked", pa.array(_asked(table, event_type, targets)))
    of = pairs.group_by(["user", "item"], use_threads=False).aggregate([("asked", "any"), ("asked", "count")])
    return not pc.any(pc.and_(of["asked_any"], pc.greater(of["asked_count"], 1))).as_py()


def _asked(table: pa.Table, event_type: Any, targets: Sequence[str]) -> np.ndarray:
    """Which rows are events that are asked for, bool."""
    if not isinstance(event_type, Mapping):
        return np.ones(len(table), bool)
    values = [value for value, kind in event_type["map"].items() if kind in targets]
    kinds = table[event_type["column"]].cast(pa.string()).combine_chunks()
    return np.asarray(pc.is_in(kinds, pa.array(values, pa.string())))


def _pauses(table: pa.Table, user: str, micros: np.ndarray, event_type: Any) -> Pauses | None:
    """The pauses between the first purchases, as `new-dataset` measures them."""
    bought = np.flatnonzero((_asked(table, event_type, ["purchase"]) & (micros != MISSING))[:ROWS])
    who = pl.Series(pl.from_arrow(table[user].combine_chunks().take(pa.array(bought)).cast(pa.string())))
    rows = pl.DataFrame({"user": who, "day": micros[bought] // MICROSECONDS_PER_DAY})
    return pauses(rows.drop_nulls().unique().sort("user", "day"))


def _times(column: pa.ChunkedArray, name: str, zone: str) -> tuple[dict[str, Any], np.ndarray]:
    """How times are written, and every row's instant (int64 µs, `MISSING` where there is none).

    Raises:
        UserError: they are none.
    """
    from shopkeeper.ingest.dataset_parts import Timestamp
    from shopkeeper.ingest.times import to_micros

    series = pl.Series(pl.from_arrow(column)).drop_nulls()
    options, doubts = time_options(series.gather_every(max(1, len(series) // LOOKED_AT)))
    if options is None:
        example = "nothing" if not len(series) else repr(series[0])
        raise UserError(
            f"column '{name}' holds no times ({example}); give datetimes, dates, ISO text or numbers since 1970"
        )
    for doubt in doubts:
        if doubt != ZONE:  # which is told
            log.warning("column '%s': %s", name, doubt.replace(*CLOCK))
    told: dict[str, Any] = {key: value for key, value in options.items() if key != "time_zone"}
    micros, _ = to_micros(column.combine_chunks(), Timestamp(time_zone=zone, **told))
    return told, micros


def _entities(given: Any, column: str, usual: str, what: str) -> tuple[pa.Table, str]:
    """A table of items or customers and which of its columns is the id."""
    table = as_arrow(given)
    own = next((c for c in (column, usual) if c in table.column_names), None)
    if own is None:
        raise UserError(f"{what} has neither a column '{column}' nor '{usual}', which says whose row it is; rename one")
    at = table.column_names.index(own)
    return table.set_column(at, own, as_ids(table[own], own)), own
