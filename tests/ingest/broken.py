# ruff: noqa: E501 (a case reads best on one line)
"""Inputs as shops really deliver them, broken and merely odd: bytes, what to change in the config, what must come out.

`kept` is what a correct load keeps, as (user, item) pairs in (user, time) order; `rejected` the (row, reason) pairs;
`error` a pattern of the one-line message. A case has `error`, or `kept` (and perhaps `rejected`).
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HEAD = b"user,item,time,price\n"
T = 1_600_000_000
GOOD = b"u1,a,1600000000,1.5\nu2,b,1600000001,2\n"
BOTH = [("u1", "a"), ("u2", "b")]


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    kept: list[tuple[str, str]] | None = None
    rejected: list[tuple[int, str]] = field(default_factory=list)
    error: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    file: str = "log.csv"
    times: list[int] | None = None  # seconds


def reader(**options: Any) -> dict[str, Any]:
    return {"reader": {"format": "csv", **options}}


def line(user: str, item: str = "a", time: str = "1600000000", price: str = "1") -> bytes:
    return f"{user},{item},{time},{price}\n".encode()


def local(zone: str, **more: Any) -> dict[str, Any]:
    return {"timestamp": {"time_zone": zone, **more}}


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def workbook(*sheets: list[list[Any]]) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for i, rows in enumerate(sheets):
        sheet = book.create_sheet(f"Year {i}")
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("log.csv", data)
    return out.getvalue()


TABLE = pa.table({"user": ["u1", "u2"], "item": ["a", "b"], "time": [T, T + 1], "price": [1.5, 2.0]})
PARQUET: dict[str, Any] = {"config": {"reader": {"format": "parquet"}}, "file": "log.parquet"}
JSON: dict[str, Any] = {"config": {"reader": {"format": "json_lines"}}, "file": "log.jsonl"}
EXCEL: dict[str, Any] = {"config": {"reader": {"format": "excel"}}, "file": "log.xlsx"}
SEQUENCES: dict[str, Any] = {
    "config": {"reader": {"format": "sequences"}, "timestamp": {}, "columns": {}},
    "file": "log.txt",
}
LONG = "x" * 10_000
FUTURE = str(int(dt.datetime(2199, 1, 1).timestamp()))
SOME = {"max_rejected_share": 0.9}

CASES = [
    # text as such
    Case("plain", HEAD + GOOD, BOTH),
    Case("gzip", gzip.compress(HEAD + GOOD), BOTH, file="log.csv.gz"),
    Case("gzip without the name", gzip.compress(HEAD + GOOD), BOTH),
    Case("gzip in two members", gzip.compress(HEAD) + gzip.compress(GOOD), BOTH),
    Case("gzip cut in half", gzip.compress(HEAD + GOOD * 1000)[:-20], error="log.csv is damaged: it ends in the middle"),
    Case("gzip with a wrong checksum", gzip.compress(HEAD + GOOD)[:-8] + b"\0" * 8, error="log.csv is damaged"),
    Case("zstd", zstd(HEAD + GOOD), BOTH, file="log.csv.zst"),
    Case("zstd cut in half", zstd(HEAD + GOOD * 1000)[:-9], error="log.csv is damaged"),
    Case("zip archive", zipped(HEAD + GOOD), error="zip file, not text; unpack"),
    Case("parquet called csv", parquet(TABLE), error="reader.format: parquet"),
    Case("empty file", b"", error="log.csv is empty"),
    Case("header only", HEAD, error="hold no rows"),
    Case("only blank lines", b"\n\n\n", error="log.csv is empty"),
    Case("one row", HEAD + line("u1"), [("u1", "a")]),
    Case("one user", HEAD + line("u1") + line("u1", "b"), [("u1", "a"), ("u1", "b")]),
    Case("no line end at the end", (HEAD + GOOD)[:-1], BOTH),
    Case("CRLF", (HEAD + GOOD).replace(b"\n", b"\r\n"), BOTH),
    Case("bare carriage returns", (HEAD + GOOD).replace(b"\n", b"\r"), error="line 1: .*carriage return"),
    Case("mixed line ends", HEAD.replace(b"\n", b"\r\n") + GOOD, BOTH),
    Case("blank lines between", HEAD + b"\n" + GOOD.replace(b"\nu2", b"\n\r\n\nu2"), BOTH),
    Case("byte order mark", b"\xef\xbb\xbf" + HEAD + GOOD, BOTH),
    Case("UTF-16", (HEAD + GOOD).decode().encode("utf-16"), error="UTF-16; save it as UTF-8 or set reader.encoding"),
    Case("UTF-16 without a mark", (HEAD + GOOD).decode().encode("utf-16-le"), error="UTF-16"),
    Case("UTF-16, declared", (HEAD + GOOD).decode().encode("utf-16"), BOTH, config=reader(encoding="utf-16")),
    Case("latin-1, not declared", HEAD + GOOD + "ü3,a,1600000000,1\n".encode("latin-1"), BOTH,
         [(4, "not UTF-8 (set reader.encoding when the whole file is in another one)")], config=SOME),
    Case("latin-1, declared", HEAD + "ü3,é,1600000000,1\n".encode("latin-1"), [("ü3", "é")],
         config=reader(encoding="latin-1")),
    Case("unknown encoding", HEAD + GOOD, error="reader.encoding is 'klingon'", config=reader(encoding="klingon")),
    Case("mixed encodings", HEAD + "ü1,a,1600000000,1\n".encode() + "ü2,a,1600000000,1\n".encode("latin-1"),
         [("ü1", "a")], [(3, "not UTF-8 (set reader.encoding when the whole file is in another one)")], config=SOME),
    Case("embedded NUL", HEAD + GOOD + b"u\x003,a,1600000000,1\n", BOTH, [(4, "contains a NUL byte")], config=SOME),
    Case("NUL in the header", b"us\0er,item,time,price\n" + GOOD, error="line 1: the header contains NUL"),
    # columns
    Case("semicolons", (HEAD + GOOD).replace(b",", b";"), error="no column 'user' .*reader.delimiter"),
    Case("semicolons, declared", (HEAD + GOOD).replace(b",", b";"), BOTH, config=reader(delimiter=";")),
    Case("tabs", (HEAD + GOOD).replace(b",", b"\t"), error=r"separated by '\\t': set reader.delimiter"),
    Case("a delimiter of two characters", HEAD, error="reader.delimiter is '::'; it must be one", config=reader(delimiter="::")),
    Case("a column is missing", b"user,itm,time,price\n" + GOOD, error="no column 'item' in the header. Did you mean 'itm'"),
    Case("a column stands twice", b"user,user,time,item\n" + GOOD, error="names column 'user' twice"),
    Case("blanks in the header", b" user , item,time ,price\n" + GOOD, BOTH),
    Case("columns in another order", b"price,time,item,user\n1,1600000000,a,u1\n", [("u1", "a")]),
    Case("further columns", b"x,user,item,time,price,y\n1,u1,a,1600000000,1,2\n", [("u1", "a")]),
    Case("the header again in the middle", HEAD + GOOD + HEAD + line("u3", time="1600000002"), [*BOTH, ("u3", "a")],
         [(4, "the header once more")], config=SOME),
    Case("a field too few", HEAD + GOOD + b"u3,a,1600000000\n", BOTH, [(4, "3 fields where the header has 4")], config=SOME),
    Case("a field too many", HEAD + b"u3,a,1600000000,1,2\n" + GOOD, BOTH, [(2, "5 fields where the header has 4")],
         config=SOME),
    Case("several bad rows of several kinds", HEAD + b"u3,a\n\n" + GOOD + line("u4", price="-1") + b"\0\n" + line("", price="x"), BOTH,
         [(2, "2 fields where the header has 4"), (6, "negative price"), (7, "contains a NUL byte"), (8, "no user_id")],
         config=SOME),
    Case("no header, declared", GOOD, BOTH, config=reader(names=["user", "item", "time", "price"])),
    Case("no header, not declared", GOOD, error="line 1: no column 'user' in the header"),
    Case("lines above the header", b"Report\n\n" + HEAD + GOOD, BOTH, config=reader(skip_lines=1)),
    # quotes
    Case("quoted fields", HEAD + b'"u1","a","1600000000","1"\n', [("u1", "a")]),
    Case("a comma in an id", HEAD + b'u1,"a,b",1600000000,1\n', [("u1", "a,b")]),
    Case("a doubled quote in an id", HEAD + b'u1,"5"" pipe",1600000000,1\n', [("u1", '5" pipe')]),
    Case("a line break in an id", HEAD + b'u1,"a\nb",1600000000,1\nu2,b,1600000001,x\n', [("u1", "a\nb")],
         [(4, "not a number (reader.decimal wrong?)")], config=SOME),
    Case("a quote that is never closed", HEAD + GOOD + b'u3,"a,1600000000,1\n' + GOOD, error="line 4: a double quote"),
    Case("inch marks in unquoted fields", HEAD + b'u1,5" pipe,1600000000,1\nu2,6" pipe,1600000000,1\n',
         error="line 2: a double quote.*reader.quote"),
    Case("inch marks, declared", HEAD + b'u1,5" pipe,1600000000,1\nu2,6" pipe,1600000000,1\n',
         [("u1", '5" pipe'), ("u2", '6" pipe')], config=reader(quote="")),
    # ids
    Case("leading zeros", HEAD + line("007", "0001") + line("7", "1"), [("007", "0001"), ("7", "1")]),
    Case("emoji", HEAD + line("🛒", "🍎"), [("🛒", "🍎")]),
    Case("formula injection", HEAD + b'=1+1,"=cmd|\' /C calc\'!A0",1600000000,1\n', [("=1+1", "=cmd|' /C calc'!A0")]),
    Case("an id of 10,000 characters", HEAD + line(LONG), [(LONG, "a")]),
    Case("empty user", HEAD + GOOD + line(""), BOTH, [(4, "no user_id")], config=SOME),
    Case("blank item", HEAD + GOOD + line("u3", "  "), BOTH, [(4, "no item_id")], config=SOME),
    Case("an id that says NaN", HEAD + line("NaN", "None"), [("NaN", "None")]),
    Case("numbers too large for 64 bits as ids", HEAD + line("123456789012345678901234567890"),
         [("123456789012345678901234567890", "a")]),
    # times
    Case("all times equal", HEAD + line("u1", "b") + line("u1", "a") + line("u1", "c"), [("u1", "b"), ("u1", "a"), ("u1", "c")]),
    Case("times out of order", HEAD + line("u1", "b", "1600000002") + line("u1", "a"), [("u1", "a"), ("u1", "b")]),
    Case("a time in 1970", HEAD + GOOD + line("u3", time="0"), BOTH,
         [(4, "before 1980-01-01 (timestamp.unit or not_before wrong?)")], config=SOME),
    Case("milliseconds read as seconds", HEAD + line("u1", time="1600000000000"), error="timestamp.unit"),
    Case("seconds read as milliseconds", HEAD + GOOD, error="timestamp.unit", config={"timestamp": {"unit": "ms"}}),
    Case("a time in the future", HEAD + GOOD + line("u3", time=FUTURE), BOTH,
         [(4, "in the future (timestamp.unit or not_after wrong?)")], config=SOME),
    Case("a time beyond 64 bits", HEAD + GOOD + line("u3", time="99999999999999999999"), BOTH,
         [(4, "not a time (too large for its unit)")], config=SOME),
    Case("a time that overflows as microseconds", HEAD + GOOD + line("u3", time="9223372036854775"), BOTH,
         [(4, "not a time (too large for its unit)")], config=SOME),
    Case("seconds with a fraction", HEAD + line("u1", time="1600000000.5"), [("u1", "a")], times=[1600000000.5]),  # type: ignore[list-item]
    Case("no time", HEAD + GOOD + line("u3", time=""), BOTH, [(4, "no timestamp")], config=SOME),
    Case("a word for a time", HEAD + GOOD + line("u3", time="yesterday"), BOTH,
         [(4, "not a number (timestamp.unit is set)")], config=SOME),
    Case("ISO with zones", HEAD + line("u1", "a", "2020-01-01T12:00:00+02:00") + line("u1", "b", "2020-01-01 10:00:01Z"),
         [("u1", "a"), ("u1", "b")], config={"timestamp": {}}, times=[1577872800, 1577872801]),
    Case("ISO in local summer time", HEAD + line("u1", time="2020-07-01 12:00:00"), [("u1", "a")],
         config=local("Europe/London"), times=[1593601200]),
    Case("a time that the clocks skip", HEAD + line("u1", time="2020-03-29 02:30:00") + line("u2", time="2020-03-29 03:00"),
         [("u2", "a")], [(2, "does not exist in Europe/Berlin (the clocks go forward over it)")],
         config={**local("Europe/Berlin"), **SOME}),
    Case("a time that the clocks show twice", HEAD + line("u1", time="2020-10-25 02:30:00"), [("u1", "a")],
         config=local("Europe/Berlin"), times=[1603585800]),
    Case("an unknown time zone", HEAD + line("u1", time="2020-10-25 02:30:00"), error="timestamp.time_zone: 'Mars/Olympus'",
         config=local("Mars/Olympus")),
    Case("day first", HEAD + line("u1", time="31/12/2020 08:15"), [("u1", "a")],
         config=local("UTC", format="%d/%m/%Y %H:%M"), times=[1609402500]),
    Case("day first, not declared", HEAD + line("u1", time="31/12/2020 08:15"), error="not a time ISO 8601",
         config={"timestamp": {}}),
    Case("30 February", HEAD + line("u1", time="2020-02-28") + line("u2", time="2020-02-30"), [("u1", "a")],
         [(3, "not a time ISO 8601 (2020-01-31 12:00:00)")], config={"timestamp": {}, **SOME}),
    # numbers
    Case("negative price", HEAD + GOOD + line("u3", price="-1"), BOTH, [(4, "negative price")], config=SOME),
    Case("NaN price is unknown", HEAD + GOOD + line("u3", time="1600000002", price="NaN"), [*BOTH, ("u3", "a")]),
    Case("infinite price", HEAD + GOOD + line("u3", price="inf"), BOTH, [(4, "not a finite number")], config=SOME),
    Case("a price beyond a double", HEAD + GOOD + line("u3", price="1e999"), BOTH, [(4, "not a finite number")], config=SOME),
    Case("a price with its currency", HEAD + GOOD + line("u3", price="$5"), BOTH,
         [(4, "not a number (reader.decimal wrong?)")], config=SOME),
    Case("decimal comma", b"user;item;time;price\nu1;a;1600000000;1,5\n", [("u1", "a")],
         config=reader(delimiter=";", decimal=",")),
    Case("decimal comma, not declared", b"user;item;time;price\nu1;a;1600000000;1,5\n", error="reader.decimal",
         config=reader(delimiter=";")),
    Case("thousands separator", HEAD + GOOD + b'u3,a,1600000000,"1,000.50"\n', [BOTH[0], ("u3", "a"), BOTH[1]]),
    Case("a comma that may be either sign", HEAD + GOOD + b'u3,a,1600000000,"1,299"\n', BOTH,
         [(4, "not a number (reader.decimal wrong?)")], config=SOME),
    Case("groups that are no thousands", HEAD + GOOD + b'u3,a,1600000000,"1,00.50"\n', BOTH,
         [(4, "not a number (reader.decimal wrong?)")], config=SOME),
    # other formats
    Case("parquet", parquet(TABLE), BOTH, **PARQUET),
    Case("parquet cut in half", parquet(TABLE)[:-100], error="log.parquet cannot be read as Parquet", **PARQUET),
    Case("parquet without rows", parquet(TABLE.slice(0, 0)), error="hold no rows", **PARQUET),
    Case("csv called parquet", HEAD + GOOD, error="cannot be read as Parquet", **PARQUET),
    Case("parquet with whole floats as ids", parquet(TABLE.set_column(0, "user", [[13085.0, 1e15]])),
         [("13085", "a"), ("1000000000000000", "b")], **PARQUET),
    Case("parquet with null ids", parquet(TABLE.set_column(0, "user", [["u1", None]])), [("u1", "a")], [(2, "no user_id")],
         config={**PARQUET["config"], **SOME}, file="log.parquet"),
    Case("parquet with NaN prices", parquet(TABLE.set_column(3, "price", [[float("nan"), 1.0]])), BOTH, **PARQUET),
    Case("parquet with lists as ids", parquet(TABLE.set_column(0, "user", [[["u1"], ["u2"]]])),
         error="column 'user' holds list", **PARQUET),
    Case("parquet with zoned times", parquet(TABLE.set_column(2, "time", pa.array([T, T + 1]).cast(pa.timestamp("s", "Asia/Tokyo")))),
         BOTH, config={**PARQUET["config"], "timestamp": {}}, file="log.parquet", times=[T, T + 1]),
    Case("JSON lines", b"".join(json.dumps(r).encode() + b"\n" for r in TABLE.to_pylist()), BOTH, **JSON),
    Case("JSON lines with one that is cut", b'{"user": "u1", "item": "a", "time": 1600000000, "price": 2}\n{"user": "u2", "it\n',
         [("u1", "a")], [(2, "not JSON (Unterminated string starting at: line 1 column 16 (char 15))")],
         config={**JSON["config"], **SOME}, file="log.jsonl"),
    Case("a JSON key that no line has", b'{"user": "u1", "item": "a", "time": 1600000000, "prise": 1}\n',
         error="no column 'price' in the header. Did you mean 'prise'", **JSON),
    Case("a JSON key that some lines lack", b'{"user": "u1", "item": "a", "time": 1600000000}\n{"price": 1, "user": "u2", "item": "b", "time": 1600000001}\n',
         BOTH, **JSON),
    Case("a JSON array", json.dumps(TABLE.to_pylist()).encode(), error="line 1: not a JSON object", **JSON),
    Case("JSON numbers as ids", b'{"user": 7, "item": "a", "time": 1600000000}\n{"user": "007", "item": 1, "time": 1600000000, "price": 1}\n',
         [("7", "a"), ("007", "1")], **JSON),
    Case("Excel, two sheets",
         workbook([["user", "item", "time", "price"], ["u1", "a", dt.datetime(2020, 1, 1, 8), 1.5]],
                  [["user", "item", "time", "price"], [13085, "b", dt.datetime(2021, 1, 1, 8), 2]]),
         [("u1", "a"), ("13085", "b")], config={**EXCEL["config"], "timestamp": {}}, file="log.xlsx",
         times=[1577865600, 1609488000]),
    Case("Excel with a bad cell", workbook([["user", "item", "time", "price"], ["u1", "a", T, 1], ["u2", "b", T, "free"]]),
         [("u1", "a")], [(3, "not a number (reader.decimal wrong?)")], config={**EXCEL["config"], **SOME}, file="log.xlsx"),
    Case("csv called xlsx", HEAD + GOOD, error="log.xlsx cannot be read as a workbook", **EXCEL),
    Case("sequences", b"u1 a b\r\n\nu2\tb  a\n", [("u1", "a"), ("u1", "b"), ("u2", "b"), ("u2", "a")], **SEQUENCES),
    Case("a user without items", b"u1 a b\nu2\n", [("u1", "a"), ("u1", "b")], [(2, "a user without items")],
         config={**SEQUENCES["config"], **SOME}, file="log.txt"),
    Case("`::` dump", b"u1::a::5::1600000000\nu2::b: c::5::1600000001\n", [("u1", "a"), ("u2", "b: c")],
         config={"reader": {"format": "dat", "names": ["user", "item", "rating", "time"]},
                 "columns": {"user_id": "user", "item_id": "item", "timestamp": "time"}}),
    Case("RecBole without its typed header", b"user\titem\ttime\tprice\nu1\ta\t1600000000\t1\n", [("u1", "a")],
         config={"reader": {"format": "recbole"}}),
    Case("unknown format", HEAD, error="unknown format 'csvv'. Did you mean 'csv'", config={"reader": {"format": "csvv"}}),
]  # fmt: skip
