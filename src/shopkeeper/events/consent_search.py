"""Where is a customer still? Looks through everything that was made, whatever the files are called."""

from __future__ import annotations

import json
import re
import sqlite3
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shopkeeper.errors import UserError

# Below the root only these are searched, where there are any; else the root itself. Raw data is not ours to search.
MADE = [
    *("data/prepared", "data/composed", "models", "outputs", "multirun", "reports", "exports", "studies"),
    *("mlruns", "mlartifacts", "mlflow.db", ".dvc/cache"),
]
OTHER_IDS = frozenset({"item_id", "order_id", "session_id", "event_type", "channel"})  # text that is never a customer
TEXT = {".csv", ".tsv", ".jsonl", ".html", ".txt", ".yaml", ".yml", ".md", ".log"}
LARGEST_TEXT = 512 * 2**20


@dataclass(frozen=True)
class Trace:
    """Something that still names the customer, or was made from data that did."""

    path: Path
    where: str  # column, key or table
    count: int
    step: str  # what must be run again


@dataclass(frozen=True)
class Search:
    """What was found and how much was looked at; `unknown` was made from data that is no longer there to look at."""

    traces: list[Trace]
    unknown: list[Trace]
    files: int

    @property
    def gone(self) -> bool:
        """Whether this proves that the customer is gone: nothing found, and nothing whose data cannot be looked at."""
        return not self.traces and not self.unknown


