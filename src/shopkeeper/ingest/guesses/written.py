"""The lines of a proposed config: the log's columns, its times, the kinds of events, and what each kind must tell."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from shopkeeper.ingest.guesses.back import return_rules, what_became
from shopkeeper.ingest.guesses.beside import basket_line, discount_doubt, is_packed, item_columns, last_of, person_lines
from shopkeeper.ingest.guesses.currencies import NAMED as CURRENCY
from shopkeeper.ingest.guesses.currencies import currency_lines
from shopkeeper.ingest.guesses.habits import kind_of, kind_of_all, kinds_of
from shopkeeper.ingest.guesses.headings import HOLDERS, NAMES
from shopkeeper.ingest.guesses.id_doubts import id_doubts
from shopkeeper.ingest.guesses.numbers import numbers, unread
from shopkeeper.ingest.guesses.scalars import DOUBT, quoted
from shopkeeper.ingest.guesses.times import time_options
from shopkeeper.ingest.guesses.totals import price_lines
from shopkeeper.ingest.readers.delimited import NO_NUMBER
from shopkeeper.ingest.values import as_ids

FEW = 500  # rows to each customer above which it is doubtful that they are customers
RATINGS = r"rating|ratings|stars|score|overall|bewertung"
COUNTS = r"(order|basket|visit|purchase|trip).?(number|num|no|nr|seq)|sequence"
SHARED = 3  # customers to each value of a column that numbers the orders of each
MAY_BE_KINDS = 12  # different values of a column without a telling name that may be kinds of events
REQUIRED_LACKS = 0.01  # share of a kind's rows that may lack a column which is taken to be required for it


def body_lines(
    frame: pl.DataFrame, columns: dict[str, str], options: dict[str, Any], joined: dict[str, tuple[str, str]]
) -> tuple[list[str], list[str]]:
    """The lines of a config about a log, and what is asked for: the purchases, or the first kind of events.

    Args:
        frame: the first rows of the file.
        columns: our names and the file's; the customer and the item are added where no name tells them.
        options: of the reader.
        joined: columns that are made of two.
    """
    constants, doubts = _given_ids(frame, columns, nameless="names" in options)
    lines = [*constants, "columns:", *doubts]
    unused = [c for c in frame.columns if c not in columns.values()]
    person = person_lines(frame, columns, unused)
    for ours, theirs in columns.items():
        if ours == "user_id" and person is not None:
            lines[:0], unused = person.steps, [c for c in unused if c != person.key]
            lines.append(person.column)
        elif ours != "event_type":
            lines += _column_lines(frame, ours, theirs, joined)
    if (together := basket_line(frame, columns, joined, person, _kind(frame, columns)[0])) is not None:
        lines.append(together)
    currency, money = currency_lines(frame, columns, unused)
    items = item_columns(frame, columns["item_id"], unused) if "item_id" in columns else {}
    if aside := [c for c in unused if c != currency and c not in items.values()]:
        lines.append(f"  # not used: {', '.join(aside)}")
    for ours in ("price", "quantity"):
        for theirs in unread(frame, NAMES[ours], unused) if ours not in columns else []:
            lines.append(
                f"  {DOUBT}'{theirs}' is called like a {ours} and holds no plain numbers, e.g. "
                f"{_example(frame[theirs])}: write them without signs, or figures of money are missing"
            )
    lines += price_lines(frame, columns, options.get("decimal"))
    lines += discount_doubt(frame, columns, unused, options.get("decimal"))
    lines += money
    lines += person.identity if person is not None else []
    if items:
        lines += ["items:", f"  from_events: {{{', '.join(f'{k}: {quoted(v)}' for k, v in items.items())}}}"]
    lines += _time_lines(frame, columns)
    return _event_lines(frame, columns, lines, options.get("decimal"))


def _given_ids(frame: pl.DataFrame, columns: dict[str, str], nameless: bool) -> tuple[list[str], list[str]]:
    """Have `columns` name a customer and an item; the lines of what is constant, and doubts about what was taken."""
    constants, doubts = list[str](), list[str]()
    if "user_id" not in columns and "session_id" in columns and not nameless:
        columns["user_id"] = columns["session_id"]
        doubts.append(f"  {DOUBT}no column is called like a user_id; each session is taken for a customer of its own")
    for ours in ("user_id", "item_id"):
        if ours in columns:
            continue
        spare = [c for c in frame.columns if c not in columns.values()]
        if not spare:
            constants += [f"  {DOUBT}no column is left for {ours}: every row is of the one `all`", f"  {ours}: all"]
            continue
        columns[ours] = max(spare, key=lambda c: (not _measured(frame[c]), frame[c].n_unique()))
        why = f"no column is called like a {ours}; '{columns[ours]}' has the most different values"
        held = [c for c in spare if re.search(HOLDERS, c, re.IGNORECASE)] if ours == "user_id" else []
        if held and not nameless:
            columns[ours] = max(held, key=lambda c: frame[c].n_unique())
            why = f"no column is called like a {ours}; '{columns[ours]}' is taken for one"
        if nameless:
            columns[ours], why = spare[0], f"the columns have no names; '{spare[0]}' is the {ours} by its place"
        doubts.append(f"  {DOUBT}{why}")
    return ["constants:", *constants] if constants else [], doubts


def _measured(column: pl.Series) -> bool:
    """Whether a column holds times, or numbers with fractions (prices, seconds on a page): ids are neither."""
    if column.dtype.is_nested():
        return False
    found = numbers(column)
    return time_options(column)[0] is not None or (found is not None and bool((found % 1 != 0).any()))


def _column_lines(frame: pl.DataFrame, ours: str, theirs: str, joined: dict[str, tuple[str, str]]) -> list[str]:
    """The line that names a column, with what of it is missing, and doubts about what it holds."""
    missing = int((frame[theirs].is_null() | (frame[theirs].cast(pl.String) == "")).sum())
    share = missing / frame.height
    note = f" {DOUBT}{share:.{1 if share >= 0.001 else 2}%} of it is missing" if missing else ""
    if ours == "user_id" and frame[theirs].n_unique() * FEW < frame.height:
        note += f" {DOUBT}{frame[theirs].n_unique()} different values in {frame.height:,} rows: are these customers?"
    named = f"[{', '.join(map(quoted, joined[theirs]))}]" if theirs in joined else quoted(theirs)
    lines = [f"  {ours}: {named}{note}"]
    if ours == "item_id" and is_packed(frame[theirs]):
        lines.append(
            f"  {DOUBT}many cells of '{theirs}' hold several items, and each cell is taken for one item: write a "
            f"row per item into the file, or take the cells apart with a step split"
        )
    if ours in ("user_id", "item_id", "order_id", "session_id"):
        ids = as_ids(frame[theirs].cast(pl.String).to_arrow().cast(pa.string()), theirs)
        rows = np.bincount(ids.indices.fill_null(-1).to_numpy() + 1, minlength=len(ids.dictionary) + 1)[1:]
        there = np.flatnonzero(rows)
        found = id_doubts(ours, ids.dictionary.take(pa.array(there)), rows[there], frame.height)
        lines += [f"  {DOUBT}{line}" for line in found]
    return lines


def _counter(frame: pl.DataFrame, columns: dict[str, str]) -> str | None:
    """The column that numbers the orders of each customer, as `order_number` 1, 2, 3 of everybody; None: none does."""
    for theirs in frame.columns:
        if re.search(COUNTS, theirs, re.IGNORECASE) and (smallest(frame[theirs]) or -1) >= 0:
            pairs = frame.select(columns["user_id"], theirs).unique()
            if pairs.height >= SHARED * pairs[theirs].n_unique():
                return theirs
    return None


def _time_lines(frame: pl.DataFrame, columns: dict[str, str]) -> list[str]:
    """How times are read, and doubts about that."""
    if "timestamp" not in columns:
        if (counter := _counter(frame, columns)) is not None:
            why = "no column looks like a time; it numbers each customer's orders, which stand in its order"
            return [f"order_by: [{quoted(counter)}] {DOUBT}{why}"]
        return [f"{DOUBT}no column looks like a time; the order of the rows is taken as the order of events"]
    theirs = columns["timestamp"]
    guess, notes = time_options(frame[theirs])
    if not re.search(NAMES["timestamp"], theirs, re.IGNORECASE):
        notes = [f"no column is called like a time; '{theirs}' holds times", *notes]
    told = [f"  {key}: {quoted(str(value))}" for key, value in (guess or {}).items()]
    return ["timestamp:", *(f"  {DOUBT}{note}" for note in notes), *told]


def _event_lines(
    frame: pl.DataFrame, columns: dict[str, str], lines: list[str], decimal: str | None
) -> tuple[list[str], list[str]]:
    if "event_type" not in columns:
        kind, rated = _kind(frame, columns)
        if rated:
            return [*lines, f"event_type: {kind} # '{rated}'"], [kind]
        few = [c for c in frame.columns if c not in columns.values() and 2 <= frame[c].n_unique() <= MAY_BE_KINDS
               and not re.search(f"{NAMES['price']}|{NAMES['quantity']}", last_of(c), re.IGNORECASE)]  # fmt: skip
        names = " or ".join(f"'{c}'" for c in few if not frame[c].null_count() and not CURRENCY.search(last_of(c)))
        hint = f"; if {names} does, write event_type: {{column: …, map: {{…}}}}" if names else ""
        doubts, rules = return_rules(frame, columns, None, decimal) if kind == "purchase" else ([], [])
        if kind == "purchase":
            doubts += what_became(frame, columns, [c for c in frame.columns if c not in columns.values()])
        what = f"every {'other ' * bool(rules)}row is taken as a {kind}"
        lines += [*doubts, f"{DOUBT}no column tells kinds of events apart; {what}{hint}"]
        lines += ["event_type:", f"  value: {kind}", *_rules(rules)] if rules else [f"event_type: {kind}"]
        return lines, [kind]
    theirs = columns["event_type"]
    values = frame[theirs].cast(pl.String).drop_nulls().value_counts(sort=True, name="n")
    lines += ["event_type:", f"  column: {quoted(theirs)}", "  map:"]
    kinds = []
    ours = kinds_of(frame, columns)
    for value, n in values.sort("n", theirs, descending=[True, False]).iter_rows():
        paid = " its rows have amounts" if ours[value] == "purchase" else ""
        note = "" if kind_of(value) else f" {DOUBT}what is it?{paid}"
        kinds.append(ours[value])
        lines.append(f"    {quoted(value)}: {ours[value]} # {n:,} rows{note}")
    of_value = dict(zip(values.sort("n", theirs, descending=[True, False])[theirs], kinds, strict=True))
    kind_of_row = frame[theirs].cast(pl.String).replace_strict(of_value, default="")
    doubts, rules = return_rules(frame, columns, kind_of_row, decimal)
    lines += [*_rules(rules), *doubts]
    schema = _schema_lines(frame, columns, kind_of_row)
    told = [line.partition(":")[0] + ":" for line in schema[1:] if DOUBT not in line]  # lacked by other kinds alone
    lines = [re.sub(f" {DOUBT}[0-9.]+% of it is missing", "", s) if s.startswith(tuple(told)) else s for s in lines]
    lines += schema
    return lines, ["purchase"] if "purchase" in kinds else kinds[:1]


def _kind(frame: pl.DataFrame, columns: dict[str, str]) -> tuple[str, str]:
    """What every row is where no column tells kinds apart, and the column of ratings that says so, else ""."""
    rated = [c for c in frame.columns if re.fullmatch(RATINGS, last_of(c), re.IGNORECASE)]
    if rated and "item_id" in columns and {"order_id", "price", "quantity"}.isdisjoint(columns):
        return "rating", rated[0]
    return kind_of_all(columns), ""


def _rules(entries: list[str]) -> list[str]:
    return ["  rules:", *(f"    - {entry}" for entry in entries)] if entries else []


def _schema_lines(frame: pl.DataFrame, columns: dict[str, str], kind: pl.Series) -> list[str]:
    """Columns that purchases and returns have and other events lack are required for those; `kind` of every row."""
    lines = []
    for ours in ("order_id", "quantity", "price"):
        if ours not in columns:
            continue
        text = frame[columns[ours]].cast(pl.String).str.strip_chars()
        missing = (text.is_null() | text.is_in(NO_NUMBER)).to_numpy()
        lacks = {k: float(missing[(kind == k).to_numpy()].mean()) for k in set(kind) - {""}}
        wanted = [k for k in ("purchase", "return") if lacks.get(k, 1) <= REQUIRED_LACKS]
        if wanted and max(lacks.values()) > REQUIRED_LACKS:
            few = [f"{lacks[k]:.2%} of the {k} rows lack it" for k in wanted if lacks[k]]
            note = f" {DOUBT}{' and '.join(few)} and are rejected" if few else ""
            lines.append(f"  {ours}: {{required_for: [{', '.join(wanted)}]}}{note}")
    return ["schema:", *lines] if lines else []


def smallest(column: pl.Series) -> float | None:
    """Smallest value of a column of numbers, None where it holds others."""
    found = numbers(column)
    return None if found is None else float(found.drop_nulls().min())  # type: ignore[arg-type]


def _example(column: pl.Series) -> str:
    return repr(next(str(value) for value in column.to_list() if value not in (None, "")))
