"""A garden shop with a search: who looks at something then types what it needs, in words of their own spelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.splits.write import write_split
from shopkeeper.timeline import DAY, instant, iso

START = instant("2024-01-01", "start")
CONFIG: dict[str, Any] = {
    "name": "garden",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "u", "item_id": "i", "timestamp": "t", "query": "q"},
    "event_type": {"column": "e"},
    "items": {"file": "items.csv", "id": "i"},
    "target_events": ["purchase"],
    "filters": {},
    "max_rejected_share": 0.5,
}
SPLIT: dict[str, Any] = {"name": "temporal", "target_events": ["purchase"], "validation_days": 10, "test_days": 10}
# Who looked at it next searches for this, and buys that.
NEXT = {
    "rose": ("Rose  FERTILIZER", "rose-food"),
    "mower": ("mower blade", "blade"),
    "pond": ("Teichfolie ②", "foil"),
    "bonsai": ("盆栽 はさみ", "scissors"),
}
ITEMS = [*NEXT, *(bought for _, bought in NEXT.values()), "gnome"]


def garden(folder: Path, customers: int = 40, days: int = 60, more: str = "", **config: Any) -> Prepared:
    """Each customer every fifth day: a look, its search an hour later, its purchase another hour later."""
    rows, looks = [], list(NEXT)
    for customer in range(customers):
        for turn, day in enumerate(range(customer % 5, days, 5)):
            look = looks[(customer * 7 + turn * (1 + customer % 3)) % len(looks)]
            query, bought = NEXT[look]
            at = START + day * DAY + customer * 1_000_000
            hour = DAY // 24
            rows += [
                f"c{customer},{look},view,{iso(at)},",
                f"c{customer},,search,{iso(at + hour)},{query if customer % 2 else query.upper()}",
                f"c{customer},{bought},purchase,{iso(at + 2 * hour)},",
            ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.csv").write_text("\n".join(["u,i,e,t,q", *rows]) + "\n" + more, encoding="utf-8")
    items = [f"{name},a {name.replace('-', ' ')}" for name in ITEMS]
    (folder / "items.csv").write_text("\n".join(["i,name", *items]) + "\n")
    return Prepared.open(prepare_dataset({**CONFIG, **config}, folder, folder / "out", progress=False))


def split_of(prepared: Prepared, *targets: str, **spec: Any) -> Split:
    """A temporal split, of purchases unless told otherwise."""
    return Split.open(
        prepared, write_split(prepared, {**SPLIT, "target_events": list(targets) or ["purchase"], **spec})
    )


def texts_of(prepared: Prepared) -> list[str]:
    """The queries that are kept as text."""
    assert prepared.queries is not None
    return [text for text in prepared.queries["query"].to_pylist() if text is not None]
