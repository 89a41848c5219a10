"""`engine=spark` leaves what `engine=arrays` leaves, byte for byte: kept rows, rejected rows, filters, ids, order."""

from __future__ import annotations

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from engine_logs import SHOP, SPLIT, shop_files, shop_log

from shopkeeper.arrange.engine_settings import Engine
from shopkeeper.arrange.order_numbers import SENT_BEFORE
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_tree
from shopkeeper.people.rules import customer_rules
from shopkeeper.splits.write import write_split

ENGINE = Engine.of(
    {
        "name": "spark",
        "master": "local[2]",
        "memory": "1g",
        "shuffle_partitions": 2,
        "settings": {
            # Splits of 40 kB, so that a file is read in several of them.
            "spark.sql.files.maxPartitionBytes": 40_000,
            "spark.sql.files.openCostInBytes": 1,
            # Little work: planning and compiling it would take longer than doing it.
            "spark.sql.adaptive.enabled": "false",
            "spark.sql.codegen.wholeStage": "false",
            "spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        },
    }
)


@pytest.fixture(scope="module")
def spark():
    """A session that all tests of this file share; with CI=true pyspark and Java must be there."""
    missing = [name for name, there in (("pyspark", find_spec("pyspark")), ("java", shutil.which("java"))) if not there]
    if missing:
        reason = f"engine=spark cannot be tried: {', '.join(missing)} not installed"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    from shopkeeper.arrange.start_spark import session

    with session(ENGINE) as running:
        yield running


def both(tmp_path: Path, config: dict, raw: Path) -> tuple[Path, Path]:
    change = customer_rules(config, raw)
    arrays = prepare_dataset(config, raw, tmp_path / "arrays", progress=False, change=change)
    return arrays, prepare_dataset(config, raw, tmp_path / "spark", progress=False, change=change, engine=ENGINE)


def test_spark_leaves_the_same_bytes_and_the_same_targets_as_polars(spark, tmp_path: Path):
    arrays, other = both(tmp_path, SHOP, shop_files(tmp_path / "raw"))
    polars = prepare_dataset(SHOP, tmp_path / "raw", tmp_path / "polars", progress=False, engine=Engine("polars"))
    assert len(pq.read_table(arrays / "rejected.parquet")) == 7
    manifest = Prepared.open(arrays).manifest
    assert len(manifest["filters"]) == 7
    assert all(f["rows_after"] < f["rows_before"] for f in manifest["filters"])
    assert manifest["ties"]["rows"] > 10
    assert sha256_tree(other, skip=frozenset()) == sha256_tree(arrays, skip=frozenset())
    assert sha256_tree(other, skip=frozenset()) == sha256_tree(polars, skip=frozenset())
    hashes = set()
    for folder in (arrays, polars, other):
        p = Prepared.open(folder)
        hashes.add(Split.open(p, write_split(p, SPLIT)).target_hash())
    assert len(hashes) == 1


def test_orders_that_were_sent_again_are_left_out_alike(spark, tmp_path: Path):
    config = {**SHOP, "columns": {**SHOP["columns"], "order_id": "visit"}, "rows": {"orders": "first"}, "filters": {}}
    arrays, other = both(tmp_path, config, shop_files(tmp_path / "raw"))
    assert Prepared.open(arrays).manifest["changes"]["left_out"][SENT_BEFORE] > 100
    assert sha256_tree(other, skip=frozenset()) == sha256_tree(arrays, skip=frozenset())


def test_parquet_rows_keep_their_place_and_row_numbers_on_spark(spark, tmp_path: Path):
    rng = np.random.default_rng(0)
    n = 3000
    table = pa.table({"who": pa.array(rng.integers(0, 90, n)), "what": pa.array([f"i{i % 71}" for i in range(n)]),
                      "when": pa.array(1_600_000_000 + rng.integers(0, 50, n)),
                      "price": pa.array(np.where(np.arange(n) % 1000 == 17, -1.0, 2.5))})  # fmt: skip
    raw = tmp_path / "raw"
    raw.mkdir()
    pq.write_table(table, raw / "log.parquet", row_group_size=100)
    columns = {"user_id": "who", "item_id": "what", "timestamp": "when", "price": "price"}
    config = {"name": "p", "raw": {"files": ["log.parquet"]}, "reader": {"format": "parquet"}, "columns": columns,
              "timestamp": {"unit": "s"}, "event_type": "view", "filters": {"k_core": 5}}  # fmt: skip
    arrays, other = both(tmp_path, config, raw)
    assert pq.read_table(other / "rejected.parquet")["row"].to_pylist() == [18, 1018, 2018]
    assert sha256_tree(other, skip=frozenset()) == sha256_tree(arrays, skip=frozenset())


@pytest.mark.parametrize(
    ("reader", "line", "blank", "bad"),
    [
        ({"format": "blank_separated", "names": ["who", "what", "when"], "skip_lines": 2}, "{} {} {}", " \t ", "u1 i1"),
        ({"format": "json_lines"}, '{{"who": "{}", "what": "{}", "when": {}}}', "", '{"who": "u1"'),
    ],
)
def test_other_text_is_read_on_spark_with_the_same_rejects(
    spark, tmp_path: Path, reader: dict, line: str, blank: str, bad: str
):
    rng = np.random.default_rng(1)
    when = 1_600_000_000 + rng.integers(0, 40, 2500)
    lines = [line.format(f"u{i % 37}", f"i{i % 11}", t) for i, t in enumerate(when)]
    lines[1000:1000] = [blank, bad, blank]
    lines[:0] = ["# made", "# by hand"] if "skip_lines" in reader else []
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "log.txt").write_text("\n".join(lines))
    columns = {"user_id": "who", "item_id": "what", "timestamp": "when"}
    config = {"name": "t", "raw": {"files": ["log.txt"]}, "reader": reader, "event_type": "view", "columns": columns,
              "timestamp": {"unit": "s"}}  # fmt: skip
    arrays, other = both(tmp_path, config, raw)
    assert pq.read_table(other / "rejected.parquet")["row"].to_pylist() == [1002 + reader.get("skip_lines", 0)]
    assert sha256_tree(other, skip=frozenset()) == sha256_tree(arrays, skip=frozenset())


