"""Valid exports as shops' tools really write them: odd formats, ids, decimals, totals, order numbers and sessions.

A log is made as plain values first (the truth), then written down in an odd but unambiguous way. What is right is
counted by pandas from the values, never from the project.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FORMATS = {  # strptime code of the dataset's YAML -> how pandas' strftime writes it here
    "%Y-%m-%d %H:%M": "%Y-%m-%d %H:%M",
    "%m/%d/%Y %-H:%M": "%m/%d/%Y %-H:%M",
    "%d.%m.%Y %k:%M": "%d.%m.%Y %k:%M",
    "%m/%d/%Y %l:%M %p": "%m/%d/%Y %l:%M %p",
    "%Y-%m-%dT%T": "%Y-%m-%dT%H:%M:%S",
    "%d %b %Y %R": "%d %b %Y %H:%M",
}
ZONES = ("UTC", "America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata")
KINDS = {"purchase": ("sale", "order"), "view": ("seen", "view"), "return": ("refund", "credit")}
GUESTS = ("guest", "(not set)")


@dataclass(frozen=True)
class Export:
    """A log in a folder, its dataset config, and the plain values behind it."""

    config: dict[str, Any]
    truth: pd.DataFrame  # customer, item, kind, time (UTC), quantity (NaN: unknown), money, order, session
    n_guests: int


def odd_export(folder: Path, seed: int) -> Export:
    """One shop's export, drawn from the seed."""
    rng = np.random.default_rng(seed)
    zone, code = str(rng.choice(ZONES)), str(rng.choice(list(FORMATS)))
    truth = _truth(rng, zone)
    decimal, totals = str(rng.choice([".", ","])), bool(rng.random() < 0.5)
    thousands = {".": ",", ",": "."}[decimal] if rng.random() < 0.5 else ""
    words = {kind: str(rng.choice(names)) for kind, names in KINDS.items()}
    signed = bool(rng.random() < 0.5)  # refunds are written with a minus

    def number(value: float, digits: int = 2) -> str:
        text = f"{abs(value):,.{digits}f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
        return f"-{text}" if value < 0 else text

    lines = []
    n_guests = int(rng.integers(0, 6))
    for row in truth.itertuples():
        sign = -1 if signed and row.kind == "return" else 1
        units = row.quantity
        amount = sign * (row.money if totals or np.isnan(units) else row.money / units)
        lines.append([
            _id(rng, row.customer), f"sku{row.item:03d}", words[row.kind],
            row.time.tz_convert(zone).strftime(FORMATS[code]),
            "" if np.isnan(units) else f"{sign * int(units)}", number(amount) if row.kind != "view" else "",
            str(row.order) if row.order else "", _id(rng, row.session),
        ])  # fmt: skip
    for _ in range(n_guests):
        lines.insert(int(rng.integers(0, len(lines))), [str(rng.choice(GUESTS)), *lines[0][1:]])
    names = ["who", "what", "kind", "when", "units", "amount", "receipt", "visit"]
    folder.mkdir(parents=True)
    pd.DataFrame(lines, columns=names).to_csv(folder / "log.csv", index=False)
    config = {
        "name": "odd",
        "raw": {"folder": "", "files": ["log.csv"]},
        "reader": {"format": "csv", "decimal": decimal},
        "columns": {"user_id": "who", "item_id": "what", "timestamp": "when", "quantity": "units", "price": "amount",
                    "order_id": "receipt", "session_id": "visit"},
        "timestamp": {"format": code, "time_zone": zone},
        "event_type": {"column": "kind", "map": {word: kind for kind, word in words.items()}},
        "price_is": "total" if totals else "unit",
        "missing": {"user_id": list(GUESTS)},
        "max_rejected_share": 1.0,
    }  # fmt: skip
    return Export(config, truth, n_guests)


def _id(rng: np.random.Generator, number: int) -> str:
    """A whole number as tools pass it on: `17`, `17.0`, with blanks around it."""
    return str(rng.choice([f"{number}", f"{number}.0", f" {number}", f"{number} "]))


def _truth(rng: np.random.Generator, zone: str) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    start = pd.Timestamp("2023-02-20", tz=zone)  # summer time begins in its weeks
    for customer in range(1, int(rng.integers(4, 9))):
        days = np.sort(rng.choice(100, int(rng.integers(2, 7)), replace=False))
        for visit, day in enumerate(days):
            at = start + pd.DateOffset(days=int(day)) + pd.Timedelta(minutes=int(rng.integers(8 * 60, 20 * 60)))
            tabs = [1000 * customer + 10 * visit + tab for tab in range(int(rng.integers(1, 3)))]
            common = {"customer": customer, "time": at.tz_convert("UTC"), "session": tabs[0], "order": 0}
            for click in range(int(rng.integers(0, 4))):  # clicks of two tabs in turn
                view = {"item": int(rng.integers(1, 9)), "kind": "view", "quantity": np.nan, "money": np.nan}
                rows.append({**common, **view, "session": tabs[click % len(tabs)]})
            number = int(rng.integers(1, 4))  # receipt numbers of a till come back on other days
            for item in rng.choice(np.arange(1, 9), int(rng.integers(1, 4)), replace=False).tolist():
                units = np.nan if rng.random() < 0.15 else float(rng.integers(1, 5))
                money = round(float(rng.integers(100, 200_000)) / 100, 2) * (1 if np.isnan(units) else units)
                line = {"item": item, "kind": "purchase", "quantity": units, "money": money, "order": number}
                rows.append({**common, **line})
                if not np.isnan(units) and rng.random() < 0.2:
                    back = float(rng.integers(1, units + 1))
                    refund = {"item": item, "kind": "return", "quantity": back, "money": money / units * back}
                    rows.append({**common, **refund, "time": common["time"] + pd.Timedelta(minutes=30)})
    return pd.DataFrame(rows).sort_values(["time", "customer"], kind="stable").reset_index(drop=True)
