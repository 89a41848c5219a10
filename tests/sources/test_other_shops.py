"""Magento, BigCommerce and PrestaShop: each trap of their exports, counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from sources.shop import events, prepared

GRID = (
    'ID,"Purchase Point","Purchase Date","Bill-to Name","Ship-to Name","Grand Total (Base)","Grand Total (Purchased)",'
    'Status,"Customer Email","Customer Group",Subtotal,"Total Refunded"\n'
)
ITEMS = "increment_id,item_id,parent_item_id,product_id,sku,name,qty_ordered,row_total_incl_tax,discount_amount\n"


def grid(number: str, date: str, state: str = "Complete", email: str = "Ann@Example.com") -> str:
    return f'{number},"Main\nWebsite","{date}",Ann,Ann,28.00,28.00,{state},{email},General,28.00,0.00\n'


def test_magento_writes_24_hours_with_am_and_pm_and_two_lines_of_a_configurable_product(tmp_path: Path):
    orders = GRID + grid("000000101", "Nov 5, 2025 14:03:11 PM") + grid("000000102", "Nov 6, 2025 00:03:11 AM")
    orders += grid("000000103", "Dec 24, 2025 12:00:00 PM", "Canceled")
    items = ITEMS + (
        "000000101,1,,50,SHIRT-S,Shirt,2.0000,20.0000,2.0000\n"
        "000000101,2,1,51,SHIRT-S,Shirt S,2.0000,0.0000,0.0000\n"
        "000000101,3,,60,CUP,Cup,1.0000,10.0000,\n"
        "000000102,4,,60,CUP,Cup,3.0000,30.0000,0.0000\n"
        "000000103,5,,60,CUP,Cup,1.0000,10.0000,0.0000\n"
        "000000999,6,,60,CUP,Cup,1.0000,10.0000,0.0000\n"
    )
    zone = {"format": "%b %d, %Y %H:%M:%S %p", "time_zone": "Europe/Berlin"}
    (tmp_path / "export.csv").write_text(orders)
    p = prepared(tmp_path, "magento_orders", {"order_items.csv": items}, timestamp=zone)
    assert events(p) == [
        ("ann@example.com", "50", "purchase", "2025-11-05T13:03:11Z", 2.0, 18.0),
        ("ann@example.com", "60", "purchase", "2025-11-05T13:03:11Z", 1.0, 10.0),
        ("ann@example.com", "60", "purchase", "2025-11-05T23:03:11Z", 3.0, 30.0),
        ("ann@example.com", "60", "purchase", "2025-12-24T11:00:00Z", 1.0, 10.0),
    ]
    assert p.manifest["rejected"] == {
        "increment_id: not in export*.csv": 1,
        "parent_item_id: the variant of a line above it": 1,
    }
    files = [(f["role"], f["name"]) for f in p.manifest["raw_files"]]
    assert files == [("log", "order_items.csv"), ("joined", "export.csv")]


def test_a_time_of_twelve_hours_is_no_time_of_24_and_is_not_taken_for_one(tmp_path: Path):
    orders = GRID + grid("1", "Nov 5, 2025 02:03:11 PM") + grid("2", "Nov 5, 2025 14:03:11 PM")
    (tmp_path / "export.csv").write_text(orders)
    items = ITEMS + "1,1,,50,A,A,1,20,0\n2,2,,50,A,A,1,20,0\n"
    p = prepared(tmp_path, "magento_orders", {"order_items.csv": items})
    assert [row[3] for row in events(p)] == ["2025-11-05T14:03:11Z"]
    assert p.manifest["rejected"] == {"purchased: not a time of the form %b %d, %Y %H:%M:%S %p": 1}


def test_a_grid_with_times_of_twelve_hours_is_seen_by_its_times_and_is_no_log_of_its_own(tmp_path: Path):
    (tmp_path / "export.csv").write_text(GRID + "".join(grid(str(n), f"Nov {n}, 2025 02:03:11 PM") for n in (1, 9, 25)))
    (tmp_path / "order_items.csv").write_text(ITEMS + "".join(f"{n},{n},,50,A,A,1,20,0\n" for n in (1, 9, 25)))
    said = guess_dataset(tmp_path, "shop")
    assert "/source@_here_: magento_orders\n" in said
    assert '  format: "%b %d, %Y %I:%M:%S %p"\n' in said
    assert "would be rejected" not in said


def test_an_order_that_stands_twice_in_the_second_file_is_refused(tmp_path: Path):
    (tmp_path / "export.csv").write_text(GRID + 2 * grid("1", "Nov 5, 2025 14:03:11 PM"))
    with pytest.raises(UserError, match=r"export\*\.csv: ID '1' stands there more than once"):
        prepared(tmp_path, "magento_orders", {"order_items.csv": ITEMS + "1,1,,50,A,A,1,20,0\n"})


def test_of_grids_that_overlap_the_last_one_with_an_order_counts(tmp_path: Path):
    (tmp_path / "export-2025-10.csv").write_text(GRID + grid("1", "Nov 5, 2025 14:03:11 PM", "Pending Payment"))
    both = grid("1", "Nov 5, 2025 14:03:11 PM") + grid("2", "Nov 6, 2025 14:03:11 PM")
    (tmp_path / "export-2025-11.csv").write_text(GRID + both)
    p = prepared(tmp_path, "magento_orders", {"order_items.csv": ITEMS + "1,1,,50,A,A,1,20,0\n2,2,,50,A,A,1,20,0\n"})
    assert [row[3] for row in events(p)] == ["2025-11-05T14:03:11Z", "2025-11-06T14:03:11Z"]
    assert p.manifest["n_rejected"] == 0
    assert [f["name"] for f in p.manifest["raw_files"]] == [
        "order_items.csv",
        "export-2025-10.csv",
        "export-2025-11.csv",
    ]


def test_a_missing_second_file_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"export\*\.csv is missing"):
        prepared(tmp_path, "magento_orders", {"order_items.csv": ITEMS + "1,1,,50,A,A,1,20,0\n"})


@pytest.mark.parametrize(
    ("source", "way_out"), [("magento_order_grid", "order items"), ("prestashop_order_list", "two tables")]
)
def test_a_list_of_orders_alone_is_no_log(tmp_path: Path, source: str, way_out: str):
    with pytest.raises(UserError, match=f"is no log: it holds no items.*{way_out}"):
        prepared(tmp_path, source, {"orders.csv": GRID}, reader={"format": "csv"})


BIG = (
    "Order ID,Customer ID,Customer Name,Customer Email,Customer Phone,Order Date,Order Status,Subtotal (inc tax),"
    "Subtotal (ex tax),Tax Total,Order Total (inc tax),Order Total (ex tax),Payment Method,Total Quantity,"
    "Order Currency Code,Exchange Rate,Product Details,Refund Amount\n"
)


def big(order: str, customer: str, email: str, date: str, state: str, details: str) -> str:
    return f'{order},{customer},Ann,{email},,{date},{state},9,9,0,9,9,Cash,3,GBP,1,"{details}",0\n'


def product(number: int, units: int, name: str, unit: str, total: str) -> str:
    return (
        f"Product ID: {number}, Product Qty: {units}, Product SKU: , Product Name: {name}, Product Weight: 0.0700, "
        f"Product Variation Details: , Product Unit Price: {unit}, Product Total Price: {total}"
    )


def test_bigcommerce_packs_lines_whose_names_hold_commas_and_colons(tmp_path: Path):
    cell = "|".join([product(71, 2, "Cup, red: the tall | one", "2.50", "5.00"), product(72, 1, "Pot", "4.00", "4.00")])
    text = BIG + big("1", "17", "Ann@Example.com", "18/05/2022", "Completed", cell)
    text += big("2", "0", "guest@example.com", "03/06/2022", "Shipped", product(72, 1, "Pot", "4.00", "4.00"))
    text += big("3", "0", "", "03/06/2022", "Shipped", product(72, 1, "Pot", "4.00", "4.00"))
    text += big("4", "17", "", "04/06/2022", "Shipped", product(71, 1, "Cup", "2.50", "2.50"))
    by_hand = product(0, 1, "Gift wrap", "1.00", "1.00")
    text += big("6", "17", "", "07/06/2022", "Shipped", by_hand + "|" + by_hand.replace("SKU: ,", "SKU: W-1,"))
    text += big("5", "17", "", "05/06/2022", "Incomplete", product(71, 1, "Cup", "2.50", "2.50"))
    p = prepared(tmp_path, "bigcommerce_orders", {"orders.csv": text}, max_rejected_share=0.5)
    assert events(p) == [
        ("ann@example.com", "71", "purchase", "2022-05-18T00:00:00Z", 2.0, 5.0),
        ("ann@example.com", "72", "purchase", "2022-05-18T00:00:00Z", 1.0, 4.0),
        ("guest@example.com", "72", "purchase", "2022-06-03T00:00:00Z", 1.0, 4.0),
        ("17", "71", "purchase", "2022-06-04T00:00:00Z", 1.0, 2.5),
        ("17", "Gift wrap", "purchase", "2022-06-07T00:00:00Z", 1.0, 1.0),  # of no product of the catalogue
        ("17", "W-1", "purchase", "2022-06-07T00:00:00Z", 1.0, 1.0),
    ]
    assert p.items.filter(p.items["item_id"].to_numpy() == "71")["name"].to_pylist() == ["Cup, red: the tall | one"]
    assert p.manifest["rejected"] == {"customer: no user_id": 1, "Order Status: never became an order": 1}


def test_prestashops_vouchers_are_shared_by_value_and_unpaid_orders_are_kept_aside(tmp_path: Path):
    detail = (
        '"id_order";"product_id";"product_attribute_id";"product_reference";"product_name";"product_quantity";'
        '"total_price_tax_incl"\n'
        '"1";"7";"0";"P7";"Pot; large";"2";"30.000000"\n"1";"8";"0";"P8";"Cup";"1";"10.000000"\n'
        '"2";"7";"0";"P7";"Pot; large";"1";"15.000000"\n'
    )
    orders = (
        '"id_order";"id_customer";"date_add";"current_state";"valid";"total_discounts_tax_incl"\n'
        '"1";"17";"2025-11-05 14:03:11";"2";"1";"4.000000"\n"2";"18";"2025-11-06 14:03:11";"8";"0";"0.000000"\n'
    )
    (tmp_path / "orders.csv").write_text(orders)
    p = prepared(tmp_path, "prestashop_orders", {"order_detail.csv": detail}, max_rejected_share=0.5)
    assert events(p) == [
        ("17", "7", "purchase", "2025-11-05T14:03:11Z", 2.0, 27.0),
        ("17", "8", "purchase", "2025-11-05T14:03:11Z", 1.0, 9.0),
    ]
    assert p.manifest["rejected"] == {"stands: no payment was accepted": 1}
