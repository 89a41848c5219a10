"""Text with one row per line: CSV, TSV, `::` dumps (MovieLens), blank-separated columns, RecBole atomic files.

A clean chunk is read straight into numbers and dictionary-encoded ids. A chunk in which anything is wrong (a row of
another length, a number that is none, bytes that are not UTF-8, a failed check later on) is read once more as text,
without the rows that cannot be split, so that each bad row is reported with its line and the value as it stands.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from shopkeeper.data.threads import each_ahead
from shopkeeper.errors import UserError
from shopkeeper.ingest.block import Block, Reject, Wanted, check_columns, shown
from shopkeeper.ingest.chunks import Chunk, read_chunks, record_starts
from shopkeeper.ingest.dataset_parts import OF_TEXT, ReaderSettings

NO_NUMBER = ["", "NaN", "nan", "NULL", "null", "None", "NA", "N/A", "n/a", "#N/A"]
Advance = Callable[[int], object] | None


@dataclass(frozen=True)
class Dialect:
    """How a text file is written. `clean` rewrites a chunk's bytes (keeping its lines) before it is split."""

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    header: bool | str = True  # "if_there": where the first line has one of the names
    names: tuple[str, ...] = ()
    decimal: str = "."
    skip_lines: int = 0
    typed_header: bool = False  # `user_id:token`
    clean: Callable[[bytes], bytes] | None = None


def read_csv(path: Path, wanted: Wanted | None, told: ReaderSettings, advance: Advance) -> Iterator[Block]:
    """CSV, plain or compressed with gzip or zstd; the delimiter is a comma unless `reader.delimiter` says otherwise."""
    yield from _read(path, wanted, _dialect(told, Dialect()), advance)


def read_tsv(path: Path, wanted: Wanted | None, told: ReaderSettings, advance: Advance) -> Iterator[Block]:
    """Tab-separated text."""
    yield from _read(path, wanted, _dialect(told, Dialect(delimiter="\t")), advance)


def read_dat(path: Path, wanted: Wanted | None, told: ReaderSettings, advance: Advance) -> Iterator[Block]:
    """MovieLens dumps as published: `::` between fields, Latin-1, no header, no quotes."""
    usual = Dialect("\x1f", "", "latin-1", header=False, clean=lambda data: data.replace(b"::", b"\x1f"))
    yield from _read(path, wanted, _dialect(told, usual), advance)


def read_blank_separated(path: Path, wanted: Wanted | None, told: ReaderSettings, advance: Advance) -> Iterator[Block]:
    """Columns separated by any number of blanks or tabs, which may also stand at either end of a line."""

    def clean(data: bytes) -> bytes:
        if b"\t" in data or b"  " in data:
            data = re.sub(rb"[ \t]+", b" ", data)
        if data.startswith(b" ") or any(edge in data for edge in (b"\n ", b" \n", b" \r")) or data.endswith(b" "):
            data = re.sub(rb"(?m)^ | (?=\r?$)", b"", data)
        return data

    yield from _read(path, wanted, _dialect(told, Dialect(" ", "", clean=clean)), advance)


def read_recbole(path: Path, wanted: Wanted | None, told: ReaderSettings, advance: Advance) -> Iterator[Block]:
    """RecBole atomic files (.inter, .user, .item): tab-separated, header of `name:type`, no quotes."""
    yield from _read(path, wanted, _dialect(told, Dialect("\t", "", typed_header=True)), advance)


def _dialect(told: ReaderSettings, usual: Dialect) -> Dialect:
    given = {name: value for name in OF_TEXT if (value := getattr(told, name)) is not None}
    if told.names:
        return replace(usual, **{"header": False, **given})
    found = replace(usual, **given)
    if found.header is not True:
        said = str(found.header).lower()
        raise UserError(f"reader.header is {said}: give reader.names, the list of the file's columns")
    return found


def _read(path: Path, wanted: Wanted | None, dialect: Dialect, advance: Advance) -> Iterator[Block]:
    return each_ahead(lambda block: block(), _blocks(path, wanted, dialect, advance))


