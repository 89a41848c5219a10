"""Filters drop what they say, and the k-core is the largest log in which everybody has k rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopkeeper.arrange.filters import apply_filters, as_lines, k_core
from shopkeeper.errors import UserError
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


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40), st.integers(1, 4))
def test_the_k_core_is_what_dropping_one_by_one_leaves(pairs, k):
    user, item = (np.array([p[side] for p in pairs], np.int32) for side in (0, 1))
    mask = k_core(user, item, k)
    assert [p for p, m in zip(pairs, mask, strict=True) if m] == slow_core(pairs, k)


def test_event_types_retention_and_history_lengths_are_counted():
    data = log([0, 0, 0, 1, 2, 2], [1, 2, 3, 1, 1, 2], hours=[0, 480, 481, 482, 483, 484], types=[1, 1, 5, 5, 5, 5])
    table = apply_filters(data, {"event_types": ["purchase"], "retention_days": 1, "min_history": 2, "max_history": 5})
    assert [(r["filter"], r["rows_before"], r["rows_after"], r["users_after"]) for r in table] == [
        ("event_types", 6, 4, 3), ("retention_days", 4, 4, 3), ("min_history", 4, 2, 1), ("max_history", 2, 2, 1),
    ]  # fmt: skip
    assert data.user.tolist() == [2, 2]


def test_retention_is_counted_back_from_the_last_event():
    data = log([0, 0, 0], [1, 2, 3], hours=[0, 24, 48])
    apply_filters(data, {"retention_days": 1})
    assert data.item.tolist() == [2, 3]


def test_a_user_who_makes_more_events_than_a_person_can_is_dropped_whole():
    data = log([0] * 5 + [1] * 5, list(range(10)), hours=[0, 0.1, 0.2, 0.3, 30] + [0, 1, 2, 3, 30])
    apply_filters(data, {"bots": {"per_hour": 3, "per_day": 4}})
    assert data.user.tolist() == [1] * 5


def test_consecutive_repeats_look_at_time_and_user_not_at_the_file():
    data = log([0, 1, 0, 0, 0], [7, 7, 7, 8, 7], hours=[0, 1, 3, 2, 4])
    apply_filters(data, {"consecutive_repeats": True})
    assert list(zip(data.user.tolist(), data.item.tolist(), strict=True)) == [(0, 7), (1, 7), (0, 7), (0, 8)]


def test_a_filter_that_leaves_nothing_or_needs_times_says_so():
    with pytest.raises(UserError, match="k_core=9 leaves no rows of 2"):
        apply_filters(log([0, 1], [0, 1]), {"k_core": 9})
    with pytest.raises(UserError, match="retention_days needs time stamps"):
        apply_filters(log([0, 1], [0, 1]), {"retention_days": 9})


def test_the_table_of_filters_is_aligned_for_the_screen():
    table = apply_filters(log([1, 1, 1, 2], [5, 6, 7, 5], [0, 0.1, 0.2, 3]), {"bots": {"per_hour": 5}, "k_core": 1})
    assert as_lines(table) == [
        "filter           rows before  rows after  users before  users after  items before  items after",
        "bots per_hour=5            4           4             2            2             3            3",
        "k_core 1                   4           4             2            2             3            3",
    ]
    assert as_lines([]) == []
