"""What a history says of its own items, held against counting by hand, and where nothing is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from shopkeeper.data.own import COUNTS, TIMES, OwnRows
from shopkeeper.schema import EVENT_CODE

DAY = 86_400_000_000
BUY, VIEW, CART = EVENT_CODE["purchase"], EVENT_CODE["view"], EVENT_CODE["add_to_cart"]


def rows() -> OwnRows:
    """Two customers. The first buys 1 and 2 on day 0, 1 twice on day 30; views 3 on day 31, carts 2 on day 32."""
    item = np.array([1, 2, 1, 1, 3, 2, 3, 5, 1], np.int32)
    kind = np.array([BUY, BUY, BUY, BUY, VIEW, CART, VIEW, VIEW, BUY], np.int8)
    time = np.array([0, 0, 30, 30, 31, 32, 32, 3, 4], np.int64) * DAY
    order = np.array([1, 1, 2, 2, 0, 0, 0, 0, 3], np.int32)
    session = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5], np.int32)
    return OwnRows.of(np.array([0, 7, 9]), item, kind, [BUY], time, order, session)


def told(own: OwnRows, after: int, at: float, usual: float = 10.0) -> dict[int, dict[str, float]]:
    """Of each own item at a query after this row: its columns by name."""
    after_Q, at_Q = np.array([after]), np.array([int(at * DAY)])
    query, row = own.pairs(after_Q)
    counts, times = own.counts(query, row, after_Q), own.times(query, row, after_Q, at_Q, np.full(10, usual))
    names = (*COUNTS, *TIMES)
    return {
        int(own.item[r]): dict(zip(names, map(float, line), strict=True))
        for r, line in zip(row, np.concatenate([counts, times], 1), strict=True)
    }


def test_each_own_item_is_spoken_for_once_by_its_newest_event():
    own = rows()
    query, row = own.pairs(np.array([1, 6, 8]))
    assert query.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert row.tolist() == [0, 1, 3, 5, 6, 7, 8]  # and nothing of the other customer


def test_orders_count_once_whatever_their_lines_and_other_events_apart():
    known = told(rows(), 6, 33)
    assert known.keys() == {1, 2, 3}
    np.testing.assert_allclose([known[i]["taken"] for i in (1, 2, 3)], np.log([3, 2, 1]), rtol=1e-6)
    assert [known[i]["share"] for i in (1, 2, 3)] == [1.0, 0.5, 0.0]
    assert [known[i]["never_taken"] for i in (1, 2, 3)] == [0, 0, 1]
    np.testing.assert_allclose([known[i]["other"] for i in (1, 2, 3)], np.log([1, 2, 3]), rtol=1e-6)
    assert [known[i]["carted"] for i in (1, 2, 3)] == [0, 1, 0]
    assert [known[i]["visit"] for i in (1, 2, 3)] == [0, 1, 1]
    np.testing.assert_allclose([known[i]["since"] for i in (1, 2, 3)], np.log([1, 2, 3]) * [0, 1, 1], atol=1e-6)


def test_the_place_of_a_cart_counts_the_carts_since_and_ends_with_an_order():
    kind = np.array([CART, CART, VIEW, CART, VIEW, BUY, CART], np.int8)
    own = OwnRows.of(np.array([0, 7]), np.array([1, 2, 1, 3, 4, 3, 5], np.int32), kind, [BUY], None)
    after = np.array([4, 5, 6])
    query, row = own.pairs(after)
    counts = own.counts(query, row, after)
    place = counts[:, COUNTS.index("cart_place")]
    told = {(int(q), int(own.item[r])): (c, round(float(np.expm1(p)), 5))
            for q, r, c, p in zip(query, row, counts[:, COUNTS.index("carted")], place, strict=True)}  # fmt: skip
    assert [told[0, i] for i in (1, 2, 3, 4)] == [(1, 2), (1, 1), (1, 0), (0, 0)]
    assert {told[1, i] for i in (1, 2, 3, 4)} == {(0, 0)}  # the order has ended them
    assert [told[2, i] for i in (1, 5)] == [(0, 0), (1, 0)]


def test_times_are_days_before_the_instant_and_gaps_those_of_the_customer_and_the_item():
    known = told(rows(), 6, 60)
    np.testing.assert_allclose(known[1]["taken_age"], np.log(30), rtol=1e-6)
    np.testing.assert_allclose(known[1]["gap"], np.log(30), rtol=1e-6)
    assert abs(known[1]["own_due"]) < 1e-6  # just due
    np.testing.assert_allclose(known[1]["usual_due"], np.log(3), rtol=1e-6)
    np.testing.assert_allclose(known[2]["taken_age"], np.log(60), rtol=1e-6)  # the cart is no purchase
    assert known[2]["gap"] == 0
    assert known[3]["taken_age"] == 0
    np.testing.assert_allclose(known[3]["age"], np.log(29), rtol=1e-6)


def test_what_comes_after_a_query_is_not_in_it():
    own = rows()
    early = told(own, 1, 5)
    short = OwnRows.of(np.array([0, 2]), own.item[:2], own.kind[:2], [BUY], own.time[:2], np.array([1, 1], np.int32))
    other = told(short, 1, 5)
    for item in (1, 2):
        assert {k: v for k, v in early[item].items() if k != "visit"} == {
            k: v for k, v in other[item].items() if k != "visit"
        }


def test_random_histories_give_what_counting_one_by_one_gives():
    rng = np.random.default_rng(0)
    offsets = np.array([0, 30, 30, 47, 90])
    item, kind = rng.integers(1, 8, 90).astype(np.int32), rng.choice([BUY, VIEW, CART], 90).astype(np.int8)
    time = np.concatenate([np.sort(rng.integers(0, 40, n)) for n in np.diff(offsets)]) * DAY
    own = OwnRows.of(offsets, item, kind, [BUY], time)
    for start, end in pairwise(offsets.tolist()):
        for m in range(start, end):
            mine = [r for r in range(start, m + 1) if item[r] == item[m]]
            bought = [r for r in mine if kind[r] == BUY]
            later = [r for r in range(m + 1, end) if item[r] == item[m]]
            assert own.following[m] == (later[0] if later else np.iinfo(np.int64).max)
            assert own.taken[m] == len({int(time[r]) for r in bought})  # without order ids an instant is an order
            assert own.other[m] == len(mine) - len(bought)
            assert own.first_taken[m] == (bought[0] if bought else -1)
            assert own.last_taken[m] == (bought[-1] if bought else -1)
            every = [r for r in range(start, m + 1) if kind[r] == BUY]
            carts = [r for r in range(max([start, *(b + 1 for b in every)]), m + 1) if kind[r] == CART]
            mine = [r for r in carts if item[r] == item[m]]
            place = np.log1p(sum(r > mine[-1] for r in carts)) if mine else 0.0
            at = np.array([m])
            told = own.counts(np.zeros(1, np.int64), at, at)[0]
            assert told[COUNTS.index("carted")] == bool(mine)
            np.testing.assert_allclose(told[COUNTS.index("cart_place")], place, rtol=1e-6)
            assert own.orders[m] == len({int(time[r]) for r in every})
            assert own.last_order[m] == (every[-1] if every else -1)
