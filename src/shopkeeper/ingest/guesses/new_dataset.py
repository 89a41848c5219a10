"""A first config for a shop's own log: look at the head of the file, guess, and say where the guess is doubtful."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.ingest.exports import FEWEST, Export, files_read, recognised, without_header
from shopkeeper.ingest.guesses.beside import last_of
from shopkeeper.ingest.guesses.currencies import with_steps, without_signs
from shopkeeper.ingest.guesses.files import LOOKED_INTO, Given, given, only
from shopkeeper.ingest.guesses.gaps import pauses_of, window_lines
from shopkeeper.ingest.guesses.habits import (
    NO_CUTOFF,
    asked_rows,
    expected_days,
    names_events,
    seen_line,
    span_days,
    split_of,
    temporal_lines,
    windows_of,
)
from shopkeeper.ingest.guesses.headings import NAMES, NOT_PAID
from shopkeeper.ingest.guesses.known import propose, would_be_rejected
from shopkeeper.ingest.guesses.look import first_lines, head, reader_of
from shopkeeper.ingest.guesses.nested import check_cells, unfolded
from shopkeeper.ingest.guesses.numbers import COMMAS, has_decimal_comma
from shopkeeper.ingest.guesses.scalars import DOUBT, quoted
from shopkeeper.ingest.guesses.times import instants, join_date_and_clock, time_options
from shopkeeper.ingest.guesses.written import FEW, body_lines, smallest
from shopkeeper.timeline.customers import BLOCK
from shopkeeper.typed import made

LOOKED_AT = 20_000  # rows
SHOWN = 6  # columns in a message
TWICE = "no column numbers orders: rows that stand in two of these files count twice"
DROPS = (
    f"{TWICE}; where files overlap, filters: {{repeats: {{seconds: 0, of: all}}}} drops what equals an earlier row, "
    f"equal lines of one order, too"
)
CANNOT = f"{TWICE}, and without times nothing here tells them from other rows; see to it that files do not overlap"
TABLE = (
    "no times, and no customer with a few rows: where each row is a customer and a column says what came true, this is "
    "a table and no log; write the block `table` as in the guide, A table instead of a log, and not what stands here"
)
LAST = "max_rejected_share: 0.01"  # of a config
ONCE = " # an order that stands in several files is read from the last of them"


def guess_dataset(path: Path, name: str | None = None) -> str:
    """YAML of a dataset config for a file, a folder or a pattern, with what is doubtful as comments (`# DOUBT: …`).

    A known export (`conf/source`) is told by its columns, and its source is pointed to. `name`: the dataset's, None:
    the file's or the folder's.

    Raises `UserError` when files cannot be read as tables at all, and when they are not all of one kind.
    """
    files = given(Path(path), name)
    heads, found, unread = _heads_of(files.paths[:LOOKED_INTO])
    fit = sorted((bool(known[1].unfit), i) for i, known in enumerate(found) if known)  # what is no log comes last
    main = fit[0][1] if fit else None
    if unread and main is None:
        raise next(iter(unread.values()))
    main, aside = main or 0, []
    if known := found[main]:  # beside its own tables, which its source names, and others, which nobody reads
        theirs = files_read(known[0])
        own = [i for i, (path, *_) in enumerate(heads)
               if found[i] == known or not any(fnmatch(path.name, name) for name in theirs)]  # fmt: skip
        alike = [i for i in own if found[i]]
        aside = sorted(
            [heads[i][0] for i in own if not found[i]]
            + [path for path in unread if not any(fnmatch(path.name, name) for name in theirs)]
        )
        files = only(files, {heads[i][0] for i in alike} | set(files.paths[LOOKED_INTO:]))
        heads, found, main = [heads[i] for i in alike], [found[i] for i in alike], alike.index(main)
    _check_alike([heads[main], *heads], [None if told is None else told[0] for told in (found[main], *found)])
    file, options, doubts, columns = heads[main]
    if known:
        return propose(*known, files, aside, columns, options, doubts, LOOKED_AT)
    frame = head(file, options, LOOKED_AT)
    if not frame.height:
        raise UserError(f"{file} holds no rows; give a file with some")
    exploded = ""
    if options["format"] in ("json_lines", "parquet"):
        nested, exploded, more = unfolded(file, options, made(ReaderSettings, options), LOOKED_AT)
        frame, doubts = (nested, [*doubts, *more]) if nested.width else (frame, doubts)
    else:
        check_cells(file, frame)
    return _proposed(files, frame, options, doubts, exploded)


Head = tuple[Path, dict[str, Any], list[str], list[str]]  # a file, its reader, doubts about it, its columns


def _heads_of(paths: Sequence[Path]) -> tuple[list[Head], list[tuple[str, Export] | None], dict[Path, UserError]]:
    """The heads of files, the known export that each is, and what is wrong with those that are no tables."""
    heads: list[Head] = []
    unread: dict[Path, UserError] = {}
    for path in paths:
        try:
            heads.append((path, *_head_of(path)))
        except UserError as e:
            unread[path] = e
    found = [
        recognised(columns, FEWEST)
        if "names" not in options
        else without_header(first_lines(file, options.get("encoding", "utf-8")))
        for file, options, _, columns in heads
    ]
    return heads, found, unread


def _head_of(path: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """The reader of a file, doubts about it, and its columns."""
    options, doubts = reader_of(path)
    try:
        return options, doubts, head(path, options, limit=1).columns
    except UserError as e:
        if "double quote" not in str(e):
            raise
    options["quote"] = ""
    doubts.append("a double quote stands alone, so that quotes are read as they stand: reader.quote says so")
    return options, doubts, head(path, options, limit=1).columns


def _check_alike(heads: Sequence[Head], known: Sequence[str | None]) -> None:
    """A `UserError` where files are different exports, or none is known and their columns differ."""
    first, *_, columns = heads[0]
    for (path, _, _, have), name in zip(heads, known, strict=True):
        if name != known[0] or (name is None and set(have) != set(columns)):
            one, other = ("no known export" if k is None else f"source {k}" for k in (known[0], name))
            what = (
                f"has other columns than {first.name} ({one} and {other})"
                if one != other
                else (f"has other columns than {first.name}: {', '.join(sorted(set(have) ^ set(columns))[:SHOWN])}")
            )
            raise UserError(
                f"{path} {what}; put files of one kind into a folder, or give a pattern that means these alone"
            )


def _proposed(files: Given, frame: pl.DataFrame, options: dict[str, Any], doubts: list[str], exploded: str) -> str:
    frame, joined = join_date_and_clock(frame, NAMES["timestamp"])
    frame, signs = without_signs(frame)
    columns = _columns(frame, nameless="names" in options)
    amounts = [columns[name] for name in ("price", "quantity") if name in columns]
    if options["format"] == "csv" and "decimal" not in options and any(has_decimal_comma(frame[c]) for c in amounts):
        options["decimal"] = ","
        doubts.append(COMMAS)
    several = len(files.paths) > 1
    once = ["orders: once"] if several and "order_id" in columns else []  # files of a folder may overlap
    rows = [f"explode: {quoted(exploded)}"] if exploded else []
    what = files.paths[0].name + (f" and {len(files.paths) - 1} more" if len(files.paths) > 1 else "")
    timed = "timestamp" in columns
    doubts += [DROPS if timed else CANNOT] if several and "order_id" not in columns else []
    doubts += [TABLE] if not timed and _is_table(frame, columns) else []
    body, targets = body_lines(frame, columns, options, joined)
    body = with_steps(body, columns, signs)
    split = split_of(columns, targets)
    told_lines = [
        f"name: {files.name}",
        f"title: {quoted(what)}",
        "source: null # where people get the data",
        "licence: null",
        f"target_events: [{', '.join(targets)}]",
        seen_line(frame, columns, targets),
        *(
            ["refit: true # test is asked of what is trained anew on all until then, see evaluation.refit"]
            if timed
            else []
        ),
        "raw:",
        f"  folder: {quoted(files.folder)} # below paths.raw",
        f"  files: [{', '.join(map(quoted, files.files))}]",
        "reader:",
        *(f"  {key}: {quoted(value) if isinstance(value, str) else value}" for key, value in options.items()),
        *([f"rows: {{{', '.join(rows + once)}}}" + (ONCE if once else "")] if rows or once else []),
        *body,
        "filters: {}",
    ]
    told = {**yaml.safe_load("\n".join([*told_lines, LAST])), "raw": {"folder": "", "files": [files.paths[0].name]}}
    pauses = pauses_of(told, files.paths) if timed and split != "sessions" else None
    pause = None if pauses is None else pauses.days
    days = _days(files, frame, columns) if timed else None
    if pauses is not None and pauses.whole and (days is None or frame.height >= LOOKED_AT):
        days = pauses.span  # of all rows: what the first ones and the file's size tell is a guess
    windows = _windows(files, frame, columns, targets, days, pause) if timed else {}
    split = split if windows is not None else f"leave_one_out # {NO_CUTOFF}"
    lines = [
        f"# Guessed by `python -m shopkeeper new-dataset` from the first {frame.height:,} rows of {what}.",
        "# Settle every DOUBT, and set licence and source.",
        *(DOUBT + d for d in doubts),
        "defaults:",
        f"  - override /split@_global_.split: {split}",
        *told_lines,
        *temporal_lines(windows or {}, pause),
    ]
    asked = (windows or {}).get("test_days") if "purchase" in targets and "session_id" in columns else None
    if asked and (split == "sessions" or pauses is None):  # too few come back to tell how long they stay away
        lines += [
            f"{BLOCK}: # whether sessions end in a purchase is asked of those of so many days",
            f"  horizon_days: {asked}",
            *([] if split == "sessions" else [f"  active_days: {asked}"]),
        ]
    lines += window_lines(pauses, days)
    if doubt := would_be_rejected(told, files.paths[0], LOOKED_AT):
        lines.append(f"{DOUBT}{doubt}")
    return "\n".join([*lines, LAST]) + "\n"


def _days(files: Given, frame: pl.DataFrame, columns: dict[str, str]) -> float | None:
    """How many days the log spans, as far as its first rows tell; None: nobody knows."""
    if len(files.paths) > 1:
        return None
    at = instants(frame[columns["timestamp"]])
    return expected_days(files.paths[0], at, frame.height) if frame.height >= LOOKED_AT else span_days(at)


def _windows(
    files: Given,
    frame: pl.DataFrame,
    columns: dict[str, str],
    targets: list[str],
    days: float | None,
    pause: int | None,
) -> dict[str, float] | None:
    """The block `temporal`; None where no cutoffs divide the log."""
    if len(files.paths) > 1 or frame.height >= LOOKED_AT:
        return windows_of(days, None, pause)
    return windows_of(days, instants(asked_rows(frame, columns, targets)[columns["timestamp"]]), pause)


def _is_table(frame: pl.DataFrame, columns: dict[str, str]) -> bool:
    """Whether rows without times are customers: each has one alone, or nothing tells whose a row is."""
    if "event_type" in columns:
        return False
    if "user_id" not in columns:
        return "session_id" not in columns or frame[columns["session_id"]].n_unique() * FEW < frame.height
    n = frame[columns["user_id"]].n_unique()
    return frame.height > 1 and (n == frame.height or n * FEW < frame.height)


def _columns(frame: pl.DataFrame, nameless: bool) -> dict[str, str]:
    """Our column -> name in the file; each is given away once, by the most telling name first.

    Of a file without a header: the first column that holds times; the others go by their place.
    """
    if nameless:
        texts = [c for c in frame.columns if _holds_times(frame[c])]
        numbers = [c for c in frame.columns if time_options(frame[c])[0]] if not texts else []
        numbers.sort(key=lambda c: len(time_options(frame[c])[1]))  # ids may be as large as seconds of 1976
        return {"timestamp": (texts or numbers)[0]} if texts or numbers else {}
    found: dict[str, str] = {}
    for ours, pattern in NAMES.items():
        names = [c for c in frame.columns if c not in found.values() and re.search(pattern, last_of(c), re.IGNORECASE)]
        if ours == "event_type":
            names = [c for c in names if frame[c].n_unique() <= 50]
        if ours in ("user_id", "item_id"):  # of `product_category` and `product_id` the latter
            names.sort(
                key=lambda c: (not re.search(r"(id|code|no|nr|sku)$", last_of(c), re.IGNORECASE), -frame[c].n_unique())
            )
        if ours in ("price", "quantity"):
            names = [c for c in names if smallest(frame[c]) is not None]
            names.sort(key=lambda c: bool(re.search(NOT_PAID, last_of(c), re.IGNORECASE)))
        if ours == "session_id":  # `visit_datetime` is a time
            names = [c for c in names if not re.search(NAMES["timestamp"], last_of(c), re.IGNORECASE)]
        if ours == "timestamp":
            names = [c for c in names if time_options(frame[c])[0] is not None]
        if names:
            found[ours] = names[0]
    if "order_id" in found and "event_type" in found and not names_events(frame[found["event_type"]]):
        del found["event_type"]  # kinds of goods, or how was paid: an order is bought
    if "timestamp" not in found:  # whatever it is called, in whatever language
        spare = [c for c in frame.columns if c not in found.values() and not frame[c].dtype.is_numeric()]
        found |= {"timestamp": times[0]} if (times := [c for c in spare if _holds_times(frame[c])]) else {}
    return found


def _holds_times(column: pl.Series) -> bool:
    """Whether values that are no plain numbers are times: a number may be anything."""
    if not column.dtype.is_temporal() and smallest(column) is not None:
        return False
    return time_options(column)[0] is not None
