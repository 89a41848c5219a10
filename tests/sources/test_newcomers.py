"""A shop's folder as it comes: a renamed column, an order that is not finished, files that are no data."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from house import House
from shopkeeper import configuration
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.cli.main import main
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.exports import known
from shopkeeper.ingest.guesses.files import given
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.ingest.log import shown_share
from shopkeeper.ingest.raw import matching
from shopkeeper.pipeline.context import customer_spec
from shopkeeper.pipeline.prepare import prepare
from shopkeeper.pipeline.told import Train, settings

SHOPIFY = dict(known())["shopify_orders"].columns


def order(n: int, **more: str) -> dict[str, str]:
    """The first line of an order that one of 12 customers gave on day n."""
    first = {"Name": f"#{n}", "Email": f"c{n % 12}@x.com", "Financial Status": "paid", "Currency": "EUR",
             "Subtotal": "8.00", "Total": "8.00", "Discount Amount": "0.00", "Lineitem quantity": "1",
             "Created at": f"2025-{1 + n // 28:02d}-{1 + n % 28:02d} 10:00:00 +0100", "Lineitem price": "8.00",
             "Lineitem name": f"Thing {n % 5}", "Lineitem sku": f"T{n % 5}"}  # fmt: skip
    return {**first, **more}


def described(folder: Path, log: Path, name: str) -> House:
    """A project folder in which the log is described as `new-dataset` proposes."""
    (folder / "conf/dataset").mkdir(parents=True)
    (folder / f"conf/dataset/{name}.yaml").write_text(guess_dataset(log, name))
    return House(folder)


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
    house = described(tmp_path, tmp_path / "raw", "shop")

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
    assert any(line.startswith("rejected 1 rows, which ") for line in aside)
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


def test_files_of_the_raw_folder_itself_are_named_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOPKEEPER_RAW", str(tmp_path))
    exported(tmp_path, [*map(order, range(30))])
    assert given(tmp_path).folder == ""
    exported(tmp_path / "a/b", [*map(order, range(30))])
    assert given(tmp_path / "a/b").folder == "a/b"


def test_lines_of_one_instant_without_a_number_of_their_order_are_told_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOPKEEPER_RAW", "raw")
    rows = [f"c{n % 9},s{(n + i) % 7},2025-{1 + n // 28:02d}-{1 + n % 28:02d},5" for n in range(250) for i in range(3)]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/till.csv").write_text("\n".join(["customer,item,date,price", *rows]) + "\n")
    house = described(tmp_path, tmp_path / "raw/till.csv", "till")

    def told(*words: str) -> list[str]:
        caplog.clear()
        with caplog.at_level("WARNING"):
            prepare(house._composed("prepare", ("dataset=till", *words)))
        return [r.getMessage() for r in caplog.records if "numbers orders" in r.getMessage()]

    assert not told()
    (said,) = told("~dataset.columns.order_id")
    assert said.startswith("till: 67% of the purchases share customer and instant with the one before")
    assert said.endswith("columns: {order_id: [customer, date]} makes an order of them")


def test_where_sessions_are_all_that_is_known_of_customers_nobody_is_asked_whether_they_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    rows = [f"s{n // 3},i{n % 7},2025-01-{1 + n // 10:02d}T10:00:00Z,{['look', 'buy'][n % 3 == 2]}" for n in range(280)]
    (tmp_path / "visits.csv").write_text("\n".join(["session_id,item,time,action", *rows]) + "\n")
    house = described(tmp_path, tmp_path / "visits.csv", "visits")

    def told(*words: str) -> Train:
        return settings(house._composed("train", ("dataset=visits", "model=lightgbm", *words)), Train)

    assert customer_spec(told("task=session_intention")).horizon_days == 4
    with pytest.raises(UserError) as e:  # whoever has a session is asked about it: no active_days
        customer_spec(told("task=session_intention", "~dataset.churn"))
    assert "set task.windows.horizon_days, or in the dataset session_intention: {horizon_days: …} (from" in str(e.value)
    for task in ("churn", "spend"):  # also where somebody has given them windows
        with pytest.raises(
            UserError, match=rf"task={task} has nothing to learn from; task=session_intention asks about"
        ):
            customer_spec(told(f"task={task}", "task.windows.horizon_days=3", "task.windows.active_days=3"))


def log(path: Path, n: int, blank: int) -> Path:
    """A log of n lines, of which so many name no customer."""
    rows = [f"{'' if i < blank else f'c{i % 20}'},t{i % 7},2025-{1 + i % 9:02d}-{1 + i % 28:02d},5" for i in range(n)]
    path.write_text("\n".join(["customer,item,time,price", *rows]) + "\n")
    return path


def test_what_prepare_would_refuse_is_a_doubt_of_new_dataset_with_shares_that_differ(tmp_path: Path):
    text = guess_dataset(log(tmp_path / "few.csv", 1000, 10))
    assert "would be rejected" not in text  # 1 % is allowed
    path = log(tmp_path / "more.csv", 1000, 11)
    assert (
        "# DOUBT: 11 of the first 1,000 events would be rejected (11 × customer: no user_id): more than "
        "max_rejected_share (0.01) allows; mend them, or set it to 0.03\nmax_rejected_share: 0.01\n"
    ) in guess_dataset(path)
    with pytest.raises(UserError, match=r"in all 11 of 1,000 rows \(1\.1%\) are rejected"):
        prepare_dataset(yaml.safe_load(guess_dataset(path)), tmp_path, tmp_path / "out")
    assert shown_share(0.0104, 0.01) == "1.04%"  # and not 1.0%
    assert shown_share(0.01, 0.01) == "1.0%"
    assert "item_id: item # DOUBT: 0.05% of it is missing" in guess_dataset(
        _with_one_blank(log(tmp_path / "one.csv", 2000, 0))
    )


def _with_one_blank(path: Path) -> Path:
    path.write_text(path.read_text().replace(",t0,", ",,", 1))
    return path


@pytest.mark.parametrize(
    ("header", "row", "table"),
    [
        ("customer_id,tenure,contract,churn", "c{0},{1},monthly,{2}", True),  # one row each
        ("recency,history,visit,conversion", "{1},{1}.5,{2},{2}", True),  # nothing names a customer
        ("customer_id,sku,quantity", "c{2},s{1},1", False),
        ("customer_id,sku,action", "c{0},s{1},view", False),
    ],
)
def test_a_table_of_customers_is_not_taken_for_a_log_without_a_word(header: str, row: str, table: bool, tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text(
        "\n".join([header, *(row.format(i, i % 40, i % 2 if table else i % 9) for i in range(1200))]) + "\n"
    )
    assert ("A table instead of a log" in guess_dataset(path)) is table


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
