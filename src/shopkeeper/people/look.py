"""Is a customer named in a file? What a file is follows from its first bytes; ids are compared in one spelling."""

from __future__ import annotations

import json
import re
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shopkeeper.id_columns import normal_ids, plain_text
from shopkeeper.identifiers import normal_id

OTHER_IDS = frozenset({"item_id", "order_id", "session_id", "event_type", "channel"})  # text that is never a customer
PERSON = re.compile(r"user_?id|customer|client|visitor|member|person", re.I)  # numbers of such a name are ids, too
TEXT = {".csv", ".tsv", ".jsonl", ".html", ".txt", ".yaml", ".yml", ".md", ".log", ".json"}
LARGEST_TEXT = 512 * 2**20
HASH = re.compile(r"(?=.*[a-fA-F])[0-9a-fA-F-]{12,}")  # the case of its letters says nothing
FINGERPRINT = re.compile(rb'(?:fingerprint|"data")[^0-9a-zA-Z]{0,8}(?:</?\w+>){0,3}[^0-9a-zA-Z]{0,4}([0-9a-f]{64})\b')

Found = list[tuple[str, int]]  # where in the file, how often


@dataclass(frozen=True)
class Names:
    """A customer's id and pseudonym, in the one spelling in which ids are compared."""

    ids: frozenset[str]
    any_case: bool  # one of them is a hash: letters are compared without case

    @classmethod
    def of(cls, ids: Iterable[str]) -> Names:
        """From ids as somebody wrote them."""
        spelled = {normal_id(x) for x in ids} - {""}
        any_case = any(HASH.fullmatch(x) for x in spelled)
        return cls(frozenset(x.lower() for x in spelled) if any_case else frozenset(spelled), any_case)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, str) or len(value) > self.longest:
            return False
        text = normal_id(value)
        return (text.lower() if self.any_case else text) in self.ids

    @property
    def longest(self) -> int:
        """Longer texts are no spelling of an id."""
        return 16 + max(map(len, self.ids))

    def count(self, values: pa.Array) -> int:
        """How many values of a column are the customer."""
        texts = normal_ids(values)
        texts = pc.utf8_lower(texts) if self.any_case else texts
        return int(pc.sum(pc.is_in(texts, value_set=pa.array(sorted(self.ids), pa.string()))).as_py() or 0)

    def pattern(self) -> bytes:
        """Whole cells only (between quotes, tags, separators): an id of three digits is in every file of numbers."""
        blank = rb"(?:\s|\xc2\xa0|\xe2\x80[\x80-\x8f]|\xef\xbb\xbf)*"
        names = b"|".join(re.escape(x.encode()) + (rb"(?:\.0+)?" if x.isdecimal() else b"") for x in sorted(self.ids))
        case = b"(?i)" if self.any_case else b""
        return case + rb"(?:^|[\"'>,;\t|])" + blank + rb"(?:" + names + rb")" + blank + rb"(?=$|[\"'<,;\t|\r])"


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
            head = f.read(16)
        if head[:4] == b"PAR1":
            return _parquet(path, names, tally), set()
        if head[:4] == b"PK\x03\x04":
            return _archive(path, names, tally), set()
        if head[:6] == b"\x93NUMPY":
            return _array("array", np.load(path, mmap_mode="r", allow_pickle=False), names, tally), set()
        if head[:15] == b"SQLite format 3":
            return _sqlite(path, names, tally)
        if path.suffix == ".safetensors":
            return _safetensors(path, names), set()
        if head.lstrip()[:1] in (b"{", b"[") or path.suffix in TEXT or (not path.suffix and b"\0" not in head):
            return _text(path, names, tally)
    except (pa.ArrowException, zipfile.BadZipFile, sqlite3.Error, ValueError, OSError) as e:
        tally.unreadable.append((path, (str(e).splitlines() or [type(e).__name__])[0]))
        return [], set()
    tally.other[path.suffix or "no suffix"] += 1
    return [], set()


def _parquet(path: Path, names: Names, tally: Tally) -> Found:
    file = pq.ParquetFile(path)
    tally.rows += file.metadata.num_rows
    fields = [f.name for f in file.schema_arrow if f.name not in OTHER_IDS and (_is_text(f.type) or _is_person(f))]
    found: dict[str, int] = {}
    for batch in file.iter_batches(batch_size=1 << 20, columns=fields) if fields else ():
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                column = pc.list_flatten(column)
            if pa.types.is_dictionary(column.type):
                if not names.count(plain_text(column.dictionary)):
                    continue
                column = column.dictionary_decode()
            if hits := names.count(column):
                found[name] = found.get(name, 0) + hits
    return [(f"column {name}", count) for name, count in found.items()]


def _is_person(column: pa.Field) -> bool:
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    return bool(number and PERSON.search(column.name))


def _is_text(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _archive(path: Path, names: Names, tally: Tally) -> Found:
    with np.load(path, allow_pickle=False) as arrays:
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
                    continue
        elif isinstance(value, int | float) and not isinstance(value, bool) and PERSON.search(where.rpartition(".")[2]):
            found[where] += str(value) in names
    return [(place, count) for place, count in found.items() if count]


def _text(path: Path, names: Names, tally: Tally) -> tuple[Found, set[str]]:
    if path.stat().st_size > LARGEST_TEXT:
        raise ValueError(f"larger than {LARGEST_TEXT >> 20} MiB, too large to search as text")
    data = path.read_bytes()
    tally.rows += data.count(b"\n") + (not data.endswith(b"\n"))
    fingerprints = {found.decode() for found in FINGERPRINT.findall(data)}
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            return _walk(json.loads(data), names), fingerprints
        except (ValueError, RecursionError):  # JSON lines, or text that begins like JSON
            pass
    count = len(re.findall(names.pattern(), data, re.MULTILINE))
    return ([("text", count)] if count else []), fingerprints


def _sqlite(path: Path, names: Names, tally: Tally) -> tuple[Found, set[str]]:
    found: Found = []
    fingerprints: set[str] = set()

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.create_function("is_customer", 1, lambda text: text in names)
        for (table,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
            tally.rows += db.execute(f"select count(*) from {quoted(table)}").fetchone()[0]
            for column in [row[1] for row in db.execute(f"pragma table_info({quoted(table)})")]:
                c = quoted(column)
                is_text = f"from {quoted(table)} where typeof({c}) = 'text' and"
                count = db.execute(f"select count(*) {is_text} length({c}) <= ? and is_customer({c})", [names.longest])
                if hits := count.fetchone()[0]:
                    found.append((f"table {table}, column {column}", hits))
                for (text,) in db.execute(f"select {c} {is_text} instr({c}, 'fingerprint') > 0"):
                    fingerprints |= {x.decode() for x in FINGERPRINT.findall(text.encode())}
                if (table, column) == ("datasets", "digest"):  # MLflow's: the beginning of the fingerprint
                    fingerprints |= {row[0] for row in db.execute(f"select distinct {c} {is_text} length({c}) >= 12")}
    return found, fingerprints
