"""Order lines that were sent twice are counted by `prepare` where no filter drops them."""

from __future__ import annotations

from pathlib import Path

import pytest

from house import House
from shopkeeper.arrange.filters import sent_again_line
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


@pytest.mark.parametrize(("told", "timed", "proposed"), [
    ({}, True, "`filters: {repeats: {seconds: 3600}}` drops them, or `rows: {orders: first}`"),
    ({}, False, "without times nothing tells two pieces from an order that was sent again"),
    ({"rows": {"orders": "first"}}, True, "as of one sending; if a join made them"),
    ({"rows": {"orders": "first"}, "filters": {"repeats": {"seconds": 9, "at_once": False}}}, True, "of one sending"),
    ({"filters": {"repeats": {"seconds": 9, "at_once": False}}}, True, None),
])  # fmt: skip
def test_what_is_proposed_for_equal_lines_is_something_that_the_data_can_take(told, timed: bool, proposed: str | None):
    said = sent_again_line({"config": told, "sent_again": 2} | ({"time_span": {}} if timed else {}))
    assert said == "" if proposed is None else proposed in said
    assert ("repeats" in said) == (timed and proposed is not None)