def _blocks(path: Path, wanted: Wanted | None, dialect: Dialect, advance: Advance) -> Iterator[Callable[[], Block]]:
    """What makes each chunk's block; the header, which tells how, is read here."""
    names: list[str] = list(dialect.names)
    head = b""
    skip, first = dialect.skip_lines, True
    for chunk in read_chunks(path, quotes=bool(dialect.quote), encoding=dialect.encoding, advance=advance):
        if skip:
            chunk, skip = _skip_lines(chunk, skip)
        if dialect.clean is not None:
            chunk = replace(chunk, data=dialect.clean(chunk.data))
        full = bool(chunk.data) and not chunk.data.isspace()
        if first and full:
            first = False
            if dialect.header:
                after, line, found = _take_header(path, chunk, dialect)
                if dialect.header is True or set(found) & set(names):
                    chunk, head, names = after, line, found
                else:
                    dialect = replace(dialect, header=False)
            if wanted is None:
                wanted = Wanted(dict.fromkeys(names, pa.string()))
            wanted, hint = wanted.there(names), _other_delimiter(names, dialect)
            check_columns(path, names, wanted.names, chunk.line - 1 if dialect.header else 1, hint)
        if chunk.data and not chunk.data.isspace():
            assert wanted is not None
            yield partial(_block, path, chunk, names, wanted, dialect, head)
    if first:
        raise UserError(f"{path} is empty; expected {'a header and rows' if dialect.header else 'rows'}")


def _take_header(path: Path, chunk: Chunk, dialect: Dialect) -> tuple[Chunk, bytes, list[str]]:
    starts, lines = record_starts(chunk.data, bool(dialect.quote))
    stop = int(starts[1]) if len(starts) > 1 else len(chunk.data)
    after = int(lines[1]) if len(lines) > 1 else chunk.data.count(b"\n", 0, stop)
    head = chunk.data[int(starts[0]) : stop]
    if b"\r" in head.rstrip(b"\r\n") and len(starts) <= 1:
        raise UserError(f"{path}, line 1: lines end in a bare carriage return (old Mac); save it with LF line ends")
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(
            f"{path}, line {chunk.line}: the header is not UTF-8; set reader.encoding (latin-1, cp1252, …)"
        ) from None
    if "\0" in text:
        raise UserError(f"{path}, line {chunk.line}: the header contains NUL bytes; save it as text")
    quoting = {"quotechar": dialect.quote} if dialect.quote else {"quoting": csv.QUOTE_NONE}
    names = [n.strip() for n in next(csv.reader(io.StringIO(text), delimiter=dialect.delimiter, **quoting))]
    if dialect.typed_header:
        names = [n.rsplit(":", 1)[0] for n in names]
    return Chunk(chunk.data[stop:], chunk.line + after, chunk.n_breaks - after), head.rstrip(b"\r\n"), names


def _block(path: Path, chunk: Chunk, names: list[str], wanted: Wanted, dialect: Dialect, head: bytes) -> Block:
    """The chunk's rows in their cheapest types when all of it is clean, else as text."""
    data = chunk.data
    quoted = bool(dialect.quote) and dialect.quote.encode() in data
    if quoted and data.count(dialect.quote.encode()) & 1:
        raise _stray_quote(path, chunk)
    if not wanted.exact and not _suspicious(data, head):
        try:
            table = arrow_csv.read_csv(
                pa.py_buffer(data),
                read_options=arrow_csv.ReadOptions(
                    column_names=_unique(names), use_threads=False, block_size=len(data) + 1
                ),
                parse_options=_parse_options(quoted, dialect),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=wanted.names,
                    column_types=dict(wanted.types),
                    null_values=NO_NUMBER,
                    strings_can_be_null=False,
                    decimal_point=dialect.decimal,
                ),
            )
        except pa.ArrowInvalid:
            pass
        else:
            if dialect.quote and b'"' in data and len(record_starts(data)[0]) != table.num_rows:
                raise _stray_quote(path, chunk)
            return Block(
                shown(path), table, _not_asked, reread=lambda: _as_text(path, chunk, names, wanted, dialect, head)
            )
    return _as_text(path, chunk, names, wanted, dialect, head)


