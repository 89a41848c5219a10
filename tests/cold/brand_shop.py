"""A shop of ten brands where each customer loves two, and a tenth of the items are new after the training cutoff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.splits.write import write_split
from shopkeeper.timeline import DAY, instant, iso

BRANDS, EACH, LAUNCH, DAYS = 10, 10, 80, 120  # brands, items of each, the day of the new ones, days in all
START = instant("2024-01-01", "start")
CONFIG: dict[str, Any] = {
    "name": "brands",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "u", "item_id": "i", "timestamp": "t"},
    "event_type": "purchase",
    "items": {"file": "items.csv", "id": "i"},
    "target_events": ["purchase"],
    "filters": {},
}
SPLIT: dict[str, Any] = {
    "name": "temporal",
    "target_events": ["purchase"],
    "validation_days": 20,
    "test_days": 20,
    "new_items": True,
}


def name_of(brand: int, number: int) -> str:
    """Item `number` of a brand; the last one is new."""
    return f"b{brand}-{number}"


def brand_shop(
    folder: Path, customers: int = 150, seed: int = 0, launches: tuple[int, ...] = (LAUNCH,), **config: Any
) -> Prepared:
    """About 20 purchases of each customer, eight in nine of them of the two loved brands.

    The last items of each brand come out on the days of `launches`, one after the other.
    """
    old = EACH - len(launches)
    rng, rows = np.random.default_rng(seed), []
    for customer in range(customers):
        loved = rng.choice(BRANDS, 2, replace=False)
        for day in np.flatnonzero(rng.random(DAYS) < 0.17):
            brand = rng.choice(loved) if rng.random() < 8 / 9 else rng.integers(BRANDS)
            there = old + sum(day >= launch for launch in launches)
            new = there > old and rng.random() < 0.3
            number = there - 1 if new else rng.integers(max(there - 1, old))
            rows.append((START + int(day) * DAY + int(rng.integers(DAY)), f"c{customer}", int(brand), int(number)))
    folder.mkdir(parents=True, exist_ok=True)
    log = [f"{u},{name_of(b, n)},{iso(t)},brand {b}" for t, u, b, n in sorted(rows)]
    (folder / "log.csv").write_text("\n".join(["u,i,t,brand", *log]) + "\n")
    items = [f"{name_of(b, n)},brand {b},{5 + n},a thing of {b}" for b in range(BRANDS) for n in range(EACH)]
    (folder / "items.csv").write_text("\n".join(["i,brand,price,name", *items]) + "\n")
    return Prepared.open(prepare_dataset({**CONFIG, **config}, folder, folder / "out", progress=False))


def split_of(prepared: Prepared, **spec: Any) -> Split:
    """A temporal split in which new items may be recommended."""
    return Split.open(prepared, write_split(prepared, {**SPLIT, **spec}))


def new_of(prepared: Prepared) -> np.ndarray:
    """Which items are new, by their names: bool (V,)."""
    ids = prepared.items["item_id"].to_pylist()
    return np.array([False, *(name.endswith(f"-{EACH - 1}") for name in ids)])


def brand_of(prepared: Prepared) -> np.ndarray:
    """The brand of each item: int64 (V,), -1 of none."""
    return np.array([-1, *(int(name[1:].partition("-")[0]) for name in prepared.items["item_id"].to_pylist())])


def cold_recall(scores_BV: np.ndarray, split: Split, k: int = 10, first: bool = False) -> float:
    """Share of the new items among the test targets that are among the k best of the catalogue; ties count half.

    `first`: of those alone that the customer has not taken yet.
    """
    requests, targets = split.part("test")
    new_V, shown, V = new_of(split.prepared), np.asarray(split.catalogue), split.prepared.n_items + 1
    offsets, rows = requests.flat()
    own = np.repeat(np.arange(len(requests)), np.diff(offsets)) * V + requests.events.item[rows]
    cold = np.flatnonzero(new_V[targets.item] & ~(first & np.isin(targets.request * V + targets.item, own)))
    scores_NC = scores_BV[targets.request[cold]][:, shown]
    own_N1 = scores_BV[targets.request[cold], targets.item[cold]][:, None]
    better, same = (scores_NC > own_N1).sum(1), (scores_NC == own_N1).sum(1)
    return float(np.clip((k - better) / same, 0, 1).mean())
