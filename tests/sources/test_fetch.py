"""Databases by a query, object stores by URL: files below raw.folder, and nobody's password anywhere."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import fsspec
import psycopg
import pyarrow.parquet as pq
import pytest

from house import House, small_shop
from servers.postgres import PASSWORD, server
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.dataset_parts import Fetch
from shopkeeper.ingest.fetch.addresses import filled
from shopkeeper.ingest.fetch.run import fetch
from shopkeeper.ingest.log import read_log
from shopkeeper.pipeline.prepare import prepare

COLUMNS = {"user_id": "customer", "item_id": "item", "timestamp": "bought", "order_id": "number", "quantity": "units",
           "price": "price"}  # fmt: skip
QUERY = "SELECT customer, item, bought, number, units, price FROM lines ORDER BY number, item"
ROWS = [(17, "cup", "2025-11-05 14:03:11+01", 1, 2, "9.50"), (17, "pot", "2025-11-05 14:03:11+01", 1, 1, "30.00"),
        (18, "cup", "2025-11-06 00:30:00+01", 2, 1, "9.50"), (17, "jug", "2025-11-07 10:00:00+01", 3, 1, "5.25"),
        (17, "cup", "2025-11-08 10:00:00+01", 4, 3, "9.00")]  # fmt: skip


def config(*entries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": "shop",
        "raw": {"folder": "shop", "fetch": list(entries)},
        "reader": {"format": "parquet"},
        "columns": COLUMNS,
        "event_type": "purchase",
        **changes,
    }


def fetched(folder: Path, *entries: dict[str, Any], **changes: Any) -> list[str]:
    return fetch(parse(config(*entries, **changes)), folder)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A server that wants a password; its address, where `$SHOP_PASSWORD` is the password."""
    with server("scram-sha-256") as port:
        with psycopg.connect(host="127.0.0.1", port=port, user="shop", password=PASSWORD, dbname="postgres") as shop:
            shop.execute(
                "CREATE TABLE lines (customer bigint, item text, bought timestamptz, number bigint, units integer, "
                "price numeric(10,2))"
            )
            shop.cursor().executemany("INSERT INTO lines VALUES (%s, %s, %s, %s, %s, %s)", ROWS)
        yield f"postgresql://shop:$SHOP_PASSWORD@127.0.0.1:{port}/postgres"


def prepared(place: Path, monkeypatch: pytest.MonkeyPatch, **told: Any) -> Prepared:
    """`python prepare.py dataset=shop` in a folder of its own."""
    import yaml

    monkeypatch.chdir(place)
    house = House(place)
    house.dataset("shop", small_shop())
    told = {"defaults": [{"override /split@_global_.split": "leave_one_out"}], "target_events": ["purchase"],
            "filter_seen": False, **told}  # fmt: skip
    (place / "conf/dataset/shop.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    prepare(house._composed("prepare", ("dataset=shop",)))
    return Prepared.open(place / "data/prepared/shop")


def test_a_query_of_postgresql_is_prepared_and_the_password_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: str, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    caplog.set_level(logging.INFO)
    p = prepared(tmp_path, monkeypatch, **config({"url": postgres, "query": QUERY, "file": "lines.parquet"}))
    assert p.events.quantity.tolist() == [2, 1, 1, 3, 1]  # by customer, then time
    assert p.events.price.tolist() == [9.5, 30.0, 5.25, 9.0, 9.5]
    assert [str(t)[:19] for t in p.table("events.parquet")["timestamp"].to_pylist()] == [
        "2025-11-05 13:03:11", "2025-11-05 13:03:11", "2025-11-07 09:00:00", "2025-11-08 09:00:00",
        "2025-11-05 23:30:00",
    ]  # fmt: skip
    assert [(f["role"], f["name"]) for f in p.manifest["raw_files"]] == [("log", "lines.parquet")]
    assert "fetched lines.parquet from postgresql://127.0.0.1" in caplog.text
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    for said in [caplog.text.encode(), *written]:
        assert b"s3cret" not in said
        assert b"secret" not in said.replace(b"secrets", b"")
    assert "$SHOP_PASSWORD" in str(p.manifest["config"])


def test_prepare_asks_the_database_again_and_what_came_since_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: str
):
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    told = config({"url": postgres, "table": "lines", "file": "lines.parquet"})
    before = prepared(tmp_path, monkeypatch, **told)
    again = prepared(tmp_path, monkeypatch, **told)
    assert again.fingerprint == before.fingerprint
    address = {"host": "127.0.0.1", "port": int(postgres.rpartition(":")[2].partition("/")[0]), "user": "shop",
               "password": PASSWORD, "dbname": "postgres"}  # fmt: skip
    with psycopg.connect(**address) as shop:
        shop.execute("INSERT INTO lines VALUES (18, 'pot', '2025-11-07 10:00:00+01', 5, 1, 28.00)")
    try:
        assert prepared(tmp_path, monkeypatch, **told).manifest["n_events"] == 6
    finally:
        with psycopg.connect(**address) as shop:
            shop.execute("DELETE FROM lines WHERE number = 5")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"query": "SELECT * FROM nothing"}, "the query fails"),
        ({"query": "SELECT * FROM lines WHERE number = 99"}, "the query gives no rows"),
        ({"url": "postgresql://shop:$SHOP_PASSWORD@127.0.0.1:9/postgres"}, "cannot be reached"),
        ({"url": "postgresql://shop:$NOT_SET@127.0.0.1:9/postgres"}, "the environment variable NOT_SET is not set"),
        ({"url": "$SHOP_URL"}, "$SHOP_URL cannot be reached"),
    ],
)
def test_what_goes_wrong_is_one_line_without_the_password_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: str, entry: dict[str, str], said: str
):
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    monkeypatch.setenv("SHOP_URL", "postgresql://shop:other-s3cret@127.0.0.1:9/postgres")
    with pytest.raises(UserError) as error:
        fetched(tmp_path, {"url": postgres, "query": QUERY, "file": "lines.parquet", **entry})
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "s3cret" not in str(error.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_wrong_password_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: str):
    monkeypatch.setenv("SHOP_PASSWORD", "wr0ng/one")
    with pytest.raises(UserError, match="cannot be reached") as error:
        fetched(tmp_path, {"url": postgres, "query": QUERY})
    assert "wr0ng" not in str(error.value)


