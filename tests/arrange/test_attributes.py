"""Item and user tables: attributes come along, in the right row, as they were known at the instant asked about."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.features.point_in_time import attributes_as_of
from shopkeeper.ingest.matches import as_line, doubtful, matches_of

CONFIG = {
    "name": "shop",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "user", "item_id": "item", "timestamp": "time"},
    "timestamp": {"unit": "s"},
    "items": {"file": "items.csv", "id": "sku", "lists": {"tags": "|"}},
    "users": {"file": "users.csv", "id": "who", "valid_from": "since", "timestamp": {}},
}
LOG = "user,item,time,label\nbo,pen,1600000001,P2\nal,ink,1600000000,I\nal,pen,1600000000,P1\n"
ITEMS = "sku,tags,year\npen,write|blue,1999\nglue,stick,2001\nink,,\n"
USERS = "who,since,tier\nal,2020-01-01,gold\nbo,2020-02-01,silver\nal,2020-03-01,basic\nzoe,2020-01-01,gold\n"


def prepare(tmp_path: Path, **files: str) -> Prepared:
    changes = files.pop("config", {})
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    for name, text in {"log": LOG, "items": ITEMS, "users": USERS, **files}.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return Prepared.open(prepare_dataset({**CONFIG, **changes}, tmp_path, tmp_path / "out", progress=False))


def micros(day: str) -> int:
    return int(np.datetime64(day, "us").astype(np.int64))


def test_attributes_lie_in_the_row_of_their_item_and_are_typed(tmp_path: Path):
    items = prepare(tmp_path).items
    assert items.to_pylist() == [
        {"item": 1, "item_id": "ink", "tags": None, "year": None},
        {"item": 2, "item_id": "pen", "tags": ["write", "blue"], "year": 1999},
    ]


def test_attributes_are_joined_as_they_were_known_at_the_instant(tmp_path: Path):
    p = prepare(tmp_path)
    assert p.users.column_names == ["user", "user_id"]  # versions stay out of the table that knows no instant
    versions = pq.read_table(p.path / "user_versions.parquet")
    al, bo = 1, 2
    asked = [(al, "2019-12-31"), (bo, "2020-02-01"), (al, "2020-02-29"), (al, "2020-03-01"), (bo, "2020-01-31")]
    found = attributes_as_of(versions, np.array([micros(d) for _, d in asked]), np.array([u for u, _ in asked]))
    assert found["user"].to_pylist() == [u for u, _ in asked]
    assert found["tier"].to_pylist() == [None, "silver", "gold", "basic", None]


def test_an_empty_version_table_knows_nothing():
    table = pa.table(
        {
            "user": pa.array([], pa.int32()),
            "valid_from": pa.array([], pa.timestamp("us", "UTC")),
            "tier": pa.array([], pa.string()),
        }
    )
    assert attributes_as_of(table, np.array([5, 6]))["tier"].to_pylist() == [None, None]


def test_attributes_from_the_log_are_the_first_known_ones(tmp_path: Path):
    p = prepare(tmp_path, config={"items": {"from_events": {"label": "label"}}, "users": {}})
    assert p.items["label"].to_pylist() == ["I", "P1"]


def test_a_second_row_for_an_item_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(UserError, match=r"items.csv: item 'pen' has more than one row"):
        prepare(tmp_path, items=ITEMS + "pen,x,1\n")


def test_a_missing_attribute_column_or_bad_date_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"items.csv: no column 'sku'. Did you mean 'skv'"):
        prepare(tmp_path, items=ITEMS.replace("sku", "skv"))
    with pytest.raises(UserError, match=r"users.csv, data row 2, column 'since': not a time ISO"):
        prepare(tmp_path, users=USERS.replace("2020-02-01", "soon"))


ZEROS = {"log": "user,item,time,label\nal,007,1600000000,\nbo,012,1600000001,\n", "users": USERS}


def test_a_table_that_matches_nothing_is_said_and_that_only_zeros_are_missing(tmp_path: Path):
    p = prepare(tmp_path, **ZEROS, items="sku,tags,year\n7,a,1\n12,b,2\n")
    (items, users) = matches_of(p.manifest)
    assert doubtful(items)
    assert as_line(items).startswith(
        "items.csv: 0 of 2 items matched; 2 ids differ by leading zeros only ('007' in the log, '7' in the table); look"
    )
    assert not doubtful(users)
    assert as_line(users) == "users.csv: 2 of 2 customers matched"


@pytest.mark.parametrize(("rows", "doubt"), [("pen,a,1\n", False), ("glue,a,1\n", True), ("PEN,a,1\nink,b,2\n", True)])
def test_a_table_that_matches_little_or_but_for_its_spelling_is_a_doubt(rows: str, doubt: bool, tmp_path: Path):
    (items, _) = matches_of(prepare(tmp_path, items="sku,tags,year\n" + rows).manifest)
    assert doubtful(items) == doubt


def test_no_customer_is_named_where_a_table_of_customers_matches_nobody(tmp_path: Path):
    p = prepare(tmp_path, users=USERS.replace("al,", "AL,").replace("bo,", "BO,"))
    (_, users) = matches_of(p.manifest)
    assert (users["found"], users["but_for_case"], users["example"]) == (0, 2, None)
    assert "0 of 2 customers matched; 2 ids differ by capital letters only; look at users.id" in as_line(users)


def test_an_attribute_from_the_log_is_known_since_the_event_that_showed_it_first(tmp_path: Path):
    p = prepare(tmp_path, config={"items": {"from_events": {"label": "label"}}, "users": {}})
    second = 1_000_000
    never = np.iinfo(np.int64).max
    assert p.known_since("items", "label").tolist() == [never, 1600000000 * second, 1600000000 * second]
    assert p.known_since("items", "year") is None
    late = LOG.replace("al,pen,1600000000,P1", "al,pen,1600000000,") + "al,cup,1600000002,\n"
    later = prepare(tmp_path, log=late, config={"items": {"from_events": {"label": "label"}}, "users": {}})
    assert later.items["label"].to_pylist() == ["I", "P2", None]
    assert later.known_since("items", "label").tolist() == [never, 1600000000 * second, 1600000001 * second, never]


@pytest.mark.parametrize(
    "keys", [("al@shop.org", "BO@Shop.org"), ("+44 20 7946 0018", "0033 6 12 34 56 78"), ("ab" * 32, "")]
)
def test_what_customers_are_reached_by_is_no_attribute(tmp_path: Path, keys: tuple[str, str]):
    who = "who,since,tier,reach\n" + "".join(
        f"{u},2020-01-01,gold,{k}\n" for u, k in zip(("al", "bo"), keys, strict=True)
    )
    plain = {"file": "users.csv", "id": "who"}
    for users in (plain, {**plain, "valid_from": "since", "timestamp": {}}):
        with pytest.raises(
            UserError, match=r"users\.csv: the column 'reach' holds .*; name the others in users\.columns"
        ):
            prepare(tmp_path, users=who, config={"users": users})
    told = {**plain, "columns": {"tier": "tier"}}  # the way out
    assert prepare(tmp_path, users=who, config={"users": told}).users.column_names == ["user", "user_id", "tier"]
    log = f"user,item,time,label\nbo,pen,1600000001,{keys[0]}\nal,ink,1600000000,{keys[1]}\n"
    with pytest.raises(UserError, match=r"the column 'mail' holds .*; take it out of users\.from_events"):
        prepare(tmp_path, log=log, config={"users": {"from_events": {"mail": "label"}}})
