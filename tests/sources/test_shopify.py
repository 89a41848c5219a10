"""Shopify's orders_export.csv, in the shape of 2026: what each of its columns means, counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from shopkeeper.errors import UserError
from sources.shop import events, prepared

NAMES = (
    "Name Email Financial_Status Paid_at Fulfillment_Status Fulfilled_at Accepts_Marketing Currency Subtotal Shipping "
    "Taxes Total Discount_Code Discount_Amount Shipping_Method Created_at Lineitem_quantity Lineitem_name "
    "Lineitem_price Lineitem_compare_at_price Lineitem_sku Lineitem_requires_shipping Lineitem_taxable "
    "Lineitem_fulfillment_status Billing_Name Billing_Phone Notes Note_Attributes Cancelled_at"
)
OLD = [name.replace("_", " ") for name in NAMES.split()]
HEADER = [*OLD, "Payment Method", "Refunded Amount", "Vendor", "Id", "Lineitem discount", "Phone", "Payment References"]


def csv(*rows: dict[str, str], header: list[str] = HEADER) -> str:
    """Rows by column; what a row does not name is blank, bare or quoted in turn, as in real files."""
    lines = [",".join(header)]
    for row in rows:
        assert set(row) <= set(HEADER)
        cells = [row.get(name, '""' if i % 3 else "") for i, name in enumerate(header)]
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


def line(name: str, quantity: str, item: str, price: str, sku: str = "", **more: str) -> dict[str, str]:
    found = {"Name": name, "Lineitem quantity": quantity, "Lineitem name": item, "Lineitem price": price}
    return found | {"Lineitem sku": sku} | {key.replace("_", " "): value for key, value in more.items()}


WHEN = "2025-04-04 15:42:07 -0700"
FIRST = {"Email": "Ann@Example.com", "Financial Status": "paid", "Currency": "CAD", "Created at": WHEN}
NEXT = {"Email": "ann@example.com", "Created at": WHEN}


def first(subtotal: str, discount: str) -> dict[str, str]:
    return FIRST | {"Subtotal": subtotal, "Discount Amount": discount}


def test_lines_of_an_order_have_its_customer_its_instant_and_their_own_discount(tmp_path: Path):
    text = csv(
        line("#1001", "1", "Moss Ball", "20.00") | first("52.00", "8.00") | {"Notes": '"leave\nat the door"'},
        line("#1001", "4", "Red Shrimp - Large", "10.00", Lineitem_discount="8.00") | NEXT,
        line("#1002", "2", "Moss Ball", "20.00", "MB-1")
        | first("40.00", "0.00")
        | {"Created at": "2025-11-05 09:00:00 -0800"},
    )
    p = prepared(tmp_path, "shopify_orders", {"orders_export_1.csv": text})
    assert events(p) == [
        ("ann@example.com", "Moss Ball", "purchase", "2025-04-04T22:42:07Z", 1.0, 20.0),
        ("ann@example.com", "Red Shrimp - Large", "purchase", "2025-04-04T22:42:07Z", 4.0, 32.0),
        ("ann@example.com", "MB-1", "purchase", "2025-11-05T17:00:00Z", 2.0, 40.0),
    ]
    assert p.manifest["n_rejected"] == 0
    assert p.table("events.parquet")["order_id"].to_pylist() == ["#1001", "#1001", "#1002"]


def test_a_code_for_the_order_is_shared_among_its_lines_by_value(tmp_path: Path):
    """400.00 off 1000.00: each line's own discount says 0.00; 40 % off everything."""
    text = csv(
        line("1001", "1", "Chair", "700.00", Lineitem_discount="0.00") | first("600.00", "400.00"),
        line("1001", "3", "Cushion", "100.00", Lineitem_discount="0.00") | NEXT,
        line("1002", "1", "Chair", "700.00", Lineitem_discount="100.00") | first("600.00", "250.00"),
        line("1002", "1", "Lamp", "150.00", Lineitem_discount="0.00") | NEXT,
    )
    money = [row[5] for row in events(prepared(tmp_path, "shopify_orders", {"orders_export.csv": text}))]
    assert money[:2] + money[2:] == [420.0, 480.0, 180.0, 120.0]  # 1002: 150 left of 250, by 600 and 150


def test_a_code_for_free_shipping_takes_nothing_off_the_lines(tmp_path: Path):
    text = csv(line("1", "1", "Chair", "70.00") | first("70.00", "9.99"))
    assert events(prepared(tmp_path, "shopify_orders", {"orders_export.csv": text}))[0][5] == 70.0


