"""A config for files that are a known export: it points to its source, and says what a look at the files has shown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from shopkeeper import configuration
from shopkeeper.errors import UserError
from shopkeeper.ingest.checks import Rows, check
from shopkeeper.ingest.dataset import DatasetConfig, parse
from shopkeeper.ingest.exports import Export, version
from shopkeeper.ingest.guesses.files import Given, only
from shopkeeper.ingest.guesses.id_doubts import id_doubts
from shopkeeper.ingest.guesses.scalars import DOUBT, quoted
from shopkeeper.ingest.log import join_ids, reasons
from shopkeeper.ingest.reading import blocks_of

MUST_DIFFER = ("format", "delimiter", "encoding", "decimal")  # of a reader, where a file is written otherwise
SHOWN = 5
ZONE = "no file says whose days are meant: the shop's time zone, such as Europe/Berlin"


def propose(name: str, export: Export, files: Given, have: Collection[str], options: dict[str, Any], limit: int) -> str:
    """YAML of a dataset config for an export's files; `options`: the reader that fits, `limit`: rows to look at.

    Raises:
        UserError: nothing can be learned from this export.
    """
    if export.unfit:
        way_out = export.instead
        raise UserError(f"{files.paths[0].name} looks like {export.title}, and nothing can be learned from it: "
                        f"{export.unfit}; {way_out}")  # fmt: skip
    apart = [file for file in files.paths if export.apart and re.search(export.apart, file.name)]
    apart = apart if len(apart) < len(files.paths) else []
    if apart:
        files = only(files, set(files.paths) - set(apart))
    path = configuration.find("source", name)
    assert path is not None
    source = yaml.safe_load(path.read_text(encoding="utf-8"))
    reader = _differs(source.get("reader") or {}, options)
    told = {**source, "name": files.name, "raw": {"folder": "", "files": [files.paths[0].name]}}
    told["reader"] = {**(source.get("reader") or {}), **reader}
    timed = "timestamp" in (source.get("columns") or {}) or "logs" in source
    doubts = [] if "logs" in source else _looked_at(parse(told), files.paths[0], limit)
    if apart:
        doubts.append(
            f"{', '.join(file.name for file in apart[:SHOWN])} must not be read beside the others, and is left out"
        )
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
    if reader:
        lines += ["reader:", *(f"  {key}: {quoted(value)}" for key, value in reader.items())]
    if timed:
        lines += ["timestamp:", f"  {DOUBT}{ZONE}",
                  f"  time_zone: {quoted((source.get('timestamp') or {}).get('time_zone', 'UTC'))}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _differs(source: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What a source's reader must be told of these files: another format, delimiter, encoding or decimal sign."""
    if source.get("format") == "tsv" and found.get("delimiter") == "\t":
        found = {**found, "format": "tsv"}
        found.pop("delimiter")
    return {key: found[key] for key in MUST_DIFFER if key in found and found[key] != source.get(key)}


def _looked_at(config: DatasetConfig, path: Path, limit: int) -> list[str]:
    """What the first rows, read as the source says, leave to doubt: what is rejected, left out, or no person."""
    left_out: Counter[str] = Counter()
    kept: list[Rows] = []
    rejected: list[pa.Table] = []
    blocks = blocks_of(config, [path], path.parent, None, left_out)
    for rows, bad in _checked(blocks, config):
        kept += rows
        rejected.append(bad)
        if sum(map(len, kept)) + sum(map(len, rejected)) >= limit:
            break
    n, bad = sum(map(len, kept)), pa.concat_tables(rejected) if rejected else pa.table({})
    lines = []
    if len(bad):
        why = "; ".join(f"{count:,} × {column}: {reason}" for column, reason, count in reasons(bad)[:SHOWN])
        lines.append(f"{len(bad):,} of the first {n + len(bad):,} events would be rejected ({why})")
    for column in ("user_id", "item_id", "order_id"):
        parts = [rows.ids[column] for rows in kept if column in rows.ids]
        if not parts:
            continue
        ids = join_ids(parts)
        count = np.bincount(ids.codes[ids.codes >= 0], minlength=len(ids.values))
        there = np.flatnonzero(count)
        lines += id_doubts(column, ids.values.take(pa.array(there)), count[there], n)
    if not n:
        lines.append("no row of this file is an event; look at event_type.map of the source")
    return lines


def _checked(blocks: Iterator[Any], config: DatasetConfig) -> Iterator[tuple[list[Rows], pa.Table]]:
    for block in blocks:
        yield check(block, config)
