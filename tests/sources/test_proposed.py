"""`new-dataset` of exports that want something else than a temporal split of the files it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from sources.shop import prepared


def proposed(file: Path, text: str) -> dict[str, Any]:
    file.write_text(text)
    told: dict[str, Any] = yaml.safe_load(guess_dataset(file))
    return told


def test_sessions_are_split_as_sessions_and_a_sources_own_files_are_not_named_again(tmp_path: Path):
    text = "sessionId;userId;itemId;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n"
    told = proposed(tmp_path / "train-item-views.csv", text)
    assert told["defaults"][0] == {"/source@_here_": "diginetica"}
    assert told["defaults"][2] == {"override /split@_global_.split": "sessions"}
    assert "files" not in told["raw"]


def test_a_log_without_times_gets_no_time_zone(tmp_path: Path):
    orders = (
        "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order\n5,1,prior,1,2,8,\n"
    )
    (tmp_path / "orders.csv").write_text(orders)
    lines = "order_id,product_id,add_to_cart_order,reordered\n5,12,1,0\n"
    told = proposed(tmp_path / "order_products__prior.csv", lines)
    assert told["defaults"][0] == {"/source@_here_": "instacart"}
    assert told["defaults"][2] == {"override /split@_global_.split": "leave_one_out"}
    assert told["raw"]["files"] == ["order_products__prior.csv"]
    assert "timestamp" not in told


BIGCOMMERCE = (
    "Order ID,Customer ID,Customer Name,Customer Email,Order Date,Order Status,Subtotal (inc tax),Subtotal "
    "(ex tax),Order Total (inc tax),Order Total (ex tax),Total Quantity,Order Currency Code,Product Details\n"
)


def bigcommerce_rows(name: str = "Pot") -> str:
    cell = (
        f"Product ID: 7, Product Qty: 1, Product SKU: , Product Name: {name}, Product Weight: 1, Product Variation "
        "Details: , Product Unit Price: 5.00, Product Total Price: 5.00"
    )
    return "".join(f'{n},1,A,a{n}@x.com,05/{n}/2025,Shipped,5,5,5,5,1,EUR,"{cell}"\n' for n in range(13, 29))


def test_dates_that_are_written_otherwise_than_usual_are_proposed(tmp_path: Path):
    told = proposed(tmp_path / "orders.csv", BIGCOMMERCE + bigcommerce_rows())
    assert told["timestamp"] == {"time_zone": "UTC", "format": "%m/%d/%Y"}
    rows = bigcommerce_rows().replace("05/", "2025-05-").replace("/2025", "")
    (tmp_path / "again.csv").write_text(BIGCOMMERCE + rows)
    assert "format: null" in guess_dataset(tmp_path / "again.csv")


def test_how_a_known_export_is_encoded_and_what_stands_above_its_header_is_taken_over_with_the_doubt(tmp_path: Path):
    (tmp_path / "orders.csv").write_bytes((BIGCOMMERCE + bigcommerce_rows("Größe")).encode("cp1252"))
    text = guess_dataset(tmp_path / "orders.csv")
    assert yaml.safe_load(text)["reader"] == {"encoding": "cp1252"}
    assert "DOUBT: the text is not UTF-8; cp1252 (Western Europe) is a guess" in text
    told = proposed(tmp_path / "titled.csv", "Orders of May\nmade on 2025-06-01\n\n" + BIGCOMMERCE + bigcommerce_rows())
    assert told["defaults"][0] == {"/source@_here_": "bigcommerce_orders"}
    assert told["reader"] == {"skip_lines": 3}
    assert told["timestamp"]["format"] == "%m/%d/%Y"  # its rows were looked at


@pytest.mark.parametrize(
    ("source", "file", "line"),
    [
        ("yoochoose", "yoochoose-clicks.dat", "1,2014-04-07T10:51:09.277Z,214536502,0\n"),
        ("taobao_user_behavior", "UserBehavior.csv", "1,2268318,2520377,pv,1511544070\n"),
        ("amazon_2023", "All_Beauty.csv", "AGKHLEW2SOWHNMFQIJGBECAF7INQ,B081TJ8YS3,5.0,1588615855070\n"),
    ],
)
def test_a_public_set_without_a_header_is_told_by_its_lines(tmp_path: Path, source: str, file: str, line: str):
    told = proposed(tmp_path / file, 3 * line)
    assert told["defaults"][0] == {"/source@_here_": source}
    assert "reader" not in told, "the source says its names"
    other = proposed(tmp_path / f"x{file}", 3 * line + "a,b\n")
    assert len(other["defaults"]) == 1, "no source"


SHOPIFY = (
    "Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Subtotal,Total,Discount Code,Discount Amount,"
    "Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Cancelled at\n"
)


def test_cancelled_orders_and_several_currencies_are_doubts(tmp_path: Path):
    def row(n: int, currency: str, gone: str = "") -> str:
        return f"#{n},c{n}@x.com,paid,,,{currency},,,,,2025-11-05 10:00:00 +0000,1,Cup,5.00,CUP,{gone}\n"

    text = SHOPIFY + "".join(row(n, "EUR") for n in range(5)) + row(6, "USD", "2025-11-09 10:00:00 +0000")
    (tmp_path / "orders_export.csv").write_text(text + row(7, "USD"))
    said = guess_dataset(tmp_path / "orders_export.csv")
    assert "DOUBT: 2 of the first 8 events are of cancelled orders, which stay" in said
    assert "DOUBT: prices are in 2 currencies (EUR 83.3%, USD 16.7%), and sums of money mix them" in said


def test_cancelled_orders_that_stay_are_among_the_events_of_which_some_would_be_rejected(tmp_path: Path):
    states = ["Completed"] * 5 + ["Cancelled", "Failed", "Pending payment"]
    header = "Order Number,Order Status,Order Date,Email (Billing),SKU,Name,Quantity,Item Cost,Order Line Total\n"
    rows = [f"{n},{state},2025-11-0{n} 10:00,c{n}@x.com,7,Pot,1,5.00,5.00\n" for n, state in enumerate(states, 1)]
    (tmp_path / "orders.csv").write_text(header + "".join(rows))
    said = guess_dataset(tmp_path / "orders.csv")
    assert "DOUBT: 1 of the first 8 events are of cancelled orders, which stay" in said
    assert "DOUBT: 2 of the first 8 events would be rejected (2 × Order Status: never became an order)" in said


def test_batches_of_calls_are_said_with_the_way_to_lines(tmp_path: Path):
    with pytest.raises(UserError, match=r"holds batches of calls.*jq -c '\.batch\[\]' c\.jsonl"):
        proposed(tmp_path / "c.jsonl", '{"sentAt": "2025-11-05", "batch": [{"type": "page", "messageId": "1"}]}\n')


def test_a_delimiter_that_is_another_is_no_other_export(tmp_path: Path):
    with pytest.raises(UserError) as error:
        prepared(tmp_path, "shopify_orders", {"o.csv": SHOPIFY.replace(",", ";") + "1;2\n"})
    assert str(error.value).endswith("The fields seem to be separated by ';': set reader.delimiter.")


def test_an_export_that_is_no_log_is_said_with_what_to_use(tmp_path: Path):
    header = (
        "Date,Order #,N. Revenue (formatted),Status,Customer,Customer type,Product(s),Items sold,Coupon(s),Net Sales\n"
    )
    with pytest.raises(UserError, match=r"looks like WooCommerce's Analytics > Orders.*; use an export of orders"):
        proposed(tmp_path / "a.csv", header + '2025-11-05 14:03:11,1,28,completed,Ann,new,"2× Cup",2,,28\n')
