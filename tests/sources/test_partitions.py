"""Parquet in folders of partitions: what the folders' names say are columns of the files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError

CONFIG = {
    "name": "shop",
    "raw": {"folder": "", "files": ["log/**/*.parquet"]},
    "reader": {"format": "parquet"},
    "columns": {"user_id": "customer", "item_id": "item", "timestamp": ["day", "clock"], "channel": "shop"},
    "event_type": "view",
    "max_rejected_share": 0.5,
}


def write(folder: Path) -> None:
    table = pa.table({
        "customer": ["a", "b", "a", None], "item": ["x", "y", "z", "x"],
        "clock": ["10:00:00", "11:00:00", "12:00:00", "13:00:00"],
        "day": ["2025-11-05", "2025-11-05", "2025-11-06", "2025-11-06"], "shop": ["A/B", None, "A/B", "C"],
    })  # fmt: skip
    ds.write_dataset(table, folder / "log", format="parquet", partitioning=["day", "shop"], partitioning_flavor="hive")


def test_partitions_are_columns_and_part_of_a_files_name(tmp_path: Path):
    write(tmp_path)
    p = Prepared.open(prepare_dataset(CONFIG, tmp_path, tmp_path / "out", progress=False))
    table = p.table("events.parquet")
    rows = zip(table["timestamp"].to_pylist(), table["channel"].to_pylist(), strict=True)
    assert sorted((str(when)[:19], str(shop)) for when, shop in rows) == [
        ("2025-11-05 10:00:00", "A/B"), ("2025-11-05 11:00:00", "None"), ("2025-11-06 12:00:00", "A/B"),
    ]  # fmt: skip
    (rejected,) = p.table("rejected.parquet").to_pylist()
    assert rejected["file"].startswith("day=2025-11-06/shop=C/")
    assert rejected["reason"] == "no user_id"


def test_a_partition_that_is_misspelt_is_said_with_those_there_are(tmp_path: Path):
    write(tmp_path)
    with pytest.raises(UserError, match=r"no column 'shops' in the header\. Did you mean 'shop'"):
        prepare_dataset(CONFIG | {"extra": {"shops": "shops"}}, tmp_path, tmp_path / "out", progress=False)