def find_customer(ids: set[str], root: Path) -> Search:
    """Look for a customer (external id, and pseudonym where ids are hidden) in all that lies below `root`.

    Parquet (text columns and lists), JSON, NumPy archives, safetensors headers, SQLite (MLflow, Optuna), text and
    HTML are read by their content, DVC's cache included. A run or bundle is a trace too when its manifest names the
    fingerprint of prepared data that holds the customer: a model can remember what its files do not name.
    """
    if not root.is_dir():
        raise UserError(f"{root} is no folder; give the one that holds data, models, reports and exports as --root")
    places = [root / name for name in MADE if (root / name).exists()] or [root]
    traces, manifests, n_files = [], [], 0
    for path in (p for place in places for p in _files(place)):
        n_files += 1
        for where, count in _look(path, ids):
            traces.append(Trace(path, where, count, _step(path, root)))
        if path.name == "manifest.json":
            manifests.append(path)
    made, unknown = _by_fingerprint(manifests, {t.path for t in traces}, root)
    return Search(traces + made, unknown, n_files)


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    for path in sorted(place.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def _look(path: Path, ids: set[str]) -> list[tuple[str, int]]:
    """(where, how often) in one file; what a file is follows from its first bytes."""
    with open(path, "rb") as f:
        head = f.read(16)
    try:
        if head[:4] == b"PAR1":
            return _parquet(path, ids)
        if head[:4] == b"PK\x03\x04":
            return _archive(path, ids)
        if head[:15] == b"SQLite format 3":
            return _sqlite(path, ids)
        if path.suffix == ".safetensors":
            return _safetensors(path, ids)
        if head.lstrip()[:1] in (b"{", b"["):
            return _json(path, ids)
        if path.suffix in TEXT or not path.suffix:
            return _text(path, ids)
    except (pa.ArrowException, zipfile.BadZipFile, sqlite3.Error, ValueError, OSError) as e:
        return [(f"unreadable: {(str(e).splitlines() or [''])[0]}", 0)]
    return []


def _parquet(path: Path, ids: set[str]) -> list[tuple[str, int]]:
    file = pq.ParquetFile(path)
    wanted = pa.array(sorted(ids), pa.string())
    names = [f.name for f in file.schema_arrow if f.name not in OTHER_IDS and _is_text(f.type)]
    found: dict[str, int] = {}
    for batch in file.iter_batches(batch_size=1 << 20, columns=names) if names else ():
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                column = pc.list_flatten(column)
            if pa.types.is_dictionary(column.type):
                if not pc.any(pc.is_in(column.dictionary.cast(pa.string()), value_set=wanted)).as_py():
                    continue
                column = column.dictionary_decode()
            hits = pc.sum(pc.is_in(column.cast(pa.string()), value_set=wanted)).as_py() or 0
            if hits:
                found[name] = found.get(name, 0) + hits
    return [(f"column {name}", count) for name, count in found.items()]


def _is_text(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _archive(path: Path, ids: set[str]) -> list[tuple[str, int]]:
    found = []
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            values = arrays[name]
            if values.dtype.kind in "US":
                count = int(np.isin(values.astype(str), sorted(ids)).sum())
                if count:
                    found.append((f"array {name}", count))
    return found


def _safetensors(path: Path, ids: set[str]) -> list[tuple[str, int]]:
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        return _walk(json.loads(f.read(size)).get("__metadata__", {}), ids)


def _json(path: Path, ids: set[str]) -> list[tuple[str, int]]:
    try:
        return _walk(json.loads(path.read_text(encoding="utf-8")), ids)
    except (json.JSONDecodeError, UnicodeDecodeError):  # JSON lines, or text that begins like JSON
        return _text(path, ids)


def _walk(value: Any, ids: set[str], where: str = "") -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    stack = [(value, where)]
    while stack:
        value, where = stack.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ids:
                    found[f"key in {where or 'the file'}"] = found.get(f"key in {where or 'the file'}", 0) + 1
                stack.append((inner, where if key in ids else f"{where}.{key}" if where else str(key)))
        elif isinstance(value, list):
            stack.extend((inner, where) for inner in value)
        elif isinstance(value, str):
            if value in ids:
                found[where] = found.get(where, 0) + 1
            elif value[:1] in "{[" and any(x in value for x in ids):  # JSON in a text (safetensors metadata)
                try:
                    stack.append((json.loads(value), where))
                except json.JSONDecodeError:
                    continue
    return list(found.items())


def _text(path: Path, ids: set[str]) -> list[tuple[str, int]]:
    """Whole cells only (between quotes, tags, separators): an id of three digits is in every file of numbers."""
    if path.stat().st_size > LARGEST_TEXT:
        return [("too large to search as text", 0)]
    data = path.read_bytes()
    names = b"|".join(re.escape(x.encode()) for x in sorted(ids))
    pattern = rb"(?:^|[\"'>,;\t|])\s*(?:" + names + rb")\s*(?=$|[\"'<,;\t|\r])"
    count = len(re.findall(pattern, data, re.MULTILINE))
    return [("text", count)] if count else []


def _sqlite(path: Path, ids: set[str]) -> list[tuple[str, int]]:
    found = []
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        tables = [row[0] for row in db.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            columns = [row[1] for row in db.execute(f'pragma table_info("{table}")')]
            for column in columns:
                marks = ", ".join("?" for _ in ids)
                query = (
                    f'select count(*) from "{table}" where typeof("{column}") = \'text\' and "{column}" in ({marks})'
                )
                count = db.execute(query, sorted(ids)).fetchone()[0]
                if count:
                    found.append((f"table {table}, column {column}", count))
    db.close()
    return found


def _by_fingerprint(manifests: list[Path], named: set[Path], root: Path) -> tuple[list[Trace], list[Trace]]:
    """Runs and bundles by the data they were made from."""
    fingerprints: dict[str, bool] = {}  # of prepared data -> holds the customer
    uses: list[tuple[Path, str]] = []
    for path in manifests:
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            continue
        if not isinstance(said, dict):
            continue
        if said.get("kind") == "prepared":
            holds = any(path.parent in trace.parents for trace in named)
            fingerprints[said["fingerprint"]] = fingerprints.get(said["fingerprint"], False) or holds
        else:
            data = said.get("data")
            inner = data.get("fingerprint") if isinstance(data, dict) else None
            fingerprint = said.get("dataset_fingerprint") or inner
            if fingerprint:
                uses.append((path, str(fingerprint)))
    made = [
        Trace(path, "was made from data that holds the customer", 1, _step(path, root))
        for path, fingerprint in uses
        if fingerprints.get(fingerprint)
    ]
    unknown = [
        Trace(path, f"was made from data that is no longer here (fingerprint {fingerprint[:12]})", 0, _step(path, root))
        for path, fingerprint in uses
        if fingerprint not in fingerprints
    ]
    return made, unknown


def _step(path: Path, root: Path) -> str:
    """The command that makes this file anew, from where it lies."""
    parts = path.relative_to(root).parts
    place = parts[0] if len(parts) > 1 else path.name
    if ".dvc" in parts:
        return "dvc gc --workspace (after the steps above)"
    if place == "data" and len(parts) > 2:
        return f"python prepare.py dataset={parts[2].split('-')[0]} (with the customer in the erasure list)"
    if place == "models" and len(parts) > 5:
        return f"python train.py dataset={parts[1]} split={parts[2]} task={parts[3]} model={parts[4]}"
    if place in ("models", "outputs", "multirun"):
        return f"delete {path.parent} and train again"
    if place == "reports":
        return "python evaluate.py"
    if place == "exports":
        return "python export.py (after training again)"
    if place == "studies":
        return "python tune.py"
    if place in ("mlruns", "mlartifacts", "mlflow.db"):
        return "delete the MLflow runs that were logged from this data, then `mlflow gc`"
    return f"delete {path} or make it again"
