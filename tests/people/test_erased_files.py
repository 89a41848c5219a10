"""`erased` reads what people and programs write: encodings, escapes, packed files, settings, nested tables."""

from __future__ import annotations

import gzip
import html
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import yaml
from test_consent import KEY, SHOP, shop

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.cli.erased import erased, print_erased
from shopkeeper.errors import UserError
from shopkeeper.people.rules import customer_rules
from shopkeeper.people.search import find_customer

Write = Callable[[Path], object]


def text(name: str, said: str, encoding: str = "utf-8") -> Write:
    return lambda folder: (folder / name).write_text(said, encoding=encoding)


def table(column: str, values: pa.Array) -> Write:
    return lambda folder: pq.write_table(pa.table({column: values}), folder / "t.parquet")


def database(said: str) -> Write:
    def write(folder: Path) -> None:
        with sqlite3.connect(folder / "some.db") as db:
            db.executescript(said)
        db.close()

    return write


def partition(folder: Path) -> None:
    (folder / "user_id=amy").mkdir()
    pq.write_table(pa.table({"x": [1]}), folder / "user_id=amy/part.parquet")


FOUND: dict[str, tuple[str, Write]] = {
    "a list in YAML": ("amy", text("config.yaml", yaml.safe_dump({"report": {"chosen": ["bob", "amy"]}}))),
    "a value in YAML": ("amy", text("config.yaml", "report:\n  chosen: amy\n")),
    "escaped in YAML": ("José", text("config.yaml", yaml.safe_dump({"chosen": ["José"]}))),
    "a word of a command": ("amy", text("overrides.yaml", "- run=models/x\n- user=amy\n")),
    "a list in a command": ("13085", text("overrides.yaml", "- report.chosen=[7,13085]\n")),
    "a command in a log": ("amy", text("train.log", "[2024][INFO] - report.chosen=[bob,amy]\n")),
    "a sentence": ("amy", text("train.log", "customer amy was there\n")),
    "UTF-16": ("amy", text("list.csv", "id\nbob\namy\n", "utf-16")),
    "the Windows code page": ("José", text("list.csv", "id\nbob\nJosé\n", "cp1252")),
    "an accent written apart": ("José", text("list.csv", "id\nbob\nJose\u0301\n")),
    "gzip": ("amy", lambda f: (f / "list.csv.gz").write_bytes(gzip.compress(b"id\namy\n"))),
    "escaped JSON lines": ("José", text("l.jsonl", '{"u":"bob"}\n' + json.dumps({"u": "José"}) + "\n")),
    "a number in JSON lines": ("13085", text("l.jsonl", '{"user_id": 1}\n{"user_id": 13085}\n')),
    "a quote in HTML": ("O'Brien", text("r.html", f"<td>{html.escape(chr(79) + chr(39) + 'Brien')}</td>")),
    "an ampersand in HTML": ("A&B", text("r.html", "<td>A&amp;B</td>")),
    "JSON in HTML": ("O'Brien", text("r.html", '<script>x = {"u": "O\\u0027Brien"}</script>')),
    "a doubled quote in CSV": ('a "b"', text("list.csv", 'id\n"a ""b"""\n')),
    "SQL": ("O'Brien", text("list.sql", "insert into x values ('O''Brien');\n")),
    "a suffix that nobody knows": ("amy", text("audience.dat", "bob|3\namy|3\n")),
    "a picture of letters": ("amy", text("plot.svg", "<svg><text>amy</text></svg>")),
    "an exponent that kept every digit": ("12345678", text("list.csv", "customer,x\n1.2345678E+07,3\n")),
    "Feather": ("amy", lambda f: feather.write_feather(pa.table({"id": ["amy"]}), f / "t.feather")),
    "a struct": ("amy", table("u", pa.array([{"id": "amy"}]))),
    "a map": ("amy", table("u", pa.array([[("amy", 1)]], pa.map_(pa.string(), pa.int32())))),
    "a list of structs": ("amy", table("u", pa.array([[{"who": "bob"}, {"who": "amy"}]]))),
    "bytes": ("amy", table("u", pa.array([b"amy"]))),
    "decimals": ("13085", table("customer_id", pa.array([13085], pa.decimal128(10, 2)))),
    "an account's number": ("13085", table("account", pa.array([13085]))),
    "what a table says of itself": ("amy", lambda f: pq.write_table(
        pa.table({"x": [1]}).replace_schema_metadata({"chosen": '["amy"]'}), f / "t.parquet")),
    "a partition": ("amy", partition),
    "a file's name": ("amy", text("amy.json", "{}")),
    "JSON in a database": ("amy", database("create table t(a text); insert into t values ('{\"user\": \"amy\"}');")),
    "a list in a database": ("amy", database("create table t(a text); insert into t values ('[''bob'', ''amy'']');")),
    "a number in a database": ("13085", database("create table t(user_id integer); insert into t values (13085);")),
    "bytes in a database": ("amy", database("create table t(a blob); insert into t values (x'616d79');")),
}  # fmt: skip


@pytest.mark.parametrize("what", FOUND)
def test_a_customer_is_found_as(tmp_path: Path, what: str):
    customer, write = FOUND[what]
    (tmp_path / "exports").mkdir()
    write(tmp_path / "exports")
    assert len(find_customer({customer}, tmp_path).traces) == 1
    for other in ("eve", "13", f"{customer}x", f"x{customer}", *([] if '"' in customer else [customer[:-1]])):
        assert find_customer({other}, tmp_path).gone, other