def test_sqlite_and_duckdb_are_files_that_are_only_read(tmp_path: Path):
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("CREATE TABLE lines (customer, item, bought, number, units, price)")
        shop.executemany("INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?)", ROWS)
    shop.close()
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as other:
        other.execute("CREATE TABLE lines AS SELECT 17 AS customer, 'cup' AS item, TIMESTAMP '2025-11-05' AS bought")
    entries = [
        {"url": f"sqlite:///{tmp_path}/shop.db", "query": QUERY, "file": "a.parquet"},
        {"url": f"duckdb:///{tmp_path}/shop.duckdb", "table": "main.lines", "file": "b.parquet"},
    ]
    assert fetched(tmp_path, *entries) == ["a.parquet", "b.parquet"]
    assert pq.read_table(tmp_path / "shop/a.parquet")["item"].to_pylist() == ["cup", "pot", "cup", "jug", "cup"]
    assert pq.read_table(tmp_path / "shop/b.parquet")["customer"].to_pylist() == [17]
    with pytest.raises(UserError, match=r"none\.db is missing"):
        fetched(tmp_path, {"url": f"sqlite:///{tmp_path}/none.db", "query": QUERY})


def test_an_order_of_two_views_is_said_to_count_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("CREATE TABLE lines (bill, who, what, at)")
        rows = [(n // 2, f"c{n // 2 % 3}", f"i{n % 2}", f"2025-11-{1 + n // 2:02d}") for n in range(20)]
        shop.executemany("INSERT INTO lines VALUES (?, ?, ?, ?)", rows)
    of = {"november": "at < '2025-11-08'", "latest": "at > '2025-11-05'"}  # both hold the 6th and 7th: 4 lines
    entries = [{"url": f"sqlite:///{tmp_path}/shop.db", "query": f"SELECT * FROM lines WHERE {which}",
                "file": f"{name}.parquet"} for name, which in of.items()]  # fmt: skip
    columns = {"order_id": "bill", "user_id": "who", "item_id": "what", "timestamp": "at"}

    def events(**changes: Any) -> int:
        caplog.clear()
        told = {"name": "shop", "raw": {"folder": "", "fetch": entries}, "reader": {"format": "parquet"},
                "columns": columns, "event_type": "purchase", **changes}  # fmt: skip
        fetch(parse(told), tmp_path)
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        return int(Prepared.open(prepare_dataset(told, tmp_path, out, progress=False)).manifest["n_events"])

    twice = "shop: 4 lines of 2 orders stand in several files or entries of raw.fetch and count twice"
    assert events() == 24
    assert twice in caplog.text
    for settled, n in (({"rows": {"orders": "once"}}, 20), ({"rows": {"orders": "all"}}, 24),
                       ({"filters": {"repeats": {"seconds": 0}}}, 20)):  # fmt: skip
        assert events(**settled) == n
        assert twice not in caplog.text


def test_files_of_a_store_are_copied_once_again_when_they_change_and_go_when_they_have_gone(tmp_path: Path):
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/orders/day=1/a.csv", b"customer,item\nc1,cup\n")
    store.pipe("/bucket/orders/day=2/b.csv", b"customer,item\nc2,pot\n")
    entry = {"url": "memory://bucket/orders/day=*/*.csv"}
    try:
        assert fetched(tmp_path, entry) == ["day=1/a.csv", "day=2/b.csv"]
        assert parse(config(entry)).files == ("day=*/*.csv",)
        first = (tmp_path / "shop/day=1/a.csv").stat().st_ino
        store.pipe("/bucket/orders/day=3/c.csv", b"customer,item\nc3,pan\n")
        store.rm("/bucket/orders/day=2/b.csv")
        assert fetched(tmp_path, entry) == ["day=1/a.csv", "day=3/c.csv"]
        assert (tmp_path / "shop/day=1/a.csv").stat().st_ino == first, "it had not changed"
        assert not (tmp_path / "shop/day=2/b.csv").exists()
        store.pipe("/bucket/orders/day=1/a.csv", b"customer,item\nc1,jug\n")
        fetched(tmp_path, entry)
        assert b"jug" in (tmp_path / "shop/day=1/a.csv").read_bytes()
        with pytest.raises(UserError, match="nothing there is called so"):
            fetched(tmp_path, {"url": "memory://bucket/other/*.csv"})
    finally:
        store.rm("/bucket", recursive=True)


def test_two_entries_do_not_write_one_file_and_a_file_of_two_patterns_is_read_once(tmp_path: Path):
    queries = [{"url": f"sqlite:///{tmp_path}/shop.db", "query": f"{QUERY} LIMIT {n}"} for n in (1, 2)]
    with pytest.raises(UserError, match=r"raw\.fetch\[1\] and an entry above it both write data\.parquet"):
        parse(config(*queries))
    store = fsspec.filesystem("memory")
    row = b'{"customer": "c1", "item": "cup"}\n'
    store.pipe({"/bucket/a/one.json": row, "/bucket/b/two.json": row})
    columns = {"user_id": "customer", "item_id": "item"}
    entries = [{"url": f"memory://bucket/{part}/*.json"} for part in "ab"]
    told = config(*entries, reader={"format": "json_lines"}, columns=columns)
    try:
        assert fetch(parse(told), tmp_path) == ["one.json", "two.json"]
        assert len(read_log(parse(told), tmp_path, progress=False)) == 2
        store.mv("/bucket/b/two.json", "/bucket/b/one.json")
        with pytest.raises(UserError, match=r"one\.json is called like a file of another entry of raw\.fetch"):
            fetch(parse(told), tmp_path)
    finally:
        store.rm("/bucket", recursive=True)


def test_the_notes_of_what_was_fetched_are_no_file_of_the_log(tmp_path: Path):
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/day1.json", b'{"customer": "c1", "item": "cup"}\n')
    columns = {"user_id": "customer", "item_id": "item"}
    told = config({"url": "memory://bucket/*.json"}, reader={"format": "json_lines"}, columns=columns)
    try:
        fetch(parse(told), tmp_path)
        assert len(read_log(parse(told), tmp_path, progress=False)) == 1
        (tmp_path / "shop/day1.json").unlink()
        assert fetch(parse(told), tmp_path, only_missing=True) == ["day1.json"]
    finally:
        store.rm("/bucket", recursive=True)


def test_a_file_of_a_web_server_is_fetched_whole_and_one_that_it_has_not_is_said(tmp_path: Path):
    (tmp_path / "there").mkdir()
    text = "customer,item\n" + "".join(f"c{i},cup\n" for i in range(300_000))  # more than one piece
    (tmp_path / "there/orders.csv").write_text(text)
    there = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "there"))
    with ThreadingHTTPServer(("127.0.0.1", 0), there) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{web.server_port}"
        assert fetched(tmp_path, {"url": f"{address}/orders.csv"}) == ["orders.csv"]
        assert (tmp_path / "shop/orders.csv").read_text() == text
        with pytest.raises(UserError, match="nothing there is called so"):
            fetched(tmp_path, {"url": f"{address}/order.csv"})
        with pytest.raises(UserError, match=r"raw\.fetch\[0\]\.file leads out of raw\.folder"):
            fetched(tmp_path, {"url": f"{address}/orders.csv", "file": "../orders.csv"})
        web.shutdown()


