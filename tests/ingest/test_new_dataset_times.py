"""How `new-dataset` finds the times of a log, and the windows that suit what it spans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import shopkeeper as sk
from ingest.looked_at import guess, rows
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.ingest.guesses import new_dataset


@pytest.mark.parametrize(
    ("apart", "windows"),
    [("3m", {"validation_share": 0.15, "test_share": 0.15}), ("20h", {"validation_days": 13, "test_days": 13}),
     ("3d", {"validation_days": 28, "test_days": 28})],
)  # fmt: skip
def test_windows_suit_what_the_file_spans(tmp_path: Path, apart: str, windows: dict[str, float]):
    at = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2030, 1, 1), apart, eager=True)[:99]
    rows = "".join(f"{t},c{n % 9},s{n % 7}\n" for n, t in enumerate(at))
    config, _ = guess(tmp_path, "time,customer_id,sku\n" + rows)
    assert config["temporal"] == windows


@pytest.mark.parametrize(
    ("days", "hours", "split", "windows"),
    [([1, 3, 5, 7, 9], 0, "temporal", {"validation_share": 0.15, "test_share": 0.15}),  # a day holds none
     ([1, 3, 5, 7, 8, 9], 9, "temporal", {"validation_days": 1, "test_days": 1}),
     ([1] * 9, 0, "leave_one_out", None)],
)  # fmt: skip
def test_of_a_few_rows_prepare_divides_what_is_proposed(
    tmp_path: Path, days: list[int], hours: int, split: str, windows: dict[str, float] | None
):
    rows = [(f"2024-03-{day:02} {10 + (n * hours) % 10}:00", f"c{n % 3}", f"s{n % 4}") for n, day in enumerate(days)]
    config, text = guess(tmp_path, "time,customer_id,sku\n" + "".join(",".join(row) + "\n" for row in rows))
    assert config.get("temporal") == windows
    assert f"override /split@_global_.split: {split}" in text
    frame = pl.read_csv(tmp_path / "My Shop-2020.csv").to_pandas()
    data = sk.Dataset.from_pandas(frame, user="customer_id", item="sku", time="time")
    assert (data.split, data.spec.get("temporal")) == (split, windows)
    assert sk.fit("popularity", data).task == "next_item"  # else a window without an event would be refused


@pytest.mark.parametrize("by_customer", [False, True])
def test_windows_suit_a_log_of_which_the_first_rows_were_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_customer: bool
):
    monkeypatch.setattr(new_dataset, "LOOKED_AT", 200)
    lines = [(f"2024-03-{1 + n // 20:02d} 12:{n % 20:02d}:00", f"c{n % 9}", f"s{n % 7}") for n in range(400)]
    lines = sorted(lines, key=lambda line: line[1]) if by_customer else lines
    config, _ = guess(tmp_path, "time,customer_id,sku\n" + "".join(",".join(line) + "\n" for line in lines))
    assert config["temporal"] == {"validation_days": 3, "test_days": 3}


@pytest.mark.parametrize(("form", "days"), [("%m/%d/%Y", 9), ("%d/%m/%Y", 9), ("%m/%d/%Y", 12)])
def test_first_days_of_a_month_are_no_twelfths_of_months(tmp_path: Path, form: str, days: int):
    """A wholesaler's file that begins on 1 December: all its first rows fit day and month in either order."""
    at = pl.datetime_range(pl.datetime(2010, 12, 1), pl.datetime(2010, 12, days, 23), "1h", eager=True)
    rows = "".join(f"{t:{form} %H:%M},c{n % 9},s{n % 7}\n" for n, t in enumerate(at))
    config, text = guess(tmp_path, "InvoiceDate,customer_id,sku\n" + rows)
    assert config["timestamp"]["format"] == f"{form} %H:%M"
    assert "is the day or the month first?" in text
    assert config["temporal"] == {"validation_days": 1, "test_days": 1}


def test_where_all_rows_were_read_windows_suit_their_days_and_not_what_the_first_ones_let_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The first half of the rows is of a busy fortnight: by the file's size 28 days of 181 were expected."""
    monkeypatch.setattr(new_dataset, "LOOKED_AT", 500)
    days = [n * 14 / 500 for n in range(500)] + [14 + n * 167 / 500 for n in range(500)]
    at = [np.datetime64("2024-01-01T00:00") + np.timedelta64(int(day * 1440), "m") for day in days]
    rows = "".join(f"{t},c{n % 9},s{n % 7},5.00\n" for n, t in enumerate(at))
    config, _ = guess(tmp_path, "time,customer_id,sku,price\n" + rows)
    assert config["churn"]["horizon_days"] == 7
    assert config["temporal"] == {"validation_days": 7, "test_days": 7}


def test_times_are_found_by_their_values_and_a_column_of_kinds_is_named(tmp_path: Path):
    lines = ["quand;client_id;product_id;geste;note"]
    lines += [
        f"{1 + i % 28:02d}.01.2024 10:00:00;c{i % 3};p{i % 5};{('voir', 'prendre')[i % 2]};{i}" for i in range(60)
    ]
    config, text = guess(tmp_path, "\n".join(lines) + "\n")
    assert config["columns"]["timestamp"] == "quand"
    assert config["timestamp"]["format"] == "%d.%m.%Y %H:%M:%S"
    assert "'quand' holds times" in text
    assert "if 'geste' does, write event_type" in text


@pytest.mark.parametrize(
    ("date", "format"),
    [
        ("{day:02d}.03.23 10:00", "%d.%m.%y %H:%M"),
        ("{day:02d}/03/23", "%d/%m/%y"),
        ("03/{day:02d}/23", "%m/%d/%y"),
        ("{day:02d}-03-2023", "%d-%m-%Y"),
        ("03-{day:02d}-2023 10:00", "%m-%d-%Y %H:%M"),
    ],
)
def test_short_years_and_dates_with_hyphens_are_times(date: str, format: str, tmp_path: Path):
    config, _ = guess(tmp_path, rows("1", date))
    assert config["timestamp"]["format"] == format
    prepared = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert np.datetime64(int(prepared.span[0]), "us").astype("datetime64[D]") == np.datetime64("2023-03-01")


def test_visitors_of_whom_too_few_buy_again_are_asked_about_in_the_windows_of_lists(tmp_path: Path):
    """Else no customer model runs: the dataset says nothing about churn, nor about what sessions end in."""
    at = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 3, 31), "6h", eager=True)
    lines = (
        f"{t},v{n // 2},s{n},{'order' if n % 9 == 0 else 'click'},p{n % 7},{f'o{n},9.90' if n % 9 == 0 else ','}"
        for n, t in enumerate(at)
    )
    config, _ = guess(tmp_path, "ts,visitor,session,event,product,order,price\n" + "\n".join(lines) + "\n")
    days = config["temporal"]["test_days"]
    assert config["churn"] == {"horizon_days": days, "active_days": days}
