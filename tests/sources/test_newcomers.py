"""A shop's folder as it comes: a renamed column, an order that is not finished, files that are no data."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from house import House
from shopkeeper import configuration
from shopkeeper.cli.main import main
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.dataset import matching
from shopkeeper.ingest.exports import known
from shopkeeper.ingest.guesses.files import given
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.pipeline.prepare import prepare

SHOPIFY = dict(known())["shopify_orders"].columns


def order(n: int, **more: str) -> dict[str, str]:
    """The first line of an order that one of 12 customers gave on day n."""
    first = {"Name": f"#{n}", "Email": f"c{n % 12}@x.com", "Financial Status": "paid", "Currency": "EUR",
             "Subtotal": "8.00", "Total": "8.00", "Discount Amount": "0.00", "Lineitem quantity": "1",
             "Created at": f"2025-{1 + n // 28:02d}-{1 + n % 28:02d} 10:00:00 +0100", "Lineitem price": "8.00",
             "Lineitem name": f"Thing {n % 5}", "Lineitem sku": f"T{n % 5}"}  # fmt: skip
    return {**first, **more}


def exported(folder: Path, rows: list[dict[str, str]], renamed: dict[str, str] | None = None) -> Path:
    path = folder / "orders_export_1.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([(renamed or {}).get(name, name) for name in SHOPIFY])
        table.writerows([[row.get(name, "") for name in SHOPIFY] for row in rows])
    return path


def test_an_unfinished_order_is_told_and_the_folder_is_called_as_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOPKEEPER_RAW", "raw")
    half = order(280, **dict.fromkeys(("Lineitem price", "Subtotal", "Total", "Lineitem sku"), ""))
    exported(tmp_path / "raw", [*map(order, range(280)), half])
    (tmp_path / "conf/dataset").mkdir(parents=True)
    text = guess_dataset(tmp_path / "raw", "shop")
    (tmp_path / "conf/dataset/shop.yaml").write_text(text)
    house = House(tmp_path)

    def prepared(*words: str) -> list[str]:
        caplog.clear()
        with caplog.at_level("INFO"):
            prepare(house._composed("prepare", ("dataset=shop", *words)))
        return [r.getMessage() for r in caplog.records]

    said = prepared()
    assert [line.partition(";")[0] for line in said if "without" in line] == ["  purchases without a price: 1"]
    found = Prepared.open(tmp_path / "data/prepared/shop")  # as it is called, though it points to a source
    assert found.manifest["unknown_of_purchases"] == {"price": 1, "quantity": 0}
    assert not any("already" in line for line in said)
    aside = prepared("+dataset.schema.price.required_for=[purchase]")  # the way out that was said
    assert any("1 × " in line or "rejected 1: " in line for line in aside)
    assert len(list((tmp_path / "data/prepared").glob("shop-*"))) == 1  # what the command line changes has a hash


@pytest.mark.parametrize("name", ["shopify_orders", "woocommerce_lines"])
def test_what_is_written_of_a_file_is_over_what_its_defaults_say(name: str, tmp_path: Path, monkeypatch: Any):
    (tmp_path / "conf/dataset").mkdir(parents=True)
    (tmp_path / "conf/dataset/own.yaml").write_text(
        f"defaults:\n  - /source@_here_: {name}\n  - _self_\n  - override /split@_global_.split: temporal\n"
        f"name: own\nraw: {{folder: own, files: [a.csv]}}\ntimestamp: {{time_zone: Europe/Berlin}}\n"
    )
    monkeypatch.chdir(tmp_path)
    found, source = configuration.written("dataset", "own"), configuration.written("source", name)
    assert {k: v for k, v in found.items() if k not in ("name", "raw", "timestamp")} == {
        k: v for k, v in source.items() if k != "timestamp"
    }
    assert found["timestamp"] == {**source.get("timestamp", {}), "time_zone": "Europe/Berlin"}


def test_a_column_that_was_renamed_is_told_with_its_nearest_name_and_a_way_out(tmp_path: Path):
    path = exported(tmp_path, [*map(order, range(30))], {"Lineitem sku": "Lineitem SKU"})
    with pytest.raises(UserError) as e:
        guess_dataset(path)
    assert "no column 'Lineitem sku' in the header. Did you mean 'Lineitem SKU'?" in str(e.value)
    assert str(e.value).endswith("write the usual name into the header, or export it again with all columns.")


@pytest.mark.parametrize(
    ("told", "valid", "near"),
    [
        ("SasRec", ["sasrec", "sasrec_history"], "sasrec"),
        ("price", ["prize", "PRICE"], "PRICE"),
        ("Sku", ["sku", "SKU"], "SKU"),
    ],
)
def test_a_name_in_another_case_is_nearest(told: str, valid: list[str], near: str):
    assert f" Did you mean '{near}'?" in nearest(told, valid)


def test_what_lies_beside_exports_and_is_no_data_is_not_read(tmp_path: Path):
    path = exported(tmp_path, [*map(order, range(30))])
    for other in ("~$orders_export_1.csv", ".DS_Store", "orders_export_2.csv.crdownload", "orders_export_3.part"):
        (tmp_path / other).write_bytes(b"\0lock")
    assert given(tmp_path).paths == (path,)
    assert matching(tmp_path, "*orders*.csv") == [path]
    assert matching(tmp_path, "~$*") == [tmp_path / "~$orders_export_1.csv"]  # where it is named


def test_a_dataset_that_there_is_not_says_how_one_is_made(capsys: pytest.CaptureFixture, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["prepare", "dataset=my_shop"])
    assert "`shopkeeper new-dataset <file or folder> --name my_shop` writes it" in capsys.readouterr().err
