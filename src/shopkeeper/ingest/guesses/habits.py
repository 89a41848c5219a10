"""What a log's first rows tell of the people in it: kinds of events, whether they take things twice, sessions."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from shopkeeper.schema import MICROSECONDS_PER_DAY

EVENTS = {
    "remove_from_cart": r"remove|delete|entfernt|supprim|retir|elimin|quita|rimo[sz]|rimuov|usu[nń]|verwijder|"
    r"удал|видал|убра|убир|прибра",
    "add_to_cart": r"cart|basket|warenkorb|panier|carrito|carrello|koszyk|корзин|кошик",
    "favourite": r"fav|wish|like|collect",
    "return": r"return|refund|charge.?back|cancel|retour|storno|rückgabe|rembours|devoluci|zwrot|annul|"
    r"\banul|возврат|повернен|отмен|скасов",
    "purchase": r"purchase|buy|order|transaction|checkout|sale|paid|^charged?s?$|^payments?$|renewal|"
    r"kauf|bestel|achat|compra|acquist|zakup|покуп|"
    r"заказ|замовл",
    "search": r"search|query|suche",
    "rating": r"rat(e|ing)|review|star",
    "exposure": r"impression|exposure|shown",
    "view": r"view|click|page|visit|detail|pv|ansicht|aufruf|klick|просмотр|перегляд",
}
USUAL_DAYS = 28  # of the windows of validation and test, where no pauses between purchases tell
PART = 6  # and of a short log no more than this part of it each
SHORT = 3  # days: of a log of fewer a day is too much, and windows are
SHARE = 0.15  # of its target events
NO_CUTOFF = "no cutoff leaves events to training, validation and test alike: there are too few instants"
TEXT = (".csv", ".tsv", ".txt")  # files whose rows are about as long as one another
BACK = 0.5  # of the days: a log in order of time never goes so far back from one row to the next
PAID = 0.9  # share of the rows of a kind of events that have an amount, from which on they are purchases
CHANCES = 50  # rows of customers who have some already; fewer show nothing


def kind_of(value: str) -> str | None:
    """Our name of a kind of events, by what shops call it; None where it is like none."""
    return next((kind for kind, pattern in EVENTS.items() if re.search(pattern, value, re.IGNORECASE)), None)


def kind_of_all(ours: Collection[str]) -> str:
    """What every row is taken for where no column tells kinds apart, by our names of the columns that there are.

    A list of customers, items and dates is one of purchases; of sessions without amounts, one of looks.
    """
    looks = "session_id" in ours and "item_id" in ours and {"order_id", "price", "quantity"}.isdisjoint(ours)
    return "view" if looks else "purchase"


def kinds_of(frame: pl.DataFrame, columns: Mapping[str, str]) -> dict[str, str]:
    """Our kind of each value of the column `event_type`: by its name, else `view`.

    Where none is called like a purchase, what has amounts in nearly all of its rows is taken for one.
    """
    values = frame[columns["event_type"]].cast(pl.String)
    named = {value: kind_of(value) for value in values.drop_nulls().unique().sort()}
    if "price" in columns and "purchase" not in named.values():
        amounts = frame[columns["price"]].cast(pl.String).str.contains("[1-9]").fill_null(False)
        for value in [value for value, kind in named.items() if kind is None]:
            if amounts.filter((values == value).fill_null(False)).sum() >= PAID * (values == value).sum():
                named[value] = "purchase"
    return {value: kind or "view" for value, kind in named.items()}


def names_events(column: pl.Series) -> bool:
    """Whether any value is called like a kind of events."""
    return any(kind_of(value) is not None for value in column.cast(pl.String).drop_nulls().unique())


def split_of(columns: Mapping[str, str], targets: Collection[str]) -> str:
    """The split that suits a log: sessions where nothing else ties events together, or nothing is bought."""
    if "timestamp" not in columns:
        return "leave_one_out"
    session = columns.get("session_id")
    alone = session is not None and columns.get("user_id") == session
    return "sessions" if alone or (session and "purchase" not in targets) else "temporal"


def span_days(micros: np.ndarray) -> float:
    """How many days lie between the first and the last of some instants (int64 µs); 0 of none."""
    return float(micros.max() - micros.min()) / MICROSECONDS_PER_DAY if len(micros) else 0.0


def expected_days(path: Path, micros: np.ndarray, rows: int) -> float | None:
    """How many days a log spans of which only the first rows were read: by the size of a file of text; else None.

    `micros`: the instants of those rows. Where they are not in order of time, the rest is of the same days.
    """
    if path.suffix.lower() not in TEXT or len(micros) < 2:
        return None
    days = span_days(micros)
    back = np.max(np.maximum.accumulate(micros) - micros)
    if back / MICROSECONDS_PER_DAY > BACK * days:
        return days
    with path.open("rb") as file:
        read = sum(map(len, islice(file, rows)))
    return days * max(path.stat().st_size / max(read, 1), 1.0)


def windows_of(
    days: float | None, asked: np.ndarray | None = None, pause: int | None = None
) -> dict[str, float] | None:
    """The block `temporal` that suits a log of so many days (None: nobody knows how many): whole days, or shares.

    `asked`: the instants of all its target events (int64 µs), where they are known. Days of which one window would
    hold none are shares, and the answer is None where no cutoffs divide them at all: a handful of instants.
    `pause`: the days within which customers come back who do (`gaps.Pauses`), where they are known: no window is
    longer, and none is shorter unless the log is short.
    """
    longest = pause or USUAL_DAYS
    whole = min(longest, USUAL_DAYS) if days is None else min(longest, max(int(days // PART), int(days >= SHORT)))
    parts = ("validation", "test")
    shares = {f"{part}_share": SHARE for part in parts}
    in_days: dict[str, float] = {f"{part}_days": whole for part in parts}
    if asked is None:
        return in_days if whole else shares
    if whole and _days_divide(np.sort(asked), whole):
        return in_days
    return shares if _shares_divide(np.sort(asked)) else None


def temporal_lines(windows: Mapping[str, float], pause: int | None) -> list[str]:
    """Lines of the block `temporal`, with why its windows are as long as they are, or not as long as pauses are."""
    if not windows:
        return []
    why = ""
    if pause is not None and (days := windows.get("test_days")) is not None:
        why = f" # nine in ten who come back are back within {pause} days" + (
            "" if days >= pause else "; of a shorter log a sixth, so that enough is left to learn from"
        )
    first, *others = (f"  {key}: {value}" for key, value in windows.items())
    return ["temporal:", first + why, *others]


def _days_divide(asked: np.ndarray, days: int) -> bool:
    """Whether both windows hold an instant, whether they end before or after the last day, and training one, too."""
    if not len(asked):  # no time of what is asked for can be read
        return False
    midnight = asked[-1] // MICROSECONDS_PER_DAY * MICROSECONDS_PER_DAY
    for end in (midnight, midnight + MICROSECONDS_PER_DAY):
        starts = end - np.array([2, 1, 0]) * days * MICROSECONDS_PER_DAY
        if not np.diff(np.searchsorted(asked, starts)).all() or asked[0] >= starts[0]:
            return False
    return True


def _shares_divide(asked: np.ndarray) -> bool:
    """Whether shares, which count back from the last instant, leave one to each window and one to training."""
    wanted, until = max(1, round(SHARE * len(asked))), len(asked)
    for _ in ("test", "validation"):
        if not until:
            return False
        until = int(np.searchsorted(asked, asked[max(0, until - wanted)]))
    return until > 0


def asked_rows(frame: pl.DataFrame, columns: Mapping[str, str], targets: Collection[str]) -> pl.DataFrame:
    """The rows of a log whose events are asked for."""
    if "event_type" not in columns:
        return frame
    taken = [value for value, kind in kinds_of(frame, columns).items() if kind in targets]
    return frame.filter(frame[columns["event_type"]].cast(pl.String).is_in(taken))


def seen_line(frame: pl.DataFrame, columns: Mapping[str, str], targets: Collection[str]) -> str:
    """The line `filter_seen`, by whether customers take an item that they have had to do with, in whatever way."""
    plain = "filter_seen: false # true where people do not take an item twice"
    if not {"user_id", "item_id"} <= set(columns):
        return "filter_seen: false # there is one item, which people buy again"
    asked = pl.lit(True)
    if "event_type" in columns:
        taken = [value for value, kind in kinds_of(frame, columns).items() if kind in targets]
        asked = pl.col(columns["event_type"]).cast(pl.String).is_in(taken).fill_null(False)
    rows = frame.select(u=columns["user_id"], i=columns["item_id"], asked=asked).drop_nulls(["u", "i"])
    chances, again = (_further(rows, by) for by in (["u"], ["u", "i"]))
    if chances < CHANCES:
        return plain
    if not again:
        return f"filter_seen: true # in {chances:,} further events of a customer no item came back"
    return f"filter_seen: false # {again / chances:.1%} of a customer's further events are of an item from before"


def _further(rows: pl.DataFrame, by: list[str]) -> int:
    """How many of the rows that are asked for have another one of the same before them; looks come before."""
    of = rows.group_by(by).agg(pl.col("asked").sum(), looks=(~pl.col("asked")).any())
    return int((of["asked"] - (~of["looks"] & (of["asked"] > 0)).cast(pl.Int64)).sum())
