"""Order lines that were sent twice are counted by `prepare` where no filter drops them."""

from __future__ import annotations

from pathlib import Path

import pytest

from house import House
from shopkeeper.pipeline.prepare import prepare


def orders() -> list[tuple[str, str, str, str]]:
    """40 orders of two lines, one a day; every fourth is sent again 40 seconds later."""
    found = []
    for d in range(40):
        day = f"2023-{1 + d // 28:02d}-{1 + d % 28:02d}"
        for clock in ("10:00:00", "10:00:40")[: 1 + (d % 4 == 0)]:
            found += [(f"c{d % 4}", f"s{(d + i) % 6}", f"{day} {clock}", f"{5 + i}", f"o{d}") for i in range(2)]
    return found


def said(house: House, caplog, **filters) -> list[str]:
    house.dataset("reload", [], filters=filters, columns={
        "user_id": "customer", "item_id": "item", "timestamp": "time", "price": "price", "order_id": "order",
    })  # fmt: skip
    rows = [("customer", "item", "time", "price", "order"), *orders()]
    (house.place / "raw/reload.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    caplog.clear()
    with caplog.at_level("INFO"):
        prepare(house._composed("prepare", ("dataset=reload",)))
    return [r.message for r in caplog.records if "repeat a line of their order" in r.message]


def test_lines_that_were_sent_again_are_counted_unless_a_filter_drops_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    monkeypatch.chdir(tmp_path)
    house = House(tmp_path)
    assert [line.split()[0] for line in said(house, caplog)] == ["20"]  # 10 orders of two lines
    assert not said(house, caplog, repeats={"seconds": 3600})


def test_one_number_of_two_customers_is_two_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.chdir(tmp_path)
    days = [f"2023-{1 + d // 28:02d}-{1 + d % 28:02d} 10:00:00" for d in range(40)]
    each = [(f"c{c}", "s1", day, "5", f"{d}") for d, day in enumerate(days) for c in range(20)]
    monkeypatch.setattr("test_sent_again.orders", lambda: each)
    assert not said(House(tmp_path), caplog)
