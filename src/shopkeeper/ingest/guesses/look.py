"""A first look at a file: which reader it wants, and its first rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shopkeeper.errors import UserError
from shopkeeper.ingest.block import Block
from shopkeeper.ingest.chunks import read_chunks
from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.ingest.guesses.workbook import OF_DATA, workbook_options
from shopkeeper.ingest.readers import reader
from shopkeeper.typed import made

# A quoted cell: what is in it (line breaks, signs that separate cells elsewhere) says nothing of how a file is written.
QUOTED = re.compile(r'(?:^|(?<=[,;\t|]))"(?:[^"]|"")*"(?=[,;\t|]|\r?$)', re.MULTILINE)

LOOKED_AT = 50  # lines
OF_A_BYTE = {"cp1252": "Western Europe", "cp1251": "Cyrillic"}  # encodings that are guessed
DELIMITERS = (",", ";", "\t", "|")


def reader_of(path: Path) -> tuple[dict[str, Any], list[str]]:
    """What a config says of the reader (format, delimiter, encoding …), and doubts."""
    name = path.name.lower()
    for ending, kind in ((".parquet", "parquet"), (".inter", "recbole")):
        if name.endswith(ending):
            return {"format": kind}, []
    if name.endswith((".xlsx", ".xls")):
        return workbook_options(path)
    head, encoding = _beginning(path)
    doubts = []
    if encoding == "utf-8" and (encoding := _encoding(head)) != "utf-8":
        doubts.append(f"the text is not UTF-8; {encoding} ({OF_A_BYTE[encoding]}) is a guess")
    told = {} if encoding == "utf-8" else {"encoding": encoding}
    _refuse_whole_json(path, head)
    if head.lstrip().startswith(b"{"):
        return {"format": "json_lines", **told}, doubts
    options, more = _table(head.decode(encoding if encoding in OF_A_BYTE else "utf-8", "replace"))
    return {**options, **told}, doubts + more


def _beginning(path: Path) -> tuple[bytes, str]:
    """The first bytes of a file, in UTF-8 where they were in UTF-16, and which of the two they were in."""
    try:
        return next(read_chunks(path, size=1 << 20)).data, "utf-8"
    except StopIteration:
        raise UserError(f"{path} is empty; give a file with rows, or take it out of its folder") from None
    except UserError as e:
        if "UTF-16" not in str(e):
            raise
    return next(read_chunks(path, size=1 << 20, encoding="utf-16")).data, "utf-16"


def _encoding(head: bytes) -> str:
    """UTF-8, or the encoding of a byte a letter that the text is most likely in."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        high = re.findall(rb"[\x80-\xff]", head)
        words = b"".join(re.findall(rb"[\xa8\xaa\xaf\xb2-\xb4\xb8\xba\xbf\xc0-\xff]{3,}", head))
        # Letters with accents stand among others; where whole words are of high bytes, an alphabet is.
        return "cp1251" if 2 * len(words) > len(high) else "cp1252"
    return "utf-8"


def _refuse_whole_json(path: Path, head: bytes) -> None:
    """A `UserError` with the way out for JSON that is not an object a line."""
    if re.match(rb'\s*\{[^\[\]]*"batch"\s*:\s*\[\s*\{', head):
        raise UserError(
            f"{path} holds batches of calls; write a call per line into a folder of its own: "
            f"jq -c '.batch[]' {path.name} > calls/{path.stem}.jsonl"
        )
    if re.match(rb"\s*\[\s*\{", head):
        raise UserError(
            f"{path} is one JSON list; write an object per line: jq -c '.[]' {path.name} > {path.stem}.jsonl, or in "
            f"pandas to_json(…, orient='records', lines=True)"
        )


def _table(text: str) -> tuple[dict[str, Any], list[str]]:
    """How the lines of a text become columns, and doubts."""
    doubts = []
    plain = QUOTED.sub(lambda cell: re.sub(r"[,;\t|\r\n]", " ", cell[0]), text)
    above = _above(plain.splitlines()[:LOOKED_AT])
    lines = [line for line in plain.splitlines()[above:LOOKED_AT] if line.strip()]
    if lines and "::" in lines[0]:
        n = lines[0].count("::") + 1
        doubts.append("a `::` dump has no header: name its columns in reader.names")
        return {"format": "dat", "names": [f"column_{i + 1}" for i in range(n)]}, doubts
    counts = {d: [line.count(d) for line in lines] for d in DELIMITERS}
    best = max(counts, key=lambda d: (min(counts[d]), -float(np.std(counts[d]))))
    options: dict[str, Any] = {"format": "csv"}
    if not any(counts[best]):
        lengths = {len(line.split()) for line in lines}
        ragged = len(lengths) > 1
        what = "lines of different lengths: each is read as a user and that user's items, oldest first"
        doubts.append(what if ragged else "no delimiter was found; blanks are a guess")
        options = {"format": "sequences" if ragged else "blank_separated"}
    elif best != ",":
        options["delimiter"] = best
    if above:
        options["skip_lines"] = above
        doubts.append(f"the first {above} lines stand above the header, so that reader.skip_lines leaves them out")
    fields = re.split(re.escape(best) if any(counts[best]) else r"\s+", lines[0].strip()) if lines else []
    if options["format"] != "sequences" and any(re.fullmatch(OF_DATA, f) for f in fields):
        doubts.append("the first line looks like data, not like a header: name the columns in reader.names")
        options["names"] = [f"column_{i + 1}" for i in range(len(fields))]
    if best == ";" and re.search(r';"?-?\d+,\d+"?(?=[;\r\n]|$)', text):
        options["decimal"] = ","
    return options, doubts


def _above(lines: list[str]) -> int:
    """How many lines stand above the header: a report's title, the day it was made on.

    Below them every line has one number of cells, three at least, and more than any line above has.
    """
    sign = max(DELIMITERS, key=lambda d: sum(line.count(d) for line in lines))  # a comma may stand in every amount, too
    cells = {at: line.count(sign) for at, line in enumerate(lines) if line.strip()}
    most = max(cells.values(), default=0)
    first = next((at for at, n in cells.items() if n == most), 0)
    below = [n for at, n in cells.items() if at >= first]
    header = lines[first].split(sign) if lines else []
    named = all(cell.strip() and not re.fullmatch(OF_DATA, cell) for cell in header)
    return first if most >= 2 and len(below) >= 5 and set(below) == {most} and named else 0


def first_lines(path: Path, encoding: str = "utf-8", most: int = 50) -> list[str]:
    """The first lines of a text file that are not blank; what is no UTF-8 in them is replaced."""
    start = next(read_chunks(path, size=1 << 16, quotes=False, encoding=encoding), None)
    lines = start.data.decode("utf-8", "replace").splitlines()[:most] if start is not None else []
    return [line.strip() for line in lines if line.strip()]


def head(path: Path, options: dict[str, Any], limit: int) -> pl.DataFrame:
    """The first rows of a file, every column as text; a `UserError` where there are none."""
    frames, rows = [], 0
    blocks = reader(options["format"])(path, None, made(ReaderSettings, options), None)
    block: Block
    for block in blocks:
        frame = pl.DataFrame(pl.from_arrow(block.table))
        frames.append(frame.with_columns(pl.col(pl.Categorical).cast(pl.String)))
        rows += frame.height
        if rows >= limit:
            break
    if not frames:
        raise UserError(f"{path} holds no rows; give a file with some")
    return pl.concat(frames, how="vertical_relaxed").head(limit)
