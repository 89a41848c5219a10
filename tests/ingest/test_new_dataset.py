"""`new-dataset` looks at a file and writes a config that can be used, with its doubts where a person must decide."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from ingest.looked_at import guess
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.cli.new_dataset import write_dataset_yaml
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.guesses.look import reader_of
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.ingest.log import read_log
from shopkeeper.schema import EVENT_CODE


def test_a_shops_csv_gets_a_config_that_prepares_it(tmp_path: Path):
    rows = "".join(
        f"{1600000000000 + n},{n % 7},{['view', 'addtocart', 'transaction'][n % 3]},{n % 11},\n" for n in range(99)
    )
    config, text = guess(tmp_path, "timestamp,visitor,event,itemno,transactionno\n" + rows)
    assert config["columns"] == {
        "user_id": "visitor",
        "item_id": "itemno",
        "timestamp": "timestamp",
        "order_id": "transactionno",
    }
    assert config["timestamp"] == {"unit": "ms"}
    assert config["event_type"]["map"] == {"view": "view", "addtocart": "add_to_cart", "transaction": "purchase"}
    assert config["target_events"] == ["purchase"]
    assert "100.0% of it is missing" in text
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert (p.n_users, p.n_items, p.manifest["n_events"], p.name) == (7, 11, 99, "my_shop_2020")


@pytest.mark.parametrize("name", ["2023.csv", "2023-10.csv", "1e5.csv", "null.csv", "On.csv"])
def test_a_file_named_as_a_number_or_a_word_of_yaml_gives_a_name_that_is_text(tmp_path: Path, name: str):
    rows = "".join(f"c{n % 7},s{n % 5},2024-01-{n:02d}\n" for n in range(1, 31))
    config, text = guess(tmp_path, "user,item,time\n" + rows, name)
    assert config["name"] == "log_" + name.removesuffix(".csv").replace("-", "_").lower()
    assert "prepare would stop" not in text
    override = OverridesParser.create().parse_override(f"dataset={config['name']}")
    assert override.value() == config["name"]


def test_the_command_that_comes_next_is_one_that_runs_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text(
        "user,item,time\n" + "\n".join(f"c{n % 7},s{n % 5},2024-01-{n:02d}" for n in range(1, 31))
    )
    write_dataset_yaml(Path("mine.csv"), None)
    assert capsys.readouterr().out.endswith("then: shopkeeper prepare dataset=mine\n")
    Path("prepare.py").touch()  # a clone
    write_dataset_yaml(Path("mine.csv"), None, "again")
    assert capsys.readouterr().out.endswith("then: python prepare.py dataset=again\n")


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_reports_title_above_the_header_is_left_out(tmp_path: Path, sign: str):
    table = [
        "customer,product,date,qty",
        *(f"c{n % 7},p{n % 5},2024-01-{1 + n % 28:02d},{1 + n % 3}" for n in range(60)),
    ]
    rows = ["Sales, by line" if sign != "," else "Sales by line", "made on: 2024-02-01", "",
            *(row.replace(",", sign) for row in table)]  # fmt: skip
    config, text = guess(tmp_path, "\n".join(rows) + "\n")
    assert config["reader"]["skip_lines"] == 3
    assert config["columns"]["quantity"] == "qty"
    assert "DOUBT: the first 3 lines stand above the header" in text
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert p.manifest["n_events"] == 60
    bare, _ = guess(tmp_path, "\n".join(row.replace(",", sign) for row in table) + "\n")
    assert "skip_lines" not in bare["reader"]


@pytest.mark.parametrize("above", [0, 3])
def test_of_a_workbook_the_sheets_of_the_log_are_read_below_their_title(tmp_path: Path, above: int):
    book = openpyxl.Workbook()
    january, february = book.active, book.create_sheet("February")
    book.create_sheet("Notes").append(["ask Ann"])
    for month, sheet in enumerate((january, february), start=1):
        for row in [["Sales"], ["made on", datetime(2024, 3, 1)], []][:above]:
            sheet.append(row)
        sheet.append(["customer", "product", "date", "qty"])
        for n in range(60):
            sheet.append([f"c{n % 7}", f"p{n % 5}", datetime(2024, month, 1 + n % 28, 10), 1 + n % 3])
    january.cell(above + 3, 4).value = "many"
    book.save(tmp_path / "log.xlsx")
    text = guess_dataset(tmp_path / "log.xlsx")
    config = yaml.safe_load(text)
    assert config["reader"] == {"format": "excel", "sheets": ["Sheet", "February"]} | (
        {"skip_lines": above} if above else {}
    )
    assert "DOUBT: sheets with other columns are left out (Notes)" in text
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert p.manifest["n_events"] == 119
    rejected = pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()
    assert [(row["row"], row["value"]) for row in rejected] == [(above + 3, "many")]


def test_a_comma_in_every_amount_is_no_table_below_a_title_and_cyrillic_is_read_as_such(tmp_path: Path):
    rows = ["Дата;Номер заказа;Клиент;Артикул;Кол-во;Цена;Сумма"]
    for n in range(60):
        paid = f"{5 + n % 9},50 руб."
        rows.append(f"{1 + n % 28:02d}.01.24;{n};К{n % 7};Т-{n % 5};1;{paid};{paid}")
    config, text = guess(tmp_path, ("\n".join(rows) + "\n").encode("cp1251"))
    assert config["reader"] == {"format": "csv", "delimiter": ";", "encoding": "cp1251", "decimal": ","}
    assert "DOUBT: the text is not UTF-8; cp1251 (Cyrillic) is a guess" in text
    assert (config["columns"]["user_id"], config["columns"]["item_id"]) == ("Клиент", "Артикул")
    assert config["currency"] == "RUB"
    assert Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False)).n_users == 7
    western = "Kunde;Größe;Datum\n" + "".join(
        f"Jürgen{n % 7};Größe{n % 5};2024-01-{1 + n % 28:02d}\n" for n in range(60)
    )
    assert guess(tmp_path, western.encode("cp1252"))[0]["reader"]["encoding"] == "cp1252"


def test_lists_of_different_lengths_have_no_header_to_look_for(tmp_path: Path):
    lists = "\n".join(" ".join(str(n + i) for i in range(2 + n % 4)) for n in range(40))
    assert guess(tmp_path, lists + "\n")[0]["reader"]["format"] == "sequences"
    indexed = ["customer,product,date", *(f"{n},c{n % 7},p{n % 5},2024-01-{1 + n % 28:02d}" for n in range(40))]
    (tmp_path / "indexed.csv").write_text("\n".join(indexed) + "\n")  # the header has a cell less than the rows
    assert "skip_lines" not in reader_of(tmp_path / "indexed.csv")[0]


def test_a_cell_that_holds_several_items_is_a_doubt_and_a_comma_in_a_name_is_none(tmp_path: Path):
    packed = "".join(f"c{n % 9};2024-01-{1 + n % 28:02d};{1 + n % 3}x S{n % 7}, 1x S{n % 11}\n" for n in range(200))
    doubt = "many cells of 'items' hold several items"
    assert doubt in guess(tmp_path, "customer;when;items\n" + packed)[1]
    named = "".join(f"c{n % 9};2024-01-{1 + n % 28:02d};Cup no. {n % 70}, red\n" for n in range(200))
    assert doubt not in guess(tmp_path, "customer;when;items\n" + named)[1]


def test_where_the_file_has_to_lie_is_told_where_it_does_not_lie_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    rows = "user,item,time\n" + "\n".join(f"c{n % 7},s{n % 5},2024-01-{n:02d}" for n in range(1, 31))
    for where in ("mine.csv", "data/raw/shop/ours.csv"):
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        Path(where).write_text(rows)
    monkeypatch.delenv("SHOPKEEPER_RAW", raising=False)
    write_dataset_yaml(Path("mine.csv"), None)
    assert "settle its doubts, put the file into data/raw, then: " in capsys.readouterr().out
    write_dataset_yaml(Path("data/raw/shop/ours.csv"), None)
    assert "settle its doubts, then: " in capsys.readouterr().out
    monkeypatch.setenv("SHOPKEEPER_RAW", "elsewhere")
    write_dataset_yaml(Path("data/raw/shop/ours.csv"), None, "theirs")
    assert "put the file into elsewhere, then: " in capsys.readouterr().out


def test_what_purchases_have_and_views_lack_is_required_for_purchases(tmp_path: Path):
    row = "u{0},i{0},2024-01-02 10:00:00Z,{1},{2},{3}\n"
    rows = [row.format(n, "buy" if n % 2 else "view", 2.5, "" if n % 2 == 0 or n == 301 else 1) for n in range(400)]
    config, text = guess(tmp_path, "user,item,time,event,price,qty\n" + "".join(rows))
    assert config["schema"] == {"quantity": {"required_for": ["purchase"]}}
    assert "DOUBT: 0.50% of the purchase rows lack it and are rejected" in text
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert p.manifest["rejected"] == {"qty: no quantity (required for purchase)": 1}


def test_invoices_in_local_time_with_semicolons_raise_the_right_doubts(tmp_path: Path):
    rows = "".join(
        f"A{n};{n % 9};{1 + n % 12:02d}/{1 + n % 11:02d}/2010 08:26;{-1 if n == 5 else 2};2,55;{n % 4}\n"
        for n in range(50)
    )
    config, text = guess(tmp_path, "InvoiceNo;StockCode;InvoiceDate;Quantity;UnitPrice;CustomerID\n" + rows)
    assert config["reader"] == {"format": "csv", "delimiter": ";", "decimal": ","}
    assert config["columns"]["order_id"] == "InvoiceNo"
    assert config["event_type"]["value"] == "purchase"
    for doubt in (
        "is the day or the month first",
        "name no zone",
        "'Quantity' is negative in 1 of the first 50 rows: taken for returns",
        "kinds of events apart",
    ):
        assert doubt in text
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert p.manifest["n_events"] == 50
    assert (p.events.event_type == EVENT_CODE["return"]).sum() == 1


def test_a_file_without_items_gets_one_item_and_few_customers_a_doubt(tmp_path: Path):
    rows = "".join(f"2024-01-{1 + n % 28:02d},c{n % 2},{n}.5\n" for n in range(1200))
    config, text = guess(tmp_path, "date,customer_id,value\n" + rows)
    assert config["constants"] == {"item_id": "all"}
    assert "DOUBT: 2 different values in 1,200 rows: are these customers?" in text
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert (p.n_users, p.n_items, p.manifest["n_events"]) == (2, 1, 1200)


def test_a_file_without_a_header_is_noticed(tmp_path: Path):
    config, text = guess(tmp_path, "1,31,2.5,1260759144\n1,1029,3.0,1260759179\n")
    assert config["reader"]["names"] == ["column_1", "column_2", "column_3", "column_4"]
    assert config["columns"] == {"user_id": "column_1", "item_id": "column_2", "timestamp": "column_4"}
    assert "looks like data" in text


def test_a_movielens_dump_goes_by_the_places_of_its_columns(tmp_path: Path):
    config, _ = guess(tmp_path, "".join(f"{n % 9}::{n % 7}::3::{960000000 + n}\n" for n in range(40)), "ratings.dat")
    assert config["columns"] == {"user_id": "column_1", "item_id": "column_2", "timestamp": "column_4"}
    assert config["timestamp"] == {"unit": "s"}
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert (p.n_users, p.n_items, p.manifest["n_events"]) == (9, 7, 40)


def test_lines_of_different_lengths_are_a_user_and_items(tmp_path: Path):
    config, text = guess(tmp_path, "u1 a b c\nu2 b\nu3 c a\n", "sequences.txt")
    assert config["reader"] == {"format": "sequences"}
    assert "lines of different lengths" in text
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert (p.n_users, p.n_items, p.manifest["n_events"]) == (3, 3, 6)


def test_parquet_with_time_stamps_needs_no_units(tmp_path: Path):
    table = pa.table(
        {"user": ["u"], "product_id": [7], "product_category": ["x"], "created_at": pa.array([0], pa.timestamp("us"))}
    )
    pq.write_table(table, tmp_path / "log.parquet")
    config = yaml.safe_load(guess_dataset(tmp_path / "log.parquet"))
    assert config["columns"] == {"user_id": "user", "item_id": "product_id", "timestamp": "created_at"}


def test_files_of_a_folder_may_overlap_and_an_order_of_two_is_taken_once(tmp_path: Path):
    (tmp_path / "sales").mkdir()
    for name, of in (("1.csv", range(40)), ("2.csv", range(30, 70))):
        lines = [f"{n // 2},2024-01-{1 + n // 2 % 28:02d},c{n % 9},p{n % 7}" for n in of]
        (tmp_path / "sales" / name).write_text("\n".join(["order_id,date,customer_id,product_id", *lines]) + "\n")
    config = yaml.safe_load(guess_dataset(tmp_path / "sales"))
    assert config["rows"] == {"orders": "once"}
    assert "rows" not in yaml.safe_load(guess_dataset(tmp_path / "sales" / "1.csv"))
    told = {**{k: v for k, v in config.items() if k != "defaults"}, "raw": {"folder": "sales", "files": ["*.csv"]}}
    assert len(read_log(parse(told), tmp_path, progress=False)) == 70


def test_a_list_of_json_is_told_what_to_become(tmp_path: Path):
    with pytest.raises(UserError, match=r"orders\.json is one JSON list; write an object per line: jq -c"):
        guess(tmp_path, '[{"user": 1, "item": 2, "time": "2025-01-01"},\n {"user": 2, "item": 2}]', "orders.json")


def test_what_is_no_table_gets_one_line(tmp_path: Path):
    for name, data in (("empty.csv", b""), ("none.csv", b"a,b\n"), ("zip.csv", b"PK\x03\x04")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            guess_dataset(tmp_path / name)


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "columns"),
    [
        (
            "online-retail-ii-2009-2010/online_retail_2009_2010.csv.gz",
            {"user_id": "Customer ID", "item_id": "StockCode"},
        ),
        ("ml-latest-small/ratings.csv.gz", {"user_id": "userId", "item_id": "movieId", "timestamp": "timestamp"}),
        ("ml-100k/ml-100k.inter", {"user_id": "user_id", "item_id": "item_id", "timestamp": "timestamp"}),
        ("alibaba-2014/t_alibaba_data.csv.gz", {"user_id": "user_id", "item_id": "brand_id"}),
    ],
)
def test_real_files_are_guessed_right(raw: Path, file: str, columns: dict):
    assert columns.items() <= yaml.safe_load(guess_dataset(raw / file))["columns"].items()


@pytest.mark.parametrize(
    ("header", "rows", "above"), [("who,what,when", 4, 1), ("who,what,when", 3, 0), ("who,what", 9, 0)]
)
def test_a_title_is_one_where_a_table_of_three_columns_and_five_lines_follows(
    tmp_path: Path, header: str, rows: int, above: int
):
    lines = ["A report", header, *(",".join(f"v{n}" for _ in header.split(",")) for n in range(rows))]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    assert reader_of(tmp_path / "log.csv")[0].get("skip_lines", 0) == above


@pytest.mark.parametrize("encoding", ["cp1252", "cp1251", "utf-16"])
@pytest.mark.parametrize("nested", [False, True])
def test_json_lines_in_another_encoding_are_read_in_it(tmp_path: Path, encoding: str, nested: bool):
    name = "Größe" if encoding != "cp1251" else "размер"
    things = [[{"item": f"{name}{n % 5}"}] for n in range(60)]
    lines = [
        {"customer": f"c{n % 7}", "when": f"2024-01-{1 + n % 28:02d}", **({"lines": of} if nested else of[0])}
        for n, of in enumerate(things)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    config, _ = guess(tmp_path, text.encode(encoding), "log.jsonl")
    assert config["reader"] == {"format": "json_lines", "encoding": encoding}
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert sorted(p.items["item_id"].to_pylist()) == [f"{name}{n}" for n in range(5)]