def test_a_cancelled_order_is_a_purchase_and_on_its_day_a_return(tmp_path: Path):
    voided = FIRST | {"Financial Status": "voided", "Subtotal": "30.00", "Cancelled at": "2025-04-09 08:00:00 -0700"}
    text = csv(
        line("#7", "1", "Cup", "10.00") | voided,
        line("#7", "2", "Pot", "10.00") | NEXT,
        line("#8", "1", "Cup", "10.00") | FIRST | {"Created at": "2025-05-01 12:00:00 -0700", "Subtotal": "10.00"},
    )
    p = prepared(tmp_path, "shopify_orders", {"orders_export.csv": text})
    assert [row[1:] for row in events(p)] == [
        ("Cup", "purchase", "2025-04-04T22:42:07Z", 1.0, 10.0),
        ("Pot", "purchase", "2025-04-04T22:42:07Z", 2.0, 20.0),
        ("Cup", "return", "2025-04-09T15:00:00Z", 1.0, 10.0),
        ("Pot", "return", "2025-04-09T15:00:00Z", 2.0, 20.0),
        ("Cup", "purchase", "2025-05-01T19:00:00Z", 1.0, 10.0),
    ]
    assert p.manifest["returns"]["linked"] == 2
    assert set(p.table("events.parquet").slice(0, 4)["order_id"].to_pylist()) == {"#7"}


def test_a_customer_without_an_address_is_the_phone_without_a_spreadsheets_apostrophe(tmp_path: Path):
    text = csv(
        line("#1", "1", "Cup", "10.00", Phone="'+27 82 123") | FIRST | {"Email": ""},
        line("#2", "1", "Cup", "10.00", Phone="082 123 4567") | FIRST | {"Email": ""},
        line("#3", "1", "Cup", "10.00") | FIRST | {"Email": ""},
    )
    p = prepared(tmp_path, "shopify_orders", {"orders_export.csv": text}, max_rejected_share=0.5)
    assert p.users["user_id"].to_pylist() == ["+27 82 123", "082 123 4567"]
    assert p.manifest["rejected"] == {"customer: no user_id": 1}
    rejected = p.table("rejected.parquet").to_pylist()
    assert [(row["file"], row["row"]) for row in rejected] == [("orders_export.csv", 4)]


def test_an_order_is_whole_wherever_a_chunk_of_the_file_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = []
    for order in range(40):
        rows.append(
            line(f"#{order}", "1", "Chair", "60.00")
            | FIRST
            | {"Email": f"c{order}@x.com", "Subtotal": "50.00", "Discount Amount": "50.00"}
        )
        rows += [line(f"#{order}", "1", f"Cushion {i}", "10.00") for i in range(4)]
    rows = [row | {"Created at": WHEN} for row in rows]
    whole = events(prepared(tmp_path / "a", "shopify_orders", {"orders_export.csv": csv(*rows)}))
    monkeypatch.setattr("shopkeeper.ingest.chunks.CHUNK_BYTES", 700)
    cut = events(prepared(tmp_path / "b", "shopify_orders", {"orders_export.csv": csv(*rows)}))
    assert sorted(whole) == sorted(cut)
    assert len(cut) == 200
    assert sum(row[5] for row in cut) == pytest.approx(40 * 50)
    assert {row[5] for row in cut if row[1] == "Chair"} == {30.0}


def test_lines_of_an_order_that_stand_apart_are_refused(tmp_path: Path):
    lines = [line("#1", "1", "Cup", "10.00") | FIRST, line("#2", "1", "Pot", "10.00") | FIRST]
    text = csv(*lines, line("#1", "1", "Jug", "5.00") | NEXT)
    with pytest.raises(UserError, match=r"orders_export\.csv: rows 2 and 4 are of one Name.*sort the file by Name"):
        prepared(tmp_path, "shopify_orders", {"orders_export.csv": text})


def test_an_export_of_2012_lacks_columns_that_came_later(tmp_path: Path):
    text = csv(line("#1", "1", "Cup", "10.00") | FIRST, header=OLD)
    assert [row[5] for row in events(prepared(tmp_path, "shopify_orders", {"orders_export.csv": text}))] == [10.0]


def test_a_renamed_column_is_said_with_the_export_and_its_age(tmp_path: Path):
    text = csv(line("#1", "1", "Cup", "10.00") | FIRST).replace("Lineitem price", "Unit price", 1)
    with pytest.raises(UserError) as error:
        prepared(tmp_path, "shopify_orders", {"orders_export.csv": text})
    said = str(error.value)
    assert "orders_export.csv, line 1: no column 'Lineitem price'" in said
    assert "looks like Shopify's orders_export.csv of 2023 or later, without 'Lineitem price'" in said
    assert "\n" not in said


def test_a_price_that_is_none_is_said_of_its_row_with_the_value_as_it_stands(tmp_path: Path):
    text = csv(line("#1", "1", "Cup", "ten") | FIRST, line("#2", "1", "Cup", "10.00") | FIRST)
    p = prepared(tmp_path, "shopify_orders", {"orders_export.csv": text}, max_rejected_share=0.5)
    rejected = p.table("rejected.parquet").to_pylist()
    assert [(row["row"], row["value"]) for row in rejected] == [(2, "ten")]