def _as_text(path: Path, chunk: Chunk, names: list[str], wanted: Wanted, dialect: Dialect, head: bytes) -> Block:
    data, file = chunk.data, shown(path)
    starts, lines = record_starts(data, bool(dialect.quote))
    stops = np.append(starts[1:], len(data))
    broken = [
        Reject(file, chunk.line + int(lines[i]), "", reason, _excerpt(data[starts[i] : stops[i]]))
        for i, reason in _unreadable(data, starts, stops, head)
    ]
    if broken:
        gone = {b.row - chunk.line for b in broken}
        keep = np.array([int(line) not in gone for line in lines], bool)
        # Neighbouring records are copied together: runs of kept records.
        edges = np.flatnonzero(np.diff(np.concatenate([[0], keep.view(np.int8), [0]])))
        data = b"".join(data[starts[a] : stops[b - 1]] for a, b in edges.reshape(-1, 2))
        starts, lines = starts[keep], lines[keep]
    if not len(starts):
        return Block(file, pa.table({n: pa.array([], pa.string()) for n in wanted.names}), lambda i: i, broken)
    wrong: list[tuple[int, str, str]] = []

    def collect(row: Any) -> str:
        reason = f"{row.actual_columns} fields where the header has {row.expected_columns}"
        wrong.append((row.number - 1, reason, row.text))
        return "skip"

    try:
        table = arrow_csv.read_csv(
            pa.py_buffer(data),
            read_options=arrow_csv.ReadOptions(
                column_names=_unique(names), use_threads=False, block_size=len(data) + 1
            ),
            parse_options=_parse_options(bool(dialect.quote) and dialect.quote.encode() in data, dialect, collect),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=wanted.names,
                column_types=dict.fromkeys(wanted.names, pa.string()),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as e:
        raise UserError(
            f"{path}, near line {chunk.line}: {str(e).splitlines()[0]}; mend or remove these lines"
        ) from None
    if table.num_rows + len(wrong) != len(starts):
        raise _stray_quote(path, chunk)
    broken += [Reject(file, chunk.line + int(lines[i]), "", why, _excerpt(text.encode())) for i, why, text in wrong]
    keep = np.ones(len(starts), bool)
    keep[[i for i, _, _ in wrong]] = False
    numbers = chunk.line + lines[keep]
    return Block(file, table, lambda i: numbers[i], sorted(broken, key=lambda b: b.row))


def _suspicious(data: bytes, head: bytes) -> bool:
    if b"\0" in data:
        return True
    if head and all(byte in data for byte in set(head)) and head in data:  # mostly the rows lack a letter of it
        return True
    if data.isascii():
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _unreadable(data: bytes, starts: np.ndarray, stops: np.ndarray, head: bytes) -> list[tuple[int, str]]:
    """Records that cannot be split into fields: position and reason."""
    view = np.frombuffer(data, np.uint8)

    def records_of(offsets: np.ndarray) -> np.ndarray:
        return np.unique(np.searchsorted(starts, offsets, side="right") - 1)

    found = {int(i): "contains a NUL byte" for i in records_of(np.flatnonzero(view == 0))}
    for i in records_of(np.flatnonzero(view >= 0x80)) if not data.isascii() else []:
        try:
            data[starts[i] : stops[i]].decode("utf-8")
        except UnicodeDecodeError:
            found.setdefault(int(i), "not UTF-8 (set reader.encoding when the whole file is in another one)")
    if head:
        at = data.find(head)
        while at >= 0:
            i = int(np.searchsorted(starts, at, side="right")) - 1
            if starts[i] == at and data[at : stops[i]].rstrip(b"\r\n") == head:
                found.setdefault(i, "the header once more")
            at = data.find(head, at + 1)
    return sorted(found.items())


def _not_asked(positions: np.ndarray) -> np.ndarray:
    raise AssertionError("rows are reported by the block that was read once more as text")


def _stray_quote(path: Path, chunk: Chunk) -> UserError:
    view = np.frombuffer(chunk.data, np.uint8)
    breaks = np.flatnonzero(view == 10)
    odd = np.flatnonzero(np.searchsorted(np.flatnonzero(view == 34), breaks) & 1)
    line = chunk.line + (int(odd[0]) if len(odd) else len(breaks))
    return UserError(
        f"{path}, line {line}: a double quote is opened and not closed, or stands inside an unquoted field; "
        f"double it, or set reader.quote: '' when the file does not quote"
    )


def _parse_options(quoted: bool, dialect: Dialect, handler: Callable[[Any], str] | None = None) -> Any:
    return arrow_csv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char=dialect.quote or False,
        newlines_in_values=quoted,
        invalid_row_handler=handler,
    )


def _skip_lines(chunk: Chunk, n: int) -> tuple[Chunk, int]:
    at = taken = 0
    while taken < n and (end := chunk.data.find(b"\n", at)) >= 0:
        at, taken = end + 1, taken + 1
    return Chunk(chunk.data[at:], chunk.line + taken, chunk.n_breaks - taken), n - taken


def _unique(names: list[str]) -> list[str]:
    """Column names for the parser, which wants them distinct; a name that is wanted stands there once."""
    return [name if names.index(name) == i else f"{name}\x1f{i}" for i, name in enumerate(names)]


def _other_delimiter(names: list[str], dialect: Dialect) -> str:
    for other in (";", "\t", "|", ","):
        if other != dialect.delimiter and any(other in name for name in names):
            shown_as = "'\\t'" if other == "\t" else f"'{other}'"
            return f" The fields seem to be separated by {shown_as}: set reader.delimiter."
    return ""


def _excerpt(data: bytes) -> str:
    text = data.rstrip(b"\r\n").decode("utf-8", "replace").replace("\0", "\\0")
    return text if len(text) <= 200 else text[:199] + "…"
