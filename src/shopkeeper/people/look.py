"""Is a customer named in a file? What a file is follows from its first bytes; ids are compared in one spelling."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from shopkeeper.ids.columns import plain_text
from shopkeeper.people.names import PERSON, Names

OTHER_IDS = frozenset({"item_id", "order_id", "session_id", "event_type", "channel"})  # text that is never a customer
TEXT = {".csv", ".tsv", ".jsonl", ".html", ".txt", ".yaml", ".yml", ".md", ".log", ".json"}
PROSE = {".log", ".txt", ".md"}  # where a customer may be a word among others
NO_TEXT = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".ico", ".woff2"}
# What may hold texts and is not read, by its first bytes.
PACKED = {
    b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd", b"\x04\"M\x18": "lz4", b"7z\xbc\xaf": "7z",
    b"%PDF": "PDF", b"\x80\x04\x95": "pickle", b"\x80\x05\x95": "pickle", b"\xd0\xcf\x11\xe0": "Office",
    b"ORC": "ORC", b"Obj\x01": "Avro", b"\x89HDF": "HDF5", b"FEA1": "Feather 1",
}  # fmt: skip
LARGEST_TEXT, LARGEST_YAML = 512 * 2**20, 2**20
FINGERPRINT = re.compile(rb'(?:fingerprint|"data")[^0-9a-zA-Z]{0,8}(?:</?\w+>){0,3}[^0-9a-zA-Z]{0,4}([0-9a-f]{64})\b')

Found = list[tuple[str, int]]  # where in the file, how often


@dataclass
class Tally:
    """How much was looked at, and what could not be."""

    files: int = 0
    rows: int = 0  # of tables, lines of texts
    bytes: int = 0
    other: Counter[str] = field(default_factory=Counter)  # kinds of files that hold no texts: pictures, weights
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def look(path: Path, names: Names, tally: Tally) -> tuple[Found, set[str]]:
    """Where and how often one file names the customer, and the fingerprints of prepared data that it names."""
    tally.files += 1
    try:
        tally.bytes += path.stat().st_size
        with open(path, "rb") as f:
            head = f.read(1024)
        if head[:4] == b"PAR1":
            return _parquet(path, names, tally), set()
        if head[:6] == b"ARROW1":
            return _arrow(path, names, tally), set()
        if head[:4] == b"PK\x03\x04":
            return _archive(path, names, tally), set()
        if head[:6] == b"\x93NUMPY":
            return _array("array", np.load(path, mmap_mode="r", allow_pickle=False), names, tally), set()
        if head[:15] == b"SQLite format 3":
            return _sqlite(path, names, tally)
        if path.suffix == ".safetensors":
            return _safetensors(path, names), set()
        if head[:2] == b"\x1f\x8b":
            return _text(path, names, tally, gzip.decompress(path.read_bytes()))
        packed = (
            "DuckDB" if head[8:12] == b"DUCK" else next((k for mark, k in PACKED.items() if head.startswith(mark)), 0)
        )
        if packed:
            raise ValueError(f"{packed} is not looked into; unpack it, or look into it by hand")
        text = head.lstrip()[:1] in (b"{", b"[") or path.suffix in TEXT or b"\0" not in head
        if text and path.suffix not in NO_TEXT:
            return _text(path, names, tally, None)
    except (pa.ArrowException, zipfile.BadZipFile, sqlite3.Error, ValueError, OSError, EOFError) as e:
        tally.unreadable.append((path, (str(e).splitlines() or [type(e).__name__])[0]))
        return [], set()
    tally.other[path.suffix or "no suffix"] += 1
    return [], set()


def _parquet(path: Path, names: Names, tally: Tally) -> Found:
    file = pq.ParquetFile(path)
    tally.rows += file.metadata.num_rows
    fields = [f.name for f in file.schema_arrow if f.name not in OTHER_IDS and _wanted(f.name, f.type)]
    batches = file.iter_batches(batch_size=1 << 20, columns=fields) if fields else iter(())
    return _said(file.schema_arrow.metadata, names) + _columns(batches, names)


def _arrow(path: Path, names: Names, tally: Tally) -> Found:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        tally.rows += table.num_rows
        kept = [f.name for f in table.schema if f.name not in OTHER_IDS and _wanted(f.name, f.type)]
        return _said(table.schema.metadata, names) + _columns(table.select(kept).to_batches(), names)


def _said(metadata: dict[bytes, bytes] | None, names: Names) -> Found:
    """Texts that a table carries beside its columns, but for Arrow's copy of their types."""
    said = {k.decode(errors="replace"): v.decode(errors="replace") for k, v in (metadata or {}).items()}
    return _walk({k: v for k, v in said.items() if k != "ARROW:schema"}, names)


