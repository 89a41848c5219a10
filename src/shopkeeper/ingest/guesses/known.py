"""A config for files that are a known export: it points to its source, and says what a look at the files has shown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from shopkeeper import configuration
from shopkeeper.errors import UserError
from shopkeeper.ingest.block import REJECTED
from shopkeeper.ingest.checks import Rows, check
from shopkeeper.ingest.dataset import CANCELLED, DatasetConfig, parse
from shopkeeper.ingest.dataset_parts import FORMATS, Timestamp
from shopkeeper.ingest.exports import Export, files_read, known, version
from shopkeeper.ingest.guesses.currencies import ASKED, several
from shopkeeper.ingest.guesses.files import Given, only
from shopkeeper.ingest.guesses.gaps import pauses_of, window_lines
from shopkeeper.ingest.guesses.habits import span_days, temporal_lines, windows_of
from shopkeeper.ingest.guesses.id_doubts import id_doubts
from shopkeeper.ingest.guesses.look import head
from shopkeeper.ingest.guesses.numbers import COMMAS, has_decimal_comma
from shopkeeper.ingest.guesses.scalars import DOUBT, quoted
from shopkeeper.ingest.guesses.times import ZONE as NO_ZONE
from shopkeeper.ingest.guesses.times import fits, likeliest, time_options
from shopkeeper.ingest.log import join_ids, reasons
from shopkeeper.ingest.reading import blocks_of
from shopkeeper.schema import EVENT_CODE
from shopkeeper.timeline.customers import BLOCK
from shopkeeper.typed import made

# Of a reader, where a file is written otherwise than its source usually is.
MUST_DIFFER = ("format", "delimiter", "encoding", "decimal", "skip_lines", "sheets")
AMOUNTS = ("price", "quantity", "total", "line", "order", "subtotal")  # of the step `discount`
YOURS = "yours"  # the licence of a shop's own export, which shops write in their ways; public sets are written in one
REJECTED_ROWS, MORE = "would be rejected", "more than max_rejected_share"
SHOWN = 5
ZONE = "no file says whose days are meant: the shop's time zone, such as Europe/Berlin"


def propose(
    name: str,
    export: Export,
    files: Given,
    aside: Sequence[Path],
    have: Collection[str],
    options: dict[str, Any],
    doubted: Sequence[str],
    limit: int,
) -> str:
    """YAML of a dataset config for an export's files.

    Args:
        name: of the source.
        export: what is known of it.
        files: the files.
        aside: what lies beside them and is no such file.
        have: their columns.
        options: the reader that fits.
        doubted: what is doubtful about that.
        limit: rows to look at.

    Raises:
        UserError: nothing can be learned from this export.
    """
    if export.unfit:
        way_out = export.instead
        raise UserError(
            f"{files.paths[0].name} looks like {export.title}, and nothing can be learned from it: "
            f"{export.unfit}; {way_out}"
        )
    apart = [file for file in files.paths if export.apart and re.search(export.apart, file.name)]
    apart = apart if len(apart) < len(files.paths) else []
    if apart:
        files = only(files, set(files.paths) - set(apart))
    path = configuration.find("source", name)
    assert path is not None
    source = yaml.safe_load(path.read_text(encoding="utf-8"))
    commas = _has_commas(source, files.paths[0], options, limit)
    options = {**options, "decimal": ","} if commas else options
    reader: dict[str, Any] = _differs(source.get("reader") or {}, options)
    told = {**source, "name": files.name, "raw": {"folder": "", "files": [files.paths[0].name]}}
    told["reader"] = {**(source.get("reader") or {}), **reader}
    timed = "timestamp" in (source.get("columns") or {}) or "logs" in source
    ends = list(dict.fromkeys((files.paths[0], files.paths[-1])))
    doubts = [line for line in doubted if "reader.names" not in line]  # which the source has
    doubts += [COMMAS] if commas else []
    doubts += _not_there(files_read(name), files.paths)
    doubts += _as_well(name, export, have)
    times, doubted = ({}, []) if "logs" in source else _times(told, files.paths[0], limit)
    doubts += doubted
    told["timestamp"] = {**(source.get("timestamp") or {}), **times}
    windows: dict[str, float] = {}
    pause: int | None = None
    currency: list[str] = []
    customers: list[str] = []
    if "logs" not in source:
        found, days, currency = _looked_at(told, ends, limit)
        doubts += found
        pauses = pauses_of(told, files.paths) if timed and BLOCK in source else None
        pause = None if pauses is None else pauses.days
        if days is None and pauses is not None and pauses.whole:
            days = pauses.span
        customers = window_lines(pauses, days)
        usual = sum((source.get("temporal") or {}).get(f"{part}_days") or 0 for part in ("validation", "test"))
        if pause is not None or (days is not None and days < 1.5 * usual):
            windows = windows_of(days, None, pause) or {}
    if apart:
        doubts.append(
            f"{', '.join(file.name for file in apart[:SHOWN])} must not be read beside the others, and is left out"
        )
    if aside:
        more = f" and {len(aside) - SHOWN} more" if len(aside) > SHOWN else ""
        doubts.append(f"{', '.join(file.name for file in aside[:SHOWN])}{more} beside it: no such export, and left out")
    lines = [
        f"# Guessed by `python -m shopkeeper new-dataset`: {export.title}{version(export, have)}.",
        f"# What it holds and what is made of it stands in conf/source/{name}.yaml; what stands here goes first.",
        *(f"{DOUBT}{line}" for line in doubts),
        "defaults:",
        f"  - /source@_here_: {name}",
        "  - _self_",
        f"  - override /split@_global_.split: {export.split or ('temporal' if timed else 'leave_one_out')}",
        f"name: {files.name}",
        "raw:",
        f"  folder: {quoted(files.folder)} # below paths.raw (SHOPKEEPER_RAW)",
        *([] if "logs" in source else [f"  files: [{', '.join(map(quoted, files.files))}]"]),  # else the source's own
    ]
    lines += currency
    if reader:
        lines += ["reader:", *(f"  {key}: {_scalar(value)}" for key, value in reader.items())]
    if timed:
        zone = (source.get("timestamp") or {}).get("time_zone", "UTC")
        known = source.get("licence") != YOURS and zone != "UTC"  # of a public set everybody knows where the shop is
        lines += ["timestamp:", *([] if known else [f"  {DOUBT}{ZONE}"]), f"  time_zone: {quoted(zone)}",
                  *(f"  {key}: {_scalar(value)}" for key, value in times.items())]  # fmt: skip
    own = source.get("temporal") or {}
    if windows and windows != own:  # of a shorter log than the source expects, or of other habits
        lines += [*temporal_lines(windows, pause), *(f"  {key}: null" for key in own if key not in windows)]
    return "\n".join([*lines, *customers]) + "\n"


def _differs(source: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What a source's reader must be told of these files: `MUST_DIFFER`, as far as it does."""
    if source.get("format") == "tsv" and found.get("delimiter") == "\t":
        found = {**found, "format": "tsv"}
        found.pop("delimiter")
    if found.get("format") == source.get("format") == "csv":
        found = {"delimiter": ",", **found} if source.get("delimiter") else found
    other = {key: found[key] for key in MUST_DIFFER if key in found and found[key] != source.get(key)}
    if "format" in other:  # which has not all that the source says of its own
        other |= {key: None for key in source if key not in ("format", *FORMATS[other["format"]])}
    return other


