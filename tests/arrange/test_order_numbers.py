"""An order is a number of one customer on one day, in every engine, split, feature and extension."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from shopkeeper.arrange.engine_settings import Engine
from shopkeeper.arrange.extend import extend_dataset
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_tree
from shopkeeper.ingest.dataset import parse
from shopkeeper.splits.write import write_split
from shopkeeper.timeline import instant

TILL = {
    "name": "till",
    "raw": {"folder": "", "files": ["*.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "card", "item_id": "sku", "timestamp": "when", "order_id": "receipt", "quantity": "qty",
                "price": "price"},
    "event_type": "purchase",
}  # fmt: skip
HEADER = "receipt,card,sku,when,qty,price\n"
LOG = [
    "12,anna,milk,2023-01-03 10:00,1,2.0",
    "12,anna,bread,2023-01-03 10:00,1,3.0",
    "17,anna,milk,2023-02-07 11:00,1,2.0",
    "18,bert,milk,2023-02-08 10:00,1,2.0",
    "31,bert,bread,2023-05-08 10:00,1,3.0",
    "12,anna,milk,2023-06-20 10:00,1,2.0",
    "12,anna,honey,2023-06-20 10:00,1,4.0",
    "77,bert,milk,2023-06-28 10:00,1,2.0",
    "12,bert,milk,2023-06-28 11:00,1,2.0",
]


def made(folder: Path, lines: list[str], engine: str = "arrays", **changes) -> Prepared:
    raw = folder / "raw"
    raw.mkdir(exist_ok=True)
    (raw / "1.csv").write_text(HEADER + "\n".join(lines) + "\n")
    out = folder / engine
    return Prepared.open(prepare_dataset({**TILL, **changes}, raw, out, progress=False, engine=Engine(engine)))


def orders_of(p: Prepared) -> list[int]:
    return np.asarray(p.events.order).tolist()


def test_a_receipt_number_that_comes_back_months_later_is_another_order(tmp_path: Path):
    p = made(tmp_path, LOG)
    assert orders_of(p) == [1, 1, 2, 5, 5, 3, 4, 6, 1]
    texts = pq.read_table(p.path / "events.parquet")["order_id"].to_pylist()
    assert texts == ["12", "12", "17", "12", "12", "18", "31", "77", "12"]
    cohort = build_cohort(p, instant("2023-07-01", ""), 5, None, labels=False)
    of = dict(zip(cohort.feature_names, cohort.features[0].tolist(), strict=True))
    # orders on 3 January, 7 February, 20 June at 10, 11, 10 o'clock: gaps of 35.04 and 132.96 days
    assert (of["orders"], of["orders_30d"], of["money_30d"], round(of["days_since_order"], 2)) == (3, 1, 6, 10.58)
    assert round(of["gap_mean"], 6) == 84.0


def test_the_later_order_of_a_number_is_a_target_of_its_own(tmp_path: Path):
    p = made(tmp_path, LOG)
    spec = {"name": "temporal", "validation_days": 60, "test_days": 20, "target_events": ["purchase"]}
    requests, targets = Split.open(p, write_split(p, spec)).part("test")
    items = [[p.items["item_id"][i - 1].as_py() for i in t] for t in np.split(targets.item, targets.offsets[1:-1])]
    assert dict(zip(requests.user.tolist(), items, strict=True)) == {1: ["milk", "honey"], 2: ["milk"]}


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_engines_tell_orders_apart_alike(tmp_path: Path, engine: str):
    lines = [*LOG, *(f"0,cleo,s{i % 7},2023-0{1 + i % 6}-1{i % 5} 23:{10 + i}:00,1,1" for i in range(40))]
    assert sha256_tree(made(tmp_path, lines).path) == sha256_tree(made(tmp_path, lines, engine).path)


def test_an_order_over_midnight_is_one_and_the_same_number_next_morning_is_another(tmp_path: Path):
    late = ["5,anna,milk,2023-01-03 23:50,1,1", "5,anna,bread,2023-01-04 00:10,1,1", "5,anna,milk,2023-01-04 09:00,1,1",
            "5,anna,milk,2023-01-05 08:00,1,1"]  # fmt: skip
    assert orders_of(made(tmp_path, late)) == [1, 1, 1, 2]


def test_the_day_is_the_shops(tmp_path: Path):
    # 22:00 and 02:30 in UTC are 14:00 and 18:30 of one day in Los Angeles
    times = ["5,anna,milk,2023-01-03T22:00:00Z,1,1", "5,anna,bread,2023-01-04T02:30:00Z,1,1"]
    assert orders_of(made(tmp_path, times)) == [1, 2]
    there = made(tmp_path, times, timestamp={"time_zone": "America/Los_Angeles"})
    assert orders_of(there) == [1, 1]


def test_how_long_a_number_is_one_order_can_be_said(tmp_path: Path):
    assert orders_of(made(tmp_path, LOG, order_days=None)) == [1, 1, 2, 1, 1, 3, 4, 5, 1]
    assert orders_of(made(tmp_path, LOG, order_days=168)) == [1, 1, 2, 5, 5, 3, 4, 6, 1]
    assert orders_of(made(tmp_path, LOG, order_days=169)) == [1, 1, 2, 1, 1, 3, 4, 5, 1]
    with pytest.raises(UserError, match="order_days is 0; it must be a whole number of at least 1, or null"):
        parse({**TILL, "order_days": 0})


@pytest.mark.parametrize("cut", [2, 5, 6, 8])
def test_extending_tells_orders_apart_as_preparing_at_once_does(tmp_path: Path, cut: int):
    raw = tmp_path / "raw"
    raw.mkdir()
    first, second = (
        {**TILL, "raw": {"folder": "", "files": ["1.csv"]}},
        {**TILL, "raw": {"folder": "", "files": ["1.csv", "2.csv"]}},
    )
    (raw / "1.csv").write_text(HEADER + "\n".join(LOG[:cut]) + "\n")
    (raw / "2.csv").write_text(HEADER + "\n".join([*LOG[cut:], "12,anna,milk,2023-09-01 10:00,1,2.0"]) + "\n")
    old = prepare_dataset(first, raw, tmp_path / "old", progress=False)
    longer = extend_dataset(old, second, raw, tmp_path / "longer", progress=False)
    at_once = prepare_dataset(second, raw, tmp_path / "at_once", progress=False)
    skip = frozenset({"manifest.json"})
    assert sha256_tree(longer, skip=skip) == sha256_tree(at_once, skip=skip)
