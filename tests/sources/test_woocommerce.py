"""WooCommerce's exports: lines packed in a cell, and lines of their own; each trap of the format, counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from sources.shop import config, events, prepared

HEADER = (
    "order_id,order_number,date,status,shipping_total,tax_total,discount_total,order_total,refunded_total,"
    "billing_email,line_items\n"
)


def packed(order: str, date: str, status: str, email: str, lines: str) -> str:
    return f'{order},{order},{date},{status},0.00,0.00,0.00,9.00,0.00,{email},"{lines}"\n'


def line(number: int, name: str, product: int, units: int, before: str, after: str, meta: str = "") -> str:
    return (
        f"id:{number}|name:{name}|product_id:{product}|sku:|quantity:{units}|subtotal:{before}|subtotal_tax:0.00|"
        f"total:{after}|total_tax:0.00|refunded:0.00|refunded_qty:0|meta:{meta}"
    )


def test_a_cell_of_lines_is_split_where_a_line_begins_and_nowhere_else(tmp_path: Path):
    cell = ";".join([
        line(123, "Red Cup; large | matt, total:1.00", 45, 2, "20.00", "18.00", "Size=L,Note=id:9;total:5|quantity:7"),
        line(124, "Blue\nCup", 46, 1, "10.00", "10.00"),
    ])  # fmt: skip
    text = HEADER + packed("1001", "2025-11-05 14:03:11", "completed", "Ann@Example.com", cell)
    text += packed(
        "1002", "2025-11-06 09:00:00", "processing", "ann@example.com", line(125, "Pot", 7, 3, "30.00", "30.00")
    )
    deleted = line(126, "Old", 0, 1, "4.00", "4.00").replace("|sku:|", "|sku:OLD|")
    deleted += ";" + line(127, "Older", 0, 1, "2.00", "2.00")
    text += packed("1003", "2025-11-07 09:00:00", "completed", "ann@example.com", deleted)
    p = prepared(tmp_path, "woocommerce_orders", {"orders.csv": text}, timestamp={"time_zone": "Europe/Berlin"})
    assert events(p) == [
        ("ann@example.com", "45", "purchase", "2025-11-05T13:03:11Z", 2.0, 18.0),
        ("ann@example.com", "46", "purchase", "2025-11-05T13:03:11Z", 1.0, 10.0),
        ("ann@example.com", "7", "purchase", "2025-11-06T08:00:00Z", 3.0, 30.0),
        ("ann@example.com", "OLD", "purchase", "2025-11-07T08:00:00Z", 1.0, 4.0),
        ("ann@example.com", "Older", "purchase", "2025-11-07T08:00:00Z", 1.0, 2.0),
    ]
    names = dict(zip(p.items["item_id"].to_pylist(), p.items["name"].to_pylist(), strict=True))
    assert names == {
        "45": "Red Cup; large | matt, total:1.00",
        "46": "Blue\nCup",
        "7": "Pot",
        "OLD": "Old",
        "Older": "Older",
    }
    assert p.manifest["n_rejected"] == 0


def test_orders_that_were_never_paid_and_cells_that_are_no_lines_are_kept_aside_with_their_line(tmp_path: Path):
    good = line(1, "Pot", 7, 1, "5.00", "5.00")
    text = HEADER + packed(
        "1", "2025-11-05 10:00:00", "completed", "a@x.com", f"{good};{line(2, 'Cup', 8, 1, '5', '5')}"
    )
    text += packed("2", "2025-11-05 10:00:00", "failed", "a@x.com", good)
    text += packed("3", "2025-11-05 10:00:00", "completed", "a@x.com", "2× Pot, 1× Cup")
    text += packed("4", "2025-11-05 10:00:00", "completed", "a@x.com", "")
    p = prepared(tmp_path, "woocommerce_orders", {"orders.csv": text}, max_rejected_share=0.6)
    assert len(events(p)) == 2
    rejected = [(r["row"], r["column"], r["reason"]) for r in p.table("rejected.parquet").to_pylist()]
    assert rejected == [
        (3, "status", "never became an order"),
        (4, "line_items", "does not begin with id:[0-9]+[|]"),
        (5, "item", "no item_id"),
    ]


def test_line_items_as_json_are_read_by_the_same_keys_beside_packed_ones(tmp_path: Path):
    def record(product: int, name: str, units: int, total: object) -> str:
        more = {"id": 9, "sku": "", "subtotal": "99.00", "meta_data": [{"id": 1, "key": "Size", "value": "L"}]}
        return json.dumps(more | {"product_id": product, "name": name, "quantity": units, "total": total})

    def quoted(cell: str) -> str:
        return cell.replace('"', '""')

    name = 'Cup; "red", [tall] {x}|total:1.00'
    both = f"[{record(45, name, 2, '18.00')},{record(46, 'Blue Cup', 1, 10)}]"
    text = HEADER + packed("1", "2025-11-05 14:03:11", "completed", "Ann@x.com", quoted(both))
    text += packed("2", "2025-11-06 09:00:00", "completed", "bob@x.com", line(5, "Pot", 7, 3, "30.00", "30.00"))
    text += packed("3", "2025-11-07 09:00:00", "completed", "bob@x.com", quoted(f"[{record(45, name, 1, 9.5)}]"))
    text += packed("4", "2025-11-07 09:00:00", "completed", "bob@x.com", "[]")
    text += packed("5", "2025-11-07 09:00:00", "completed", "bob@x.com", quoted('[{"product_id": 45, "na'))
    p = prepared(tmp_path, "woocommerce_orders", {"orders.csv": text}, max_rejected_share=0.5)
    assert events(p) == [
        ("ann@x.com", "45", "purchase", "2025-11-05T14:03:11Z", 2.0, 18.0),
        ("ann@x.com", "46", "purchase", "2025-11-05T14:03:11Z", 1.0, 10.0),
        ("bob@x.com", "7", "purchase", "2025-11-06T09:00:00Z", 3.0, 30.0),
        ("bob@x.com", "45", "purchase", "2025-11-07T09:00:00Z", 1.0, 9.5),
    ]
    names = dict(zip(p.items["item_id"].to_pylist(), p.items["name"].to_pylist(), strict=True))
    assert names == {"45": name, "46": "Blue Cup", "7": "Pot"}
    rejected = [(r["row"], r["column"], r["reason"]) for r in p.table("rejected.parquet").to_pylist()]
    assert rejected == [(5, "item", "no item_id"), (6, "line_items", "not a list of JSON")]


LINES = (
    "Order Number,Order Status,Order Date,Email (Billing),Phone (Billing),Item #,SKU,Name,Quantity,Item Cost,"
    "Order Line Total\n"
)


@pytest.mark.parametrize("again", ["1001,Completed,2025-11-05 14:03,Ann@Example.com,123", "1001,,,,", ",,,,"])
def test_lines_of_their_own_with_order_columns_on_all_of_them_or_on_the_first(tmp_path: Path, again: str):
    order = "1001,Completed,2025-11-05 14:03,Ann@Example.com,123"
    text = LINES + (
        f"{order},1,RC,Red Cup,2,10.00,18.00\n"
        f"{again},2,,Blue Cup,1,10.00,10.00\n"
        "1002,Failed,2025-11-06 09:00,bob@example.com,,1,RC,Red Cup,1,10.00,10.00\n"
    )
    p = prepared(tmp_path, "woocommerce_lines", {"orders.csv": text}, max_rejected_share=0.5)
    assert events(p) == [
        ("ann@example.com", "Blue Cup", "purchase", "2025-11-05T14:03:00Z", 1.0, 10.0),
        ("ann@example.com", "RC", "purchase", "2025-11-05T14:03:00Z", 2.0, 18.0),
    ]
    assert p.manifest["rejected"] == {"Order Status: never became an order": 1}
    assert p.table("events.parquet")["order_id"].to_pylist() == ["1001", "1001"]


def test_lines_without_a_number_stay_with_their_order_wherever_a_chunk_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = "".join(
        f"{n},Completed,2025-11-05 14:03,c{n}@x.com,,1,S{n},Cup,1,1.00,1.00\n" + f",,,,,2,T{n},Pot,1,2.00,2.00\n" * 3
        for n in range(1, 41)
    )
    monkeypatch.setattr("shopkeeper.ingest.chunks.CHUNK_BYTES", 300)
    p = prepared(tmp_path, "woocommerce_lines", {"orders.csv": LINES + rows})
    table = p.table("events.parquet").to_pylist()
    assert len(table) == 160
    assert {(r["user_id"], r["order_id"]) for r in table if r["item_id"] == "T7"} == {("c7@x.com", "7")}


OLD = (
    "order_id,order_number,date,status,shipping_total,tax_total,order_total,billing_email,customer_note,order_item_1,"
    "order_item_2,order_item_3\n"
)


def test_the_older_layout_has_a_column_per_line(tmp_path: Path):
    text = OLD + (
        "7,7,5/31/2016 0:37,completed,0,0,42.50,Ann@x.com,,product_id:45|2|20.00|size: L|colour: red,RC-1|1|22.50,\n"
        "8,8,12/1/2016 13:05,processing,0,0,5.00,bob@x.com,,SKU|1|5.00|,,\n"
        "9,9,12/2/2016 13:05,wc-failed,0,0,5.00,bob@x.com,,SKU|1|5.00|,,\n"
        "10,10,12/3/2016 13:05,completed,0,0,5.00,bob@x.com,,,,\n"
    )
    zone = {"format": "%m/%d/%Y %H:%M", "time_zone": "Europe/Berlin"}
    p = prepared(tmp_path, "woocommerce_order_items", {"orders.csv": text}, timestamp=zone, max_rejected_share=0.5)
    assert events(p) == [
        ("ann@x.com", "45", "purchase", "2016-05-30T22:37:00Z", 2.0, 20.0),
        ("ann@x.com", "RC-1", "purchase", "2016-05-30T22:37:00Z", 1.0, 22.5),
        ("bob@x.com", "SKU", "purchase", "2016-12-01T12:05:00Z", 1.0, 5.0),
    ]
    assert p.manifest["rejected"] == {"product: no item_id": 1, "status: never became an order": 1}
    rejected = [(r["row"], r["reason"]) for r in p.table("rejected.parquet").to_pylist()]
    assert rejected == [(4, "never became an order"), (5, "no item_id")]


ANALYTICS = (
    "Date,Order #,N. Revenue (formatted),Status,Customer,Customer type,Product(s),Items sold,Coupon(s),Net Sales,"
    "Attribution\n"
)


def test_the_analytics_download_is_said_to_be_unfit_and_what_to_use(tmp_path: Path):
    row = '2025-11-05 14:03:11,1001,28.00,completed,Ann Lee,returning,"2× Red Cup, 1× Blue Cup",3,,28,Direct\n'
    with pytest.raises(UserError, match=r"is no log: it holds products by name alone.*woocommerce_orders"):
        prepared(tmp_path, "woocommerce_analytics", {"orders.csv": ANALYTICS + row}, reader={"format": "csv"})
    told = config("woocommerce_orders", ["orders.csv"])
    told.pop("export")
    with pytest.raises(
        UserError, match=r"looks like WooCommerce's Analytics > Orders: it holds products by name alone"
    ):
        prepared(tmp_path, "woocommerce_orders", {"orders.csv": ANALYTICS + row}, export=None)


def test_exports_of_two_kinds_in_one_folder_are_told_apart(tmp_path: Path):
    good = HEADER + packed("1", "2025-11-05 10:00:00", "completed", "a@x.com", line(1, "Pot", 7, 1, "5.00", "5.00"))
    with pytest.raises(UserError) as error:
        prepared(tmp_path, "woocommerce_orders", {"a.csv": good, "b.csv": LINES})
    said = str(error.value)
    assert "b.csv, line 1: no column 'line_items'" in said or "b.csv, line 1: no column" in said
    assert "looks like WooCommerce's Advanced Order Export (a row per line) (source woocommerce_lines)" in said
    assert "\n" not in said


ITEMS = (
    "order_id,order_number,{},status,order_total,order_currency,billing_email,item_id,item_product_id,item_name,item_sku,"
    "item_quantity,item_subtotal,item_total,item_refunded\n"
)


@pytest.mark.parametrize("date", ["date", "order_date"])
def test_a_row_per_item_says_what_is_the_orders_on_each_and_a_deleted_product_is_its_sku_or_name(
    tmp_path: Path, date: str
):
    first = "7,7,2025-11-05 14:03:11,completed,48.00,EUR,Ann@x.com"
    text = ITEMS.format(date) + (
        f'{first},1,45,"Cup, red\nlarge",RC,2,20.00,18.00,9.00\n{first},2,0,Old,OLD,1,30.00,30.00,0\n'
        f"{first},5,0,Older,,1,2.00,2.00,0\n"
        "8,8,2025-11-06 14:03:11,pending,5.00,EUR,bob@x.com,3,46,Pot,,1,5.00,5.00,0\n"
        "9,9,2025-11-06 14:03:11,wc-on-hold,5.00,USD,bob@x.com,4,46,Pot,,1,5.00,5.00,0\n"
    )
    path = tmp_path / "orders.csv"
    path.write_text(text)
    said = guess_dataset(path)
    assert "/source@_here_: woocommerce_items\n" in said
    assert "prices are in 2 currencies (EUR 75.0%, USD 25.0%)" in said
    p = prepared(tmp_path, "woocommerce_items", {"orders.csv": text})
    assert events(p) == [
        ("ann@x.com", "45", "purchase", "2025-11-05T14:03:11Z", 2.0, 18.0),
        ("ann@x.com", "OLD", "purchase", "2025-11-05T14:03:11Z", 1.0, 30.0),
        ("ann@x.com", "Older", "purchase", "2025-11-05T14:03:11Z", 1.0, 2.0),
        ("bob@x.com", "46", "purchase", "2025-11-06T14:03:11Z", 1.0, 5.0),
    ]
    assert p.table("events.parquet")["currency"].to_pylist() == ["EUR", "EUR", "EUR", "USD"]
    assert p.manifest["rejected"] == {"status: never became an order": 1}
