"""Each shipped audience on a small shop, its customers held against a computation of its own, customer by customer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from audience_shop import (
    AT,
    ITEMS,
    LOG,
    before,
    in_cart,
    made,
    money,
    names_in,
    orders,
    scores_of,
    shipped,
    stands,
    top_tier,
)

from shopkeeper.campaigns.audience.lists import due
from shopkeeper.campaigns.audience.make import Given, make
from shopkeeper.campaigns.audience.sessions import ready_sessions
from shopkeeper.campaigns.audience.settings import Due
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from tiny import DAY, tiny_prepared


def test_win_back_is_who_is_late_by_their_own_gaps(shop: Prepared):
    expected = {i for i, events in enumerate(LOG) if stands(events) in ("at risk", "lapsed")
                and 30 <= AT - orders(events)[-1] <= 730}  # fmt: skip
    found = made(shop, "win_back")
    assert names_in(found) == expected
    assert len(expected) > 20
    assert sum(found.left_out.values()) + len(found) == shop.n_users


def test_about_to_buy_is_the_highest_fifth_and_each_blank_has_its_reason(shop: Prepared):
    scores = scores_of(shop)
    known = np.flatnonzero(np.isfinite(scores.value))
    here = [i for i, events in enumerate(LOG) if before(events)]
    border = np.quantile(scores.value[[i for i in known if i in here]], 0.8)
    found = made(shop, "about_to_buy", scores=scores)
    assert names_in(found) == {int(i) for i in known if scores.value[i] >= border}
    assert found.known.scores is not None
    assert list(found.known.scores.value) == sorted(found.known.scores.value, reverse=True)
    assert found.left_out["no score: no order"] == sum(not orders(LOG[i]) for i in here)
    with pytest.raises(UserError, match="chooses by a score and none is given; set scores="):
        made(shop, "about_to_buy")


def test_cart_reminder_is_who_left_something_and_shows_it_and_what_goes_with_it(shop: Prepared):
    wide = {"who": {"cart": {"hours": 240, "quiet_hours": 1}}}
    found = made(shop, "cart_reminder", wide)
    expected = {i: left for i, events in enumerate(LOG) if (left := in_cart(events, AT - 10, AT - 1 / 24))}
    assert names_in(found) == set(expected)
    assert len(expected) > 5
    (table,) = found.chunks(1000)
    for row in table.to_pylist():
        left = expected[int(row["user_id"][1:]) - 1]
        assert [row[f"cart_left_behind_{k}"] for k in (1, 2, 3)] == [f"i{i}" for i in left[:3]] + [None] * (
            3 - len(left)
        )
        assert row["cart_left_behind_1_name"] == f"thing {left[0]}"
        bought = [e for e in before(LOG[int(row["user_id"][1:]) - 1]) if e.kind == "purchase"]
        lately = [e.item for e in bought if e.day >= AT - 7]
        offered = [i for i in range(1, ITEMS + 1) if i not in [*left, *lately]]
        assert [row[f"goes_with_it_{k}"] for k in (1, 2, 3)] == [f"i{i}" for i in offered[:3]]
        bought = [e for events in LOG for e in before(events) if e.kind == "purchase" and e.item == left[0]]
        assert row["cart_left_behind_1_price"] == max(bought, key=lambda e: e.day).price


def test_back_in_stock_is_who_looked_before_it_came_back_and_has_not_bought_it_since(shop: Prepared, tmp_path: Path):
    changes = [(3, 150, "false"), (3, 198, "true"), (5, 160, "false"), (5, 199, "true"), (5, 199.5, "false"),
               (7, 100, "false"), (7, 180, "true"), (9, 190, "false"), (9, 199, "true"), (11, 199, "true")]  # fmt: skip
    lines = [f"i{item},{np.datetime64('1970-01-01') + np.timedelta64(round(day * 24 * 60), 'm')},{there}"
             for item, day, there in changes]  # fmt: skip
    (tmp_path / "stock.csv").write_text("item_id,at,in_stock\n" + "\n".join(lines) + "\n")
    came, expected = {3: 198, 9: 199}, {}  # 5 has run out again, 7 came back too long ago, 11 never was away
    for i, events in enumerate(LOG):
        items = {}
        for item, day in came.items():
            looks = [e.day for e in before(events) if e.item == item and e.kind in ("view", "add_to_cart")
                     and day - 30 <= e.day < day]  # fmt: skip
            bought = [e.day for e in before(events) if e.item == item and e.kind == "purchase"]
            if looks and not any(d >= max(looks) for d in bought):
                items[item] = max(looks)
        if items:
            expected[i] = sorted(items, key=lambda item: -items[item])
    found = made(shop, "back_in_stock", stock=tmp_path / "stock.csv")
    assert names_in(found) == set(expected)
    assert 5 < len(expected) < 100
    (table,) = found.chunks(1000)
    for row in table.to_pylist():
        assert row["back_1"] == f"i{expected[int(row['user_id'][1:]) - 1][0]}"
    with pytest.raises(UserError, match="set stock=<CSV with item_id, at, in_stock"):
        made(shop, "back_in_stock")


def test_replenishment_is_who_is_due_by_gaps_that_are_known(tmp_path: Path):
    every = {1: 10, 2: 30}
    histories, times, expected = [], [], {}
    for u in range(40):
        item = 1 + u % 2
        last = AT - 1.5 - u % 20 * 2  # 1.5 to 39.5 days ago
        days = [last - every[item] * k for k in range(5)][::-1]
        histories.append([item] * 5)
        times.append([round(d * DAY) for d in days])
        late = AT - last - every[item]
        if -3 <= late <= 7:
            expected[u] = item
    shop, _ = tiny_prepared(tmp_path / "shop", histories, times)
    found = make(Given(shipped("replenishment"), shop, AT * DAY))
    assert names_in(found) == set(expected)
    assert len(expected) > 5
    once = due(shop, np.arange(1, 41), AT * DAY, Due(times=6))
    assert not once.some.any()


def test_vip_early_is_the_top_tier_that_is_active(shop: Prepared):
    expected = {i for i in top_tier() if stands(LOG[i]) in ("active", "won back")}
    found = made(shop, "vip_early")
    assert names_in(found) == expected
    paid = [money(LOG[int(u) - 1]) for u in found.customer]
    assert paid == sorted(paid, reverse=True)
    assert len(expected) > 5


def test_only_what_came_lately_is_offered_as_new(shop: Prepared, tmp_path: Path):
    histories = [[1, 2, 3], [4, 5], [2, 6]]
    times = [[DAY, 5 * DAY, 95 * DAY], [90 * DAY, 91 * DAY], [2 * DAY, 120 * DAY]]
    prepared, _ = tiny_prepared(tmp_path / "shop", histories, times)

    def best(requests: Requests, k: int) -> np.ndarray:
        assert requests.candidates is not None
        return np.array(
            [(requests.candidates[1][a:b].tolist() + [0] * k)[:k] for a, b in pairwise(requests.candidates[0])]
        )

    everybody = shipped("vip_early", who={"features": {"orders": [1, None]}})
    (table,) = make(Given(everybody, prepared, 100 * DAY, recommend=best)).chunks(10)
    for row in table.to_pylist():
        assert [row[f"new_{i}"] for i in (1, 2, 3)] == ["i3", "i4", "i5"]  # 6 comes later
    (none,) = make(Given(everybody, prepared, 80 * DAY, recommend=best)).chunks(10)
    assert none["new_1"].null_count == none.num_rows


def test_new_customer_is_who_has_ordered_once_and_what_goes_with_it_is_not_that(shop: Prepared):
    expected = {i for i, e in enumerate(LOG) if len(orders(e)) == 1 and 3 <= AT - orders(e)[0] <= 30}
    found = made(shop, "new_customer")
    assert names_in(found) == expected
    assert expected
    (table,) = found.chunks(1000)
    for row in table.to_pylist():
        events = LOG[int(row["user_id"][1:]) - 1]
        had = {e.item for e in before(events) if e.kind == "purchase"}
        assert row["goes_with_your_last_order_1"] == f"i{next(i for i in range(1, 99) if i not in had)}"


def test_first_visit_offer_is_who_was_here_on_one_day_and_bought_nothing(shop: Prepared):
    wide = {"who": {"features": {"orders": [0, 0], "visits_90d": [1, 1], "days_since_event": [0, 60]}}}
    expected = set()
    for i, events in enumerate(LOG):
        days = {int(e.day) for e in before(events)}
        recent = {d for d in days if d >= AT - 90}
        if days and len(recent) == 1 and not orders(events) and AT - before(events)[-1].day <= 60:
            expected.add(i)
    assert names_in(made(shop, "first_visit_offer", wide)) == expected
    assert len(expected) > 3


def test_exit_offer_counts_sessions_that_were_ready_and_those_that_bought_all_the_same(shop: Prepared):
    ready, bought_after, sessions = {}, 0, 0
    for i, events in enumerate(LOG):
        recent = [e for e in before(events) if e.day >= AT - 28]
        cut = [k for k in range(len(recent)) if k == 0 or recent[k].day - recent[k - 1].day > 30 / 1440]
        for first, end in pairwise([*cut, len(recent)]):
            sessions += 1
            views, cart = 0, set[int]()
            for k, e in enumerate(recent[first:end]):
                if e.kind == "purchase":
                    break
                views += e.kind == "view"
                if e.kind == "add_to_cart":
                    cart.add(e.item)
                elif e.kind == "remove_from_cart":
                    cart.discard(e.item)
                if views >= 3 and cart:
                    ready[i, first] = (views, len(cart))
                    bought_after += any(x.kind == "purchase" for x in recent[first + k : end])
                    break
    found = ready_sessions(shop, shipped("exit_offer"), AT * DAY)
    assert found.sessions == sessions
    assert found.bought == bought_after > 0
    assert sorted(zip(found.table["views"].to_pylist(), found.table["in_cart"].to_pylist(), strict=True)) == sorted(
        ready.values()
    )
    assert len(ready) > bought_after
