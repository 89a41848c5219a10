"""`new-dataset` looks at a file and writes a config that can be used, with its doubts where a person must decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

import shopkeeper as sk
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.cli.new_dataset import write_dataset_yaml
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.guesses import new_dataset
from shopkeeper.ingest.guesses.habits import kind_of
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.ingest.log import read_log


def guess(tmp_path: Path, text: str | bytes, name: str = "My Shop-2020.csv") -> tuple[dict, str]:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    yaml_text = guess_dataset(path)
    return yaml.safe_load(yaml_text), yaml_text


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
    assert config["event_type"] == "purchase"
    for doubt in (
        "is the day or the month first",
        "name no zone",
        "negative values; are these returns",
        "kinds of events apart",
    ):
        assert doubt in text
    config["max_rejected_share"] = 0.1
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert p.manifest["n_events"] == 49


def test_a_file_without_items_gets_one_item_and_few_customers_a_doubt(tmp_path: Path):
    rows = "".join(f"2024-01-{1 + n % 28:02d},c{n % 2},{n}.5\n" for n in range(1200))
    config, text = guess(tmp_path, "date,customer_id,value\n" + rows)
    assert config["constants"] == {"item_id": "all"}
    assert "DOUBT: 2 different values in 1,200 rows: are these customers?" in text
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert (p.n_users, p.n_items, p.manifest["n_events"]) == (2, 1, 1200)


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


def test_unknown_event_names_and_nameless_columns_are_doubts(tmp_path: Path):
    config, text = guess(tmp_path, "a,b,action\n" + "".join(f"x{n},y{n % 3},zap\n" for n in range(9)))
    assert config["columns"] == {"user_id": "a", "item_id": "b"}
    assert config["defaults"] == [{"override /split@_global_.split": "leave_one_out"}]
    assert text.count("# DOUBT") == 4


def test_kinds_of_goods_in_a_log_of_orders_are_no_kinds_of_events(tmp_path: Path):
    head = "customer,ordered_at,sku,order,price,kind\n"
    rows = [f"S{i % 9},2022-01-{1 + i % 28:02} 10:00:00,box{i % 3},{i},19.9," for i in range(90)]
    config, text = guess(tmp_path, head + "".join(f"{r}{'box' if i % 3 else 'extra'}\n" for i, r in enumerate(rows)))
    assert (config["event_type"], config["target_events"]) == ("purchase", ["purchase"])
    assert "if 'kind' does, write event_type" in text
    booked = guess(tmp_path, head + "".join(f"{r}{'booked' if i % 3 else 'refund'}\n" for i, r in enumerate(rows)))[0]
    assert booked["event_type"]["map"]["refund"] == "return"  # one word is one of events: the column is read


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


def lines_of_orders(total: bool, n: int = 60, name: str = "line_amount", scale: float = 1) -> str:
    rows = [f"order,customer,sku,when,quantity,{name}"]
    for i in range(n):
        quantity, piece = 1 + i // 5 % 4, (3.5, 9.9, 41.0, 7.25, 120.0)[i % 5]
        rows.append(f"o{i},k{i % 7},K{i % 5},2023-01-{1 + i % 28:02d} 10:00:00,{quantity},"
                    f"{scale * piece * (quantity if total else 1):.2f}")  # fmt: skip
    return "\n".join(rows) + "\n"


def test_an_amount_that_rises_with_the_quantity_is_taken_for_the_lines_with_a_doubt(tmp_path: Path):
    config, text = guess(tmp_path, lines_of_orders(total=True))
    assert (config["columns"]["price"], config["price_is"]) == ("line_amount", "total")
    assert "# DOUBT: 'line_amount' rises with the quantity" in text


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize(("total", "kind"), [(True, "total"), (False, "unit")])
def test_amounts_in_thousands_are_read_as_the_readers_read_them(tmp_path: Path, separator: str, total: bool, kind: str):
    rows = [line.split(",") for line in lines_of_orders(total, scale=700).splitlines()]
    comma = separator != ","
    for row in rows[1:]:
        row[5] = f"{float(row[5]):,.2f}"
        row[5] = row[5].translate(str.maketrans(".,", ",.")) if comma else f'"{row[5]}"'
    assert sum("." in row[5] and "," in row[5] for row in rows[1:]) > 50
    config, text = guess(tmp_path, "\n".join(separator.join(row) for row in rows) + "\n")
    assert config["reader"].get("decimal") == ("," if comma else None)
    assert config.get("price_is", "unit") == kind
    assert ("rises with the quantity" in text) == total


def test_an_orders_total_on_each_of_its_lines_is_a_doubt(tmp_path: Path):
    rows = ["order,customer,sku,when,price"]
    own = ["order,customer,sku,when,price"]
    for order in range(40):
        prices = [2.5 + (order * 7 + line) % 5 for line in range(3)]
        for line, price in enumerate(prices):
            head = f"o{order},k{order % 7},K{(order * 7 + line) % 5},2023-01-{1 + order % 28:02d} 10:00:00"
            rows.append(f"{head},{sum(prices):.2f}")
            own.append(f"{head},{price:.2f}")
    doubt = "'price' is the same on all lines of an order"
    assert doubt in guess(tmp_path, "\n".join(rows) + "\n")[1]
    assert doubt not in guess(tmp_path, "\n".join(own) + "\n")[1]


def test_net_beside_gross_and_whole_numbers_are_doubts(tmp_path: Path):
    head, rows = "customer,sku,when,price_net,price_gross", []
    for i in range(40):
        rows.append(f"k{i % 7},K{i % 5},2023-01-{1 + i % 28:02d} 10:00:00,{350 + i},{400 + i}")
    text = guess(tmp_path, "\n".join([head, *rows]) + "\n")[1]
    assert "there is 'price_gross': with tax or without?" in text
    assert "are these cents?" in text
    text = guess(tmp_path, "\n".join([head, *(f"{row}.50" for row in rows)]).replace("_gross", "") + "\n")[1]
    assert "with tax" not in text


@pytest.mark.parametrize(
    ("n", "name", "doubt"), [(60, "line_amount", False), (3, "line_amount", True), (3, "price", False)]
)
def test_a_price_for_a_piece_is_a_doubt_only_by_its_name_where_few_rows_can_tell(tmp_path: Path, n, name, doubt):
    config, text = guess(tmp_path, lines_of_orders(total=False, n=n, name=name))
    assert config.get("price_is", "unit") == "unit"
    assert ("for one piece or for the whole line?" in text) == doubt


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


def test_a_german_export_needs_no_renaming(tmp_path: Path):
    lines = ["Zeitpunkt;Kundenkarte;Sitzung;Vorgang;Artikelnummer;Menge;Preis;Bon"]
    for i in range(60):
        end = ("Ansicht;00001;;;", f"Kauf;00001;2;3,5;B{i}")[i % 2]
        kind, _, rest = end.partition(";")
        lines.append(f"{1 + i % 28:02d}.01.2024 10:00:00;{i % 3:05d};s{i // 2};{kind};{rest}")
    config, text = guess(tmp_path, "\n".join(lines) + "\n")
    assert config["columns"] == {
        "timestamp": "Zeitpunkt", "user_id": "Kundenkarte", "session_id": "Sitzung", "item_id": "Artikelnummer",
        "quantity": "Menge", "price": "Preis", "order_id": "Bon",
    }  # fmt: skip
    assert config["event_type"] == {"column": "Vorgang", "map": {"Ansicht": "view", "Kauf": "purchase"}}
    assert "of it is missing" not in text  # views have no price: the schema says so, it is no doubt


@pytest.mark.parametrize(
    "header",
    [
        "N° commande;Date de commande;Client;Référence produit;Quantité;Prix unitaire TTC",
        "Nº pedido;Fecha del pedido;Cliente;Código artículo;Cantidad;Precio unitario",
        "Numero ordine;Data ordine;Cliente;Codice prodotto;Quantità;Prezzo unitario",
        "Bestelnummer;Datum;Klantnummer;Artikelcode;Aantal;Prijs",
        "Nr zamówienia;Data zamówienia;Klient;Kod towaru;Ilość;Cena",
        "Номер заказа;Дата заказа;Покупатель;Артикул;Количество;Цена",
        "Номер замовлення;Дата;Клієнт;Код товару;Кількість;Ціна",
    ],
)
def test_an_export_in_another_language_needs_no_renaming(tmp_path: Path, header: str):
    lines = [
        f"{1000 + n // 2};{1 + n % 28:02d}.02.2024;c{n % 9};p{n % 7};{1 + n % 3};{n % 7 + 1},50" for n in range(80)
    ]
    config, text = guess(tmp_path, "\n".join([header, *lines]) + "\n")
    names = ("order_id", "timestamp", "user_id", "item_id", "quantity", "price")
    assert config["columns"] == dict(zip(names, header.split(";"), strict=True))
    assert config["event_type"] == "purchase"
    assert "no column is called like" not in text


def test_kinds_of_events_are_known_in_other_languages():
    said = {"просмотр": "view", "Додано в кошик": "add_to_cart", "Achat": "purchase", "Devolución": "return",
            "удаление из корзины": "remove_from_cart", "покупка": "purchase", "kaffee": None,
            "Retirer du panier": "remove_from_cart", "eliminar del carrito": "remove_from_cart",
            "rimosso dal carrello": "remove_from_cart", "Usuń z koszyka": "remove_from_cart",
            "убрать из корзины": "remove_from_cart", "Anulación de compra": "return", "отмена заказа": "return",
            "Ajouter au panier": "add_to_cart"}  # fmt: skip
    assert {name: kind_of(name) for name in said} == said


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


def rows(price: str, date: str = "2023-01-{day:02d} 10:00") -> str:
    head = "customer;sku;date;price\n"
    return head + "".join(
        f"c{n % 9};s{n % 5};{date.format(day=1 + n % 28)};{price.format(n=n % 9)}\n" for n in range(60)
    )


@pytest.mark.parametrize(
    ("price", "decimal", "first"),
    [("1.234,5{n}", ",", 1234.5), ("14,9{n}", ",", 14.9), ("1,234.5{n}", None, 1234.5), ("12.5{n}", None, 12.5)],
)
@pytest.mark.parametrize("delimiter", [";", ","])
def test_prices_with_either_sign_are_read_as_they_are_written(
    price: str, decimal: str | None, first: float, delimiter: str, tmp_path: Path
):
    written = price if delimiter == ";" else f'"{price}"'
    config, text = guess(tmp_path, rows(written).replace(";", delimiter))
    assert config["columns"]["price"] == "price"
    assert config["reader"].get("decimal") == decimal
    if decimal and (delimiter == "," or "." in price):
        assert "DOUBT: numbers have a comma before their decimals" in text
    prepared = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert prepared.events.price is not None
    assert prepared.events.price.min() == pytest.approx(first)


def test_what_is_called_a_price_and_is_no_number_is_a_doubt_and_not_left_out_in_silence(tmp_path: Path):
    config, text = guess(tmp_path, rows("€ 12.5{n}"))
    assert "price" not in config["columns"]
    assert "DOUBT: 'price' is called like a price and holds no plain numbers, e.g. '€ 12.50'" in text
    assert "'price' does, write event_type" not in text  # ten different values are no kinds of events
    assert "is called like" not in guess(tmp_path, rows("12.5{n}").replace("price", "value"))[1]
    assert "holds no plain numbers" not in guess(tmp_path, rows("red").replace("price", "cost_centre"))[1]


def test_thousands_alone_do_not_say_what_the_comma_is(tmp_path: Path):
    config, text = guess(tmp_path, rows('"1,29{n}"').replace(";", ","))
    assert "decimal" not in config["reader"]
    assert "price" not in config["columns"] or "DOUBT" in text


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
