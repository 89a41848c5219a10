"""The ends of a log: stray rows and a last day that was cut off are found, honest logs are left in peace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.timeline import DAY, instant
from shopkeeper.timeline.observation import head_line, observe, shown_twice, tail_line, twice_line

START = instant("2022-01-01", "start")


def log(days: int = 200, per_day: float = 5, seed: int = 0, weekly: tuple[float, ...] = (1,) * 7) -> np.ndarray:
    """Events at random instants of each day, more or fewer by weekday, in random order."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(per_day * np.resize(weekly, days))
    n[[0, -1]] = np.maximum(n[[0, -1]], 1)
    return rng.permutation(START + (np.repeat(np.arange(days), n) * DAY + rng.integers(0, DAY, n.sum())))


def with_rows(ts: np.ndarray, *days: float) -> np.ndarray:
    return np.concatenate([ts, START + (np.array(days) * DAY).astype(np.int64)])


@pytest.mark.parametrize("late", [(228,), (220, 221, 235, 239, 250), (1200,), (30_000, 30_001), (228, 1200)])
def test_stray_rows_after_the_end_are_a_tail_that_begins_after_the_last_usual_day(late):
    tail = observe(with_rows(log(), *late))["tail"]
    assert tail["border"] == START + 200 * DAY
    assert tail["events"] == len(late)
    assert tail["days"] == max(late) - 200 + 1
    assert tail["usual"] >= 10 * tail["events"]


@pytest.mark.parametrize("early", [(-30,), (-8, -21, -60), (-19_000,), (-400, -5000)])
def test_stray_rows_before_the_beginning_are_a_head(early):
    head = observe(with_rows(log(), *early))["head"]
    assert (head["border"], head["events"]) == (START, len(early))


@given(st.integers(0, 10_000), st.sampled_from([30, 90, 400]), st.sampled_from([0.3, 2, 10, 300]))
@settings(max_examples=150, deadline=None)
def test_a_steady_shop_raises_no_doubt(seed, days, per_day):
    assert observe(log(days, per_day, seed)) == {"tail": None, "head": None, "sliver": None}


def test_seasons_weekends_decline_and_growth_are_no_doubt():
    closed = (1, 1, 1, 1, 1, 0.02, 0)
    for days in range(60, 67):  # whatever weekday it ends on
        assert observe(log(days, 50, days, closed)) == {"tail": None, "head": None, "sliver": None}
    rng = np.random.default_rng(1)
    dying = START + (rng.exponential(60, 20_000) * DAY).astype(np.int64)
    dying = dying[dying < START + 300 * DAY]
    assert observe(dying)["tail"] is None
    assert observe(2 * START + 300 * DAY - dying)["head"] is None


@pytest.mark.parametrize(("hours", "sliver"), [(1, True), (4, True), (12, False), (24, False)])
def test_a_last_day_that_was_cut_off_is_a_sliver(hours, sliver):
    ts = log(60, 400)
    cut = ts[ts < START + 59 * DAY + hours * DAY // 24]
    found = observe(cut)
    assert found["sliver"] == (START + 59 * DAY if sliver else None)
    assert found["tail"] is None


@pytest.mark.parametrize(("last", "sliver"), [(19, True), (20, False)])
def test_a_last_day_with_a_quarter_of_the_weekday_before_is_whole(last, sliver):
    n = np.append(np.full(59, 80), last)
    found = observe(START + np.repeat(np.arange(60), n) * DAY)
    assert found["sliver"] == (START + 59 * DAY if sliver else None)


def test_a_last_day_is_set_beside_the_weekday_of_the_last_four_weeks_alone():
    n = np.append(np.repeat([400, 100], [90, 29]), 30)  # a shop that has lost most of its customers a month ago
    assert observe(START + np.repeat(np.arange(120), n) * DAY)["sliver"] is None


def test_dates_without_hours_are_no_sliver():
    ts = log(60, 400)
    assert observe(ts - ts % DAY)["sliver"] is None


def test_a_quiet_weekday_is_no_sliver():
    assert observe(log(63, 400, weekly=(1, 1, 1, 1, 1, 1, 0.1)))["sliver"] is None


def test_one_event_alone_is_a_log():
    assert observe(np.array([START])) == {"tail": None, "head": None, "sliver": None}


def test_the_lines_say_how_much_where_and_the_way_out():
    found = observe(with_rows(log(), 228, -30))
    line = tail_line("shop", found["tail"])
    assert line.startswith("shop: the last 1 event lies in the 29 days from 2022-07-20 on, before which as long a time")
    assert line.endswith("set timeline.observed_until=2022-07-20")
    assert head_line("shop", found["head"]).endswith("set timeline.observed_from=2022-01-01")


def test_the_lines_speak_of_the_days_of_the_shop():
    tail = observe(with_rows(log() - DAY // 24, 228), "Europe/London")["tail"]  # 200 days on London's summer clocks
    assert tail_line("shop", tail, "Europe/London").endswith("observed_until=2022-07-20")


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "Pacific/Kiritimati", "America/Los_Angeles", "Pacific/Pago_Pago"])
def test_a_midnight_has_the_date_that_the_clocks_of_the_zone_show(zone):
    for day in ("2023-01-05", "2023-07-05"):
        found = {"border": instant(day, "border", zone), "events": 1, "days": 29, "usual": 100}
        assert f"from {day} on" in tail_line("shop", found, zone)
        assert tail_line("shop", found, zone).endswith(f"observed_until={day}")
        assert head_line("shop", found, zone).endswith(f"observed_from={day}")


BACK = instant("2023-10-29T01:00:00Z", "back")  # Berlin: 03:00 becomes 02:00
MINUTE = DAY // 24 // 60


def test_events_of_an_hour_that_clocks_show_twice_are_counted_where_they_cannot_be_told_apart():
    around = BACK + np.array([-61, -60, -20, -1, 60, 300]) * MINUTE  # local 01:59, 02:00, 02:40, 02:59, 03:00, 07:00
    assert shown_twice(around, "Europe/Berlin") == 3
    assert observe(around, "Europe/Berlin")["twice"] == 3
    assert shown_twice(around, "UTC") == shown_twice(around, "Asia/Tokyo") == 0
    told_apart = np.append(around, BACK)  # 02:00 again: whoever wrote this log knows which
    assert "twice" not in observe(told_apart, "Europe/Berlin")
    forward = instant("2023-03-26T01:00:00Z", "forward") + np.array([-30, 30]) * MINUTE
    assert shown_twice(forward, "Europe/Berlin") == 0
    assert "tea: 1 event lies in an hour that the clocks of Europe/Berlin show twice" in twice_line(
        "tea", 1, "Europe/Berlin"
    )
