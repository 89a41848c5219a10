"""Columns that need not be there and are worth having: who somebody was before a login, what an item is, a discount;
and what tells which lines were bought together, where nothing numbers orders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from shopkeeper.ingest.guesses.habits import asked_rows
from shopkeeper.ingest.guesses.headings import NAMES
from shopkeeper.ingest.guesses.numbers import row_numbers
from shopkeeper.ingest.guesses.scalars import DOUBT, quoted

BEFORE_LOGIN = r"anon|visitor|device.?id|cookie|pseudo|browser|client.?id|guest|distinct.?id"
THERE = 0.99  # share of the rows without a customer that have the other id
PERSON = "person"  # the column that is made of both
OF_ITEMS = {  # attribute -> what shops call the column
    "name": r"name$|title|descri|bezeichnung|libell|désignation|titre|nombre|nome$|nazwa|назв|наимен",
    "category": r"categ|group|department|warengruppe|kategor|rubri|famil|катег",
    "brand": r"brand|marke|marque|marca|manufacturer|hersteller|бренд|марка",
}
ONE_VALUE, ITEMS = 0.98, 5  # share of the items that have one value alone; fewer items on several rows tell nothing
TOGETHER = 0.01  # share of the rows that stand beside another of their customer's at one instant; fewer may be chance
PACKED_BY, PACKED = (", ", "; ", ";", "|"), 0.3  # what separates items of one cell; share of cells that hold several
TAKEN_OFF = r"discount|rabatt|rebate|remise|réduction|sconto|descuento|korting|rabat|скидк|знижк"


class Person(NamedTuple):
    """Lines of a config where customers are known by one column, and who is not logged in by another, the `key`."""

    key: str
    steps: list[str]
    column: str
    identity: list[str]


def person_lines(frame: pl.DataFrame, columns: Mapping[str, str], spare: Sequence[str]) -> Person | None:
    """What names everybody, where the customer's id is blank in some rows and another id stands there; else None."""
    user = columns.get("user_id")
    if user is None or "timestamp" not in columns or PERSON in frame.columns:
        return None
    blank = _blank(frame[user])
    keys = [c for c in spare if re.search(BEFORE_LOGIN, last_of(c), re.IGNORECASE)]
    rows = int(blank.sum())
    key = next((c for c in keys if int((~_blank(frame[c]) & blank).sum()) >= THERE * rows), None)
    if not rows or key is None:
        return None
    log_in = bool(frame[key].filter(blank).is_in(frame[key].filter(~blank).unique().to_list()).any())
    what = "whoever was seen under both is one from then on, as identity says" if log_in else "nobody has both"
    return Person(
        key,
        ["steps:", f"  - first_of: {{columns: [{quoted(user)}, {quoted(key)}], into: {PERSON}}}"],
        f"  user_id: {PERSON} {DOUBT}'{user}' lacks {rows / len(blank):.1%} of the rows, and '{key}' stands there: "
        f"{what}",
        ["identity:", f"  from_events: {{account: {quoted(user)}, key: {quoted(key)}}}"] if log_in else [],
    )


def basket_line(
    frame: pl.DataFrame,
    columns: Mapping[str, str],
    joined: Mapping[str, tuple[str, str]],
    person: Person | None,
    kind: str,
) -> str | None:
    """The line `order_id` of a log in which nothing numbers orders and purchases share customer and instant.

    `kind`: of every row, where no column tells kinds apart.
    Else each line would be a step of its own: of a day's twenty the first in the file is asked for, and right alone.
    """
    there = set(columns)
    if {"order_id", "session_id"} & there or not {"user_id", "item_id", "timestamp"} <= there:
        return None
    if "event_type" in there:
        frame = asked_rows(frame, columns, ["purchase"])
    elif kind != "purchase":
        return None
    who, when = frame[columns["user_id"]], frame[columns["timestamp"]].cast(pl.String)
    pairs = pl.DataFrame({"who": who.cast(pl.String), "when": when}).filter(~_blank(who)).drop_nulls()
    if not pairs.height or pairs.is_duplicated().mean() < TOGETHER:  # type: ignore[operator]
        return None
    by = [columns["user_id"] if person is None else PERSON]
    by += joined.get(columns["timestamp"], [columns["timestamp"]])
    return (
        f"  order_id: [{', '.join(map(quoted, by))}] {DOUBT}no column numbers orders: what a customer bought at one "
        f"instant (in one day, where times are dates) is taken for one order"
    )


