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
SIGNS = {"€": "EUR", "£": "GBP", "₴": "UAH", "₽": "RUB", "zł": "PLN", "₺": "TRY"}
CODES = ("EUR", "USD", "GBP", "CHF", "PLN", "UAH", "RUB", "CZK", "SEK", "NOK", "DKK", "CAD", "AUD", "JPY", "TRY")
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
