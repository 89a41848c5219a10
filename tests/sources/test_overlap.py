"""Exports that overlap: an order of several files counts once, and two equal lines of one order are two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shopkeeper.arrange.extend import extend_dataset
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.log import Ids, read_log
from shopkeeper.ingest.overlap import LATER_FILE, doubts_orders, read_once
from sources.shop import config, events, prepared

HEADER = (
    "Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Subtotal,Total,Discount Code,Discount Amount,"
    "Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Cancelled at\n"
)


def line(order: int, day: int, item: str, price: str = "5.00", units: int = 1, gone: str = "") -> str:
    at = f"2025-11-{day:02d} 10:00:00 +0000"
    return f"#{order},c{order}@x.com,paid,,,EUR,,,,,{at},{units},{item},{price},{item},{gone}\n"


def bought(p: Prepared) -> list[tuple[str, str, str, float]]:
    orders = p.table("events.parquet").to_pylist()
    found = [(r["order_id"], r["item_id"], r["event_type"], float(r["price"] * r["quantity"])) for r in orders]
    return sorted(found)


def test_an_order_of_two_exports_counts_once_as_the_later_has_it_and_equal_lines_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    october = HEADER + line(1, 1, "Cup") + line(1, 1, "Cup") + line(2, 2, "Pot") + line(3, 3, "Jug") + line(3, 3, "Lid")
    november = (
        HEADER
        + line(2, 2, "Pot", gone="2025-11-09 10:00:00 +0000")  # cancelled since
        + line(3, 3, "Jug", units=3)  # edited since: three jugs and no lid
        + line(4, 4, "Cup")
    )
    p = prepared(tmp_path, "shopify_orders", {"orders_2025-10.csv": october, "orders_2025-11.csv": november})
    assert bought(p) == [
        ("#1", "Cup", "purchase", 5.0),
        ("#1", "Cup", "purchase", 5.0),
        ("#2", "Pot", "purchase", 5.0),
        ("#2", "Pot", "return", 5.0),
        ("#3", "Jug", "purchase", 15.0),
        ("#4", "Cup", "purchase", 5.0),
    ]
    assert p.manifest["changes"]["left_out"] == {LATER_FILE: 3}
    assert "3 lines of 2 orders stand in several files and count once" in caplog.text
    all_of_them = {"rows": {"orders": "all"}}
    again = prepared(tmp_path / "all", "shopify_orders", {"a.csv": october, "b.csv": november}, **all_of_them)
    assert len(bought(again)) == 9


def test_a_cancellation_that_only_the_earlier_file_tells_of_is_kept(tmp_path: Path):
    first = HEADER + line(1, 1, "Cup", gone="2025-11-09 10:00:00 +0000")
    p = prepared(tmp_path, "shopify_orders", {"1.csv": first, "2.csv": HEADER + line(1, 1, "Cup")})
    assert [row[2] for row in bought(p)] == ["purchase", "return"]


LINES = "Order Number,Order Status,Order Date,Email (Billing),SKU,Name,Quantity,Item Cost,Order Line Total\n"


def plugin_line(order: int, state: str) -> str:
    return f"{order},{state},2025-11-0{order} 10:00,c{order}@x.com,7,Pot,1,5.00,5.00\n"


def test_an_order_that_its_last_file_calls_cancelled_or_failed_is_out_where_such_orders_are(tmp_path: Path):
    first = LINES + "".join(plugin_line(n, state) for n, state in enumerate(["Completed"] * 3 + ["Pending payment"], 1))
    then = LINES + plugin_line(1, "Cancelled") + plugin_line(2, "Failed") + plugin_line(4, "Completed")
    told = config("woocommerce_lines", [])["cancelled"]
    for orders, stay in {"keep": ["1", "3", "4"], "leave_out": ["3", "4"]}.items():
        how = {"cancelled": told | {"orders": orders}, "max_rejected_share": 0.9}
        p = prepared(tmp_path / orders, "woocommerce_lines", {"1.csv": first, "2.csv": then}, **how)
        assert [row[0] for row in bought(p)] == stay
        assert p.manifest["changes"]["left_out"] == {LATER_FILE: 2}  # of 1 and 2, the earlier lines
    (tmp_path / "some").mkdir()
    only_pending = {"1.csv": LINES + plugin_line(4, "Pending payment"), "2.csv": LINES + plugin_line(4, "Completed")}
    p = prepared(tmp_path / "some", "woocommerce_lines", only_pending, max_rejected_share=0.9)
    assert [row[0] for row in bought(p)] == ["4"]
    turned = dict(zip(only_pending, [*only_pending.values()][::-1], strict=True))
    with pytest.raises(UserError, match="no order is left, as rules keep each one out in the last file"):
        prepared(tmp_path / "none", "woocommerce_lines", turned, max_rejected_share=0.9)


def test_who_stands_in_rows_alone_that_rules_keep_out_is_no_customer_of_the_log(tmp_path: Path):
    told = config("woocommerce_lines", ["1.csv", "2.csv"], max_rejected_share=0.9)
    (tmp_path / "1.csv").write_text(LINES + plugin_line(1, "Completed") + plugin_line(3, "Completed"))
    (tmp_path / "2.csv").write_text(LINES + plugin_line(2, "Failed") + plugin_line(3, "Failed"))
    log = read_log(parse(told), tmp_path, progress=False)
    assert (log.ids["user_id"].values.to_pylist(), log.user.tolist()) == (["c1@x.com"], [0])
    assert log.orders_aside is not None
    assert log.orders_aside.to_pylist() == ["3", "2"]
    (tmp_path / "2.csv").write_text(LINES + plugin_line(2, "Failed") + plugin_line(4, "Completed"))
    log = read_log(parse(told), tmp_path, progress=False)
    assert log.ids["user_id"].values.take(pa.array(log.user)).to_pylist() == ["c1@x.com", "c3@x.com", "c4@x.com"]
    assert Ids(np.array([2, -1, 0], np.int32), pa.array(["a", "b", "c"])).only_used().codes.tolist() == [1, -1, 0]


def test_orders_count_once_only_where_a_column_numbers_them(tmp_path: Path):
    columns = {"user_id": "who", "item_id": "what", "timestamp": "when"}
    told = {"name": "shop", "raw": {"folder": "", "files": ["log.csv"]}, "reader": {"format": "csv"},
            "rows": {"orders": "once"}, "event_type": "purchase", "columns": columns}  # fmt: skip
    (tmp_path / "log.csv").write_text("who,what,when\na,x,2025-01-01\n")
    with pytest.raises(UserError, match=r"rows\.orders is once; say in columns\.order_id"):
        prepare_dataset(told, tmp_path, tmp_path / "out", progress=False)


def test_an_order_that_the_end_of_a_file_cuts_in_two_keeps_all_of_its_lines(tmp_path: Path):
    files = {"1.csv": HEADER + line(1, 1, "Cup") + line(2, 2, "Pot"), "2.csv": HEADER + line(2, 2, "Jug")}
    p = prepared(tmp_path, "shopify_orders", files)
    assert [row[:2] for row in bought(p)] == [("#1", "Cup"), ("#2", "Jug"), ("#2", "Pot")]
    assert "left_out" not in (p.manifest.get("changes") or {})


def test_a_number_that_two_shops_have_given_at_other_times_is_two_orders(tmp_path: Path):
    p = prepared(tmp_path, "shopify_orders", {"a.csv": HEADER + line(1, 1, "Cup"), "b.csv": HEADER + line(1, 2, "Cup")})
    assert [row[3][:10] for row in events(p)] == ["2025-11-01", "2025-11-02"]


def test_files_of_one_name_in_two_folders_are_two_files(tmp_path: Path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    p = prepared(tmp_path, "shopify_orders", {f"{x}/o.csv": HEADER + line(1, 1, "Cup") for x in ("old", "new")})
    assert len(bought(p)) == 1


@pytest.mark.parametrize(("filters", "rows", "doubt"), [
    ({}, {}, True), ({"repeats": {"seconds": 60}}, {}, False), ({}, {"orders": "all"}, False)
])  # fmt: skip
def test_orders_of_several_files_are_a_doubt_until_a_setting_says_what_they_are(filters, rows, doubt: bool):
    columns = {"user_id": "who", "item_id": "what", "timestamp": "when", "order_id": "order"}
    told = {"name": "shop", "raw": {"folder": "", "files": ["log.csv"]}, "reader": {"format": "csv"},
            "event_type": "purchase", "columns": columns, "filters": filters, "rows": rows}  # fmt: skip
    assert doubts_orders(parse(told)) == doubt


def test_lines_are_told_apart_as_by_a_plain_loop():
    rng = np.random.default_rng(0)
    n = 3_000
    order, time, kind = rng.integers(-1, 300, n), rng.integers(0, 3, n), rng.integers(1, 3, n).astype(np.int8)
    item, file = rng.integers(0, 12, n), np.sort(rng.integers(0, 4, n))
    lines: dict[tuple[int, int, int], dict[int, set[int]]] = {}
    for i in range(n):
        key = (int(order[i]), int(time[i]), int(kind[i]))
        lines.setdefault(key, {}).setdefault(int(file[i]), set()).add(int(item[i]))
    wanted = []
    for i in range(n):
        of = lines[int(order[i]), int(time[i]), int(kind[i])]
        last = max(of)
        wanted.append(order[i] < 0 or file[i] == last or not of[int(file[i])] & of[last])
    found = read_once(order.astype(np.int32), time, kind, item.astype(np.int32), file.astype(np.int32))
    assert found.tolist() == [bool(w) for w in wanted]
    assert 0 < (~found).sum() < n


def test_an_order_that_is_there_already_is_not_extended(tmp_path: Path):
    told: dict[str, Any] = {
        "name": "shop", "raw": {"folder": "", "files": ["log*.csv"]}, "reader": {"format": "csv"},
        "rows": {"orders": "once"}, "event_type": "purchase",
        "columns": {"user_id": "who", "item_id": "what", "timestamp": "when", "order_id": "order"},
    }  # fmt: skip
    header = "who,what,when,order\n"
    (tmp_path / "log.csv").write_text(header + "a,x,2025-01-01,7\na,y,2025-01-02,8\n")
    old = prepare_dataset(told, tmp_path, tmp_path / "old", progress=False)
    (tmp_path / "log2.csv").write_text(header + "a,y,2025-01-02,8\na,z,2025-01-03,9\n")
    with pytest.raises(UserError, match=r"log2\.csv: 1 orders are in .* already.*prepare all files together"):
        extend_dataset(old, told, tmp_path, tmp_path / "new", progress=False)
    out = told | {"reject": [{"column": "what", "matches": "^y$", "reason": "cancelled"}], "max_rejected_share": 0.9}
    (tmp_path / "log2.csv").unlink()
    (tmp_path / "log.csv").write_text(header + "a,x,2025-01-01,7\na,w,2025-01-02,8\n")
    before = prepare_dataset(out, tmp_path, tmp_path / "before", progress=False)
    (tmp_path / "log2.csv").write_text(header + "a,y,2025-01-02,8\na,z,2025-01-03,9\n")  # 8 was cancelled since
    with pytest.raises(UserError, match=r"log2\.csv: 1 orders are in .* already.*shopkeeper prepare"):
        extend_dataset(before, out, tmp_path, tmp_path / "after", progress=False)
    (tmp_path / "log.csv").write_text(header + "a,x,2025-01-01,7\na,y,2025-01-02,8\n")
    (tmp_path / "log2.csv").write_text(header + "a,z,2025-01-03,9\n")
    new = Prepared.open(extend_dataset(old, told, tmp_path, tmp_path / "new", progress=False))
    assert len(new.events.item) == 3