def test_a_record_over_two_lines_ends_in_an_error_that_names_its_line(spark, tmp_path: Path):
    lines = shop_log()
    lines[2000] = 'u1,"i\n1",1600000000,buy,1,1,,web,'
    raw = shop_files(tmp_path / "raw", lines)
    with pytest.raises(UserError, match=r"a \[1\] é.csv.gz, line 502: a quote is opened .*use engine=arrays"):
        prepare_dataset(SHOP, raw, tmp_path / "out", progress=False, engine=ENGINE)
    assert not (tmp_path / "out").exists()


def test_too_many_rejected_rows_stop_spark_with_the_same_message(spark, tmp_path: Path):
    raw, messages = shop_files(tmp_path / "raw"), []
    for engine in (None, ENGINE):
        with pytest.raises(UserError, match="max_rejected_share") as caught:
            prepare_dataset({**SHOP, "max_rejected_share": 0}, raw, tmp_path / "out", progress=False, engine=engine)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_what_looks_at_the_whole_log_is_done_before_spark_is_handed_it(spark, tmp_path: Path, monkeypatch):
    raw = shop_files(tmp_path / "raw", shop_log(1500))
    (raw / "erased.txt").write_text("user_id\nu7\nu11\n")
    agreed = [f"u{n},use,2020-09-01,{'' if n % 7 else '2020-10-05'}" for n in range(150)]
    (raw / "consent.txt").write_text("\n".join(["account,purpose,granted,withdrawn", *agreed]))
    monkeypatch.setenv("SHOP_KEY", "k" * 32)
    config = {**SHOP, "filters": {}, "erasure": {"file": "erased.txt"},
              "consent": {"file": "consent.txt", "purpose": "use"},
              "pseudonyms": {"key_env": "SHOP_KEY"}, "ties": {"order": "shuffled", "seed": 3}}  # fmt: skip
    arrays, other = both(tmp_path, config, raw)
    assert sha256_tree(other, skip=frozenset()) == sha256_tree(arrays, skip=frozenset())
    users = Prepared.open(other).users["user_id"].to_pylist()
    assert len(users) > 100
    assert not any(re.fullmatch("u[0-9]+", user) for user in users)


@pytest.mark.real
def test_ml_100k_is_the_same_on_spark(spark, raw: Path, tmp_path: Path):
    config = yaml.safe_load((Path(__file__).parents[2] / "conf" / "dataset" / "ml_100k.yaml").read_text())
    spark.conf.set("spark.sql.files.maxPartitionBytes", 500_000)
    arrays, other = both(tmp_path, {**config, "filters": {"k_core": 5}}, raw)
    assert sha256_tree(other, skip=frozenset()) == sha256_tree(arrays, skip=frozenset())


def test_spark_tells_orders_apart_that_share_a_number(tmp_path: Path, spark):
    raw = tmp_path / "raw"
    raw.mkdir()
    days = [f"{7 + i % 3},u{i % 2},i{i % 5},2023-0{1 + i % 6}-1{i % 5} 23:{10 + i}:00" for i in range(40)]
    (raw / "log.csv").write_text("\n".join(["bill,who,what,when", *days, ",u1,i1,2023-01-01"]) + "\n")
    columns = {"user_id": "who", "item_id": "what", "timestamp": "when", "order_id": "bill"}
    config = {"name": "till", "raw": {"folder": "", "files": ["log.csv"]}, "reader": {"format": "csv"},
              "columns": columns, "timestamp": {"time_zone": "Asia/Tokyo"}, "event_type": "purchase"}  # fmt: skip
    arrays, other = both(tmp_path, config, raw)
    assert sha256_tree(arrays, skip=frozenset()) == sha256_tree(other, skip=frozenset())
    assert len(set(Prepared.open(tmp_path / "arrays").events.order.tolist())) > 10


