"""Errors planted in a raw CSV log, with a list of where and what: the exam paper of validators.

No detector may import this module: it would know the answers.

    planted = plant(Path("clean.csv"), Path("dirty.csv"), seed=1)

Every planted row has exactly one error, so a validator that stops at the first one of a row can still be judged
exactly: recall 1 means that each (row, column) of the list is reported, no false alarm that nothing else is.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from shopkeeper.errors import UserError, nearest
from shopkeeper.files import atomic_file


class Planted(NamedTuple):
    """One error: line of the file (the header is line 1), column, kind."""

    row: int
    column: str
    kind: str


class Kind(NamedTuple):
    """How an error is made: the column, texts to choose from (`{}`: what stood there), rows that may get it."""

    column: str
    texts: tuple[str, ...]
    only: Callable[[dict[str, str]], bool] = lambda row: True


def _bought(row: dict[str, str]) -> bool:
    return row["event_type"] == "purchase"


KINDS: dict[str, Kind] = {
    "missing_user": Kind("user_id", ("", "   ")),
    "missing_item": Kind("item_id", ("", " ")),
    "missing_event_type": Kind("event_type", ("",)),
    "unknown_event_type": Kind("event_type", ("purchse", "PURCHASE!", "7", "refund?")),
    "missing_timestamp": Kind("timestamp", ("",)),
    "unparsable_timestamp": Kind(
        "timestamp", ("yesterday", "2024-13-01 10:00:00Z", "2024-02-30 10:00:00Z", "31/31/2024")
    ),
    "far_past_timestamp": Kind("timestamp", ("1970-01-01 00:00:00Z", "1900-01-01 00:00:00Z", "0024-06-01 12:00:00Z")),
    "future_timestamp": Kind("timestamp", ("2999-12-31 23:59:59Z", "2124-06-01 12:00:00Z")),
    "text_price": Kind("price", ("free", "€{}", "{} EUR", "1.234,50", "0x1F", "{}.")),
    "negative_price": Kind("price", ("-{}", "-0.01")),
    "nan_price": Kind("price", ("NaN", "nan", "")),
    "infinite_price": Kind("price", ("inf", "-Infinity")),
    "overflowing_price": Kind("price", ("1e999", "9" * 400)),
    "text_quantity": Kind("quantity", ("two", "1 pc"), _bought),
    "zero_quantity": Kind("quantity", ("0", "0.0"), _bought),
    "negative_quantity": Kind("quantity", ("-1", "-3"), _bought),
    "missing_quantity": Kind("quantity", ("", "NaN"), _bought),
    "overflowing_quantity": Kind("quantity", ("1e400",), _bought),
}


def write_csv(events: Path, path: Path, rows: int | None = None) -> None:
    """The simulated `events.parquet` (its first `rows` rows) as a clean CSV log, ISO time stamps in UTC."""
    table = pq.read_table(events)
    table = table if rows is None else table.slice(0, rows)
    column = table.schema.get_field_index("timestamp")
    text = pc.strftime(table["timestamp"], format="%Y-%m-%d %H:%M:%S")
    # Whole seconds come with six zeros after the point: cut them.
    text = pc.binary_join_element_wise(pc.utf8_slice_codeunits(text, 0, 19), "Z", "")
    table = table.set_column(column, "timestamp", text.cast(pa.string()))
    with atomic_file(path) as tmp:
        pa_csv.write_csv(table, tmp, pa_csv.WriteOptions(quoting_style="needed"))


def plant(
    clean: Path, dirty: Path, seed: int, share: float = 0.02, kinds: Sequence[str] | None = None
) -> list[Planted]:
    """Copy a clean CSV log to `dirty` with errors in about `share` of its rows; returns them in file order.

    `kinds` (default: all) must be columns of the file; every kind occurs at least once where the log has a row for
    it. Raises `UserError` for an unknown kind or when the file has not enough rows.
    """
    chosen = list(KINDS if kinds is None else kinds)
    for kind in chosen:
        if kind not in KINDS:
            raise UserError(f"kinds: there is no error '{kind}' to plant.{nearest(kind, KINDS)}")
    with open(clean, newline="", encoding="utf-8") as f:
        header, *rows = list(csv.reader(f))
    rng = np.random.default_rng([seed, 20240105])
    n = max(len(chosen), round(share * len(rows)))
    if n > len(rows):
        raise UserError(f"{clean} has {len(rows)} rows, too few for {len(chosen)} kinds of errors; give a longer log")
    free = rng.permutation(len(rows)).tolist()
    # Each kind once, then any; a kind that needs a purchase takes the next free purchase.
    wanted = chosen + [chosen[i] for i in rng.integers(0, len(chosen), n - len(chosen))]
    planted = []
    for kind in sorted(wanted, key=lambda k: KINDS[k].only is not _bought):
        column, texts, only = KINDS[kind]
        if column not in header:
            continue
        place = next((i for i, r in enumerate(free) if only(dict(zip(header, rows[r], strict=True)))), None)
        if place is None:
            continue
        row, at = free.pop(place), header.index(column)
        text = texts[rng.integers(len(texts))]
        rows[row][at] = text.replace("{}", rows[row][at] or "1")
        planted.append(Planted(row + 2, column, kind))
    with atomic_file(dirty) as tmp, open(tmp, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return sorted(planted)
