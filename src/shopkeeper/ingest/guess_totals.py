"""Whether a column of amounts is for one piece or for the whole line: the file itself may show it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

DOUBT = "# DOUBT: "
NAMED_LIKE_A_TOTAL = r"total|amount|sum|^line|revenue|sales|value|betrag|umsatz|montant"
ROWS = 20  # of items that were bought in several quantities; fewer show nothing


def price_lines(frame: pl.DataFrame, columns: Mapping[str, str]) -> list[str]:
    """Lines of a dataset config about `price_is`: none where there is no quantity, or the price is plainly for a piece.

    Within one item a price for a piece stays about the same whatever the quantity, and the amount of a line grows
    with it; where neither is seen, a name such as `amount` is a doubt.
    """
    if not {"price", "quantity"} <= set(columns):
        return []
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


def _grows_with_quantity(frame: pl.DataFrame, columns: Mapping[str, str]) -> bool | None:
    """Within items, whether amount / quantity varies less than the amount does; None where too few rows can tell."""

    def number(name: str) -> pl.Expr:
        text = pl.col(columns[name]).cast(pl.String).str.strip_chars().str.replace(",", ".", literal=True)
        return text.cast(pl.Float64, strict=False).abs().alias(name)

    item = pl.col(columns["item_id"]).cast(pl.String).alias("item")
    rows = frame.select(item, number("price"), number("quantity"))
    rows = rows.filter((pl.col("price") > 0) & (pl.col("quantity") > 0))
    rows = rows.filter(pl.col("quantity").n_unique().over("item") > 1)
    if rows.height < ROWS:
        return None

    def spread(value: pl.Expr) -> float:
        return float(rows.select((value.log() - value.log().mean().over("item")).pow(2).sum()).item())

    return spread(pl.col("price") / pl.col("quantity")) < spread(pl.col("price"))