TILL = [
    ("a.csv", "bill,who,what,when,n,paid\n7,U1,x,2023-01-01,1,3\n7,U1,y,2023-01-01,2,4\n8,u2,x,2023-01-02,,5\n,,,,,\n"),
    ("b.csv", "bill,who,what,when,n,paid\n8,u2,x,2023-01-02,,5\n8,u2,z,2023-01-02,,6\n9,u1,y,2023-01-03,-1,4\n"),
    ("seen.csv", "who,what,when\nu2,y,2023-01-01T09:00\nU3,x,2023-01-01T10:00\n"),
]  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        {"raw": {"files": ["?.csv"]}, "rows": {"orders": "once"}, "columns": {"order_id": "bill", "price": "paid"},
         "steps": [{"text": {"column": "who", "lower": True}}]},
        {"raw": {"files": ["?.csv"]}, "optional": ["colour"], "columns": {"quantity": "n"},
         "items": {"from_events": {"colour": "colour"}}},
        {"logs": [{"files": ["?.csv"], "columns": {"order_id": "bill", "price": "paid"}, "event_type": "purchase"},
                  {"files": ["seen.csv"], "event_type": "view"}], "raw": {}},
        {"raw": {"files": ["a.csv"]}, "columns": {"timestamp": None}, "timestamp": {}, "order_by": ["bill", "paid"]},
        {"raw": {"files": ["a.csv"]}, "reader": {
            "format": "csv", "names": ["bill", "who", "what", "when", "n", "paid"], "header": "if_there"}},
    ],
    ids=["steps, orders once", "optional", "logs", "order_by", "header if there"],
)  # fmt: skip
def test_an_export_whose_rows_are_no_events_leaves_the_same_bytes_on_spark(spark, tmp_path: Path, told: dict):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, text in TILL:
        (raw / name).write_text(text)
    columns = {"user_id": "who", "item_id": "what", "timestamp": "when", **told.get("columns", {})}
    config: dict[str, Any] = {
        "name": "till", "reader": {"format": "csv"}, "event_type": "purchase", "timestamp": {"time_zone": "Asia/Tokyo"},
        "max_rejected_share": 0.5, **told, "columns": {ours: theirs for ours, theirs in columns.items() if theirs},
        "raw": {"folder": "", **told["raw"]},
    }  # fmt: skip
    arrays, other = both(tmp_path, config, raw)
    assert len(pq.read_table(arrays / "rejected.parquet")) >= 1
    assert sha256_tree(other, skip=frozenset()) == sha256_tree(arrays, skip=frozenset())


def test_spark_doubts_orders_of_several_files_as_arrays_do(spark, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    raw = tmp_path / "raw"
    raw.mkdir()
    first = ["1,a,x,2023-01-01 10:00:00", "1,a,y,2023-01-01 10:00:00", "2,b,x,2023-01-02 10:00:00",
             "3,c,x,2023-01-03 10:00:00"]  # fmt: skip
    second = ["1,a,x,2023-01-01 10:00:00", "3,c,y,2023-01-03 10:00:00", "2,b,x,2023-02-02 10:00:00",
              "4,b,z,2023-02-03 10:00:00", "4,b,z,2023-02-03 10:00:00"]  # fmt: skip
    for name, rows in (("1.csv", first), ("2.csv", second)):
        (raw / name).write_text("\n".join(["order,who,what,when", *rows]) + "\n")
    config = {
        "name": "shop", "target_events": ["purchase"], "raw": {"folder": "", "files": ["1.csv", "2.csv"]},
        "reader": {"format": "csv"}, "event_type": "purchase", "filters": {},
        "columns": {"user_id": "who", "item_id": "what", "timestamp": "when", "order_id": "order"},
    }  # fmt: skip
    both(tmp_path, config, raw)
    said = [r.getMessage() for r in caplog.records if "stand in several files" in r.getMessage()]
    # Order 1 was edited, 2 is another order of its number, 3 was cut in two by the end of a file, 4 has two lines.
    assert [text.partition(" stand")[0] for text in said] == ["shop: 2 lines of 1 orders"] * 2
    caplog.clear()
    prepare_dataset(config | {"rows": {"orders": "all"}}, raw, tmp_path / "told", progress=False, engine=ENGINE)
    assert "stand in several files" not in caplog.text


def test_missing_java_is_said_before_a_log_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    config = {
        "name": "shop", "raw": {"folder": "", "files": ["log.csv"]}, "reader": {"format": "csv"},
        "columns": {"user_id": "user", "item_id": "item"}, "event_type": "view", "optional": ["price"],
    }  # fmt: skip
    (tmp_path / "log.csv").write_text("who,what\na,x\n")
    said = "needs Java 17" if find_spec("pyspark") else "needs pyspark"  # and not that log.csv lacks its columns
    with pytest.raises(UserError, match=f"engine=spark {said}.*or engine=arrays"):
        prepare_dataset(config, tmp_path, tmp_path / "out", engine=ENGINE, progress=False)
    assert not (tmp_path / "out").exists()
