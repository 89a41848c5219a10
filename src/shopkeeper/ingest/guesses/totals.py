"""What a column of amounts is of (a piece, a line, a whole order) and in what: the file itself may show it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from shopkeeper.ingest.guesses.numbers import row_numbers
from shopkeeper.ingest.guesses.scalars import DOUBT

NAMED_LIKE_A_TOTAL = r"total|amount|sum|^line|revenue|sales|value|betrag|umsatz|montant"
SEVERAL = r"net|gross|brutto|incl|excl|(^|_)(vat|tax)|mwst"
SIDES = (r"gross|brutto|incl", r"net|excl")  # with tax, and without
IDS = ("item_id", "order_id")
ROWS = 20  # of items that were bought in several quantities; fewer show nothing


def price_lines(frame: pl.DataFrame, columns: Mapping[str, str], decimal: str | None = None) -> list[str]:
    """Lines of a dataset config about `price_is`, and doubts: none where the price is plainly for a piece.

    `decimal` is the sign that the config's reader is told (`reader.decimal`).

    An amount that is the same on all lines of most orders is the order's. Within one item a price for a piece stays
    about the same whatever the quantity, and the amount of a line grows with it; where neither is seen, a name such as
    `amount` is a doubt.
    """
    if "price" not in columns:
        return []
    price = columns["price"]
    amounts = {
        ours: row_numbers(frame[columns[ours]], decimal).abs() for ours in ("price", "quantity") if ours in columns
    }
    read = pl.DataFrame(amounts | {ours: frame[columns[ours]].cast(pl.String) for ours in IDS if ours in columns})
    if "item_id" not in columns:  # all rows are of one
        read = read.with_columns(pl.lit("all").alias("item_id"))
    if _stands_on_each_line_of_an_order(read):
        return [
            f"{DOUBT}'{price}' is the same on all lines of an order, as an order's total is; each line would count it "
            f"again: write the line's own amount into the file, or leave price out of columns"
        ]
    doubts = _net_or_cents(read, price, frame.columns)
    return [*doubts, *(_piece_or_line(read, price) if "quantity" in columns else [])]


def _piece_or_line(read: pl.DataFrame, price: str) -> list[str]:
    whole = _grows_with_quantity(read)
    if whole:
        return [
            f"{DOUBT}'{price}' rises with the quantity of an item, so it is taken for the amount of the whole line; "
            f"where it is for one piece: unit",
            "price_is: total",
        ]
    if whole is None and re.search(NAMED_LIKE_A_TOTAL, price, re.IGNORECASE):
        return [
            f"{DOUBT}is '{price}' for one piece or for the whole line? where it is for the line: total",
            "price_is: unit",
        ]
    return []


def _stands_on_each_line_of_an_order(read: pl.DataFrame) -> bool:
    """Whether nearly all orders of several items have one amount on all lines, though an item's amount varies."""
    if not {"order_id", "item_id"} <= set(read.columns):
        return False
    rows = read.select("order_id", "item_id", "price").filter(pl.col("price") > 0)
    many = rows.drop_nulls().group_by("order_id").agg(pl.col("item_id", "price").n_unique())
    many = many.filter(pl.col("item_id") > 1)
    if many.height < ROWS or (many["price"] == 1).mean() < 0.95:  # type: ignore[operator]
        return False
    varied = rows.group_by("item_id").agg(pl.len(), pl.col("price").n_unique()).filter(pl.col("len") > 1)
    return bool(varied.height) and bool((varied["price"] > 1).mean() > 0.5)  # type: ignore[operator]


def _net_or_cents(read: pl.DataFrame, price: str, among: list[str]) -> list[str]:
    """Doubts about several columns of money, and about amounts that are whole numbers."""
    found = []
    side = _side(price)
    rivals = [c for c in among if c != price and re.search(SEVERAL, c, re.IGNORECASE)]
    rivals = [c for c in rivals if side is None or _side(c) != side]  # on the same side it is another kind of amount
    if re.search(SEVERAL, price, re.IGNORECASE) and rivals:
        found.append(f"{DOUBT}'{price}' is taken for the price, and there is '{rivals[0]}': with tax or without?")
    amounts = read.filter(pl.col("price") > 0)["price"]
    if len(amounts) >= ROWS and bool((amounts % 1 == 0).all()) and float(amounts.median() or 0) >= 100:  # type: ignore[arg-type]
        found.append(
            f"{DOUBT}every '{price}' is a whole number, most of 100 and more: are these cents? amounts are reported as "
            f"they stand here, and divide_by: {{price: 100}} makes whole ones of them"
        )
    return found


def _side(name: str) -> int | None:
    """Which of `SIDES` a column's name says; None: neither, or both."""
    said = [n for n, words in enumerate(SIDES) if re.search(words, name, re.IGNORECASE)]
    return said[0] if len(said) == 1 else None


def _grows_with_quantity(read: pl.DataFrame) -> bool | None:
    """Within items, whether amount / quantity varies less than the amount does; None where too few rows can tell."""
    rows = read.filter((pl.col("price") > 0) & (pl.col("quantity") > 0))
    rows = rows.filter(pl.col("quantity").n_unique().over("item_id") > 1)
    if rows.height < ROWS:
        return None

    def spread(value: pl.Expr) -> float:
        return float(rows.select((value.log() - value.log().mean().over("item_id")).pow(2).sum()).item())

    return spread(pl.col("price") / pl.col("quantity")) < spread(pl.col("price"))
