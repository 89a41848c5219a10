"""Exports of events: Segment, Klaviyo, OTTO; files of their published shape, counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from sources.shop import events, lines, prepared


def call(
    event: str | None, number: int, properties: dict[str, Any], who: str | None = "c17", **more: Any
) -> dict[str, Any]:
    row = {
        "type": "track" if event else "page",
        "messageId": f"m{number}",
        "anonymousId": "9f",
        "properties": properties,
        "timestamp": f"2025-11-05T14:03:{10 + number}.249Z",
        "receivedAt": "2025-11-05T20:00:00.000Z",
    }
    return row | ({"event": event} if event else {}) | ({"userId": who} if who else {}) | more


def test_track_calls_of_segment(tmp_path: Path):
    bought = {"order_id": "1001", "total": 27.5, "revenue": 22.5, "discount": 2.5, "currency": "EUR",
              "products": [{"product_id": "p1", "sku": "S-1", "price": 19, "quantity": 1},
                           {"product_id": "p2", "price": 3, "quantity": 2}]}  # fmt: skip
    rows = [
        call(None, 0, {"path": "/"}),
        call("Product Viewed", 1, {"product_id": "p1", "price": 19}, who=None),
        call("Added Product", 2, {"product_id": "p1", "price": 19, "quantity": 2}),
        call("Order Completed", 3, bought),
        call("Order Completed", 3, bought, receivedAt="2025-11-05T21:00:00.000Z"),
        call("Order Refunded", 4, {"order_id": "1001"}),
        call("Signed Up", 5, {}),
    ]
    p = prepared(tmp_path, "segment_track", {"calls.jsonl": lines(rows)}, max_rejected_share=0.5)
    assert events(p) == [
        ("9f", "p1", "view", "2025-11-05T14:03:11.249000Z", 0.0, 19.0),
        ("c17", "p1", "add_to_cart", "2025-11-05T14:03:12.249000Z", 2.0, 38.0),
        ("c17", "p1", "purchase", "2025-11-05T14:03:13.249000Z", 1.0, 19.0),
        ("c17", "p2", "purchase", "2025-11-05T14:03:13.249000Z", 2.0, 6.0),
    ]
    assert p.manifest["changes"]["left_out"] == {"sent again": 1, "other kinds of events": 2}
    assert p.manifest["rejected"] == {"item: no item_id": 1}


def test_batches_of_segments_calls_are_refused_with_the_way_to_lines(tmp_path: Path):
    batch = {"sentAt": "2025-11-05T14:03:12Z", "batch": [call("Product Viewed", 1, {"product_id": "p1"})]}
    with pytest.raises(UserError) as error:
        prepared(tmp_path, "segment_track", {"batches.jsonl": lines([batch, batch])})
    said = str(error.value)
    assert said.endswith("'batch'; write a row per line into a folder of its own: "
                         "jq -c '.batch[]' batches.jsonl > rows/batches.jsonl")  # fmt: skip
    assert "\n" not in said


def test_a_refund_weeks_later_is_of_the_same_order(tmp_path: Path):
    order = {"order_id": "1001", "products": [{"product_id": "p", "price": 19, "quantity": 1}]}
    rows = [call("Order Completed", 1, order), call("Order Refunded", 2, order, timestamp="2025-11-20T10:00:00Z")]
    p = prepared(tmp_path, "segment_track", {"calls.jsonl": lines(rows)})
    assert [row[2] for row in events(p)] == ["purchase", "return"]
    assert p.events.order is not None
    assert len(set(p.events.order.tolist())) == 1


def test_a_product_of_segment_is_its_sku_where_nothing_else_names_it(tmp_path: Path):
    bought = [{"sku": "S", "price": 19.9, "quantity": 2}, {"product_id": "p", "sku": "T", "price": 1, "quantity": 1}]
    rows = [
        call("Product Viewed", 0, {"sku": "S", "price": "19.90"}, timestamp="2025-11-05T14:00:02.5+01:00"),
        call("Completed Order", 1, {"orderId": 5, "products": [*bought, {"id": "old", "price": 2}]}),
        call("Order Completed", 2, {"order_id": 6, "products": []}),
        call("Order Refunded", 3, {"order_id": 5, "products": bought[:1]}, timestamp="2025-11-06T14:01:02Z"),
    ]
    p = prepared(tmp_path, "segment_track", {"calls.jsonl": lines(rows)}, max_rejected_share=0.5)
    assert [row[1:4] + row[5:] for row in events(p)] == [
        ("S", "view", "2025-11-05T13:00:02.500000Z", 19.9),
        ("S", "purchase", "2025-11-05T14:03:11.249000Z", 39.8),
        ("old", "purchase", "2025-11-05T14:03:11.249000Z", 2.0),
        ("p", "purchase", "2025-11-05T14:03:11.249000Z", 1.0),
        ("S", "return", "2025-11-06T14:01:02Z", 39.8),
    ]
    assert p.manifest["rejected"] == {"item: no item_id": 1}
    assert p.table("events.parquet")["order_id"].to_pylist() == [None, "5", "5", "5", "5"]  # orderId of version 1


def test_klaviyos_events_of_one_metric(tmp_path: Path):
    text = ("Person//Email,Timestamp,$event_id,$value,ProductID,ProductName,Quantity,OrderId\n"
            "Ann@Example.com,2025-11-05 14:03:11,e1,19.00,45,Red Cup,2,1001\n"
            "ann@example.com,2025-11-05 14:03:11,e2,20.00,46,Pot,1,1001\n"
            "ann@example.com,2025-11-05 14:03:11,e2,20.00,46,Pot,1,1001\n")  # fmt: skip
    p = prepared(tmp_path, "klaviyo_events", {"ordered_product.csv": text})
    assert events(p) == [
        ("ann@example.com", "45", "purchase", "2025-11-05T14:03:11Z", 2.0, 19.0),
        ("ann@example.com", "46", "purchase", "2025-11-05T14:03:11Z", 1.0, 20.0),
    ]
    assert p.manifest["changes"]["left_out"] == {"sent again": 1}


def test_klaviyos_placed_orders_are_purchases_of_an_order_and_told_from_ordered_products(tmp_path: Path):
    text = (
        "Person//Email,Timestamp,$event_id,$value,OrderId\nAnn@Example.com,2025-11-05 14:03:11,e1,39.00,1001\n"
        "bob@x.com,2025-11-06 14:03:11,e3,5.25,1002\nbob@x.com,2025-11-06 14:03:11,e3,5.25,1002\n"
    )
    p = prepared(tmp_path, "klaviyo_orders", {"placed_order.csv": text})
    assert events(p) == [
        ("ann@example.com", "order", "purchase", "2025-11-05T14:03:11Z", 0.0, 39.0),
        ("bob@x.com", "order", "purchase", "2025-11-06T14:03:11Z", 0.0, 5.25),
    ]
    assert p.table("events.parquet")["order_id"].to_pylist() == ["1001", "1002"]
    assert p.manifest["changes"]["left_out"] == {"sent again": 1}
    by_product = text.replace("OrderId", "SKU")
    by_id = text.replace("Person//Email", "Person//ID")
    for content, source in ((text, "klaviyo_orders"), (by_product, "klaviyo_events"), (by_id, "klaviyo_orders")):
        (tmp_path / "metric.csv").write_text(content)
        assert f"/source@_here_: {source}\n" in guess_dataset(tmp_path / "metric.csv")
    with pytest.raises(
        UserError, match=r"no column 'ProductID'.*looks like Klaviyo's .* a row per order \(source klav"
    ):
        prepared(tmp_path, "klaviyo_events", {"placed_order.csv": text})


def test_sessions_of_otto(tmp_path: Path):
    rows = [
        {"session": 42, "events": [{"aid": 0, "ts": 1661200010000, "type": "clicks"},
                                   {"aid": 7, "ts": 1661200015000, "type": "orders"},
                                   {"aid": 0, "ts": 1661200015000, "type": "orders"}]},
        {"session": 43, "events": []},
        {"session": 44, "events": [{"aid": 0, "ts": 1661200011001, "type": "carts"}]},
    ]  # fmt: skip
    p = prepared(tmp_path, "otto", {"train.jsonl": lines(rows)})
    assert events(p) == [
        ("42", "0", "view", "2022-08-22T20:26:50Z", 0.0, 0.0),
        ("44", "0", "add_to_cart", "2022-08-22T20:26:51.001000Z", 0.0, 0.0),
        ("42", "0", "purchase", "2022-08-22T20:26:55Z", 0.0, 0.0),
        ("42", "7", "purchase", "2022-08-22T20:26:55Z", 0.0, 0.0),
    ]
    first = p.events.item[p.event_user == p.event_user[0]]
    assert p.items["item_id"].take(pa.array(first.astype(int) - 1)).to_pylist() == ["0", "7", "0"]  # as in the list
