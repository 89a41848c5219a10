"""What people call a day or an hour is the shop's, in slices and on the page, and its zone is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.evaluation.report.boards import panel
from shopkeeper.evaluation.report.facts import protocol_rows, title_of
from shopkeeper.evaluation.report.figures import Board, SlicePanel, SliceRow, Value
from shopkeeper.evaluation.report.window import _day, _moment
from shopkeeper.evaluation.report.words import slice_name
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.rows.slices import add_slices
from shopkeeper.models.about import About
from shopkeeper.timeline import instant
from tiny import tiny_prepared

COAST = "America/Los_Angeles"


class Nothing:
    about = About()

    def score(self, requests):
        return np.zeros((len(requests), 7), np.float32)


def friday(folder: Path, zone: str = COAST) -> tuple[Prepared, Split]:
    """Three customers who buy on Fridays at half past seven in the evening on the west coast, over a clock change."""
    weeks = ["2023-02-24", "2023-03-03", "2023-03-10", "2023-03-31"]
    times = [instant(f"{day}T19:30", "", COAST) for day in weeks]
    prepared, split = tiny_prepared(folder / "tiny", [[1, 2, 3, 4]] * 3, [times] * 3, n_items=6)
    prepared.manifest["config"] = {"timestamp": {"time_zone": zone}}
    return prepared, split


@pytest.mark.parametrize(
    ("zone", "time", "day"),
    [(COAST, "evening 18-24", "weekday"), ("UTC", "night 0-6", "weekend"), ("Asia/Tokyo", "morning 6-12", "weekend")],
)
def test_who_buys_on_friday_evening_is_in_those_slices_of_the_shop(tmp_path: Path, zone: str, time: str, day: str):
    prepared, split = friday(tmp_path, zone)
    table = add_slices(evaluate_requests(Nothing(), split), prepared, split, "test")
    assert set(table["slice:time_of_day"].to_pylist()) == {time}
    assert set(table["slice:weekday"].to_pylist()) == {day}


def test_slices_of_the_clock_name_its_zone():
    assert slice_name("time_of_day", COAST) == f"Time of day ({COAST})"
    assert slice_name("weekday", "UTC") == "Day (UTC)"
    assert slice_name("category", COAST) == "Category of what was taken"
    days = SlicePanel("weekday", [SliceRow("weekend", 200, False, {"a": Value(0.1)}, "")])
    assert panel(days, [], (0, 1), Board("next_item", "mrr", True, [], zone=COAST))["caption"] == f"Day ({COAST})"


def test_instants_on_the_page_are_the_shops_and_say_so(tmp_path: Path):
    prepared, split = friday(tmp_path)
    end = instant("2023-03-31T19:30", "", COAST)  # a Friday evening, the last of its month; in UTC it is April
    shown = {"us": end, "iso": "2023-04-01T02:30:00Z"}
    split.timeline["cutoffs"] = {"test": shown}
    metrics = {"split": split.name, "seed": 1, "target_hash": "x"}
    windows = {"windows": {"test": "2023-04-01T02:30:00Z"}}
    section = {"prepared": prepared, "split": split, "names": ["a"], "metrics": {"a": metrics | windows}}
    section["tables"] = {"a": evaluate_requests(Nothing(), split)}
    rows = protocol_rows({"next_item": section, "churn": section}, ["next_item", "churn"])
    assert ("Cutoff: test", f"2023-03-31 19:30 {COAST}") in rows
    assert ("Churn: test", f"2023-03-31 19:30 {COAST}") in rows
    assert "February 2023 to March 2023" in title_of({"next_item": section}, ["next_item"])[1]
    assert _day(np.array([end]), 0, COAST) == "2023-03-31"
    assert _moment(np.array([end]), 0, COAST) == f"2023-03-31 19:30 {COAST}"
