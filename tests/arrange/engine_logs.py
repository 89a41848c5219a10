"""Logs for comparing engines: ties, repeats, a bot, rare users and items, odd ids, missing values, all bad rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

SHOP = {
    "name": "shop",
    "raw": {"folder": "", "files": ["*.csv*"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "who", "item_id": "what", "timestamp": "when", "price": "price", "quantity": "n",
                "session_id": "visit", "channel": "where"},
    "timestamp": {"unit": "s"},
    "event_type": {"column": "kind", "map": {"buy": "purchase", "see": "view", "back": "return"}},
    "items": {"from_events": {"colour": "colour"}},
    "filters": {"event_types": ["purchase", "return"], "retention_days": 20, "bots": {"per_hour": 30},
                "consecutive_repeats": True, "k_core": 3, "min_history": 4, "max_history": 9},
    "schema": {"quantity": {"required_for": ["purchase"]}},
    "max_rejected_share": 0.1,
}  # fmt: skip
HEADER = "who,what,when,kind,price,n,visit,where,colour"
SPLIT = {"name": "leave_one_out", "protocol": "published", "target_events": ["purchase"]}


def shop_log(n: int = 4000) -> list[str]:
    """Lines with ties, repeats, a bot, rare users and items, missing values, and every kind of bad row."""
    rng = np.random.default_rng(3)
    user, item = rng.integers(0, 150, n), (rng.random(n) ** 2 * 300).astype(int)
    when = 1_600_000_000 + rng.integers(0, 40 * 86400, n) // 20_000 * 20_000
    user[:200], when[:200] = 7, 1_600_000_000 + 86400 * 35 + np.arange(200)
    kind = rng.choice(["buy", "see", "back"], n, p=[0.5, 0.4, 0.1])
    lines = [HEADER]
    for i in range(n):
        visit, colour = (f"{i // 9}{'.0' if i % 4 else ''}", "") if i % 5 else ("", f"c{item[i] % 4}")
        name = f'"i,{item[i]}"' if item[i] % 9 == 0 else f"ï{item[i]}"
        price = "" if i % 11 == 0 else f"{item[i] / 8}"
        who = f"u{user[i]}{('', '', ' ', chr(0xA0))[i % 4]}"  # one user all the same
        lines.append(
            f"{who},{name},{when[i]},{kind[i]},{price},{1 + i % 3},{visit},{'app' if i % 2 else 'web'},{colour}"
        )
    for at, bad in ((5, "u1,i1,1600000000,buy"), (900, "u1,,1600000000,buy,1,1,,web,"), (1500, ""),
                    (1501, "u1,i1,never,buy,1,1,,web,"), (2400, "u1,i1,1600000000,steal,1,1,,web,"),
                    (2600, "u1,i1,1600000000,buy,1,,,web,"), (3100, "u1,i1,1600000000,buy,-4,1,,web,"),
                    (3999, lines[0])):  # fmt: skip
        lines.insert(at, bad)
    return lines


def shop_files(folder: Path, lines: list[str] | None = None) -> Path:
    """The log in three files: plain, gzip, and one with a byte order mark and CRLF."""
    lines = shop_log() if lines is None else lines
    parts = [lines[:1500], lines[:1] + lines[1500:3000], lines[:1] + lines[3000:]]
    folder.mkdir()
    (folder / "b.csv").write_bytes(("\n".join(parts[0]) + "\n").encode())
    (folder / "a [1] é.csv.gz").write_bytes(gzip.compress("\n".join(parts[1]).encode()))
    (folder / "c.csv").write_bytes(("\ufeff" + "\r\n".join(parts[2])).encode())
    return folder
