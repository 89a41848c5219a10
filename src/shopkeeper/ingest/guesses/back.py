"""What was brought back or cancelled: by negative units, or by columns beside the order; what a config says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from shopkeeper.ingest.guesses.numbers import row_numbers
from shopkeeper.ingest.guesses.scalars import DOUBT, quoted

MARK = r"^([A-Za-z]{1,4}[-_/]?)"  # before the digits of a number of an order
# What shops call a column of units, or of amounts, that came back; and an order that does not stand.
CAME_BACK = r"return|refund|retour|r[üu]ck|zur[üu]ck|devol|resi$|reso|zwrot|rembours|возврат|поверн"
CANCELLED = r"cancel|storn|annul|anul|отмен|скасов"
NOT_CANCELLED = r"(not|un|nicht|не).?(cancel|storn|annul|anul|отмен|скасов)"
MAY_BE_STATES = 20  # different values of a column of an order's state
MOST, STRAY = 0.5, 0.001  # shares of the negative rows that a mark must name, of the others that may bear it


def return_rules(
    frame: pl.DataFrame, columns: Mapping[str, str], kinds: pl.Series | None, decimal: str | None = None
) -> tuple[list[str], list[str]]:
    """Doubts about negative units and amounts, and the entries of `event_type.rules` that they propose.

    `kinds`: our kind of each row, where a column says it; None: all are purchases.

    Orders whose number begins like no purchase's are returns (`C489449`); where no mark tells, units below zero do.
    """
    doubts = []
    below = {
        ours: (row_numbers(frame[columns[ours]], decimal) < 0).fill_null(False)
        for ours in ("quantity", "price")
        if ours in columns
    }
    if kinds is not None:
        below = {ours: rows & (kinds == "purchase") for ours, rows in below.items()}
    with_units = below.get("quantity", pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True))
    if "price" in below and (n := int((below["price"] & ~with_units).sum())):
        rules = f'rules: [{{column: {quoted(columns["price"])}, matches: "^-", value: return}}]'
        doubts.append(
            f"{DOUBT}'{columns['price']}' is negative in {n:,} rows, which are rejected; where these are returns: "
            + (f"event_type: {{value: purchase, {rules}}}" if kinds is None else f"below event_type {rules}")
        )
    n = int(below["quantity"].sum()) if "quantity" in below else 0
    if not n:
        return doubts, []
    theirs, negative = columns["quantity"], below["quantity"]
    column, pattern, how = theirs, r"^\s*-", "taken for returns"
    if mark := _mark_of(frame, columns, negative):
        column, pattern = columns["order_id"], f"^{re.escape(mark)}"
        rest = int((negative & ~frame[column].cast(pl.String).str.starts_with(mark).fill_null(False)).sum())
        how = f"taken for returns where '{column}' begins with {mark}" + (
            f"; {rest:,} others are rejected" * bool(rest)
        )
    doubts.append(f"{DOUBT}'{theirs}' is negative in {n:,} of the first {frame.height:,} rows: {how}")
    return doubts, [f"{{column: {quoted(column)}, matches: {quoted(pattern)}, value: return}}"]


def _mark_of(frame: pl.DataFrame, columns: Mapping[str, str], negative: pl.Series) -> str:
    """How the numbers of most orders with negative units begin, and of hardly any other; "": nothing tells them."""
    if "order_id" not in columns:
        return ""
    marks = frame[columns["order_id"]].cast(pl.String).str.strip_chars().str.extract(MARK)
    found = marks.filter(negative).drop_nulls().value_counts(sort=True, name="rows")
    if not found.height or found["rows"][0] < MOST * int(negative.sum()):
        return ""
    mark = str(found[columns["order_id"]][0])
    return mark if int((marks.filter(~negative) == mark).sum()) <= STRAY * frame.height else ""


def what_became(frame: pl.DataFrame, columns: Mapping[str, str], unused: Sequence[str]) -> list[str]:
    """Doubts about purchases of which an unused column says that they were cancelled, or how many units came back."""
    doubts, where = [], f"of the first {frame.height:,} rows"
    for theirs in (name for name in unused if not frame[name].dtype.is_nested()):
        texts = frame[theirs].cast(pl.String).str.strip_chars()
        if re.search(CAME_BACK, theirs, re.IGNORECASE) and "quantity" in columns:
            n = int((row_numbers(frame[theirs], None) > 0).sum())
            if n and not re.search(r"date|time|datum|zeit|\bid$", theirs, re.IGNORECASE):
                also = f'column: {quoted(theirs)}, matches: "[1-9]", event: return, into: event'
                also += f", taking: {{{quoted(columns['quantity'])}: {quoted(theirs)}}}"
                doubts.append(
                    f"{DOUBT}'{theirs}' is above 0 in {n:,} {where}; where it says how many units came back: "
                    f"steps: [{{also: {{{also}}}}}] "
                    f"and event_type: {{value: purchase, rules: [{{column: event, matches: return, value: return}}]}}"
                )
                continue
        states = texts.drop_nulls().value_counts(sort=True, name="rows")
        if states.height > MAY_BE_STATES:
            continue
        for state, n in states.iter_rows():
            if re.search(CANCELLED, state, re.IGNORECASE) and not re.search(NOT_CANCELLED, state, re.IGNORECASE):
                told = quoted(f"^{re.escape(state)}$")
                doubts.append(
                    f"{DOUBT}'{theirs}' is {quoted(state)} in {n:,} {where}, which count as purchases; to leave such "
                    f"orders out: cancelled: {{column: {quoted(theirs)}, matches: {told}, orders: leave_out}}"
                )
    return doubts