def _columns(batches: Iterable[pa.RecordBatch], names: Names) -> Found:
    found: Counter[str] = Counter()
    for batch in batches:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for where, values in _leaves(name, column, names):
                found[where] += names.count(values)
    return [(f"column {name}", count) for name, count in found.items() if count]


def _wanted(name: str, kind: pa.DataType) -> bool:
    """Whether a column can hold a customer: texts anywhere within it, or numbers under a name that means a person."""
    if pa.types.is_dictionary(kind):
        return _wanted(name, kind.value_type)
    if kind.num_fields:  # lists, structs, maps
        inner = [kind.field(i) for i in range(kind.num_fields)]
        return any(_wanted(f.name if pa.types.is_struct(kind) else name, f.type) for f in inner)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return _is_text(kind) or bool(number and PERSON.search(name))


def _leaves(name: str, column: pa.Array, names: Names) -> Iterator[tuple[str, pa.Array]]:
    """The plain columns within a column, by the name that they have."""
    kind = column.type
    if pa.types.is_map(kind):
        yield from _leaves(name, column.keys, names)
        yield from _leaves(name, column.items, names)
    elif pa.types.is_struct(kind):
        for i, values in enumerate(column.flatten()):
            if kind.field(i).name not in OTHER_IDS:
                yield from _leaves(kind.field(i).name, values, names)
    elif kind.num_fields:
        yield from _leaves(name, column.flatten(), names)
    elif pa.types.is_dictionary(kind):
        if names.count(plain_text(column.dictionary)):
            yield name, column.dictionary_decode()
    elif _wanted(name, kind):
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            texts = [v if v is None else v.decode(errors="replace") for v in column.to_pylist()]
            column = pa.array(texts, pa.string())
        yield name, column.cast(pa.string()) if pa.types.is_decimal(kind) else column


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(text or types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _archive(path: Path, names: Names, tally: Tally) -> Found:
    with np.load(path, allow_pickle=False) as arrays:
        if not all(name.endswith(".npy") for name in arrays.zip.namelist()):
            raise ValueError("zip is not looked into; unpack it, or look into it by hand")
        return [hit for name in arrays.files for hit in _array(f"array {name}", arrays[name], names, tally)]


def _array(name: str, values: np.ndarray, names: Names, tally: Tally) -> Found:
    """Texts in a NumPy array; internal ids are numbers and name nobody without the table of customers beside them."""
    tally.rows += values.shape[0] if values.ndim else 1
    if values.dtype.kind not in "US":
        return []
    texts = values.astype(str).ravel()
    found: Found = [(name, count)] if (count := names.count(pa.array(texts.tolist(), pa.string()))) else []
    if not found and texts.size == 1 and texts[0][:1] in ("{", "["):  # JSON in a text
        found = _walk([str(texts[0])], names, name)
    return found


def _safetensors(path: Path, names: Names) -> Found:
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        return _walk(json.loads(f.read(size)).get("__metadata__", {}), names)


def _walk(value: Any, names: Names, where: str = "") -> Found:
    """Through what JSON can hold: texts, keys, numbers under a key that means a person, JSON inside a text."""
    found: Counter[str] = Counter()
    stack = [(value, where)]
    while stack:
        value, where = stack.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in names:
                    found[f"key in {where or 'the file'}"] += 1
                stack.append((inner, where if key in names else f"{where}.{key}" if where else str(key)))
        elif isinstance(value, list):
            stack.extend((inner, where) for inner in value)
        elif isinstance(value, str):
            if value in names:
                found[where] += 1
            elif value[:1] in ("{", "[") and len(value) > 2:
                try:
                    stack.append((json.loads(value), where))
                except (json.JSONDecodeError, RecursionError):
                    found[where] += names.in_text(value)
            else:
                found[where] += names.in_text(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and PERSON.search(where.rpartition(".")[2]):
            found[where] += str(value) in names
    return [(place or "text", count) for place, count in found.items() if count]


def _text(path: Path, names: Names, tally: Tally, data: bytes | None) -> tuple[Found, set[str]]:
    """`data`: what a packed file holds."""
    if path.stat().st_size > LARGEST_TEXT or len(data or b"") > LARGEST_TEXT:
        raise ValueError(f"larger than {LARGEST_TEXT >> 20} MiB, too large to search as text")
    data = path.read_bytes() if data is None else data
    tally.rows += data.count(b"\n") + (not data.endswith(b"\n"))
    fingerprints = {found.decode() for found in FINGERPRINT.findall(data)}
    text, suffixes = _decoded(data), {s.lower() for s in path.suffixes}
    if text.lstrip()[:1] in ("{", "["):
        try:
            return _walk(json.loads(text), names), fingerprints
        except (ValueError, RecursionError):  # JSON lines, or text that begins like JSON
            return _lines(text, names, bool(suffixes & PROSE)), fingerprints
    if suffixes & {".yaml", ".yml"} and len(data) <= LARGEST_YAML:
        try:
            return _walk(list(yaml.safe_load_all(text)), names), fingerprints
        except (yaml.YAMLError, ValueError, RecursionError):
            pass
    count = names.in_text(text, words=bool(suffixes & PROSE))
    return ([("text", count)] if count else []), fingerprints


def _lines(text: str, names: Names, words: bool) -> Found:
    """JSON lines, and lines that are none."""
    found: Counter[str] = Counter()
    for line in text.splitlines():
        try:
            found.update(dict(_walk(json.loads(line), names)))
        except (ValueError, RecursionError):
            found["text"] += names.in_text(line, words=words)
    return [(where, count) for where, count in found.items() if count]


def _decoded(data: bytes) -> str:
    """A text in UTF-8 or, as spreadsheets write it, in UTF-16 or the Windows code page."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _sqlite(path: Path, names: Names, tally: Tally) -> tuple[Found, set[str]]:
    found: Found = []
    fingerprints: set[str] = set()

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def is_customer(value: object) -> bool:
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        return text in names or names.in_text(text) > 0

    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.create_function("is_customer", 1, is_customer)
        for (table,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
            tally.rows += db.execute(f"select count(*) from {quoted(table)}").fetchone()[0]
            for column in [row[1] for row in db.execute(f"pragma table_info({quoted(table)})")]:
                c = quoted(column)
                kinds = "'text', 'blob'" + (", 'integer', 'real'" if PERSON.search(column) else "")
                of = f"from {quoted(table)} where typeof({c}) in ({kinds}) and is_customer({c})"
                if hits := db.execute(f"select count(*) {of}").fetchone()[0]:
                    found.append((f"table {table}, column {column}", hits))
                is_text = f"from {quoted(table)} where typeof({c}) = 'text' and"
                for (text,) in db.execute(f"select {c} {is_text} instr({c}, 'fingerprint') > 0"):
                    fingerprints |= {x.decode() for x in FINGERPRINT.findall(text.encode())}
                if (table, column) == ("datasets", "digest"):  # MLflow's: the beginning of the fingerprint
                    fingerprints |= {row[0] for row in db.execute(f"select distinct {c} {is_text} length({c}) >= 12")}
    return found, fingerprints
