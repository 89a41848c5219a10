"""In which currencies prices are: amounts of several cannot be added up, and nobody sees it by the sums."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from shopkeeper.ingest.guesses.scalars import DOUBT, quoted

NAMED = re.compile(r"currenc|währung|waehrung|devise|valuta|moneda", re.IGNORECASE)
CODE = re.compile(r"[A-Za-z]{3}")  # as ISO 4217 has them
SHOWN = 5  # currencies in a line
# Signs of one currency each, unlike $ and ¥.
SIGNS = {"€": "EUR", "£": "GBP", "₴": "UAH", "грн.": "UAH", "грн": "UAH", "₽": "RUB", "руб.": "RUB", "руб": "RUB",
         "zł": "PLN", "Kč": "CZK", "₺": "TRY"}  # fmt: skip
CODES = ("EUR", "USD", "GBP", "CHF", "PLN", "UAH", "RUB", "CZK", "SEK", "NOK", "DKK", "CAD", "AUD", "JPY", "TRY")
# Written beside an amount, on either side; of `$` and `kr` the file does not say which currency they are.
BESIDE = "|".join(map(re.escape, (*SIGNS, *CODES, "US$", "$", "kr", "Fr.")))
AMOUNT = rf"^[+-]?\s*(?:({BESIDE})\s*[+-]?\d[\d.,'\u2019\s]*|\d[\d.,'\u2019\s]*?\s*({BESIDE}))$"
NEARLY_ALL = 0.95  # share of a column's amounts that must carry the sign
ASKED = f"{DOUBT}in which are the prices? a code such as EUR stands beside every amount then"


def currency_lines(
    frame: pl.DataFrame, columns: Mapping[str, str], unused: Sequence[str]
) -> tuple[str | None, list[str]]:
    """The column that says in which currency prices are, and lines of a dataset config about it; None: there is none.

    `columns`: those that have a meaning already, by our names; `unused`: the others.
    """
    for theirs in unused if "price" in columns else ():
        texts = frame[theirs].cast(pl.String).str.strip_chars().drop_nulls()
        counts = texts.filter(texts != "").value_counts(sort=True, name="rows")
        names = counts[theirs].to_list()
        if NAMED.search(theirs.rpartition(".")[2]) and names and all(CODE.fullmatch(name) for name in names):
            rows: Counter[str] = Counter()
            for name, n in counts.iter_rows():
                rows[name.upper()] += n
            found = several(rows, theirs)
            kept = [f"{DOUBT}{found}"] if found else [f"currency: {names[0].upper()}"]
            return theirs, [*kept, f"extra: {{currency: {quoted(theirs)}}}"]
    return None, untold(columns["price"]) if "price" in columns else []


def without_signs(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    """The frame with bare amounts where nearly all of a column carry one sign of currency, and each such column's sign.

    A column with several signs is left as it is: its amounts cannot be added up.
    """
    found: dict[str, str] = {}
    for name in (n for n, kind in frame.schema.items() if kind == pl.String):
        text = frame[name].drop_nulls().str.strip_chars()
        text = text.filter(text != "")
        if not len(text) or text.head(20).str.contains(AMOUNT).sum() == 0:
            continue
        signs = text.str.extract(AMOUNT, 1).fill_null(text.str.extract(AMOUNT, 2))
        told = signs.drop_nulls().unique().to_list()
        if len(told) == 1 and 1 - signs.null_count() / len(text) > NEARLY_ALL:
            found[name] = str(told[0])
    bare = [pl.col(name).str.replace_all(_around(sign), "") for name, sign in found.items()]
    return frame.with_columns(bare), found


def with_steps(lines: list[str], columns: Mapping[str, str], signs: Mapping[str, str]) -> list[str]:
    """The lines of a config from `columns` on with steps that take signs of currency away, and their currency."""
    steps = [f"  - text: {{column: {quoted(c)}, remove: {quoted(_around(signs[c]))}}}"
             for c in dict.fromkeys(columns.values()) if c in signs]  # fmt: skip
    if not steps:
        return lines
    sign = signs.get(columns.get("price", ""), "")
    if code := SIGNS.get(sign) or (sign if sign in CODES else None):
        lines = [
            f"currency: {code} # as the amounts say" if line == f"currency: null {ASKED}" else line for line in lines
        ]
    return [lines[0], *steps, *lines[1:]] if lines[0] == "steps:" else ["steps:", *steps, *lines]


def _around(sign: str) -> str:
    return rf"\s*{re.escape(sign)}\s*"


def untold(price: str) -> list[str]:
    """The line `currency` where no column says it: as the heading of the prices says, else a doubt."""
    sign = next((code for sign, code in SIGNS.items() if sign in price), None)
    code = sign or next(iter(re.findall(rf"(?<![A-Za-z])({'|'.join(CODES)})(?![A-Za-z])", price)), None)
    return [f"currency: {code} # as '{price}' says"] if code else [f"currency: null {ASKED}"]


def several(rows: Mapping[str, int], column: str, own: str = "") -> str:
    """A line about prices in more than one currency, by the rows that each has; "" where there is one, or none.

    `column`: in the file; `own`: the currency that prices are said to be in; "": nothing is said.
    """
    rows = {**({own: 0} if own else {}), **rows} if rows else {}
    if len(rows) < 2:
        return ""
    usual, *others = sorted(rows, key=lambda name: (name != own, -rows[name], name))
    shares = ", ".join(f"{name} {rows[name] / sum(rows.values()):.1%}" for name in (usual, *others)[:SHOWN])
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return (
        f"prices are in {len(rows)} currencies ({shares}{more}), and sums of money mix them: write one into the file, "
        f"or leave rows out: reject: [{{column: {quoted(column)}, matches: '^({'|'.join(others[:SHOWN])})$', "
        f"reason: not in {usual}}}]"
    )