PACKED: dict[str, Write] = {
    "zip": lambda f: zipfile.ZipFile(f / "list.zip", "w").writestr("list.csv", "id\namy\n"),
    "Excel": lambda f: zipfile.ZipFile(f / "list.xlsx", "w").writestr("xl/sharedStrings.xml", "<t>amy</t>"),
    "pickle": lambda f: (f / "list.pkl").write_bytes(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x8c\x03amya."),
    "objects in NumPy": lambda f: np.save(f / "a.npy", np.array(["amy", 3], object), allow_pickle=True),
    "zstd": lambda f: (f / "list.csv.zst").write_bytes(b"\x28\xb5\x2f\xfd\x00"),
    "torn gzip": lambda f: (f / "list.csv.gz").write_bytes(gzip.compress(b"id\namy\n")[:-9]),
}


@pytest.mark.parametrize("what", PACKED)
def test_what_may_hold_texts_and_is_not_read_is_no_proof(tmp_path: Path, what: str):
    (tmp_path / "exports").mkdir()
    PACKED[what](tmp_path / "exports")
    found = find_customer({"amy"}, tmp_path)
    assert not found.gone
    assert "cannot be read" in found.unknown[0].where
    with pytest.raises(UserError, match="1 files cannot be read, so nobody can tell"):
        print_erased("amy", tmp_path)


def test_a_word_of_a_page_or_a_table_is_no_customer(tmp_path: Path):
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports/page.html").write_text("<script>let max = 3;</script><p>the max is 31</p>")
    shutil.copy(tmp_path / "exports/page.html", tmp_path / "exports/3f2a")  # as DVC's cache keeps it
    (tmp_path / "exports/a.csv").write_text("id,said\nbob,the max is 31\n")
    (tmp_path / "exports/trees.txt").write_text("num_leaves=31\nleaf_value=0.31 31\n")
    (tmp_path / "exports/config.yaml").write_text("resamples: 31\nmetric: maximum\n")
    assert find_customer({"max"}, tmp_path).gone
    assert find_customer({"31"}, tmp_path).gone


def test_pseudonyms_are_looked_for_under_the_key_of_each_dataset_and_without_it_nobody_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    raw = tmp_path / "raw"
    raw.mkdir()
    shop(raw)
    monkeypatch.delenv("SHOPKEEPER_PSEUDONYM_KEY", raising=False)
    monkeypatch.setenv("KEY_OF_THE_SHOP", KEY)
    config = SHOP | {"pseudonyms": {"key_env": "KEY_OF_THE_SHOP"}}
    prepare_dataset(config, raw, tmp_path / "data/prepared/shop", progress=False, change=customer_rules(config, raw))
    assert {path.name for path, _, times, _ in erased("zoe", tmp_path) if times} >= {"users.parquet"}
    assert erased("nobody", tmp_path) == []
    with pytest.raises(UserError, match="is still in"):
        print_erased("zoe", tmp_path)
    assert "'zoe' (and its pseudonym)" in capsys.readouterr().out
    for key in ("", "another secret of sixteen bytes"):
        monkeypatch.setenv("KEY_OF_THE_SHOP", key)
        assert [times for _, _, times, _ in erased("zoe", tmp_path)] == [0]
        with pytest.raises(UserError, match=r"KEY_OF_THE_SHOP does not hold their key .* nobody can tell"):
            print_erased("zoe", tmp_path)
    assert "gone" not in capsys.readouterr().out
    monkeypatch.setenv("SHOPKEEPER_PSEUDONYM_KEY", KEY)  # the usual variable holds that very key
    assert any(times for _, _, times, _ in erased("zoe", tmp_path))


def test_caches_and_remotes_of_dvc_artifact_stores_and_databases_are_looked_at_or_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root, cache = tmp_path / "shop", tmp_path / "cache"
    for place in (root / ".dvc", root / "models/run", cache):
        place.mkdir(parents=True)
    (root / ".dvc/config").write_text(
        f"[cache]\n    dir = {cache}\n['remote \"far\"']\n    url = s3://me:pass@bucket/x\n"
    )
    (root / "models/run/config.yaml").write_text(
        "tracking: {uri: 'sqlite:///runs.db', artifacts: 's3://artifacts/x'}\n"
        "tuning: {storage: 'postgresql://me:secret@db/studies'}\n"
    )
    print_erased("amy", root)
    said = capsys.readouterr().out
    for place in ("remote s3://bucket/x", "s3://artifacts/x", "postgresql://db/studies"):
        assert f"{place}; look for the customer there" in said
    assert "secret" not in said
    assert "pass" not in said
    pq.write_table(pa.table({"user_id": ["amy"]}), cache / "3f2a")
    assert [t.path.name for t in find_customer({"amy"}, root).traces] == ["3f2a"]


def test_prepared_data_that_lie_elsewhere_are_looked_at_where_a_run_names_them(tmp_path: Path):
    away = tmp_path / "disk/shop"
    away.mkdir(parents=True)
    pq.write_table(pa.table({"user_id": ["amy"]}), away / "users.parquet")
    run = tmp_path / "root/models/run"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text(json.dumps({"kind": "run", "prepared": str(away)}))
    assert [t.path.name for t in find_customer({"amy"}, tmp_path / "root").traces] == ["users.parquet"]


@pytest.mark.parametrize("mark", ["_manifest.json", ".unfinished.json"])
def test_answers_to_everybody_are_looked_at_wherever_they_lie(tmp_path: Path, mark: str):
    for place in ("for the mail", "outputs/answers"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / mark).write_text(json.dumps({"kind": "answers"}))
        pq.write_table(pa.table({"user_id": ["amy"]}), folder / "part-00000.parquet")
    traces = find_customer({"amy"}, tmp_path).traces
    assert {t.path.parent.name for t in traces} == {"for the mail", "answers"}
    assert all("then `shopkeeper answer` again without the customer" in t.step for t in traces)