def test_what_stands_behind_a_question_mark_is_no_part_of_a_files_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("SHOP_TOKEN", "s3cret")
    caplog.set_level(logging.INFO)
    (tmp_path / "there").mkdir()
    (tmp_path / "there/orders.csv").write_text("customer,item\nc1,cup\n")
    there = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "there"))
    with ThreadingHTTPServer(("127.0.0.1", 0), there) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{web.server_port}/orders.csv?token=$SHOP_TOKEN"
        assert fetched(tmp_path, {"url": url}) == ["orders.csv"]
        web.shutdown()
    assert sorted(path.name for path in (tmp_path / "shop").iterdir()) == [".fetched.json", "orders.csv"]
    assert "s3cret" not in caplog.text + (tmp_path / "shop/.fetched.json").read_text()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"url": "postgresql://shop:s3cret@db/shop", "query": QUERY}, "holds a password or key"),
        ({"url": "https://shop.example/orders.csv?token=s3cret"}, "holds a password or key"),
        ({"url": "s3://bucket/orders.csv", "options": {"key": "AKIA", "secret": "s3cret"}}, "holds a password or key"),
        ({"url": "https://b.example/orders.csv?X-Amz-Date=1&X-Amz-Signature=s3cret"}, "holds a password or key"),
        ({"url": "https://b.example/orders.csv?sv=2022&sig=s3cret%3D&se=2026"}, "holds a password or key"),
        ({"url": "https://b.example/orders.csv?api-key=s3cret"}, "holds a password or key"),
        ({"url": "s3://b/o.csv", "options": {"client_kwargs": {"access_key": "s3cret"}}}, "holds a password or key"),
        ({"url": "s3://b/o.csv", "options": {"h": {"Authorization": "Bearer s3cret"}}}, "holds a password or key"),
        ({"url": "postgresql://shop@db/shop"}, "names a database; say query or table"),
        ({"url": "s3://bucket/orders.csv", "query": QUERY}, "its url is no database"),
        ({"url": "orders.csv"}, "is no URL"),
        ({"url": "nothing://bucket/orders.csv"}, "install what it needs, or correct the URL"),
        ({"url": "http://127.0.0.1:9/orders.csv"}, "cannot be reached"),
    ],
)
def test_an_address_that_cannot_be_is_said_before_anything_is_asked(tmp_path: Path, entry: dict[str, Any], said: str):
    with pytest.raises(UserError) as error:
        fetched(tmp_path, entry)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "s3cret" not in str(error.value)


