"""The simulated log of the preparation benchmark, and what its systems agree on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data" / "bench"
ROWS, CHUNK, K, THREADS = 10_000_000, 5_000_000, 5, 2
COLUMNS = ["user_id", "item_id", "timestamp"]


def generate(rows: int) -> Path:
    """The log as CSV and, up to 10 million rows, as RecBole's atomic file; in chunks, under a temporary name."""
    import polars as pl

    path, inter = DATA / f"log{rows}.csv", DATA / f"log{rows}" / f"log{rows}.inter"
    if path.is_file():
        return path
    inter.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    kinds = pl.Series(["view", "cart", "wish", "purchase"])
    users, items = rows // 50, rows // 200
    draw = {}
    for name, n in (("u", users), ("i", items)):
        weight = np.cumsum((np.arange(n) + 20.0) ** -0.9)
        draw[name] = (weight / weight[-1], rng.permutation(n))
    price = np.round(rng.gamma(2.0, 15.0, items), 2)
    start, year = 1_700_000_000, 365 * 86400
    with open(path.with_suffix(".tmp"), "wb") as csv, open(inter, "wb") as atomic:
        for at in range(0, rows, CHUNK):
            n = min(CHUNK, rows - at)
            u, i = (order[np.searchsorted(cdf, rng.random(n))] for cdf, order in draw.values())
            t = np.sort(rng.integers(start + year * at // rows, start + year * (at + n) // rows, n))
            kind = kinds.gather(rng.choice(4, n, p=[0.85, 0.08, 0.02, 0.05]))
            frame = pl.DataFrame({"u": u, "i": i, "timestamp": t, "event_type": kind, "price": price[i]})
            frame = frame.select(
                user_id=pl.format("u{}", pl.col("u").cast(pl.String).str.zfill(7)),
                item_id=pl.format("i{}", pl.col("i").cast(pl.String).str.zfill(6)),
                timestamp="timestamp", event_type="event_type", price="price",
            )  # fmt: skip
            frame.write_csv(csv, include_header=at == 0)
            if rows <= ROWS:
                names = ["user_id:token", "item_id:token", "timestamp:float"]
                three = frame.select(COLUMNS).with_columns(pl.col("timestamp").cast(pl.Float64))
                three.rename(dict(zip(COLUMNS, names, strict=True))).write_csv(
                    atomic, include_header=at == 0, separator="\t"
                )
    os.replace(path.with_suffix(".tmp"), path)
    return path
