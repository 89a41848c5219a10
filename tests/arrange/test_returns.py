"""A return is linked to the purchase that it undoes: same person, same item, before it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.arrange.returns import PURCHASE, RETURN, link_returns


def link(rows: list[tuple[int, int, str, int]], quantities: bool = True) -> list[int]:
    user, item, kind, units = zip(*rows, strict=True)
    types = np.array([{"buy": PURCHASE, "back": RETURN, "see": 1}[k] for k in kind], np.int8)
    quantity = np.array(units, float) if quantities else None
    found = link_returns(np.array(user, np.int32), np.array(item, np.int32), types, quantity)
    return [] if found is None else found.tolist()


def test_the_latest_purchase_of_the_same_quantity_comes_first():
    assert link([(1, 1, "buy", 2), (1, 1, "buy", 5), (1, 1, "back", 2)]) == [-1, -1, 0]


def test_two_equal_returns_undo_two_purchases():
    assert link([(1, 1, "buy", 1), (1, 1, "buy", 1), (1, 1, "back", 1), (1, 1, "back", 1)]) == [-1, -1, 1, 0]


def test_a_return_without_a_purchase_does_not_disturb_the_later_ones():
    buy, back = (1, 1, "buy", 1), (1, 1, "back", 1)
    assert link([back, buy, buy, back, back]) == [-1, -1, -1, 2, 1]


def test_a_part_of_an_order_is_linked_to_the_latest_purchase():
    assert link([(1, 1, "buy", 9), (1, 1, "back", 2), (1, 1, "see", 1)]) == [-1, 0, -1]


def test_a_return_before_its_purchase_or_of_another_customer_stays_alone():
    assert link([(1, 1, "back", 1), (1, 1, "buy", 1), (1, 2, "back", 1), (2, 1, "back", 1)]) == [-1, -1, -1, -1]


def test_without_returns_there_is_nothing_to_link():
    assert link([(1, 1, "buy", 1)]) == []


def test_no_more_comes_back_than_was_bought():
    buy, back = (1, 1, "buy", 1), (1, 1, "back", 1)
    assert link([buy, back, back, back]) == [-1, 0, -1, -1]
    assert link([(1, 1, "buy", 3), (1, 1, "back", 2), (1, 1, "back", 2), (1, 1, "back", 1)]) == [-1, 0, -1, 0]


def test_without_quantities_each_purchase_comes_back_once():
    buy, back = (1, 1, "buy", 0), (1, 1, "back", 0)
    assert link([buy, buy, back, back, back], quantities=False) == [-1, -1, 1, 0, -1]
    assert link([(1, 1, "buy", np.nan), (1, 1, "back", 2), (1, 1, "back", 3)]) == [-1, 0, -1]


def test_a_return_that_no_single_purchase_can_hold_is_without_one():
    assert link([(1, 1, "buy", 2), (1, 1, "buy", 1), (1, 1, "back", 3), (1, 1, "back", 2)]) == [-1, -1, -1, 0]


def slow(rows: list[tuple[int, int, str, int]]) -> list[int]:
    """The rule, one row at a time."""
    links = [-1] * len(rows)
    open_: dict[tuple[int, int, int], list[int]] = {}
    for at, (user, item, kind, units) in enumerate(rows):
        stack = open_.setdefault((user, item, units), [])
        if kind == "buy":
            stack.append(at)
        elif kind == "back" and stack:
            links[at] = stack.pop()
    anew = {rows[i][:2] for i, row in enumerate(rows) if row[2] == "back" and links[i] < 0}
    left = {i: row[3] for i, row in enumerate(rows) if row[2] == "buy"}
    for at, (user, item, kind, units) in enumerate(rows):
        if kind == "back" and (user, item) in anew:  # one return after another, in time
            earlier = [i for i in range(at) if rows[i][:3] == (user, item, "buy") and left[i] >= units]
            same = [i for i in earlier if left[i] == rows[i][3] == units]
            links[at] = (same or earlier or [-1])[-1]
            if links[at] >= 0:
                left[links[at]] -= units
    return links


events = st.tuples(st.integers(1, 3), st.integers(1, 2), st.sampled_from(["buy", "back", "see"]), st.integers(1, 4))


@settings(deadline=None)
@given(st.lists(events, min_size=1, max_size=30))
def test_linking_whole_arrays_equals_linking_row_by_row(rows):
    rows.sort(key=lambda r: r[0])
    expected = slow(rows)
    assert link(rows) == ([] if all(r[2] != "back" for r in rows) else expected)


@settings(deadline=None)
@given(st.lists(events, min_size=1, max_size=30))
def test_the_units_that_come_back_of_a_purchase_are_never_more_than_it_had(rows):
    rows.sort(key=lambda r: r[0])
    links = link(rows) or [-1] * len(rows)
    for purchase in set(links) - {-1}:
        assert sum(rows[i][3] for i, to in enumerate(links) if to == purchase) <= rows[purchase][3]
