"""A date in one column and the time of day in another are one time; dates alone are said to be no more than that."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.ingest.guesses.times import NO_CLOCK
from shopkeeper.timeline import iso

CONFIG = {
    "name": "shop",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "who", "item_id": "what", "timestamp": ["day", "at"]},
    "event_type": "purchase",
    "max_rejected_share": 0.5,
}


def made(folder: Path, **changes) -> Prepared:
    return Prepared.open(prepare_dataset({**CONFIG, **changes}, folder, folder / "out", progress=False))


def times(p: Prepared) -> list[str]:
    assert p.events.timestamp is not None
    return [iso(t) for t in p.events.timestamp]


def test_both_columns_make_the_instant_and_a_row_that_lacks_one_is_kept_aside(tmp_path: Path):
    rows = "a,i,2023-01-02,09:30:00\na,j,2023-01-01,10:00\nb,i, 2023-01-01 ,9:05:01\nb,j,,10:00\nb,k,2023-01-03,\n"
    (tmp_path / "log.csv").write_text("who,what,day,at\n" + rows)
    p = made(tmp_path, timestamp={"time_zone": "America/New_York"})
    assert sorted(times(p)) == ["2023-01-01T14:05:01Z", "2023-01-01T15:00:00Z", "2023-01-02T14:30:00Z"]
    assert p.manifest["rejected"] == {"day+at: no timestamp": 2}


def test_a_format_is_that_of_both_with_a_blank_between(tmp_path: Path):
    (tmp_path / "log.csv").write_text("who,what,day,at\na,i,31.12.2022,11:15 PM\n")
    assert times(made(tmp_path, timestamp={"format": "%d.%m.%Y %I:%M %p"})) == ["2022-12-31T23:15:00Z"]


def test_typed_columns_and_the_midnight_of_a_spreadsheet_are_read_alike(tmp_path: Path):
    table = pa.table(
        {
            "who": ["a", "b"],
            "what": ["i", "j"],
            "day": pa.array([dt.datetime(2023, 5, 1), dt.datetime(2023, 5, 2)], pa.timestamp("ns")),
            "at": pa.array([dt.time(9, 30), dt.time(10)], pa.time32("s")),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    raw = {"raw": {"folder": "", "files": ["log.parquet"]}, "reader": {"format": "parquet"}}
    assert sorted(times(made(tmp_path, **raw))) == ["2023-05-01T09:30:00Z", "2023-05-02T10:00:00Z"]


def test_a_number_of_seconds_is_one_column(tmp_path: Path):
    with pytest.raises(UserError, match=r"columns\.timestamp names 2 columns and timestamp\.unit"):
        made(tmp_path, timestamp={"unit": "s"})


@pytest.mark.parametrize(
    ("day", "clock", "format_"),
    [
        ("2023-01-{:02}", "{:02}:15:00", None),
        ("{:02}.01.2023", "{:02}:15", "%d.%m.%Y %H:%M"),
        ("2023/01/{:02}", "{:02}:15 AM", "%Y/%m/%d %I:%M %p"),
    ],
)
def test_new_dataset_sees_the_time_of_day_beside_the_date_and_takes_it_for_no_order_number(
    tmp_path: Path, day: str, clock: str, format_: str | None
):
    rows = [f"c{i % 3},i{i % 4},{day.format(i + 13)},{clock.format(i + 1)}" for i in range(11)]
    (tmp_path / "log.csv").write_text("\n".join(["customer,item,order_date,order_time", *rows]) + "\n")
    text = guess_dataset(tmp_path / "log.csv")
    config = yaml.safe_load(text)
    assert config["columns"] == {"user_id": "customer", "item_id": "item", "timestamp": ["order_date", "order_time"]}
    assert config["timestamp"].get("format") == format_
    assert NO_CLOCK not in text
    config.pop("defaults")
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert times(p)[0].endswith("T01:15:00Z")
    assert p.manifest["n_rejected"] == 0


@pytest.mark.parametrize("day", ["2023-01-{:02}", "{:02}.01.2023", "202301{:02}"])
def test_dates_alone_are_a_doubt(tmp_path: Path, day: str):
    rows = [f"c{i % 3},i{i % 4},{day.format(i + 13)}" for i in range(11)]
    (tmp_path / "log.csv").write_text("\n".join(["customer,item,order_date", *rows]) + "\n")
    assert f"# DOUBT: {NO_CLOCK}" in guess_dataset(tmp_path / "log.csv")


def test_times_with_a_time_of_day_are_no_such_doubt(tmp_path: Path):
    (tmp_path / "log.csv").write_text("customer,item,when\nc1,i1,2023-01-01 10:00:00\nc2,i2,2023-01-02 00:00:00\n")
    assert NO_CLOCK not in guess_dataset(tmp_path / "log.csv")
