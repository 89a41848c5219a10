"""A file's bytes in chunks that end where a record ends, decompressed on the way, with their line numbers.

A record is a line, or several lines where a line break stands inside double quotes. Chunks bound the memory that
reading needs; what is read must not depend on where they are cut (a test holds that).
"""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError

CHUNK_BYTES = int(os.environ.get("SHOPKEEPER_CHUNK_BYTES", 8 << 20))
LONGEST_RECORD = 64 << 20
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip", b"PAR1": "parquet"}


@dataclass(frozen=True)
class Chunk:
    """Whole records, without the byte order mark; `line` is the 1-based number of the first line."""

    data: bytes
    line: int
    n_breaks: int  # line breaks in `data`


def read_chunks(
    path: Path,
    *,
    quotes: bool = True,
    encoding: str = "utf-8",
    size: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> Iterator[Chunk]:
    """Chunks of about `size` bytes; `advance` is told how many bytes of the file were taken since the last call.

    With `quotes` a line break inside double quotes does not end a record. Raises `UserError` for damaged
    compression, text in UTF-16 that was not declared, and quotes that are never closed.
    """
    size = size or CHUNK_BYTES
    line, rest, first, told = 1, b"", True, 0
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below)
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e.strerror}; check the path and its permissions") from None
    with file as raw:
        stream = _open(path, raw)
        decode = None if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "ascii") else _decoder(path, encoding)
        while True:
            data = _read(path, stream, size)
            if first:
                _check_start(path, data, decoded=decode is not None)
            if advance is not None:
                now = raw.tell()
                advance(now - told)
                told = now
            final = not data
            if decode is not None:
                data = decode(data, final)
            if first:
                data = data.removeprefix(codecs.BOM_UTF8)
                first = False
            block = rest + data if rest else data
            cut = len(block) if final else _last_record_end(block, quotes)
            if cut:
                n_breaks = _count(block, b"\n", cut)
                yield Chunk(block[:cut], line, n_breaks)
                line += n_breaks
            rest = block[cut:]
            if final:
                return
            if len(rest) > LONGEST_RECORD + size:
                raise UserError(
                    f"{path}, line {line}: a quote opened here is not closed within {LONGEST_RECORD >> 20} MiB; "
                    f"close it, or set reader.quote: '' when the file does not quote"
                )


def record_starts(data: bytes, quotes: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Records of a chunk that are not blank: byte offset (int64) and line number relative to the chunk (from 0)."""
    view = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(view == 10)
    if quotes and data.find(b'"') >= 0:
        inside = np.searchsorted(np.flatnonzero(view == 34), breaks) & 1
        ends = np.flatnonzero(inside == 0)
    else:
        ends = np.arange(len(breaks))
    starts = np.concatenate([[0], breaks[ends] + 1]).astype(np.int64)
    lines = np.concatenate([[0], ends + 1]).astype(np.int64)
    stops = np.append(starts[1:], len(data))
    length = stops - starts
    first = view[np.minimum(starts, max(len(view) - 1, 0))] if len(view) else np.zeros(len(starts), np.uint8)
    blank = (length <= 0) | ((length == 1) & (first == 10)) | ((length <= 2) & (first == 13))
    return starts[~blank], lines[~blank]


def _last_record_end(block: bytes, quotes: bool) -> int:
    """Number of bytes up to and with the last line break that ends a record; 0 when there is none."""
    cut = block.rfind(b"\n") + 1
    if not quotes or block.find(b'"') < 0:
        return cut
    odd = _count(block, b'"', cut) & 1
    while cut and odd:  # step back over breaks that stand inside quotes
        before = block.rfind(b"\n", 0, cut - 1) + 1
        odd ^= block.count(b'"', before, cut) & 1
        cut = before
    return cut


def _count(block: bytes, byte: bytes, stop: int) -> int:
    """How often a byte stands before `stop`. `bytes.count` takes twice as long and lets no other thread work."""
    return int(np.count_nonzero(np.frombuffer(block, np.uint8)[:stop] == ord(byte)))


def _open(path: Path, raw: IO[bytes]) -> Any:
    start = raw.read(4)
    raw.seek(0)
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "")
    if kind == "gzip":
        return gzip.GzipFile(fileobj=raw)
    if kind == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    if kind in ("zip", "parquet"):
        raise UserError(
            f"{path} is a {kind} file, not text; "
            + (
                "unpack it first (a spreadsheet: reader.format: excel)"
                if kind == "zip"
                else "set reader.format: parquet"
            )
        )
    return raw


def _read(path: Path, stream: Any, size: int) -> bytes:
    try:
        data: bytes = stream.read(size)
        return data
    except (EOFError, OSError, zlib.error, pa.ArrowException) as e:
        reason = "it ends in the middle" if isinstance(e, EOFError) or "truncated" in str(e).lower() else str(e)
        raise UserError(f"{path} is damaged: {reason.splitlines()[0]}; copy or download it again") from None


def _check_start(path: Path, data: bytes, decoded: bool) -> None:
    if decoded:
        return
    if data.startswith(_UTF16) or (len(data) > 3 and data[1::2][:50].count(0) > len(data[1::2][:50]) * 0.8):
        raise UserError(f"{path} is text in UTF-16; save it as UTF-8 or set reader.encoding: utf-16")


def _decoder(path: Path, encoding: str) -> Callable[[bytes, bool], bytes]:
    try:
        decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    except LookupError:
        raise UserError(f"reader.encoding: '{encoding}' is not known; use utf-8, utf-16, latin-1 or cp1252") from None

    def decode(data: bytes, final: bool) -> bytes:
        try:
            return decoder.decode(data, final).encode("utf-8")
        except UnicodeDecodeError as e:
            raise UserError(f"{path} is not text in {encoding} ({e.reason}); set reader.encoding to its own") from None

    return decode
