"""Two baskets of one customer that are open at once: an order is one, whatever lies between its lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.data.orders import first_lines
from shopkeeper.data.requests import Events, Requests
from shopkeeper.features.baskets import Baskets
from shopkeeper.features.steps import Steps
from shopkeeper.recommenders.windows import earlier_windows
from shopkeeper.schema import EVENT_CODE
from shopkeeper.training.batching.batches import TrainingView, next_step_labels
from tiny import DAY, tiny_prepared

PURCHASE = EVENT_CODE["purchase"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=12))
def test_the_first_line_of_an_order_is_that_of_its_owner_wherever_its_lines_stand(rows: list[tuple[int, int]]):
    owner, order = (
        (np.array(column, np.int64) for column in zip(*rows, strict=True)) if rows else (np.zeros(0, int),) * 2
    )
    seen: dict[tuple[int, int], int] = {}
    expected = [seen.setdefault(row, i) if row[1] else i for i, row in enumerate(rows)]
    assert first_lines(owner, order).tolist() == expected


def test_a_basket_whose_lines_are_torn_apart_counts_once():
    events = Events(
        item=np.array([1, 2, 3, 4, 5], np.int32),
        event_type=np.full(5, PURCHASE, np.int8),
        timestamp=np.array([0, 0, 1, 1, 5], np.int64) * DAY,
        order=np.array([7, 8, 7, 8, 9], np.int32),
    )
    found = Baskets.of(Requests(events, np.array([0]), np.array([5])), [PURCHASE], 10)
    assert found.n_baskets.tolist() == [3]
    assert dict(zip(found.item.tolist(), found.basket.tolist(), strict=True)) == {1: 2, 3: 2, 2: 1, 4: 1, 5: 0}


def test_a_late_line_is_part_of_the_step_in_which_its_order_began():
    events = Events(
        item=np.array([1, 2, 3, 4, 5], np.int32),
        event_type=np.array([PURCHASE, PURCHASE, EVENT_CODE["view"], PURCHASE, PURCHASE], np.int8),
        timestamp=np.arange(5) * DAY,
        order=np.array([7, 8, 0, 7, 9], np.int32),
    )
    found = Steps.of(Requests(events, np.array([0]), np.array([5])), [PURCHASE], 10)
    step, item = found.line
    assert dict(zip(item.tolist(), step.tolist(), strict=True)) == {1: 0, 4: 0, 2: 1, 5: 2}
    assert (found.look[0].tolist(), found.look[1].tolist()) == ([2], [3])
    assert found.at is not None
    assert found.at[:3].tolist() == [0, DAY, 4 * DAY]


def test_a_line_of_an_order_that_has_begun_is_not_what_comes_next():
    # Rows: order 7, order 8, order 7, order 8, order 9. After the third row the customer knows of 7 and 8 both.
    lo, count, target = next_step_labels(np.array([0, 5]), np.ones(5, bool), np.array([7, 8, 7, 8, 9]))
    assert [target[a : a + n].tolist() for a, n in zip(lo, count, strict=True)] == [[1, 3], [4], [4], [4], []]


def test_no_label_of_a_training_row_is_in_an_order_that_the_row_has_seen_part_of(tmp_path: Path):
    histories = [[1, 2, 3, 4, 5, 6, 7]]
    _, split = tiny_prepared(tmp_path / "p", histories, columns={"order": [[1, 2, 1, 2, 3, 4, 5]]})
    view = TrainingView.build(split, ("purchase",))
    labels = np.array(split.catalogue)[view.label_class_T]
    of = [labels[a : a + n].tolist() for a, n in zip(view.label_lo_M, view.label_count_M, strict=True)]
    assert of[:4] == [[2, 4], [5], [5], [5]]


def test_a_window_asks_for_all_lines_of_an_order_where_it_begins_and_for_none_that_began_before(tmp_path: Path):
    days = [[0, 10, 20, 20.5, 21, 21.5, 60, 61]]
    orders = [[1, 2, 3, 4, 3, 2, 5, 6]]
    times = [[round(day * DAY) for day in row] for row in days]
    _, split = tiny_prepared(tmp_path / "p", [[1, 2, 3, 4, 5, 6, 7, 8]], columns={"order": orders}, timestamps=times)
    window = earlier_windows(split, [PURCHASE], 5, 1)[0]
    asked = [
        window.targets.item[a:b].tolist()
        for a, b in zip(window.targets.offsets, window.targets.offsets[1:], strict=False)
    ]
    assert asked == [[3, 5], [4]]  # item 6 is a late line of order 2, which began before the window
