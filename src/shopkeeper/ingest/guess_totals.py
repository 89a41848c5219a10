"""What a column of amounts is of (a piece, a line, a whole order) and in what: the file itself may show it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

DOUBT = "# DOUBT: "
NAMED_LIKE_A_TOTAL = r"total|amount|sum|^line|revenue|sales|value|betrag|umsatz|montant"
SEVERAL = r"net|gross|brutto|incl|excl|(^|_)(vat|tax)|mwst"
ROWS = 20  # of items that were bought in several quantities; fewer show nothing


def price_lines(frame: pl.DataFrame, columns: Mapping[str, str]) -> list[str]:
    """Lines of a dataset config about `price_is`, and doubts: none where the price is plainly for a piece.

    An amount that is the same on all lines of most orders is the order's. Within one item a price for a piece stays
    about the same whatever the quantity, and the amount of a line grows with it; where neither is seen, a name such as
    `amount` is a doubt.
    """
    if "price" not in columns:
        return []
    price = columns["price"]
    if _stands_on_each_line_of_an_order(frame, columns):
        return [
            f"{DOUBT}'{price}' is the same on all lines of an order, as an order's total is; each line would count it "
            f"again: write the line's own amount into the file, or leave price out of columns"
        ]
    doubts = _net_or_cents(frame, price)
    return [*doubts, *(_piece_or_line(frame, columns) if "quantity" in columns else [])]


def _piece_or_line(frame: pl.DataFrame, columns: Mapping[str, str]) -> list[str]:
    price = columns["price"]
    whole = _grows_with_quantity(frame, columns)
    if whole:
        return [
            f"{DOUBT}'{price}' rises with the quantity of an item, so it is taken for the amount of the whole line; "
            f"where it is for one piece: unit",
            "price_is: total",
        ]
    if whole is None and re.search(NAMED_LIKE_A_TOTAL, price, re.IGNORECASE):
        return [f"{DOUBT}is '{price}' for one piece or for the whole line? where it is for the line: total",
                "price_is: unit"]  # fmt: skip
    return []


def _amount(column: str) -> pl.Expr:
    text = pl.col(column).cast(pl.String).str.strip_chars().str.replace(",", ".", literal=True)
    return text.cast(pl.Float64, strict=False).abs()


def _stands_on_each_line_of_an_order(frame: pl.DataFrame, columns: Mapping[str, str]) -> bool:
    """Whether nearly all orders of several items have one amount on all lines, though an item's amount varies."""
    if "order_id" not in columns or "item_id" not in columns:
        return False
    order, item = (pl.col(columns[name]).cast(pl.String).alias(name) for name in ("order_id", "item_id"))
    rows = frame.select(order, item, _amount(columns["price"]).alias("price")).filter(pl.col("price") > 0)
    many = rows.drop_nulls().group_by("order_id").agg(pl.col("item_id", "price").n_unique())
    many = many.filter(pl.col("item_id") > 1)
    if many.height < ROWS or (many["price"] == 1).mean() < 0.95:  # type: ignore[operator]
        return False
    varied = rows.group_by("item_id").agg(pl.len(), pl.col("price").n_unique()).filter(pl.col("len") > 1)
    return bool(varied.height) and bool((varied["price"] > 1).mean() > 0.5)  # type: ignore[operator]


def _net_or_cents(frame: pl.DataFrame, price: str) -> list[str]:
    """Doubts about several columns of money, and about amounts that are whole numbers."""
    found = []
    rivals = [c for c in frame.columns if c != price and re.search(SEVERAL, c, re.IGNORECASE)]
    if re.search(SEVERAL, price, re.IGNORECASE) and rivals:
        found.append(f"{DOUBT}'{price}' is taken for the price, and there is '{rivals[0]}': with tax or without?")
    amounts = frame.select(_amount(price).alias("p")).filter(pl.col("p") > 0)["p"]
    if len(amounts) >= ROWS and bool((amounts % 1 == 0).all()) and float(amounts.median() or 0) >= 100:  # type: ignore[arg-type]
        found.append(
            f"{DOUBT}every '{price}' is a whole number, most of 100 and more: are these cents? amounts are reported as "
            f"they stand here"
        )
    return found


def _grows_with_quantity(frame: pl.DataFrame, columns: Mapping[str, str]) -> bool | None:
    """Within items, whether amount / quantity varies less than the amount does; None where too few rows can tell."""

    item = pl.col(columns["item_id"]).cast(pl.String).alias("item")
    rows = frame.select(item, *(_amount(columns[name]).alias(name) for name in ("price", "quantity")))
    rows = rows.filter((pl.col("price") > 0) & (pl.col("quantity") > 0))
    rows = rows.filter(pl.col("quantity").n_unique().over("item") > 1)
    if rows.height < ROWS:
        return None

    def spread(value: pl.Expr) -> float:
        return float(rows.select((value.log() - value.log().mean().over("item")).pow(2).sum()).item())

    return spread(pl.col("price") / pl.col("quantity")) < spread(pl.col("price"))
