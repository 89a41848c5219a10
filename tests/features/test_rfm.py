"""Features at a cutoff: equal to a slow loop over the events before it, and blind to everything after it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.features.customer.block import money_of
from shopkeeper.features.customer.compute import BLOCK, FeatureTable, customer_features
from shopkeeper.features.customer.shop import Kinds, Shop
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY

DAY = MICROSECONDS_PER_DAY
CHANNELS = ("web", "shop")
CATEGORY = np.array([0, 1, 1, 2, 2, 3], np.int32)


def log(seed: int, n_users: int = 30, n_events: int = 600) -> tuple[Events, np.ndarray]:
    """A random log over 400 days: several events share a time stamp, some orders have several lines."""
    rng = np.random.default_rng(seed)
    user = np.sort(rng.integers(1, n_users + 1, n_events))
    time = rng.integers(0, 400 * 4, n_events) * (DAY // 4)
    order_of_rows = np.lexsort((time, user))
    user, time = user[order_of_rows], time[order_of_rows]
    kind = rng.choice([EVENT_CODE[t] for t in ("view", "add_to_cart", "purchase", "return")], n_events)
    order = np.where(rng.random(n_events) < 0.7, 1 + np.arange(n_events) // 2, 0)
    events = Events(
        item=rng.integers(1, 6, n_events).astype(np.int32),
        event_type=kind.astype(np.int8),
        timestamp=time,
        price=np.where(rng.random(n_events) < 0.1, np.nan, rng.integers(1, 5000, n_events) / 100),
        quantity=np.where(rng.random(n_events) < 0.1, np.nan, rng.integers(1, 9, n_events).astype(float)),
        order=order.astype(np.int32),
        channel=rng.integers(0, 3, n_events).astype(np.int8),
    )
    counts = np.bincount(user, minlength=n_users + 1)[1:]
    return events, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def rfm_features(
    events: Events,
    offsets: np.ndarray,
    user: np.ndarray,
    cutoff: np.ndarray,
    category: np.ndarray | None = None,
    channels: tuple[str, ...] = (),
    block: int = BLOCK,
) -> FeatureTable:
    """The usual ones, of a shop with these categories and channels."""
    shop = Shop(channels=channels, category=None if category is None else Kinds(category))
    return customer_features(events, offsets, user, cutoff, shop=shop, block=block)


def asked(offsets: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = 80
    return rng.integers(1, len(offsets), n), rng.integers(0, 420 * 4, n) * (DAY // 4)


def by_hand(events: Events, offsets: np.ndarray, user: int, cutoff: int) -> dict[str, float]:
    """Plain Python over one customer's rows."""
    nan = float("nan")
    assert events.timestamp is not None
    rows = [r for r in range(offsets[user - 1], offsets[user]) if events.timestamp[r] < cutoff]
    code = {name: EVENT_CODE[name] for name in ("view", "add_to_cart", "purchase", "return")}

    def of(kind: str, days: float = 1e9) -> list[int]:
        first = cutoff - days * DAY
        return [r for r in rows if events.event_type[r] == code[kind] and events.timestamp[r] >= first]

    def amount(rs: list[int]) -> float:
        return sum(np.nan_to_num(events.price[r]) * np.nan_to_num(events.quantity[r], nan=1.0) for r in rs)

    def since(rs: list[int], last: bool = True) -> float:
        return (cutoff - events.timestamp[rs[-1 if last else 0]]) / DAY if rs else nan

    starts, seen = [], set()
    for r in of("purchase"):
        key = ("order", events.order[r]) if events.order[r] > 0 else ("time", events.timestamp[r])
        starts += [] if key in seen else [r]
        seen.add(key)
    bought, n = of("purchase"), len(starts)
    gaps = np.diff([events.timestamp[r] for r in starts]) / DAY
    visits = [r for r in rows if r == rows[0] or events.timestamp[r] // DAY != events.timestamp[r - 1] // DAY]
    visit_gap = np.diff([events.timestamp[r] for r in visits]).mean() / DAY if len(visits) > 1 else nan
    found = {
        "days_since_order": since(starts),
        "days_since_first_order": since(starts, last=False),
        "days_since_event": since(rows),
        "orders": n,
        "money": amount(bought),
        "money_per_order": amount(bought) / n if n else nan,
        "gap_mean": gaps.mean() if len(gaps) else nan,
        "gap_std": gaps.std() if len(gaps) else nan,
        "gap_last": gaps[-1] if len(gaps) else nan,
        "recency_over_gap": since(starts) / gaps.mean() if len(gaps) and gaps.mean() > 0 else nan,
        "lines_per_order": len(bought) / n if n else nan,
        "units_per_order": sum(np.nan_to_num(events.quantity[r], nan=1.0) for r in bought) / n if n else nan,
        "items": len({events.item[r] for r in bought}),
        "categories": len({CATEGORY[events.item[r]] for r in bought}),
        "repeat_share": 1 - len({events.item[r] for r in bought}) / len(bought) if bought else nan,
        "return_share": len(of("return")) / len(bought) if bought else nan,
        "money_returned_share": amount(of("return")) / amount(bought) if amount(bought) else nan,
        "views_30d": len(of("view", 30)),
        "days_since_view": since(of("view")),
        "carts_30d": len(of("add_to_cart", 30)),
        "days_since_cart": since(of("add_to_cart")),
        "visits_30d": len([r for r in visits if events.timestamp[r] >= cutoff - 30 * DAY]),
        "visits_90d": len([r for r in visits if events.timestamp[r] >= cutoff - 90 * DAY]),
        "visit_gap_mean": visit_gap,
        "recency_over_visit_gap": since(rows) / visit_gap,
    }
    for period, length, passed in (("weeks", 7, 3), ("months", 30, 0)):
        begun = {}  # the first order in each period
        for r in starts:
            begun.setdefault((events.timestamp[r] // DAY + passed) // length, events.timestamp[r])
        found[f"order_{period}"] = len(begun)
        for w in (90, 180):
            found[f"order_{period}_{w}d"] = sum(at >= cutoff - w * DAY for at in begun.values())
    for w in (30, 60, 90, 180):
        found[f"orders_{w}d"] = len([r for r in starts if events.timestamp[r] >= cutoff - w * DAY])
        found[f"money_{w}d"] = amount(of("purchase", w))
    for c, name in enumerate(CHANNELS, start=1):
        found[f"channel_share_{name}"] = sum(events.channel[r] == c for r in starts) / n if n else nan
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_every_feature_equals_a_loop_over_the_events_before_the_cutoff(seed: int):
    events, offsets = log(seed)
    user, cutoff = asked(offsets, seed)
    table = rfm_features(events, offsets, user, cutoff, CATEGORY, CHANNELS)
    for j in range(len(user)):
        expected = by_hand(events, offsets, int(user[j]), int(cutoff[j]))
        assert set(expected) == set(table.names)
        for name, value in zip(table.names, table.values[j], strict=True):
            np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("seed", range(5))
def test_rewriting_everything_at_or_after_the_cutoff_changes_no_bit_of_a_feature(seed: int):
    events, offsets = log(seed)
    user = np.arange(1, len(offsets))
    cutoff = np.full(len(user), 200 * DAY)
    before = rfm_features(events, offsets, user, cutoff, CATEGORY, CHANNELS)

    rng = np.random.default_rng(seed + 100)
    assert events.timestamp is not None
    later = events.timestamp >= 200 * DAY
    assert later.any()

    def other(column: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.where(later, values, column).astype(column.dtype)

    n = len(later)
    assert events.price is not None
    changed = replace(
        events,
        item=other(events.item, rng.integers(1, 6, n)),
        event_type=other(events.event_type, rng.integers(1, 9, n)),
        timestamp=other(events.timestamp, events.timestamp + 50 * DAY),
        price=other(events.price, rng.random(n) * 1e9 / 3),
        quantity=other(np.zeros(n), rng.random(n) * 1e3),
        order=other(np.asarray(events.order), rng.integers(0, 5, n)),
        channel=other(np.asarray(events.channel), rng.integers(0, 3, n)),
    )
    changed = replace(changed, quantity=np.where(later, changed.quantity, events.quantity))
    after = rfm_features(changed, offsets, user, cutoff, CATEGORY, CHANNELS)
    assert after.values.tobytes() == before.values.tobytes()

    # And when those rows are not there at all.
    kept = np.flatnonzero(~later)
    short = Events(*(None if c is None else c[kept] for c in vars(events).values()))
    ends = np.concatenate([[0], np.cumsum(~later)])[offsets]
    assert rfm_features(short, ends, user, cutoff, CATEGORY, CHANNELS).values.tobytes() == before.values.tobytes()


def test_an_event_at_the_very_instant_of_the_cutoff_is_not_known_yet():
    events = Events(np.ones(2, np.int32), np.full(2, EVENT_CODE["purchase"], np.int8), np.array([DAY, 2 * DAY]))
    table = rfm_features(events, np.array([0, 2]), np.array([1, 1]), np.array([2 * DAY, 2 * DAY + 1]))
    assert table.values[:, table.names.index("orders")].tolist() == [1, 2]


@pytest.mark.parametrize("block", [1, 100, 10**9])
def test_the_size_of_a_block_and_the_order_of_the_rows_change_nothing(block: int):
    events, offsets = log(7)
    user, cutoff = asked(offsets, 7)
    whole = rfm_features(events, offsets, user, cutoff, CATEGORY, CHANNELS).values
    assert (
        rfm_features(events, offsets, user, cutoff, CATEGORY, CHANNELS, block=block).values.tobytes() == whole.tobytes()
    )
    back = rfm_features(events, offsets, user[::-1], cutoff[::-1], CATEGORY, CHANNELS, block=block).values
    assert back[::-1].tobytes() == whole.tobytes()


def test_a_log_without_prices_orders_or_channels_still_has_all_features():
    events, offsets = log(3)
    bare = Events(events.item, events.event_type, events.timestamp)
    user, cutoff = asked(offsets, 3)
    table, full = (rfm_features(e, offsets, user, cutoff) for e in (bare, events))
    assert table.names == full.names
    assert (table.values[:, table.names.index("money")] == 0).all()
    assert np.isnan(table.values[:, table.names.index("categories")]).all()


def test_ten_orders_of_a_day_are_no_habit_and_ten_of_ten_weeks_are_one():
    days = [*[100] * 10, *range(4, 74, 7), 3, 4]  # 1970-01-05, day 4, was a Monday
    time = np.array(days) * DAY + np.arange(22)
    bought = np.full(22, EVENT_CODE["purchase"], np.int8)
    events = Events(np.ones(22, np.int32), bought, time, order=np.arange(1, 23, dtype=np.int32))
    table = rfm_features(events, np.array([0, 10, 20, 22]), np.array([1, 2, 3]), np.full(3, 110 * DAY))
    found = {name: table.values[:, table.names.index(name)].tolist() for name in table.names}
    assert found["orders"] == [10, 10, 2]
    assert found["order_weeks"] == [1, 10, 2]  # a Sunday and a Monday
    assert found["order_weeks_90d"] == [1, 7, 0]  # those from day 25 on
    assert found["order_months"] == [1, 3, 1]  # days 0 to 29, 30 to 59, 60 to 89
    assert found["order_months_90d"] == [1, 2, 0]


def test_data_with_only_an_order_is_refused_with_a_way_out():
    events = Events(np.ones(2, np.int32), np.ones(2, np.int8))
    with pytest.raises(UserError, match="time stamps"):
        rfm_features(events, np.array([0, 2]), np.array([1]), np.array([5]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=6), st.integers(-1, 11))
def test_the_binary_search_over_all_customers_equals_searchsorted_for_each(histories: list[list[int]], instant: int):
    flat = np.array([t for h in histories for t in sorted(h)], np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(h) for h in histories])])
    found = lower_bound(flat, offsets[:-1], offsets[1:], np.full(len(histories), instant))
    expected = [a + np.searchsorted(flat[a:b], instant) for a, b in pairwise(offsets)]
    assert found.tolist() == expected


def test_money_beyond_all_numbers_is_the_largest_that_is_counted_and_nothing_is_printed() -> None:
    events = replace(log(0)[0], price=np.full(600, 1e308), quantity=np.full(600, 1e308))
    with np.errstate(over="raise", invalid="raise"):  # of what `money_of` does not allow itself
        money, units = money_of(events)
    assert set(money.tolist()) == set(units.tolist()) == {2**53}
