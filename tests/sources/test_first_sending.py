"""Purchases that a page sent again: the first sending of an order counts, in sources and engines, as a loop has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shopkeeper.arrange.engine_settings import Engine
from shopkeeper.arrange.extend import extend_dataset
from shopkeeper.arrange.order_numbers import CUSTOMERS, HOUR, SENT_BEFORE, sent_first
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_tree
from shopkeeper.people.rules import customer_rules
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from sources.shop import config, events, lines, prepared
from sources.test_analytics_exports import CUP, POT, T, cell, ga4, visits
from sources.test_event_exports import call

DAY = MICROSECONDS_PER_DAY
SHIRTS = [{"item_id": "S1", "item_variant": size, "price": 9.5, "quantity": "1"} for size in "SM"]
SENT = [
    ga4("purchase", T, [CUP, POT, *SHIRTS], currency="EUR", order="T1"),
    ga4("purchase", T + 60_000_000, [CUP, POT, *SHIRTS], who="ann", order="T1"),  # signed in since
    ga4("purchase", T + 4 * DAY, [CUP | {"quantity": "5"}], order="T1"),  # another quantity
    ga4("refund", T + 5 * DAY, [SHIRTS[0]], order="T1"),
    ga4("purchase", T + 6 * DAY, [POT], order="T2"),
    ga4("purchase", T + 7 * DAY, [POT]),  # without a number
    ga4("purchase", T + 8 * DAY, [POT]),
]
BOUGHT = [
    ("123.456", "A1", "purchase", 19.0),
    ("123.456", "B2", "purchase", 20.0),
    ("123.456", "S1", "purchase", 9.5),
    ("123.456", "S1", "purchase", 9.5),
    ("123.456", "S1", "return", 9.5),
] + [("123.456", "B2", "purchase", 20.0)] * 3


def short(p: Prepared) -> list[tuple[str, str, str, float]]:
    return [(who, item, kind, money) for who, item, kind, _, _, money in events(p)]


def test_a_purchase_of_ga4_counts_as_it_was_sent_first_whoever_sends_it_again_and_with_what_quantity(tmp_path: Path):
    p = prepared(tmp_path / "nested", "ga4_bigquery", {"events.jsonl": lines(SENT)})
    assert short(p) == BOUGHT
    assert p.manifest["changes"]["left_out"] == {SENT_BEFORE: 5}
    rows = [
        ",".join(str(x) for x in (e["event_timestamp"], e["event_name"], e.get("user_id", ""), e["user_pseudo_id"],
                                  e.get("ecommerce", {}).get("transaction_id", ""), i["item_id"], i["price"],
                                  i["quantity"]))
        for e in SENT for i in e["items"]
    ]  # fmt: skip
    header = "event_timestamp,event_name,user_id,user_pseudo_id,transaction_id,item_id,price,quantity"
    flat = prepared(tmp_path / "flat", "ga4_flat", {"events.csv": "\n".join([header, *rows]) + "\n"})
    assert short(flat) == BOUGHT
    assert flat.manifest["changes"]["left_out"] == {SENT_BEFORE: 5}


def test_what_a_purchase_that_is_left_out_says_of_who_is_who_stays_known(tmp_path: Path):
    (tmp_path / "e.jsonl").write_text(lines(SENT))
    told = config("ga4_bigquery", ["e.jsonl"])
    told["identity"] |= {"as_of": "2026-01-01"}
    change = customer_rules(told, tmp_path)
    p = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False, change=change))
    assert short(p) == [("ann", *row[1:]) for row in BOUGHT]


@pytest.mark.parametrize("engine", ["polars", "duckdb"])  # Spark: tests/arrange/test_engine_spark.py
def test_engines_leave_the_same_bytes(tmp_path: Path, engine: str):
    (tmp_path / "e.jsonl").write_text(lines(SENT))
    told = config("ga4_bigquery", ["e.jsonl"])
    found = [
        sha256_tree(prepare_dataset(told, tmp_path, tmp_path / name, progress=False, engine=Engine(name)))
        for name in ("arrays", engine)
    ]
    assert found[0] == found[1]


def test_an_order_of_segment_that_a_server_sends_too_is_one_order(tmp_path: Path):
    order = {"order_id": "1001", "products": [{"product_id": "p", "price": 19, "quantity": 1}] * 2}
    rows = [
        call("Order Completed", 1, order),
        call("Order Completed", 4, order, who=None),  # another messageId, and before somebody was known
        call("Order Refunded", 5, order),
        call("Order Completed", 6, order | {"order_id": "1002"}),
    ]
    p = prepared(tmp_path, "segment_track", {"calls.jsonl": lines(rows)})
    assert short(p) == [("c17", "p", kind, 19.0) for kind in ["purchase"] * 2 + ["return"] * 2 + ["purchase"] * 2]
    assert p.manifest["changes"]["left_out"] == {SENT_BEFORE: 2}


def test_orders_of_klaviyo_and_of_yandex_metrica_that_were_sent_again_are_one_order(tmp_path: Path):
    placed = "Person//Email,Timestamp,$event_id,$value,OrderId\nann@x.com,2025-11-05 14:03:11,e1,39.00,1001\n"
    placed += "ann@x.com,2025-11-05 14:09:11,e2,39.00,1001\nann@x.com,2025-11-06 14:09:11,e3,8.00,1002\n"
    p = prepared(tmp_path / "klaviyo", "klaviyo_orders", {"placed_order.csv": placed})
    assert [row[3] for row in short(p)] == [39.0, 8.0]
    names = "visitID clientID productsPurchaseID productsID productsEventTime productsPrice productsQuantity"
    shown = [
        (n, 7, cell("o1", "o1"), cell("A1", "B2"), cell(*[f"2025-11-0{day} 10:00:00"] * 2), cell(9_500_000, 9_500_000),
         cell(1, 1))
        for n, day in ((1, 5), (2, 7))
    ]  # fmt: skip
    p = prepared(tmp_path / "yandex", "yandex_metrica_purchases", {"visits.tsv": visits(*shown, names=names)})
    assert [row[1] for row in short(p)] == ["A1", "B2"]
    assert p.manifest["changes"]["left_out"] == {SENT_BEFORE: 2}


@pytest.mark.parametrize("days", [None, 1, 3])
def test_first_sendings_are_those_of_a_plain_loop(days: int | None):
    rng = np.random.default_rng(0)
    n = 4_000
    order, user, kind = rng.integers(-1, 400, n), rng.integers(0, 3, n), rng.choice([1, 2, EVENT_CODE["purchase"]], n)
    time = rng.integers(0, 12, n) * (DAY // 2) + rng.integers(0, 2, n) * (HOUR // 2)
    wanted = np.ones(n, bool)
    first: dict[int, tuple[int, int]] = {}
    last: dict[int, int] = {}
    for i in np.lexsort((np.arange(n), time)).tolist():
        number, at, who = int(order[i]), int(time[i]), int(user[i])
        if number < 0 or kind[i] != EVENT_CODE["purchase"]:
            continue
        before = last.get(number, at)
        if number not in first or (days is not None and at // DAY - before // DAY >= days and at - before > HOUR):
            first[number] = at, who
        last[number] = at
        wanted[i] = first[number] == (at, who)
    found, shared = sent_first(order.astype(np.int32), time, kind.astype(np.int8), user.astype(np.int32), "UTC", days)
    assert (found == wanted).all()
    assert not len(shared)
    assert 0 < (~found).sum() < n


LOG = {"name": "shop", "raw": {"folder": "", "files": ["log*.csv"]}, "reader": {"format": "csv"},
       "rows": {"orders": "first"}, "event_type": "purchase",
       "columns": {"user_id": "who", "item_id": "what", "timestamp": "when", "order_id": "order"}}  # fmt: skip


def test_a_number_that_another_customer_has_after_so_many_days_is_another_order(tmp_path: Path):
    rows = ["who,what,when,order", "ann,x,2025-01-01 10:00,7", "bob,x,2025-01-01 10:05,7", "cleo,y,2025-04-01 10:00,7"]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    for days, who in ((30, ["ann", "cleo"]), (None, ["ann"])):
        made = prepare_dataset(LOG | {"order_days": days}, tmp_path, tmp_path / f"{days}", progress=False)
        assert Prepared.open(made).users["user_id"].to_pylist() == who


@pytest.mark.parametrize(("customers", "kept"), [(CUSTOMERS, 2), (CUSTOMERS + 1, CUSTOMERS + 2)])
def test_a_word_that_many_customers_send_for_a_number_is_no_order(
    customers: int, kept: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    rows = [f"c{n},x,2025-01-01 10:{n:02d},undefined" for n in range(customers)] + ["c0,y,2025-01-02 10:00,1002"]
    (tmp_path / "log.csv").write_text("\n".join(["who,what,when,order", *rows]) + "\n")
    told = LOG | {"order_days": None}
    p = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False))
    assert len(p.events.item) == kept
    assert ("1 order numbers (undefined) are of more than 5 customers each" in caplog.text) == (kept > 2)


def test_what_the_first_sending_needs_is_asked_for(tmp_path: Path):
    (tmp_path / "log.csv").write_text("who,what,when,order\na,x,2025-01-01,7\n")
    columns = dict(LOG["columns"])
    columns.pop("timestamp")
    with pytest.raises(UserError, match=r"rows\.orders is first, and no column of times says which that is"):
        prepare_dataset(LOG | {"columns": columns}, tmp_path, tmp_path / "out", progress=False)
    columns = {"user_id": "who", "item_id": "what", "timestamp": "when"}
    with pytest.raises(UserError, match=r"rows\.orders is first; say in columns\.order_id"):
        prepare_dataset(LOG | {"columns": columns}, tmp_path, tmp_path / "out", progress=False)
    old = prepare_dataset(LOG, tmp_path, tmp_path / "old", progress=False)
    (tmp_path / "log2.csv").write_text("who,what,when,order\na,x,2025-01-02,7\n")
    with pytest.raises(UserError, match=r"has rows\.orders: first, and which ids there were is not kept"):
        extend_dataset(old, LOG, tmp_path, tmp_path / "new", progress=False)
