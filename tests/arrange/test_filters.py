"""Filters drop what they say, and the k-core is the largest log in which everybody has k rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.arrange import engine, engine_plan
from shopkeeper.arrange.engine_settings import Engine
from shopkeeper.arrange.filters import apply_filters, as_lines, k_core
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset_parts import Bots, Filters
from shopkeeper.ingest.log import Ids, Log

HOUR = 3_600_000_000


def log(users: list[int], items: list[int], hours: list[float] | None = None, types: list[int] | None = None) -> Log:
    n = len(users)
    times = None if hours is None else (np.array(hours) * HOUR).astype(np.int64)
    names = pa.array([str(i) for i in range(100)])
    return Log(
        {"user_id": Ids(np.array(users, np.int32), names), "item_id": Ids(np.array(items, np.int32), names)},
        np.array(types if types is not None else [1] * n, np.int8),
        times,
    )


def slow_core(pairs: list[tuple[int, int]], k: int) -> list[tuple[int, int]]:
    while True:
        left = [(u, i) for u, i in pairs if sum(u == v for v, _ in pairs) >= k and sum(i == j for _, j in pairs) >= k]
        if len(left) == len(pairs):
            return left
        pairs = left


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40), st.integers(1, 4))
def test_the_k_core_is_what_dropping_one_by_one_leaves(pairs, k):
    user, item = (np.array([p[side] for p in pairs], np.int32) for side in (0, 1))
    mask = k_core(user, item, k)
    assert [p for p, m in zip(pairs, mask, strict=True) if m] == slow_core(pairs, k)


def test_event_types_retention_and_history_lengths_are_counted():
    data = log([0, 0, 0, 1, 2, 2], [1, 2, 3, 1, 1, 2], hours=[0, 480, 481, 482, 483, 484], types=[1, 1, 5, 5, 5, 5])
    table = apply_filters(data, Filters(("purchase",), retention_days=1, min_history=2, max_history=5))
    assert [(r["filter"], r["rows_before"], r["rows_after"], r["users_after"]) for r in table] == [
        ("event_types", 6, 4, 3), ("retention_days", 4, 4, 3), ("min_history", 4, 2, 1), ("max_history", 2, 2, 1),
    ]  # fmt: skip
    assert data.user.tolist() == [2, 2]


def test_retention_is_counted_back_from_the_last_event():
    data = log([0, 0, 0], [1, 2, 3], hours=[0, 24, 48])
    apply_filters(data, Filters(retention_days=1))
    assert data.item.tolist() == [2, 3]


def test_a_user_who_makes_more_events_than_a_person_can_is_dropped_whole():
    data = log([0] * 5 + [1] * 5, list(range(10)), hours=[0, 0.1, 0.2, 0.3, 30] + [0, 1, 2, 3, 30])
    apply_filters(data, Filters(bots=Bots(per_hour=3, per_day=4)))
    assert data.user.tolist() == [1] * 5


def test_consecutive_repeats_look_at_time_and_user_not_at_the_file():
    data = log([0, 1, 0, 0, 0], [7, 7, 7, 8, 7], hours=[0, 1, 3, 2, 4])
    apply_filters(data, Filters(consecutive_repeats=True))
    assert list(zip(data.user.tolist(), data.item.tolist(), strict=True)) == [(0, 7), (1, 7), (0, 7), (0, 8)]


def test_a_filter_that_leaves_nothing_or_needs_times_says_so():
    with pytest.raises(UserError, match="k_core=9 leaves no rows of 2"):
        apply_filters(log([0, 1], [0, 1]), Filters(k_core=9))
    with pytest.raises(UserError, match="retention_days needs time stamps"):
        apply_filters(log([0, 1], [0, 1]), Filters(retention_days=9))


def test_the_table_of_filters_is_aligned_for_the_screen():
    table = apply_filters(log([1, 1, 1, 2], [5, 6, 7, 5], [0, 0.1, 0.2, 3]), Filters(bots=Bots(per_hour=5), k_core=1))
    assert as_lines(table) == [
        "filter           rows before  rows after  users before  users after  items before  items after",
        "bots per_hour=5            4           4             2            2             3            3",
        "k_core 1                   4           4             2            2             3            3",
    ]
    assert as_lines([]) == []


@pytest.mark.parametrize(
    ("zone", "hours", "limits", "bots"),
    [
        # from 20:00 to 23:00 UTC and from 1:00 to 4:00: one day in Los Angeles (12:00 to 20:00), two in UTC
        ("America/Los_Angeles", [20, 21, 22, 23, 25, 26, 27, 28], {"per_day": 5}, True),
        ("UTC", [20, 21, 22, 23, 25, 26, 27, 28], {"per_day": 5}, False),
        # 10:15 to 10:45 UTC is one hour of UTC and lies in two of India's, 15:45 to 16:15
        ("UTC", [10.25, 10.3, 10.7, 10.75], {"per_hour": 3}, True),
        ("Asia/Kolkata", [10.25, 10.3, 10.7, 10.75], {"per_hour": 3}, False),
        ("Asia/Kolkata", [10.75, 10.8, 11.25, 11.3], {"per_hour": 3}, True),
        # the first hour of 25 October 1970 came twice in New York, at 5:00 and 6:00 UTC: two hours of one day
        ("America/New_York", [297 * 24 + h for h in (5.1, 5.2, 6.1, 6.2)], {"per_hour": 3}, False),
        ("America/New_York", [297 * 24 + h for h in (4.5, 5.2, 6.1, 28.5)], {"per_day": 3}, True),
    ],
)
def test_the_hours_and_days_of_a_robot_are_the_shops_on_every_engine(zone: str, hours, limits: dict, bots: bool):
    data = log([0] * len(hours) + [1], list(range(len(hours))) + [1], hours=[*hours, hours[0]])
    table, _ = engine._as_table(data)
    for make in (engine._polars, engine._duckdb):
        with make(table, Engine()) as (frame, _):
            left = engine_plan._without_bots(frame, Bots(**limits), zone).select("user")
            assert (0 not in left.collect(backend="pyarrow").to_native()["user"].to_pylist()) is bots
    apply_filters(data, Filters(bots=Bots(**limits)), zone)
    assert (0 not in data.user.tolist()) is bots


def test_whole_days_of_retention_step_over_a_clock_change():
    # London, 29 March 2020: a day of 23 hours; the last event is at 12:00 on the 30th, which is 11:00 UTC
    hours = (18_351 * 24 + 11) + np.array([-71.5, -47.5, -46.5, 0])  # two days before: at 11:30 and 12:30
    for zone, kept in (("Europe/London", [3, 4]), ("UTC", [2, 3, 4])):
        data = log([0] * 4, [1, 2, 3, 4], hours=hours.tolist())
        apply_filters(data, Filters(retention_days=2), zone)
        assert data.item.tolist() == kept