def _scalar(value: Any) -> str:
    """A value of YAML in one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(quoted, value))}]"
    return "null" if value is None else str(value) if isinstance(value, int) else quoted(value)


def _times(told: dict[str, Any], path: Path, limit: int) -> tuple[dict[str, Any], list[str]]:
    """Options of `timestamp` where the file writes its times otherwise than its source says, and doubts about them."""
    column = _written(told, path, limit)
    own = made(Timestamp, told.get("timestamp") or {})
    if column is None or own.year or not len(column):
        return {}, []
    if fits(column, own):
        return _either_way(column, own) if told.get("licence") == YOURS else ({}, [])
    name = told["columns"]["timestamp"]
    found, notes = time_options(column)
    if found is None:
        return {}, []
    options = {key: found.get(key) for key in ("unit", "format") if found.get(key) != getattr(own, key)}
    if not options:  # as usual, but for values that are no times
        return {}, []
    said = " and ".join(f"{key} {value}" for key, value in options.items() if value) or "ISO 8601"
    return options, [
        f"'{name}' is not written as this export usually has it: {said} is a guess",
        *(note for note in notes if note != NO_ZONE),
    ]


def _either_way(column: pl.Series, own: Timestamp) -> tuple[dict[str, Any], list[str]]:
    """As `_times`, of times that fit the source's format: the day and the month may be the other way round, too."""
    form = own.format or ""
    other = re.sub("%[dm]", lambda part: {"%d": "%m", "%m": "%d"}[part[0]], form)
    turned = replace(own, format=other)
    if not {"%d", "%m"} <= set(re.findall("%[dm]", form)) or not fits(column, turned):
        return {}, []
    (first, _), doubt = likeliest(column, [own, turned])
    return {} if first == form else {"format": first}, [doubt]


