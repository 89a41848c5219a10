"""What is asked for and may not be shown is said: no model could be right about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from house import House
from shopkeeper.pipeline.prepare import prepare


@pytest.mark.parametrize(
    ("looks", "seen", "share"), [(4, True, "100%"), (1, True, "25%"), (4, False, ""), (0, True, "")]
)
def test_targets_that_filter_seen_leaves_out_of_every_list_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    looks: int,
    seen: bool,
    share: str,
):
    monkeypatch.chdir(tmp_path)
    house, rows = House(tmp_path), []
    for day in range(28):
        for c in range(8):  # everybody buys one thing a day, and has looked at it where the number is below `looks`
            item, when = f"s{day}-{c}", f"2023-01-{1 + day:02d}"
            if c % 4 < looks:
                rows.append((f"c{c}", item, f"{when} 09:00:00", "", "view"))
            rows.append((f"c{c}", item, f"{when} 10:00:00", "5", "purchase"))
    house.dataset(
        f"shop{looks}{seen}", rows, ("customer", "item", "time", "price", "kind"), filter_seen=seen,
        event_type={"column": "kind", "map": {"view": "view", "purchase": "purchase"}},
        temporal={"validation_days": 3, "test_days": 3},
    )  # fmt: skip
    with caplog.at_level("INFO"):
        prepare(house._composed("prepare", (f"dataset=shop{looks}{seen}",)))
    told = [text for text in caplog.messages if text.startswith("filter_seen: true")]
    assert [f"and {share} of what is asked for" in text for text in told] == [True] * bool(share)
