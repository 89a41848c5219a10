"""A shop of cameras and lamps, in which a case goes with a camera, a bulb with a lamp, and everybody buys bread."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from house import House

HERE = ("dataset=cameras", "split=temporal")
KINDS = {"camera": "photo", "case": "photo", "lamp": "light", "bulb": "light", "bread": "food"}


def rows_of_cameras(looks: bool = True) -> list[tuple[str, ...]]:
    """Sixty days of eight customers; who looks, looks at the first item of a pair an hour before the order."""
    rows = []
    for day in range(60):
        date = f"2023-{1 + day // 28:02d}-{1 + day % 28:02d}"
        for u in range(8):
            bought = (("camera", "case") if u % 2 else ("lamp", "bulb")) if day % 3 == u % 3 else ("bread",)
            if looks:
                rows.append((f"c{u}", bought[0], f"{date} 08:00:0{u}", "view", "", ""))
            rows += [(f"c{u}", item, f"{date} 09:00:0{u}", "purchase", f"{day}-{u}", "2.5") for item in bought]
    return rows


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """The shop in a folder of its own, which is the working one."""
    monkeypatch.chdir(tmp_path)
    house = House(tmp_path)
    house.dataset(
        "cameras",
        rows_of_cameras(),
        ("customer", "item", "time", "kind", "order", "price"),
        columns={
            "user_id": "customer",
            "item_id": "item",
            "timestamp": "time",
            "event_type": "kind",
            "order_id": "order",
            "price": "price",
        },
        items={"file": "items.csv", "id": "item"},
        event_type=None,
    )
    with open("raw/items.csv", "w", newline="") as file:
        csv.writer(file).writerows([("item", "category"), *KINDS.items()])
    return house