def _has_commas(source: Mapping[str, Any], path: Path, options: Mapping[str, Any], limit: int) -> bool:
    """Whether amounts of a delimited file have a decimal comma, and none a point, where its reader is told neither."""
    if options["format"] != "csv" or "decimal" in options:
        return False
    named = [(source.get("columns") or {}).get(key) for key in ("price", "quantity")]
    for step in source.get("steps") or ():
        named += [(step.get("discount") or {}).get(key) for key in AMOUNTS]
    first = head(path, dict(options), limit)
    amounts = [first[column] for column in first.columns if column in named]
    pointed = any(column.cast(pl.String).str.contains(r"^\s*-?\d+[.]\d+\s*$").any() for column in amounts)
    return not pointed and any(map(has_decimal_comma, amounts))


def _as_well(name: str, export: Export, have: Collection[str]) -> list[str]:
    """A doubt for each other source whose columns all stand in the file, too, some of them not this one's."""
    found = []
    for other, theirs in known():
        usual = {theirs.renamed.get(column, column) if column not in have else column for column in theirs.columns}
        if other != name and not theirs.unfit and usual <= set(have) and not set(theirs.columns) <= set(export.columns):
            found.append(f"it holds {theirs.title}, too, which are not read: source {other} reads those")
    return found


def _not_there(named: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """A doubt about files that a source reads, too, and that do not lie beside those given."""
    there = [path.name for folder in {path.parent for path in paths} for path in folder.iterdir()]
    gone = [name for name in named if not any(fnmatch(other, name) for other in there)]
    return [f"{', '.join(gone)} must lie beside it, too, and does not: prepare stops until then"] if gone else []


def _written(told: dict[str, Any], path: Path, limit: int) -> pl.Series | None:
    """The times of a file's first rows as they are written, or as a step of the source has put them; None: no texts."""
    name = (told.get("columns") or {}).get("timestamp")
    first = head(path, told["reader"], limit)
    if name in first.columns:
        column = first[name]
    else:
        try:
            block = next(blocks_of(parse(told), [path], path.parent, None, Counter()), None)
        except UserError:  # is said when the rows are looked at
            return None
        if block is None or name not in block.table.column_names:
            return None
        column = pl.Series(name, pl.from_arrow(block.table[name])).head(limit)
        if column.dtype not in (pl.String, pl.Categorical):
            return None
    texts = column.cast(pl.String).drop_nulls().str.strip_chars()
    return texts.filter(texts != "")


def _looked_at(told: dict[str, Any], paths: Sequence[Path], limit: int) -> tuple[list[str], float | None, list[str]]:
    """What the first rows of files, read as the source says, leave to doubt: what is rejected, left out, or no person;
    how many days lie between the first file's and the last one's, None where that has more rows, or none counts; and
    the line `currency`, where prices are in one or nothing says in which.
    """
    cancelled = told.get("cancelled")
    config = parse({**told, "cancelled": dict(cancelled, orders="leave_out")} if cancelled else told)
    left_out: Counter[str] = Counter()
    kept: list[Rows] = []
    rejected: list[pa.Table] = []
    others: Counter[str] = Counter()
    for path in paths:
        read = 0
        for rows, bad in _checked(blocks_of(config, [path], path.parent, None, left_out, others), config):
            kept += rows
            rejected.append(bad)
            read += sum(map(len, rows)) + len(bad)
            if read >= limit:
                break
    times = [rows.timestamp for rows in kept if rows.timestamp is not None and len(rows)]
    days = span_days(np.concatenate(times)) if times and read < limit else None
    n, bad = sum(map(len, kept)), pa.concat_tables(rejected) if rejected else REJECTED.empty_table()
    lines = []
    gone = bad.filter(pc.equal(bad["reason"], CANCELLED))
    total = n + len(bad)
    if cancelled and len(gone):
        bad = bad.filter(pc.not_equal(bad["reason"], CANCELLED))
        lines.append(
            f"{len(gone):,} of the first {total:,} events are of cancelled orders, which stay; "
            f"cancelled: {{orders: leave_out}} leaves them out"
        )
    if len(bad):
        why = "; ".join(f"{count:,} × {column}: {reason}" for column, reason, count in reasons(bad)[:SHOWN])
        more = above(len(bad) / total, config.max_rejected_share)
        lines.append(f"{len(bad):,} of the first {total:,} events {REJECTED_ROWS} ({why}){more}")
    for column in ("user_id", "item_id", "order_id"):
        parts = [rows.ids[column] for rows in kept if column in rows.ids]
        if not parts:
            continue
        ids = join_ids(parts)
        count = np.bincount(ids.codes[ids.codes >= 0], minlength=len(ids.values))
        there = np.flatnonzero(count)
        lines += id_doubts(column, ids.values.take(pa.array(there)), count[there], n)
    doubt, currency = _currency(told, config, kept)
    lines += doubt
    if n or not len(bad):  # else what is wrong with all of them is said
        lines += _not_wanted(told, kept, others, n + len(gone))
    return lines, days, currency


def _currency(told: Mapping[str, Any], config: DatasetConfig, kept: Sequence[Rows]) -> tuple[list[str], list[str]]:
    """Doubts about the currencies of some rows, and the line `currency` that says or asks in which prices are."""
    own = str(told.get("currency") or "")
    if "price" not in config.columns or not kept:
        return [], []
    names: list[str] = []
    if written := config.extra.get("currency"):
        found = join_ids([rows.ids[f"file:{written}"] for rows in kept])
        names = [name.upper() for name in found.values.take(pa.array(found.codes[found.codes >= 0])).to_pylist()]
    names = [name for name in names if name]
    doubt = several(Counter(names), str(written), own)
    if own or doubt:
        return [doubt] * bool(doubt), []
    return [], [f"currency: {names[0]}" if names else f"currency: null {ASKED}"]


def _not_wanted(told: dict[str, Any], kept: Sequence[Rows], others: Counter[str], n: int) -> list[str]:
    """What is to be said where none of some events is of a kind that is asked for: senders name events as they like."""
    asked = [EVENT_CODE[kind] for kind in told.get("target_events") or ()]
    if any(np.isin(rows.event_type, asked).any() for rows in kept):
        return []
    names = ", ".join(f"'{name}' ({rows:,})" for name, rows in others.most_common(SHOWN))
    if names:
        what = f"no {' or '.join(told['target_events'])}" if n else "no event that is read"
        return [f"{what} is among the first rows; left out are {names}: write what is one into event_type.map"]
    return [] if n else ["no row of this file is an event; look at event_type.map of the source"]


def above(share: float, allowed: float) -> str:
    """What follows where more rows would be rejected than a config allows; else nothing."""
    if share <= allowed:
        return ""
    return f": {MORE} ({allowed}) allows; mend them, or set it to {math.ceil(100 * share + 1) / 100:g}"


def would_be_rejected(told: dict[str, Any], path: Path, limit: int) -> str:
    """Of a file's first rows how many a config would reject, where that is more than it allows, or what it would say
    of them; "": it would be prepared.
    """
    try:
        lines, *_ = _looked_at(told, [path], limit)
    except UserError as e:
        return f"prepare would stop: {e}"
    return next((line for line in lines if REJECTED_ROWS in line and MORE in line), "")


def _checked(blocks: Iterator[Any], config: DatasetConfig) -> Iterator[tuple[list[Rows], pa.Table]]:
    for block in blocks:
        yield check(block, config)
