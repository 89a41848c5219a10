"""Prices in several currencies are no sum: `new-dataset` and `prepare` say so, and leave the rows as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from house import COLUMNS, House
from shopkeeper.ingest.guesses.currencies import several
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.pipeline.prepare import prepare

HEAD = "time,customer_id,product_id,price,currency"


def file(place: Path, currencies: list[str]) -> Path:
    rows = [f"2023-01-{1 + n % 28:02d} 12:00:00,c{n % 5},s{n % 3},10.5,{one}" for n, one in enumerate(currencies)]
    path = place / "sold.csv"
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    return path


def test_one_currency_is_written_down_and_kept_as_a_column(tmp_path: Path):
    text = guess_dataset(file(tmp_path, ["eur", "EUR", "EUR ", ""] * 10))
    assert yaml.safe_load(text)["currency"] == "EUR"
    assert yaml.safe_load(text)["extra"] == {"currency": "currency"}
    assert "currencies" not in text
    assert "not used" not in text


def test_several_are_a_doubt_with_the_share_of_each_and_no_kinds_of_events(tmp_path: Path):
    text = guess_dataset(file(tmp_path, ["EUR", "EUR", "JPY", "EUR"] * 10))
    assert "# DOUBT: prices are in 2 currencies (EUR 75.0%, JPY 25.0%), and sums of money mix them" in text
    assert "reject: [{column: currency, matches: '^(JPY)$', reason: not in EUR}]" in text
    assert "if 'currency' does" not in text
    assert "currency" not in yaml.safe_load(text)


def test_a_column_of_other_texts_or_a_log_without_prices_says_no_currency(tmp_path: Path):
    assert yaml.safe_load(guess_dataset(file(tmp_path, ["euro", "yen"] * 20)))["currency"] is None
    path = file(tmp_path, ["EUR", "JPY"] * 20)
    path.write_text(path.read_text().replace("price", "weight"))
    assert "currencies" not in guess_dataset(path)


def test_what_prices_are_said_to_be_in_comes_first_and_others_are_told():
    assert several({"EUR": 9}, "currency") == several({}, "currency", own="USD") == ""
    assert several({"EUR": 9}, "currency", own="EUR") == ""
    said = several({"EUR": 9}, "cur rency", own="USD")
    assert "2 currencies (USD 0.0%, EUR 100.0%)" in said
    assert "matches: '^(EUR)$', reason: not in USD" in said


@pytest.mark.parametrize("extra", [{"currency": "unit"}, {}])
def test_prepare_says_how_many_rows_are_in_which(
    extra: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.chdir(tmp_path)
    rows = [
        (f"c{n % 4}", f"s{n % 3}", f"2023-01-{1 + n:02d} 12:00:00", "" if n == 3 else "2.5", "usd" if n < 4 else "EUR")
        for n in range(28)
    ]
    house = House(tmp_path)
    house.dataset("two", rows, header=(*COLUMNS, "unit"), extra=extra)
    with caplog.at_level("WARNING"):
        prepare(house._composed("prepare", ("dataset=two",)))
    assert ("prices are in 2 currencies (EUR 88.9%, USD 11.1%)" in caplog.text) == bool(extra)  # 24 and 3 with a price
