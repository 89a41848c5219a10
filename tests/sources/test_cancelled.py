"""One rule for all shops: an order that was cancelled later stays, unless `cancelled: {orders: leave_out}`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import CANCELLED, parse
from sources.shop import config, events, prepared

WOO = (
    "order_id,order_number,date,status,order_total,shipping_total,tax_total,discount_total,refunded_total,billing_email,"
    "line_items\n"
)
LINE = "id:{}|name:Pot|product_id:7|sku:|quantity:1|subtotal:5.00|subtotal_tax:0.00|total:5.00|total_tax:0.00|meta:"
ITEMS = (
    "order_id,date,status,order_total,billing_email,item_id,item_product_id,item_name,item_sku,item_quantity,"
    "item_subtotal,item_total\n"
)
LINES = "Order Number,Order Status,Order Date,Email (Billing),SKU,Name,Quantity,Item Cost,Order Line Total\n"
BIG = (
    "Order ID,Customer ID,Customer Name,Customer Email,Order Date,Order Status,Subtotal (inc tax),Subtotal (ex tax),"
    "Order Total (inc tax),Order Total (ex tax),Total Quantity,Order Currency Code,Product Details\n"
)
PACKED = (
    "Product ID: 7, Product Qty: 1, Product SKU: , Product Name: Pot, Product Weight: 1, Product Variation Details: , "
    "Product Unit Price: 5.00, Product Total Price: 5.00"
)
GRID = (
    'ID,"Purchase Point","Purchase Date","Bill-to Name","Ship-to Name","Grand Total (Base)","Grand Total (Purchased)",'
    'Status,"Customer Email","Customer Group","Total Refunded"\n'
)
SHOPIFY = (
    "Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Subtotal,Total,Discount Code,Discount Amount,"
    "Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Cancelled at\n"
)


def shop(source: str, states: tuple[str, str, str]) -> dict[str, str]:
    """Files with an order that stands, one that was cancelled and one that never was; the first file is the log's."""
    n = range(1, 4)
    if source == "woocommerce_orders":
        return {"o.csv": WOO + "".join(
            f'{i},{i},2025-11-0{i} 10:00:00,{s},5,0,0,0,0,a@x.com,"{LINE.format(i)}"\n'
            for i, s in zip(n, states, strict=True)
        )}  # fmt: skip
    if source == "woocommerce_items":
        return {"o.csv": ITEMS + "".join(
            f"{i},2025-11-0{i} 10:00:00,{s},5,a@x.com,{i},7,Pot,,1,5.00,5.00\n" for i, s in zip(n, states, strict=True)
        )}  # fmt: skip
    if source == "woocommerce_lines":
        return {"o.csv": LINES + "".join(
            f"{i},{s},2025-11-0{i} 10:00,a@x.com,7,Pot,1,5.00,5.00\n" for i, s in zip(n, states, strict=True)
        )}  # fmt: skip
    if source == "bigcommerce_orders":
        return {"o.csv": BIG + "".join(
            f'{i},1,A,a@x.com,0{i}/11/2025,{s},5,5,5,5,1,EUR,"{PACKED}"\n' for i, s in zip(n, states, strict=True)
        )}  # fmt: skip
    if source == "magento_orders":
        items = (
            "increment_id,item_id,parent_item_id,product_id,sku,name,qty_ordered,row_total_incl_tax,discount_amount\n"
        )
        grid = "".join(
            f'{i},W,"Nov {i}, 2025 10:00:00 AM",A,A,5,5,{s},a@x.com,G,0\n' for i, s in zip(n, states, strict=True)
        )
        return {"o.csv": items + "".join(f"{i},{i},,7,P,Pot,1,5.00,0\n" for i in n), "export.csv": GRID + grid}
    if source == "prestashop_orders":
        detail = "id_order;product_id;product_attribute_id;product_reference;product_name;product_quantity;" \
            "total_price_tax_incl\n"  # fmt: skip
        orders = "id_order;id_customer;date_add;current_state;valid;total_discounts_tax_incl\n" + "".join(
            f"{i};1;2025-11-0{i} 10:00:00;{s.replace('/', ';')};0\n" for i, s in zip(n, states, strict=True)
        )
        return {"o.csv": detail + "".join(f"{i};7;0;P;Pot;1;5.000000\n" for i in n), "orders.csv": orders}
    return {"o.csv": SHOPIFY + "".join(
        f"#{i},a@x.com,{s},,,EUR,5,5,,0,2025-11-0{i} 10:00:00 +0000,1,Pot,5.00,7,{at}\n"
        for i, s, at in zip(n, states, ("", "2025-11-09 08:00:00 +0000", ""), strict=True)
    )}  # fmt: skip


SHOPS = [
    ("woocommerce_orders", ("completed", "cancelled", "failed")),
    ("woocommerce_items", ("completed", "wc-cancelled", "failed")),
    ("woocommerce_lines", ("Completed", "Cancelled", "Failed")),
    ("bigcommerce_orders", ("Shipped", "Cancelled", "Pending")),
    ("magento_orders", ("Complete", "Canceled", "Pending Payment")),
    ("prestashop_orders", ("5/1", "6/0", "8/0")),
    ("shopify_orders", ("paid", "voided", "pending")),
]


def made(folder: Path, source: str, states: tuple[str, str, str], **changes: Any) -> Any:
    log, *others = (files := shop(source, states))
    folder.mkdir(parents=True)
    for name in others:
        (folder / name).write_text(files[name])
    return prepared(folder, source, {log: files[log]}, max_rejected_share=0.9, **changes)


@pytest.mark.parametrize(("source", "states"), SHOPS, ids=[source for source, _ in SHOPS])
def test_a_cancelled_order_stays_unless_told_and_one_that_never_was_goes(
    tmp_path: Path, source: str, states: tuple[str, str, str]
):
    kept = made(tmp_path / "kept", source, states)
    days = [row[3][:10] for row in events(kept) if row[2] == "purchase"]
    shopifys = source == "shopify_orders"  # whose abandoned checkouts are no orders, and which dates a cancellation
    assert days == ["2025-11-01", "2025-11-02"] + (["2025-11-03"] if shopifys else [])
    assert [row[3] for row in events(kept) if row[2] == "return"] == (["2025-11-09T08:00:00Z"] if shopifys else [])

    told = config(source, [])["cancelled"] | {"orders": "leave_out"}
    left = made(tmp_path / "left", source, states, cancelled=told)
    assert [row[2:4] for row in events(left)] == [
        ("purchase", f"2025-11-0{day}T{'00' if source == 'bigcommerce_orders' else '10'}:00:00Z")
        for day in ((1, 3) if shopifys else (1,))
    ]
    assert left.manifest["rejected"][f"{told['column']}: {CANCELLED}"] == 1 + shopifys  # the row and its return


def test_leaving_cancelled_orders_out_needs_to_know_which_these_are():
    told = config("klaviyo_events", ["a.csv"], cancelled={"orders": "leave_out"})
    with pytest.raises(UserError, match=r"cancelled\.orders is leave_out; say by column and matches"):
        parse(told)