def test_a_password_that_hydra_puts_into_a_config_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP_PASSWORD", "s3cret")
    told = config({"url": "postgresql://shop:${oc.env:SHOP_PASSWORD}@db/shop", "query": QUERY})
    with pytest.raises(UserError, match=r"raw\.fetch\[0\] holds a password or key.*write \$NAME") as error:
        prepared(tmp_path, monkeypatch, **told)
    assert "s3cret" not in str(error.value)


def test_what_a_driver_repeats_of_a_variable_is_taken_out_of_its_message(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    monkeypatch.setenv("STORE_KEY", "AKIA-s3cret")
    entry = Fetch("postgresql://shop:$SHOP_PASSWORD@db/shop", table="lines", options={"key": "$STORE_KEY"})
    address = filled(entry)
    assert address.url == "postgresql://shop:shop%27s%2Fs3cret%40home@db/shop"
    assert address.options == {"key": "AKIA-s3cret"}
    said = address.hidden(f"no user with {PASSWORD}\nor shop%27s%2Fs3cret%40home,\nkey AKIA-s3cret")
    assert said == "no user with $SHOP_PASSWORD or $SHOP_PASSWORD, key $STORE_KEY"
    assert entry.shown == address.shown == "postgresql://db/shop"


def test_variables_are_put_into_options_however_deep_they_stand(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STORE_KEY", "AKIA-s3cret")
    deep = {"client_kwargs": {"headers": {"Authorization": "Bearer $STORE_KEY"}, "of": ["$STORE_KEY", 1]}}
    entry = parse(config({"url": "https://b.example/orders.csv", "options": deep})).fetch[0]
    address = filled(entry)
    assert address.options == {"client_kwargs": {"headers": {"Authorization": "Bearer AKIA-s3cret"},
                                                 "of": ["AKIA-s3cret", 1]}}  # fmt: skip
    assert address.hidden("Bearer AKIA-s3cret is refused") == "Bearer $STORE_KEY is refused"
