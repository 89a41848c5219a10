"""Whatever a log holds: kept and rejected rows together are the input, and where chunks are cut changes nothing."""

from __future__ import annotations

import csv
import io
import itertools
import json
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_tree
from shopkeeper.ids.spelling import normal_id

CONFIG = {
    "name": "any",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "user", "item_id": "item", "timestamp": "time", "price": "price", "quantity": "n"},
    "timestamp": {"unit": "s"},
    "event_type": {"column": "kind"},
    "max_rejected_share": 1.0,
}
ids = st.one_of(
    st.sampled_from(["a", "b", "007", "7", "", " ", 'x"y', "p,q", "r\ns", "é🛒"]), st.text('ab,\n" é', max_size=4)
)
ids = ids.map(lambda s: s.replace("\r", "").replace("\0", ""))
times = st.one_of(
    st.integers(1_500_000_000, 1_500_000_009).map(str), st.sampled_from(["", "x", "0", "1e9", "1500000000.25"])
)
numbers = st.sampled_from(["1", "2.5", "", "-1", "nan", "inf", "1e3", "zero", " 3 "])
kinds = st.sampled_from(["view", "purchase", "return", "purchase", "rob", ""])
rows = st.lists(st.tuples(ids, ids, times, kinds, numbers, numbers), min_size=1, max_size=30)
raw_lines = st.lists(
    st.sampled_from([b"a,b\n", b"\n", b"1,2,3,4,5,6,7\n", b"\xff,a,1500000000,view,1,1\n", b"\0\n"]), max_size=3
)


def as_csv(table: list[tuple[str, ...]], broken: list[bytes], at: int) -> tuple[bytes, list[int]]:
    """The file, and the line of each record after its header."""
    lines: list[bytes] = []
    for row in table:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(row)
        lines.append(out.getvalue().encode())
    at = min(at, len(lines))
    records = [b"user,item,time,kind,price,n\n", *lines[:at], *broken, *lines[at:]]
    firsts = itertools.accumulate((r.count(b"\n") for r in records), initial=1)
    starts = [line for line, record in zip(firsts, records, strict=False) if record != b"\n"]
    return b"".join(records), starts[1:]


def row_holds(data: bytes, line: int, value: str) -> bool:
    """Whether the record that starts in a line holds the value that was reported for it."""
    text = b"\n".join(data.split(b"\n")[line - 1 : line + 30]).decode("utf-8", "replace")
    return value.replace("\\0", "\0").split("\n")[0].replace('"', "") in text.replace('"', "")


def prepared(data: bytes, chunk: int, folder: Path, **changes) -> tuple[dict[str, str], Path] | str:
    (folder / "log.csv").write_bytes(data)
    with patch("shopkeeper.ingest.chunks.CHUNK_BYTES", chunk), patch("os.fsync"):
        try:
            out = prepare_dataset({**CONFIG, **changes}, folder, folder / f"out{chunk}", progress=False)
        except UserError as e:
            return str(e)
    return sha256_tree(out, skip=frozenset()), out


@settings(max_examples=40, deadline=None)
@given(rows, raw_lines, st.integers(0, 30), st.sampled_from([1, 7, 64, 300]))
def test_kept_and_rejected_rows_are_the_input_and_chunks_change_nothing(table, broken, at, chunk):
    data, lines = as_csv(table, broken, at)
    with tempfile.TemporaryDirectory() as tmp:
        whole = prepared(data, 1 << 20, Path(tmp))
        pieces = prepared(data, chunk, Path(tmp))
        if isinstance(whole, str):
            assert pieces == whole
            return
        assert not isinstance(pieces, str), pieces
        assert pieces[0] == whole[0]
        events = pq.read_table(whole[1] / "events.parquet")
        rejected = pq.read_table(whole[1] / "rejected.parquet")
        assert len(events) + len(rejected) == len(lines)
        rows = rejected["row"].to_pylist()
        assert rows == sorted(set(rows))
        assert set(rows) <= set(lines)
        for row, value in zip(rows, rejected["value"].to_pylist(), strict=True):
            assert row_holds(data, row, value)
        users = np.repeat(
            np.arange(len(np.load(whole[1] / "offsets.npy")) - 1), np.diff(np.load(whole[1] / "offsets.npy"))
        )
        order = np.lexsort((np.load(whole[1] / "timestamp.npy"), users))
        assert (order == np.arange(len(order))).all()


def as_file(form: str, table: list[tuple[str, ...]]) -> bytes:
    names = ["user", "item", "time", "kind", "price", "n"]
    if form == "json_lines":
        return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in table).encode()
    if form == "parquet":
        out = io.BytesIO()
        pq.write_table(pa.table(dict(zip(names, zip(*table, strict=True), strict=True))), out, row_group_size=9)
        return out.getvalue()
    return "".join(f"{row[0]} {row[1]} {row[3]}\n" for row in table).encode()


@settings(max_examples=20, deadline=None)
@given(rows, st.sampled_from(["json_lines", "parquet", "sequences"]), st.sampled_from([1, 7, 64]))
def test_no_format_depends_on_where_its_chunks_are_cut(table, form, chunk):
    changes = {"reader": {"format": form}}
    if form == "sequences":
        changes |= {"columns": {}, "timestamp": {}, "event_type": "view"}
    with tempfile.TemporaryDirectory() as tmp:
        whole = prepared(as_file(form, table), 1 << 20, Path(tmp), **changes)
        with patch("shopkeeper.ingest.readers.parquet.BATCH_ROWS", chunk):
            pieces = prepared(as_file(form, table), chunk, Path(tmp), **changes)
    assert pieces == whole if isinstance(whole, str) else pieces[0] == whole[0]


@settings(max_examples=15, deadline=None)
@given(rows)
def test_every_kept_row_is_one_of_the_input(table):
    data, _ = as_csv(table, [], 0)
    with tempfile.TemporaryDirectory() as tmp:
        out = prepared(data, 1 << 20, Path(tmp))
        if isinstance(out, str):
            return
        events = pq.read_table(out[1] / "events.parquet").select(["user_id", "item_id", "event_type"])
        kept = sorted(tuple(r.values()) for r in events.to_pylist())
        given_rows = [(normal_id(r[0]), normal_id(r[1]), r[3]) for r in table]
        for row in kept:
            given_rows.remove(row)
