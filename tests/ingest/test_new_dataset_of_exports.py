"""`new-dataset` of known exports, folders, patterns and nested files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hydra import compose, initialize_config_dir

from ingest.looked_at import log, written
from shipped import CONF
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.cli.main import main
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.exports import known, looks_like, recognised
from shopkeeper.ingest.guesses.files import patterns
from shopkeeper.ingest.guesses.new_dataset import guess_dataset


def composed(text: str, folder: Path) -> dict[str, Any]:
    """The dataset as a verb would have it, with its source: the YAML put beside the shipped ones."""
    name = yaml.safe_load(text)["name"]
    written(folder / "conf" / "dataset", f"{name}.yaml", text)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("prepare", [f"hydra.searchpath=[file://{folder / 'conf'}]", f"dataset={name}"])
    from shopkeeper.ingest.dataset import to_plain

    return to_plain(cfg["dataset"])


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_every_known_export_is_told_from_all_others_by_its_columns():
    for name, export in known():
        assert export.columns or export.line
        if not export.columns:  # of files without a header: `without_header`
            continue
        more = export.one_of[-1:]
        assert recognised([*export.columns, *more]) == (name, export)
        assert recognised([*(export.renamed.get(c, c) for c in export.columns), *more]) == (name, export)


def test_a_folder_of_a_known_export_gets_a_config_that_points_to_its_source(tmp_path: Path):
    row = {
        "event_date": "20251105",
        "event_timestamp": "1762351391123456",
        "event_name": "purchase",
        "event_params": [],
    }
    row |= {"user_pseudo_id": "1.2", "items": [{"item_id": "A1", "price": 9.5, "quantity": "2"}]}
    folder = tmp_path / "web"
    for day in ("20251105", "20251106"):
        guest = {key: value for key, value in row.items() if key != "user_pseudo_id"}
        written(folder, f"events_{day}.jsonl", lines([{**row, "event_name": "page_view", "items": []}, row, guest]))
    written(folder, "README.md", "what this is")
    written(folder, "events_intraday_20251107.jsonl", lines([row]))
    text = guess_dataset(folder, "my_shop")
    assert "# Guessed by `python -m shopkeeper new-dataset`: Google Analytics 4's BigQuery export." in text
    assert "# DOUBT: 2 of the first 4 events would be rejected (2 × customer: no user_id)" in text
    assert "# DOUBT: no file says whose days are meant" in text
    otto = guess_dataset(
        written(tmp_path, "o.jsonl", '{"session":1,"events":[{"aid":0,"ts":1661200010000,"type":"clicks"}]}')
    )
    assert "timestamp:\n  time_zone: Europe/Berlin\n" in otto  # whose days are meant in a public set is known
    told = composed(text, tmp_path)
    assert "# DOUBT: events_intraday_20251107.jsonl must not be read beside the others" in text
    files = ["events_20251105.jsonl", "events_20251106.jsonl"]
    assert (told["name"], told["raw"]) == ("my_shop", {"folder": "web", "files": files})
    told["max_rejected_share"] = 0.5
    p = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False))
    assert p.manifest["n_events"] == 2
    assert p.manifest["event_types"]["purchase"] == 2


def test_windows_of_a_known_export_suit_a_file_that_is_too_short_for_its_own(tmp_path: Path):
    head = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
    shares = {"validation_share": 0.15, "test_share": 0.15}
    day, week = ({"validation_days": n, "test_days": n} for n in (1, 7))
    for days, windows in ((0, shares), (9, day), (30, week)):
        rows = [f"2019-10-{1 + n * days // 40:02d} {n // 2:02d}:00:00 UTC,view,{n % 5},1,a,b,5.5,{n % 6},s{n // 4}"
                for n in range(40)]  # fmt: skip
        file = written(tmp_path, f"log{days}.csv", "\n".join([head, *rows]))
        found = {k: v for k, v in composed(guess_dataset(file), tmp_path)["temporal"].items() if v is not None}
        assert found == windows


def test_a_known_export_in_another_spelling_says_so_to_its_reader(tmp_path: Path):
    columns = ["Name", "Email", "Financial Status", "Paid at", "Fulfillment Status", "Currency", "Subtotal", "Total",
               "Discount Code", "Discount Amount", "Created at", "Lineitem quantity", "Lineitem name", "Lineitem price",
               "Lineitem sku", "Cancelled at"]  # fmt: skip
    row = dict.fromkeys(columns, "") | {"Name": "#1", "Email": "a@b.example", "Subtotal": "20", "Discount Amount": "0"}
    row |= {"Created at": "2025-04-04 15:42:07 -0700", "Lineitem quantity": "1", "Lineitem name": "Moss"}
    row |= {"Lineitem price": "20"}
    text = guess_dataset(written(tmp_path, "orders.csv", ";".join(columns) + "\n" + ";".join(row.values()) + "\n"))
    told = yaml.safe_load(text)
    assert told["defaults"][0] == {"/source@_here_": "shopify_orders"}
    assert told["reader"] == {"delimiter": ";"}
    head = [f"ym:s:{name}" for name in ("visitID", "clientID", "productID", "productType", "productEventTime")]
    cells = ["1", "2", "[\\'A\"1\\']", r"[\'detail\']", r"[\'2025-11-05 10:00:00\']"]
    parts = written(tmp_path, "visits.tsv", "\t".join(head) + "\n" + "\t".join(cells) + "\n")
    told = yaml.safe_load(guess_dataset(parts))
    assert told["defaults"][0] == {"/source@_here_": "yandex_metrica"}
    assert "reader" not in told
    assert told["timestamp"] == {"time_zone": "Europe/Moscow"}


@pytest.mark.real
def test_a_real_file_of_a_known_set_is_told(raw: Path):
    told = yaml.safe_load(guess_dataset(raw / "rees46-oct2019-sample"))
    assert told["defaults"][0] == {"/source@_here_": "rees46_events"}


def test_different_exports_in_one_folder_are_refused(tmp_path: Path):
    written(tmp_path, "a.jsonl", lines([{"session": 1, "events": [{"aid": 1, "ts": 1661200010000, "type": "clicks"}]}]))
    written(tmp_path, "b.csv", "customer,sku,day\nk,i,2024-01-01\n")
    written(tmp_path, "c.csv", "timestamp,visitorid,event,itemid,transactionid\n1433221332117,2,view,3,\n")
    with pytest.raises(UserError, match=r"c\.csv has other columns than a\.jsonl \(source otto and source retail"):
        guess_dataset(tmp_path)
    written(tmp_path, "b2.csv", "customer,sku,date\nk,i,2024-01-01\n")
    with pytest.raises(UserError, match=r"b2\.csv has other columns than b\.csv: date, day; put files of one kind"):
        guess_dataset(tmp_path / "b*.csv")
    assert yaml.safe_load(guess_dataset(tmp_path / "b2*.csv"))["raw"]["files"] == ["b2.csv"]
    with pytest.raises(UserError, match="holds no files of data"):
        guess_dataset(tmp_path / "d*.csv")


def test_other_tables_beside_a_known_export_are_left_out_and_named(tmp_path: Path):
    written(tmp_path, "a_aisles.csv", "aisle_id,aisle\n1,x\n")
    written(tmp_path, "events.csv", "timestamp,visitorid,event,itemid,transactionid\n1433221332117,2,view,3,\n")
    written(tmp_path, "what this is.txt", "properties of items, from two files")
    text = guess_dataset(tmp_path, "shop")
    assert "# DOUBT: a_aisles.csv, what this is.txt beside it: no such export, and left out" in text
    assert yaml.safe_load(text)["raw"]["files"] == ["events.csv"]


def test_the_tables_beside_a_known_set_are_no_other_exports(tmp_path: Path):
    folder = tmp_path / "instacart"
    written(folder, "orders.csv", "order_id,user_id,order_number\n1,7,1\n2,7,2\n")
    written(folder, "order_products__prior.csv", "order_id,product_id,add_to_cart_order,reordered\n1,5,1,0\n")
    written(folder, "order_products__train.csv", "order_id,product_id,add_to_cart_order,reordered\n2,5,1,1\n")
    written(folder, "products.csv", "product_id,product_name,aisle_id,department_id\n5,Milk,1,1\n")
    told = yaml.safe_load(text := guess_dataset(folder))
    assert told["defaults"][0] == {"/source@_here_": "instacart"}
    assert told["raw"] == {"folder": "instacart", "files": ["order_products__*.csv"]}
    p = Prepared.open(prepare_dataset(composed(text, tmp_path), tmp_path, tmp_path / "out", progress=False))
    assert (p.n_users, p.manifest["n_events"]) == (1, 2)
    assert "left out" not in text


def test_line_breaks_in_quoted_cells_say_nothing_of_how_a_file_is_written(tmp_path: Path):
    row = '"c{0}","sku;{1}","2024-01-{2:02d}","Main\nWebsite, Store","1{1},50"\n'
    body = "".join(row.format(n % 9, n % 5, 1 + n % 28) for n in range(60))
    told = yaml.safe_load(guess_dataset(written(tmp_path, "a.csv", "customer,sku,date,note,price\n" + body)))
    assert told["reader"] == {"format": "csv", "decimal": ","}
    assert told["columns"]["user_id"] == "customer"
    body = body.replace('","', '";"')
    told = yaml.safe_load(guess_dataset(written(tmp_path, "b.csv", "customer;sku;date;note;price\n" + body)))
    assert told["reader"] == {"format": "csv", "delimiter": ";", "decimal": ","}


def test_a_known_export_in_another_format_has_none_of_the_usual_ones_options(tmp_path: Path):
    rows = [{"user_id": f"A{n}", "parent_asin": "B", "rating": 5.0, "timestamp": 1588687728923, "text": "a"}
            for n in range(9)]  # fmt: skip
    told = composed(guess_dataset(written(tmp_path, "All_Beauty.jsonl", lines(rows))), tmp_path)
    p = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False))
    assert (told["reader"]["format"], p.manifest["n_events"]) == ("json_lines", 9)
    detail = ",".join(dict(known())["prestashop_orders"].columns)
    order = "id_order,id_customer,date_add,current_state,valid,total_discounts_tax_incl"
    written(tmp_path / "shop", "order_detail.csv", f"{detail}\n1,10,0,R,Mug,2,24.00\n")
    written(tmp_path / "shop", "orders.csv", f"{order}\n1,5,2025-01-02 10:00:00,2,1,0.00\n")
    assert yaml.safe_load(guess_dataset(tmp_path / "shop"))["reader"] == {"delimiter": ","}


def test_names_that_a_sender_gave_his_events_are_told_where_none_is_what_is_asked_for(tmp_path: Path):
    row = {"type": "track", "anonymousId": "a", "timestamp": "2025-01-05T14:03:11.249Z"}
    rows = [{**row, "event": event, "messageId": f"m{i}", "properties": {"product_id": "p"}}
            for i, event in enumerate(["Product Viewed", "Shop: Order Completed", "Shop: Order Completed", "Page"])
    ]  # fmt: skip
    text = guess_dataset(written(tmp_path, "calls.json", lines(rows)))
    assert "no purchase is among the first rows; left out are 'Shop: Order Completed' (2), 'Page' (1): write" in text
    rows[1]["event"] = "Order Completed"
    assert "is among the first rows" not in guess_dataset(written(tmp_path, "calls.json", lines(rows)))


def test_how_long_a_log_of_several_files_is_is_seen_at_its_ends(tmp_path: Path):
    head = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
    for day in (1, 5, 8):
        row = f"2019-10-0{day} 10:00:00 UTC,view,1,1,a,b,5.5,{day},s{day}\n"
        written(tmp_path / "days", f"2019-10-0{day}.csv", head + row)
    told = composed(guess_dataset(tmp_path / "days"), tmp_path)
    assert told["temporal"]["validation_days"] == told["temporal"]["test_days"] == 1


def test_an_export_of_which_nothing_can_be_learned_says_so(tmp_path: Path):
    name, export = next((name, export) for name, export in known() if export.unfit)
    path = written(
        tmp_path, "x.csv", ",".join(f'"{c}"' for c in export.columns) + "\n" + "," * (len(export.columns) - 1) + "\n"
    )
    with pytest.raises(UserError, match=r"x\.csv looks like"):
        guess_dataset(path)
    assert name


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.csv"], ("a.csv",)),
        (["sales-2024-01.csv.gz", "sales-2024-12.csv.gz", "sales-2025-01.csv.gz"], ("sales-*.csv.gz",)),
        (["y=1/m=1/p.parquet", "y=1/m=2/p.parquet"], ("y=1/m=*/p.parquet",)),
        (["a.csv", "deep/b.csv"], ("a.csv", "deep/b.csv")),
    ],
)
def test_files_are_named_by_what_they_share(names: list[str], told: tuple[str, ...]):
    assert patterns(names) == told


def test_unknown_nested_files_are_unfolded(tmp_path: Path):
    rows = [{"client": {"id": n % 7, "city": "x"}, "ts": 1_600_000_000 + n, "tags": [{"key": "a", "value": 1}],
             "lines": [{"sku": f"i{n % 5}", "qty": 2, "price": 1.5}, {"sku": "i9", "qty": 1, "price": 2.5}]}
            for n in range(40)]  # fmt: skip
    text = guess_dataset(written(tmp_path, "carts.jsonl", lines(rows)))
    told = yaml.safe_load(text)
    assert told["rows"] == {"explode": "lines"}
    columns = {"user_id": "client.id", "item_id": "lines.sku", "timestamp": "ts"}
    columns |= {"quantity": "lines.qty", "price": "lines.price"}
    assert told["columns"] == columns | {"order_id": ["client.id", "ts"]}  # lines of a record are one order
    p = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False))
    assert (p.n_users, p.n_items, p.manifest["n_events"]) == (7, 6, 80)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "carts.parquet")
    assert yaml.safe_load(guess_dataset(tmp_path / "carts.parquet"))["columns"] == told["columns"]
    with pytest.raises(UserError, match=r"column 'what' holds lists.*rows: \{explode: \[what, …\]\}"):
        guess_dataset(written(tmp_path, "cells.csv", "who,what\n1,\"['a','b']\"\n2,\"['c']\"\n"))


def test_the_command_names_the_dataset_as_told(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "orders 2024.csv", log(20))
    main(["new-dataset", "orders 2024.csv", "--name", "my_shop"])
    assert yaml.safe_load((tmp_path / "conf/dataset/my_shop.yaml").read_text())["name"] == "my_shop"
    main(["new-dataset", "orders 2024.csv", "--out", "other.yaml"])
    assert yaml.safe_load((tmp_path / "other.yaml").read_text())["name"] == "other"
    assert re.search(r"prepare(\.py)? dataset=other", capsys.readouterr().out)


def test_a_table_that_shares_a_few_common_names_with_a_known_export_is_not_taken_for_it(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(
        tmp_path,
        "seen.csv",
        "user_id,item_id,rating,timestamp\n" + "".join(f"u{i % 7},i{i % 5},4.0,{10**9 + i}\n" for i in range(40)),
    )
    main(["new-dataset", "seen.csv"])
    found = yaml.safe_load((tmp_path / "conf/dataset/seen.yaml").read_text())
    assert found["columns"]["item_id"] == "item_id"
    assert "source" not in str(found["defaults"])


def test_of_a_file_with_a_few_common_names_no_message_says_that_it_is_a_known_export():
    common = ["user_id", "item_id", "rating", "timestamp"]
    assert looks_like(common, ["paid"], None) == ""
    assert "Amazon reviews 2023" in looks_like(["user_id", "parent_asin", "rating", "timestamp"], ["paid"], None)


WOO_LINES = ["order_id,date,status,order_total,billing_email,item_id,item_product_id,item_name,item_sku,item_quantity,"
             "item_subtotal,item_total"]  # fmt: skip


def test_a_known_export_with_decimal_commas_says_so_to_its_reader(tmp_path: Path):
    rows = [f'{n},2025-12-0{n} 10:00:00,completed,37,a@x.example,{n},45,Red,RC,2,"20,00","1.018,5{n}"' for n in (1, 2)]
    text = guess_dataset(written(tmp_path, "comma.csv", "\n".join([*WOO_LINES, *rows]) + "\n"))
    assert yaml.safe_load(text)["reader"] == {"decimal": ","}
    assert "numbers have a comma before their decimals" in text
    assert "would be rejected" not in text
    mixed = [rows[0], rows[1].replace('"20,00"', "20.00").replace('"1.018,52"', "18.52")]
    text = guess_dataset(written(tmp_path, "mixed.csv", "\n".join([*WOO_LINES, *mixed]) + "\n"))
    assert "reader" not in yaml.safe_load(text)  # 20.00 would be read as 2,000


@pytest.mark.parametrize(
    ("days", "doubted", "form"),
    [(("05/06/2022", "07/08/2022"), True, None), (("05/06/2022", "17/08/2022"), False, None),
     (("12/01/2022", "12/09/2022"), True, "%m/%d/%Y")],  # nine days of a December, or the twelfth of nine months
)  # fmt: skip
def test_days_and_months_of_a_shops_export_are_doubted_where_both_orders_fit(
    tmp_path: Path, days: tuple[str, str], doubted: bool, form: str | None
):
    head = ("Order ID,Customer ID,Customer Name,Customer Email,Order Date,Order Status,Subtotal (inc tax),"
            "Subtotal (ex tax),Order Total (inc tax),Order Total (ex tax),Total Quantity,Order Currency Code,"
            "Product Details\n")  # fmt: skip
    line = '"Product ID: 71, Product Qty: 2, Product SKU: R, Product Name: Red, Product Total Price: 5.00"'
    rows = [f"{n},7,A,a@x.example,{day},Completed,5,5,5,5,1,EUR,{line}\n" for n, day in enumerate(days)]
    text = guess_dataset(written(tmp_path, "orders.csv", head + "".join(rows)))
    assert ("alike; is the day or the month first?" in text) is doubted
    assert ("the dates fit %d/%m/%Y and %m/%d/%Y alike" in text) is (doubted and form is None)
    assert yaml.safe_load(text)["timestamp"].get("format") == form


def test_files_that_a_source_reads_and_that_are_not_there_are_named(tmp_path: Path):
    clicks = written(tmp_path, "yoochoose-clicks.dat", "1,2014-04-07T10:51:09.277Z,214536502,0\n")
    assert "DOUBT: yoochoose-buys.dat must lie beside it" in guess_dataset(clicks)
    written(tmp_path, "yoochoose-buys.dat", "1,2014-04-07T10:53:09.277Z,214536502,100,1\n")
    assert "must lie beside it" not in guess_dataset(clicks)


def test_a_file_that_is_two_exports_at_once_says_which_is_not_read(tmp_path: Path):
    bought = [f"ym:s:{name}" for name in ("visitID", "clientID", "productsPurchaseID", "productsID", "productsPrice",
                                          "productsQuantity", "productsEventTime")]  # fmt: skip
    done = [f"ym:s:eventsProduct{name}" for name in ("ID", "Type", "EventTime")]
    time = r"[\'2025-09-05 10:05:00\']"
    cells = ["11", "17", r"[\'O1\']", r"[\'A\']", "[3000000]", "[1]", time]
    both = ["\t".join(bought + done), "\t".join([*cells, r"[\'A\']", r"[\'detail\']", time])]
    text = guess_dataset(written(tmp_path, "visits.tsv", "\n".join(both) + "\n"))
    assert yaml.safe_load(text)["defaults"][0] == {"/source@_here_": "yandex_metrica_purchases"}
    assert "visits with product events, too, which are not read: source yandex_metrica reads those" in text
    alone = ["\t".join(bought), "\t".join(cells)]
    assert "too, which are not read" not in guess_dataset(written(tmp_path, "alone.tsv", "\n".join(alone) + "\n"))
