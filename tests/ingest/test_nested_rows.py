"""Rows that hold several events, or none: lists exploded, nested fields, keys and values, lists in a cell of text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.arrange.extend import extend_dataset
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest import chunks
from shopkeeper.ingest.block import Wanted
from shopkeeper.ingest.cells import lists
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.ingest.log import Log, read_log
from shopkeeper.ingest.paths import entry
from shopkeeper.ingest.readers.parquet import read_parquet

CARTS = [
    {"u": "a", "t": 1_600_000_000, "kind": "buy", "id": "m1", "got": [{"sku": "x", "n": "2"}, {"sku": "y", "n": 1}]},
    {"u": None, "guest": "g7", "t": 1_600_000_060, "kind": " Look", "id": "m2", "got": [{"sku": "x"}]},
    {"u": "a", "t": 1_600_000_120, "kind": "scroll", "id": "m3"},
    {"u": " ", "guest": "g7", "t": 1_600_000_180, "kind": "look", "id": "m4", "got": []},
    {"u": "a", "t": 1_600_000_000, "kind": "buy", "id": "m1", "got": [{"sku": "x", "n": "2"}, {"sku": "y", "n": 1}]},
]
CONFIG: dict[str, Any] = {
    "name": "carts",
    "raw": {"folder": "", "files": ["carts.jsonl"]},
    "reader": {"format": "json_lines"},
    "rows": {"explode": "got"},
    "optional": ["guest"],
    "steps": [{"first_of": {"columns": ["u", "guest"], "into": "who"}}],
    "columns": {
        "user_id": "who",
        "item_id": "got.sku",
        "timestamp": "t",
        "quantity": "got.n",
    },
    "timestamp": {"unit": "s"},
    "event_type": {
        "column": "kind",
        "map": {"buy": "purchase", "look": "view"},
        "others": "leave_out",
        "any_case": True,
    },
    "max_rejected_share": 0.5,
}  # fmt: skip


def written(folder: Path, rows: list[Any] = CARTS, name: str = "carts.jsonl") -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def read(folder: Path, **changes: Any) -> Log:
    return read_log(parse({**CONFIG, **changes}), folder, progress=False)


def events(log: Log) -> list[tuple[Any, ...]]:
    def texts(name: str) -> list[str | None]:
        ids = log.ids[name]
        return [ids.values[code].as_py() if code >= 0 else None for code in ids.codes.tolist()]

    quantity = [None] * len(log) if log.quantity is None else log.quantity.tolist()
    return list(zip(texts("user_id"), texts("item_id"), log.event_type.tolist(), quantity, strict=True))


def test_each_entry_of_a_list_is_an_event_of_its_row(tmp_path: Path):
    log = read(written(tmp_path))
    assert [e[:2] for e in events(log)] == [("a", "x"), ("a", "y"), ("g7", "x"), ("a", "x"), ("a", "y")]
    assert log.timestamp is not None
    assert log.quantity is not None
    assert log.timestamp.tolist() == [t * 1_000_000 for t in (1_600_000_000, 1_600_000_000, 1_600_000_060,
                                                              1_600_000_000, 1_600_000_000)]  # fmt: skip
    assert log.quantity.tolist()[:2] == [2, 1]
    assert log.left_out == {"other kinds of events": 1}
    assert [(r["row"], r["reason"]) for r in log.rejected.to_pylist()] == [(4, "no item_id")]
    assert read(tmp_path, rows={"explode": "got", "empty": "leave_out"}).left_out == {
        "other kinds of events": 1,
        "empty lists": 1,
    }


@pytest.mark.parametrize("size", [90, 1 << 20])
def test_a_row_that_was_sent_again_is_left_out_wherever_chunks_end(size: int, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", size)
    log = read(written(tmp_path), rows={"explode": "got", "once": "id"})
    assert [e[:2] for e in events(log)] == [("a", "x"), ("a", "y"), ("g7", "x")]
    assert log.left_out == {"sent again": 1, "other kinds of events": 1}


def test_parquet_gives_the_same_events_as_json_lines(tmp_path: Path):
    lines = events(read(written(tmp_path)))
    for got in (CARTS, [dict(row, got=None) if "got" not in row else row for row in CARTS]):
        table = pa.Table.from_pylist([
            {**row, "guest": row.get("guest"), "other": {"deep": 1},
             "got": [{"sku": x["sku"], "n": int(x.get("n", 0)) or None, "more": "z"} for x in row.get("got") or []]}
            for row in got
        ])  # fmt: skip
        pq.write_table(table, tmp_path / "carts.parquet")
        log = read(tmp_path, raw={"folder": "", "files": ["carts.parquet"]}, reader={"format": "parquet"})
        assert [e[:3] for e in events(log)] == [e[:3] for e in lines]
        assert [r["row"] for r in log.rejected.to_pylist()] == [4]
    with pytest.raises(UserError, match=r"'got' has no field 'skuu'; correct columns\. Did you mean 'sku'"):
        read(tmp_path, raw={"folder": "", "files": ["carts.parquet"]}, reader={"format": "parquet"},
             columns={**CONFIG["columns"], "item_id": "got.skuu"})  # fmt: skip
    log = read(tmp_path, raw={"folder": "", "files": ["carts.parquet"]}, reader={"format": "parquet"},
               optional=["guest", "got.colour", "deep.er"], extra={"c": "got.colour", "d": "deep.er"})  # fmt: skip
    assert [e[:3] for e in events(log)] == [e[:3] for e in lines]


def test_parquet_in_row_groups_gives_each_row_once(tmp_path: Path):
    rows = [{"u": f"u{n % 3}", "got": [{"sku": f"x{n}"}, {"sku": f"y{n % 2}"}], "p": [{"key": "k", "value": f"v{n}"}]}
            for n in range(50)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "carts.parquet", row_group_size=7)
    told = {"raw": {"folder": "", "files": ["carts.parquet"]}, "reader": {"format": "parquet"}, "timestamp": {}}
    told |= {"columns": {"user_id": "u", "item_id": "got.sku", "channel": "p[k]"}, "steps": [], "event_type": "view"}
    log = read(tmp_path, **told)
    assert [e[:2] for e in events(log)] == [(r["u"], x["sku"]) for r in rows for x in r["got"]]
    assert [log.ids["channel"].values[c].as_py() for c in log.ids["channel"].codes[::2]] == [f"v{n}" for n in range(50)]


def test_of_records_in_parquet_no_field_is_read_that_nobody_asks_for(tmp_path: Path):
    rows = [{"who": "a", "lines": [{"sku": "x", "note": "long"}, {"sku": "y", "note": "long"}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    asked: tuple[tuple[str, list[str]], ...] = (("sku", ["sku"]), ("", ["note", "sku"]), ("price", ["note", "sku"]))
    for name, fields in asked:  # entries are counted where the file has none of the fields, too
        names = {f"lines.{name}": pa.string()} if name else {}
        wanted = Wanted({"who": pa.string(), **names}, frozenset({"lines.price"}), explode=("lines",))
        (block,) = read_parquet(tmp_path / "log.parquet", wanted, ReaderSettings("parquet"), None)
        kind = block.table.schema.field("lines").type.value_type
        assert sorted(kind.field(i).name for i in range(kind.num_fields)) == fields


def test_a_line_whose_list_is_none_is_kept_aside_alone(tmp_path: Path):
    log = read(written(tmp_path, [CARTS[0], {**CARTS[0], "got": "x"}, "{broken", CARTS[1]]))
    assert [e[1] for e in events(log)] == ["x", "y", "x"]
    assert [r["row"] for r in log.rejected.to_pylist()] == [2, 3]


def test_a_name_that_leads_nowhere_is_told(tmp_path: Path, caplog):
    columns = {**CONFIG["columns"], "order_id": "meta.order"}
    read(written(tmp_path), columns=columns)
    assert "nothing was found at 'meta.order' in any file" in caplog.text
    with pytest.raises(UserError, match="no column 'gott'"):
        read(tmp_path, rows={"explode": "gott"}, columns={**columns, "item_id": "gott.sku"})


def test_keys_and_values_of_every_shape(tmp_path: Path):
    rows = [
        {"u": "a", "i": "x", "p": [{"key": "s", "value": {"text": None, "int": "17"}},
                                   {"key": "c", "value": {"text": 'E "U" R'}}]},
        {"u": "a", "i": "y", "p": []},
        {"u": "a", "i": "z", "p": [{"name": "c", "value": "USD"}, {"name": "c", "value": "late"}]},
        {"u": "b", "i": "z"},
    ]  # fmt: skip
    config = {"rows": {}, "steps": [], "timestamp": {}, "event_type": "view",
              "columns": {"user_id": "u", "item_id": "i", "session_id": "p[s]", "channel": "p[c]"}}  # fmt: skip
    log = read(written(tmp_path, rows), **config)
    for name, told in (("session_id", ["17", None, None, None]), ("channel", ['E "U" R', None, "USD", None])):
        assert [log.ids[name].values[c].as_py() if c >= 0 else None for c in log.ids[name].codes] == told
    maps = pa.array([[], [("a", 1), ("b", 2)], None, [("b", 3.5)]], pa.map_(pa.string(), pa.float64()))
    assert entry(maps, "b").to_pylist() == [None, "2", None, "3.5"]
    assert entry(maps.slice(3), "b").to_pylist() == ["3.5"]


LISTS = [
    (r"[1,2]", ["1", "2"]),
    (r"['a','b,c', 'It\'s']", ["a", "b,c", "It's"]),
    (r"[\'a\',\'b b\',\'It\\\'s\',\'\']", ["a", "b b", "It's", ""]),
    ('["q", "r\\"s"]', ["q", 'r"s']),
    ("[]", []),
    ("", None),
    (None, None),
    ("1,2", None),
]


def test_lists_in_a_cell_as_databases_write_them():
    found, bad = lists(pa.array([cell for cell, _ in LISTS]), pa.list_(pa.string()))
    assert found.to_pylist() == [said for _, said in LISTS]
    assert bad.tolist() == [False] * 7 + [True]
    kind = pa.list_(pa.struct({"id": pa.string(), "p": pa.string()}))
    found, bad = lists(pa.array(['[{"id":1,"p":2.50,"z":3}]', "[]", None, "{}", "[{"]), kind)
    assert found.to_pylist() == [[{"id": "1", "p": "2.5"}], [], None, None, None]
    assert bad.tolist() == [False, False, False, True, True]


def test_texts_of_json_in_a_cell_are_what_they_mean_and_null_is_nothing():
    cells = [
        json.dumps(["чай", 'a"b', "c\\d", "e\nf"]),
        json.dumps(["a", None, "null"]),
        "['a', None, nan]",
        "[NULL,2]",
    ]
    found, bad = lists(pa.array(cells), pa.list_(pa.string()))
    assert found.to_pylist() == [["чай", 'a"b', "c\\d", "e\nf"], ["a", None, "null"], ["a", None, None], [None, "2"]]
    assert not bad.any()


def test_parallel_lists_go_together_and_amounts_are_divided(tmp_path: Path):
    rows = [
        ["who", "what", "how", "much", "many"],
        ["9", r"[\'x\',\'y\']", r"[\'buy\',\'look\']", "[70000,0]", "[3,0]"],
        ["9", "[]", "[]", "[]", "[]"],
        ["9", "['x']", "['buy','buy']", "[1]", "[1]"],
        ["9", "x", "['buy']", "[1]", "[1]"],
        ["9", "['x']", "['buy']", "[]", "[2]"],
    ]
    config = {
        "raw": {"folder": "", "files": ["carts.tsv"]},
        "reader": {"format": "tsv", "quote": ""},
        "steps": [],
        "rows": {"explode": ["what", "how", "much", "many"], "empty": "leave_out"},
        "columns": {"user_id": "who", "item_id": "what", "price": "much", "quantity": "many"},
        "timestamp": {},
        "event_type": {"column": "how", "map": {"buy": "purchase", "look": "view"}},
        "divide_by": {"price": 1_000_000},
        "missing": {"quantity": ["0"], "price": ["0"]},
    }
    log = read(written(tmp_path, ["\t".join(row) for row in rows], "carts.tsv"), **config)
    assert [(e[1], e[2]) for e in events(log)] == [("x", 5), ("y", 1), ("x", 5)]
    assert log.price is not None
    assert log.quantity is not None
    assert str(log.price.tolist()) == "[0.07, nan, nan]"
    assert str(log.quantity.tolist()) == "[3.0, nan, 2.0]"
    assert log.left_out == {"empty lists": 1}
    assert [(r["row"], r["reason"], r["value"]) for r in log.rejected.to_pylist()] == [
        (4, "lists of different lengths", "1, 2, 1, 1"),
        (5, "not a list", "x"),
    ]


def test_what_was_left_out_stands_in_the_manifest(tmp_path: Path):
    folder = prepare_dataset(CONFIG, written(tmp_path), tmp_path / "out", progress=False)
    assert Prepared.open(folder).manifest["changes"]["left_out"] == {"other kinds of events": 1}
    later = [{**row, "t": row["t"] + 86_400} for row in CARTS]
    written(tmp_path, later, "later.jsonl")
    more = {**CONFIG, "raw": {"folder": "", "files": ["carts.jsonl", "later.jsonl"]}}
    longer = Prepared.open(extend_dataset(folder, more, tmp_path, tmp_path / "longer", progress=False))
    assert longer.manifest["changes"]["left_out"] == {"other kinds of events": 2}
    with pytest.raises(UserError, match=r"rows\.once.*prepare all files together"):
        extend_dataset(folder, {**more, "rows": {"once": "id"}}, tmp_path, tmp_path / "no", progress=False)


def test_a_log_of_other_kinds_alone_says_so(tmp_path: Path):
    with pytest.raises(UserError, match=r"no row is an event \(1 × other kinds of events\); look at event_type\.map"):
        read(written(tmp_path, [CARTS[2] | {"got": []}]))
    with pytest.raises(
        UserError, match=r"event_type\.others says what becomes of kinds beside the map; set event_type\.map"
    ):
        read(tmp_path, event_type={"column": "kind", "others": "leave_out"})
