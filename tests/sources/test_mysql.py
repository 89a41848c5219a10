"""MariaDB as a source by URL: values as they are, a password that is nowhere, one line for what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pymysql
import pytest

from servers.mariadb import server
from servers.postgres import PASSWORD
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.fetch import mysql
from shopkeeper.ingest.fetch.run import fetch
from sources.shop import events

ROWS = [(17, "cup", "2025-11-05 14:03:11", 9007199254740993, 2, "19.00"),
        (17, "pot's", "2025-11-05 14:03:11", 9007199254740993, 1, "30.10"),
        (18, "чай", "2025-11-06 00:30:00", 2, None, "9.50")]  # fmt: skip
QUERY = "SELECT customer, item, bought, number, units, paid FROM `order lines` ORDER BY number, item"


@pytest.fixture(scope="module")
def mariadb() -> Iterator[str]:
    with server() as port:
        with (
            pymysql.connect(
                host="127.0.0.1", port=port, user="shop", password=PASSWORD, database="shop", autocommit=True
            ) as shop,
            shop.cursor() as cursor,
        ):
            cursor.execute(
                "CREATE TABLE `order lines` (customer INT UNSIGNED, item VARCHAR(40) CHARACTER SET utf8mb4, "
                "bought DATETIME, stamped TIMESTAMP DEFAULT '2025-11-05 14:03:11', number BIGINT, units SMALLINT, "
                "paid DECIMAL(10,2), seal VARBINARY(2) DEFAULT X'FF00')"
            )  # fmt: skip
            columns = "(customer, item, bought, number, units, paid)"
            cursor.executemany(f"INSERT INTO `order lines` {columns} VALUES (%s, %s, %s, %s, %s, %s)", ROWS)
        yield f"mysql://shop:$SHOP_PASSWORD@127.0.0.1:{port}/shop"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)


def config(**entry: Any) -> dict[str, Any]:
    return {
        "name": "shop", "raw": {"folder": "", "fetch": [{"file": "lines.parquet", **entry}]},
        "reader": {"format": "parquet"}, "event_type": "purchase", "price_is": "total",
        "columns": {"user_id": "customer", "item_id": "item", "timestamp": "bought", "order_id": "number",
                    "quantity": "units", "price": "paid"},
        "timestamp": {"time_zone": "Europe/Berlin"},
    }  # fmt: skip


def test_a_query_of_mariadb_is_prepared_with_every_digit(tmp_path: Path, mariadb: str):
    told = config(url=mariadb, query=QUERY)
    assert fetch(parse(told), tmp_path) == ["lines.parquet"]
    p = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False))
    assert events(p) == [
        ("17", "cup", "purchase", "2025-11-05T13:03:11Z", 2.0, 19.0),
        ("17", "pot's", "purchase", "2025-11-05T13:03:11Z", 1.0, 30.1),
        ("18", "чай", "purchase", "2025-11-05T23:30:00Z", 0.0, 9.5),
    ]
    assert p.table("events.parquet")["order_id"].to_pylist() == ["9007199254740993", "9007199254740993", "2"]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes()


def test_a_whole_table_is_read_by_its_name_and_times_with_a_zone_come_in_utc(tmp_path: Path, mariadb: str):
    told = config(url=mariadb.replace("mysql:", "mariadb:"), table="shop.order lines")
    with pytest.raises(UserError, match=r"column 'seal' holds bytes that are no text; write HEX\(seal\)"):
        fetch(parse(told), tmp_path)
    query = "SELECT stamped, UNIX_TIMESTAMP(stamped) AS seconds, HEX(seal) AS seal FROM `order lines` LIMIT 1"
    fetch(parse(config(url=mariadb, query=query)), tmp_path)
    (row,) = pq.read_table(tmp_path / "lines.parquet").to_pylist()
    assert row["seal"] == "FF00"
    import datetime as dt

    at = dt.datetime.fromisoformat(row["stamped"]).replace(tzinfo=dt.UTC)
    assert at.timestamp() == float(row["seconds"])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"query": "SELECT * FROM nothing"}, "the query fails"),
        ({"query": "SELECT customer FROM `order lines` WHERE number = 99"}, "the query gives no rows"),
        ({"query": "SET @a = 1"}, "the statement gives no rows; write a SELECT"),
        ({"query": QUERY, "url": "mysql://shop:$SHOP_PASSWORD@127.0.0.1:9/shop"}, "cannot be reached"),
        ({"query": QUERY, "url": "mysql://shop:s3cret@127.0.0.1/shop"}, "holds a password or key"),
        ({"url": "mysql://shop@127.0.0.1/shop"}, "names a database; say query or table"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(tmp_path: Path, mariadb: str, entry: dict[str, Any], said: str):
    with pytest.raises(UserError) as error:
        fetch(parse(config(**{"url": mariadb, **entry})), tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "s3cret" not in str(error.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_settings_behind_the_address_are_refused_and_options_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: dict[str, Any] = {}
    monkeypatch.setattr(pymysql, "connect", lambda **settings: told.update(settings))
    url = "mysql://shop:$SHOP_PASSWORD@127.0.0.1/shop"
    with pytest.raises(UserError, match=r"behind the \? of a MySQL address are not read.*options: \{ssl_ca"):
        fetch(parse(config(url=f"{url}?ssl_ca=/ca.pem", query=QUERY)), tmp_path)
    assert told == {}
    mysql.connect(url, {"ssl_ca": "/ca.pem", "connect_timeout": 60}, 10)
    assert (told["ssl_ca"], told["connect_timeout"], told["port"]) == ("/ca.pem", 60, 3306)


def test_a_wrong_password_is_not_shown(tmp_path: Path, mariadb: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP_PASSWORD", "wr0ng/one")
    with pytest.raises(UserError, match="cannot be reached") as error:
        fetch(parse(config(url=mariadb, query=QUERY)), tmp_path)
    assert "wr0ng" not in str(error.value)