def item_columns(frame: pl.DataFrame, item: str, spare: Sequence[str]) -> dict[str, str]:
    """Attribute -> column, of the columns that are called like an item's and have one value for nearly every item."""
    found: dict[str, str] = {}
    kept = [c for c in spare if not re.search(NAMES["user_id"], last_of(c), re.IGNORECASE)]
    for attribute, pattern in OF_ITEMS.items():
        for word in pattern.split("|"):  # the most telling first: of `department` and `category` the latter
            for theirs in kept:
                if attribute not in found and re.search(word, last_of(theirs), re.IGNORECASE):
                    found |= {attribute: theirs} if _says(frame, item, theirs) else {}
    return found


def _says(frame: pl.DataFrame, item: str, theirs: str) -> bool:
    rows = frame.filter(~_blank(frame[theirs]))  # blank where nobody filled it in, which says nothing else of the item
    rows = rows.select(item=pl.col(item).cast(pl.String), said=pl.col(theirs).cast(pl.String)).drop_nulls()
    values = rows.group_by("item").agg(pl.len(), pl.col("said").n_unique()).filter(pl.col("len") > 1)
    return values.height >= ITEMS and int((values["said"] == 1).sum()) >= ONE_VALUE * values.height


def is_packed(column: pl.Series) -> bool:
    """Whether many cells hold several items: they come apart at one sign into pieces that recur in other cells."""
    cells = column.drop_nulls().cast(pl.String).unique()
    for sign in PACKED_BY:
        apart = cells.str.split(sign)
        if len(cells) >= ITEMS and float((apart.list.len() > 1).mean() or 0) >= PACKED:  # type: ignore[arg-type]
            pieces = apart.explode().str.replace(r"^\s*\d+\s*[x×*]\s*", "").str.strip_chars()
            return pieces.n_unique() * 2 <= len(cells)
    return False


def discount_doubt(
    frame: pl.DataFrame, columns: Mapping[str, str], spare: Sequence[str], decimal: str | None
) -> list[str]:
    """A doubt where amounts were taken off, and nothing says whether that is in the price already."""
    if "price" not in columns:
        return []
    for theirs in spare:
        taken_off = (
            row_numbers(frame[theirs], decimal) if re.search(TAKEN_OFF, last_of(theirs), re.IGNORECASE) else None
        )
        if taken_off is None or not (taken_off.fill_null(0) != 0).any():
            continue
        whole = f"price: {quoted(columns['price'])}, quantity: {quoted(columns['quantity'])}" if (
            "quantity" in columns) else f"total: {quoted(columns['price'])}"  # fmt: skip
        by = quoted(columns.get("order_id", columns["user_id"]))
        step = f"discount: {{by: {by}, {whole}, line: {quoted(theirs)}, into: paid}}"
        return [
            f"{DOUBT}'{theirs}' is not used: is '{columns['price']}' after it? where it is before: columns: "
            f"{{price: paid}}, price_is: total, steps: [{{{step}}}]"
        ]
    return []


def last_of(name: str) -> str:
    """A nested column's own name: of `items.price` the price; of `order.id`, which says nothing alone, `order_id`."""
    above, _, last = name.rpartition(".")
    if above and last.lower() in ("id", "no", "nr", "number", "key"):
        return f"{above.rpartition('.')[2]}_{last}"
    return last or name


def _blank(column: pl.Series) -> pl.Series:
    return column.is_null() | (column.cast(pl.String).str.strip_chars() == "").fill_null(True)
