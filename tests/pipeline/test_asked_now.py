"""What people write down of themselves, as a request: in order of time, and asked once all of it is past."""

from __future__ import annotations

import numpy as np
import pytest

from shopkeeper.errors import UserError
from shopkeeper.pipeline.recommend import asked_now
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.timeline import instant
from tiny import DAY, tiny_prepared

START = instant("2025-03-01", "here")
TODAY = instant("2026-11-28", "here")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory):
    histories = [[1, 2, 3], [2, 3, 4]]
    times = [[START + d * DAY for d in range(3)]] * 2
    return tiny_prepared(tmp_path_factory.mktemp("asked") / "t", histories, times)[1]


def asked(split, history, basket=None):
    return asked_now(history, basket, Recency(), split)


def test_a_history_is_put_in_order_of_its_times(split):
    told = asked(split, [[["i3", "view", "2026-11-28"], ["i1", "purchase", "2025-03-02"]], []])
    assert told.events.item.tolist() == [1, 3]
    assert told.events.event_type[0] != told.events.event_type[1]
    assert np.all(np.diff(told.events.timestamp) > 0)
    untimed = asked(split, [["i3", "i1"]])
    assert untimed.events.item.tolist() == [3, 1]
    assert untimed.events.timestamp is None


def test_nobody_is_asked_about_before_what_they_tell(split):
    told = asked(split, [[["i1", "view", "2026-11-28"]], [["i1", "view", "2025-03-01"]]])
    assert told.instant.tolist() == [TODAY + 1, START + 2 * DAY + 1]  # each their own; else the end of the log


def test_lines_of_a_basket_are_of_now_where_they_tell_no_time(split):
    told = asked(split, [[["i1", "view", "2026-11-28"]], []], [["i2"], ["i4"]])
    assert told.events.item.tolist() == [1, 2, 4]
    assert told.events.timestamp.tolist() == [TODAY, TODAY, START + 2 * DAY]
    assert asked(split, [["i1"]], [["i2"]]).events.timestamp is None
    with pytest.raises(UserError, match="some events have a time and others none"):
        asked(split, [[["i1", "view", "2026-11-28"], "i2"]], [["i4"]])


def test_nobody_may_be_asked_about(split):
    assert len(asked(split, [])) == len(asked(split, [], [])) == 0
