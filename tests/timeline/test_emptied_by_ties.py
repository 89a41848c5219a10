"""Requests whose whole history shares the target's instant are said by prepare, by train and on the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from house import House, read
from shopkeeper.data.requests import emptied_by_ties
from shopkeeper.pipeline.preparing import split as verb

SESSIONS = {
    "defaults": [{"override /split@_global_.split": "sessions"}],
    "target_events": ["view"],
    "event_type": "view",
}


def clicks(clock: bool) -> list[tuple[str, str, str, str]]:
    """60 sessions of three clicks, one a day; with `clock` a minute lies between them."""
    return [(f"v{d}", f"s{(d + 2 * i) % 6}", f"2023-{1 + d // 30:02d}-{1 + d % 28:02d}" + f" 09:0{i}:00" * clock, "")
            for d in range(58) for i in range(3)]  # fmt: skip


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    verb.warn_once.cache_clear()
    house = House(tmp_path)
    house.dataset("days", clicks(clock=False), **SESSIONS)
    house.dataset("minutes", clicks(clock=True), **SESSIONS)
    return house


@pytest.mark.parametrize(("name", "share"), [("days", 1.0), ("minutes", 0.0)])
def test_prepare_train_and_the_page_say_that_ties_left_nothing_to_go_on(name, share, house, caplog):
    house.train("run", f"dataset={name}", "model=popularity")
    said = [r.message for r in caplog.records if "shares its instant" in r.message]
    assert [line.partition(" of the requests")[0][-6:] for line in said] == ([": 100%"] if share else [])
    house.evaluate(f"dataset={name}", "runs=[run]", "out=page", "report.baselines={}", "report.shuffle=false")
    checks = read("page/sanity.json")["next_item"]["checks"]["popularity"]
    assert checks["emptied_by_ties"] == share
    # the second and third click of a session; by day they lie in no history
    assert checks["empty_histories"] == share
    assert ("shares its instant" in Path("page/report.html").read_text()) == bool(share)


def test_a_customers_first_order_has_no_history_and_no_tie(house, caplog):
    """Without sessions a history of days is short, and what comes on one day is asked for in the order of the file."""
    house.dataset("orders", clicks(clock=False), target_events=["view"], event_type="view")
    _, split = verb.prepare_to_train(house.config("train", "dataset=orders", "model=popularity"))
    assert split.timeline["cold"]["test"]["requests_without_history"] > 0
    assert split.timeline["emptied_by_ties_share"] == {"validation": 0.0, "test": 0.0}
    assert not [r for r in caplog.records if "shares its instant" in r.message]


def test_who_came_after_he_was_asked_has_no_history_for_that_and_not_for_a_tie() -> None:
    """With `split.targets=all` a window is asked at its start, and its new customers look around before they buy."""
    time = np.array([1, 2, 3, 7, 7, 7, 9])
    start, first_target = np.array([0, 3, 6]), np.array([2, 5, 6])
    assert emptied_by_ties(start, start, first_target, time).tolist() == [False, True, False]
    assert emptied_by_ties(start, start + 1, first_target, time).tolist() == [False] * 3
    assert not emptied_by_ties(start, start, first_target, None).any()
