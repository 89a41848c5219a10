"""Each shipped audience on a small shop, its customers held against a computation of its own, customer by customer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from shipped import CONF
from shopkeeper.campaigns.audience.arms import in_control, power_of
from shopkeeper.campaigns.audience.lists import due, rows_between
from shopkeeper.campaigns.audience.make import Given, Made, make
from shopkeeper.campaigns.audience.scores import Scores, as_asked
from shopkeeper.campaigns.audience.sessions import ready_sessions
from shopkeeper.campaigns.audience.settings import Audience, Control, Due
from shopkeeper.data.consent import Consent
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.evaluation.online_test import plan_test
from shopkeeper.evaluation.profit import Profit
from shopkeeper.models.shares import Contributions
from shopkeeper.typed import read
from tiny import DAY, tiny_prepared

AT = 200  # the instant asked about, in days
ITEMS = 12


@dataclass(frozen=True)
class Event:
    day: float
    kind: str
    item: int
    price: float


Log = list[list[Event]]  # by customer, oldest first


def shop_log() -> Log:
    """150 customers over 230 days: visits of some views, perhaps a cart, perhaps an order of all of it."""
    rng, log = np.random.default_rng(3), []
    for customer in range(150):
        day, events = rng.uniform(0, 190), list[Event]()
        gap, last = rng.uniform(3, 40), rng.uniform(60, 330)
        while day < 230 and (day < last or not events):
            minute, cart = day, list[int]()
            for _ in range(rng.integers(1, 6)):
                item = int(rng.integers(1, ITEMS + 1))
                events.append(Event(minute, "view", item, np.nan))
                minute += 2 / 1440
                if rng.random() < 0.4:
                    events.append(Event(minute, "add_to_cart", item, np.nan))
                    cart.append(item)
                    minute += 1 / 1440
                    if rng.random() < 0.2:
                        events.append(Event(minute, "remove_from_cart", item, np.nan))
                        cart.remove(item)
                        minute += 1 / 1440
            if cart and rng.random() < 0.6 and customer % 10:
                events += [Event(minute, "purchase", item, float(item)) for item in dict.fromkeys(cart)]
            day += rng.exponential(gap) + 0.1
        log.append([Event(round(e.day * DAY) / DAY, e.kind, e.item, e.price) for e in events])
    return log


LOG = shop_log()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    def each(of: Callable[[Event], Any]) -> list[list[Any]]:
        return [[of(e) for e in events] for events in LOG]

    return tiny_prepared(
        tmp_path_factory.mktemp("shop") / "shop",
        each(lambda e: e.item),
        each(lambda e: round(e.day * DAY)),
        event_types=each(lambda e: e.kind),
        columns={"price": each(lambda e: e.price)},
        items={"name": [f"thing {i}" for i in range(1, ITEMS + 1)]},
        n_items=ITEMS,
    )[0]


def shipped(name: str, **changes: Any) -> Audience:
    block = yaml.safe_load((CONF / f"audience/{name}.yaml").read_text()) | {"needs_consent": False} | changes
    return read(Audience, block)


def newest(requests: Requests, k: int) -> np.ndarray:
    """A recommender that offers the first items that are not barred."""
    lists = []
    for row in range(len(requests)):
        barred = set() if requests.barred is None else set(
            requests.barred[1][requests.barred[0][row] : requests.barred[0][row + 1]].tolist())  # fmt: skip
        lists.append([i for i in range(1, ITEMS + 1) if i not in barred][:k])
    return np.array([row + [0] * (k - len(row)) for row in lists], np.int32)


def made(shop: Prepared, name: str, changes: dict[str, Any] | None = None, **given: Any) -> Made:
    return make(Given(shipped(name, **(changes or {})), shop, AT * DAY, recommend=newest, **given))


def names_in(found: Made) -> set[int]:
    """Customers by their place in the log."""
    return {int(u) - 1 for u in found.customer}


# By hand, from the events of one customer -------------------------------------------------------------------------


def before(events: list[Event]) -> list[Event]:
    return [e for e in events if e.day < AT]


def orders(events: list[Event]) -> list[float]:
    return sorted({e.day for e in before(events) if e.kind == "purchase"})


def money(events: list[Event]) -> float:
    return sum(e.price for e in before(events) if e.kind == "purchase")


def usual_of_the_shop() -> float:
    gaps = [np.diff(orders(events)).mean() for events in LOG if len(orders(events)) > 1]
    return float(np.median(gaps))


def stands(events: list[Event]) -> str:
    """new, active, at risk, lapsed or won back, as segments.yaml says."""
    days = orders(events)
    if not days:
        return "no order yet"
    shop_gap, gaps = usual_of_the_shop(), list(np.diff(days))
    usual = (sum(gaps) + 2 * shop_gap) / (len(gaps) + 2)
    earlier = (sum(gaps[:-1]) + 2 * shop_gap) / (len(gaps[:-1]) + 2)
    back = bool(gaps) and gaps[-1] >= 3 * earlier
    late = (AT - days[-1]) / (earlier if back else usual)
    if late >= 3:
        return "lapsed"
    if late >= 1.5:
        return "at risk"
    return "won back" if back else "new" if len(days) == 1 else "active"


def top_tier() -> set[int]:
    """Those who bring most, who together bring half of the money."""
    paid = sorted({money(events) for events in LOG if orders(events)}, reverse=True)
    total, so_far, found = sum(money(e) for e in LOG), 0.0, set[int]()
    for amount in paid:
        who = {i for i, events in enumerate(LOG) if orders(events) and money(events) == amount}
        if so_far < 0.5 * total - 1e-9 and amount > 0:
            found |= who
        so_far += amount * len(who)
    return found


def in_cart(events: list[Event], since: float, quiet: float) -> list[int]:
    """What lies in the cart, the newest first."""
    recent = [e for e in before(events) if e.day >= since and e.kind != "view"]
    put_in = [e.day for e in recent if e.kind == "add_to_cart"]
    if not put_in or max(put_in) > quiet:
        return []
    last = {e.item: e for e in recent}
    left = [e for e in last.values() if e.kind == "add_to_cart"]
    return [e.item for e in sorted(left, key=lambda e: -e.day)]


def scores_of(shop: Prepared) -> Scores:
    """Made up: who has ordered has a score; two features add up to it."""
    rng = np.random.default_rng(1)
    has = np.array([bool(orders(events)) for events in LOG])
    share = rng.normal(size=(len(LOG), 2))
    value = np.where(has, 1 / (1 + np.exp(-share.sum(1))), np.nan)

    def explain(customer: np.ndarray) -> tuple[Contributions, np.ndarray, tuple[str, ...]]:
        return Contributions(0.0, share[customer - 1]), share[customer - 1], ("orders", "money")

    reason = np.where(has, "", "no order").astype(object)
    return Scores(value, reason, "probabilities", leaving=False, explain=explain)


# ------------------------------------------------------------------------------------------------------------------


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
        offered = [i for i in range(1, ITEMS + 1) if i not in left]
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


def test_reasons_add_up_to_the_score_also_where_the_model_says_the_opposite(shop: Prepared):
    scores = scores_of(shop)
    for of, sign in (("coming", 1), ("leaving", -1)):
        asked = as_asked(scores, of, "runs/x")
        changes = {"who": {"score": {"of": of, "share": 0.5}}, "blocks": {}}
        (table,) = made(shop, "about_to_buy", changes, scores=asked).chunks(1000)
        for row in table.to_pylist():
            parts = [row["usual"], row["reason_1_effect"], row["reason_2_effect"], row["other_reasons"]]
            assert sum(parts) == pytest.approx(row["score"], abs=1e-12)
            assert row["probability"] == pytest.approx(1 / (1 + np.exp(-row["score"])), abs=1e-12)
            mine = sign * np.log(
                scores.value[int(row["user_id"][1:]) - 1] / (1 - scores.value[int(row["user_id"][1:]) - 1])
            )
            assert row["score"] == pytest.approx(mine, abs=1e-9)
            assert abs(row["reason_1_effect"]) >= abs(row["reason_2_effect"])
    with pytest.raises(UserError, match=r"audience.who.score.of=worth, and runs/x says probabilities"):
        as_asked(scores, "worth", "runs/x")


def test_a_chunk_of_any_size_gives_the_same_table(shop: Prepared):
    whole, parts = (made(shop, "win_back", scores=as_asked(scores_of(shop), "leaving", "x")) for _ in range(2))
    table = pa.concat_tables(whole.chunks(1000))
    assert pa.concat_tables(parts.chunks(7)).equals(table)
    assert whole.filled == parts.filled


def test_who_withdrew_the_day_before_is_not_in_it_and_who_agreed_later_neither(shop: Prepared, tmp_path: Path):
    plain = sorted(names_in(made(shop, "win_back")))
    gone, late, other = plain[:3]
    day = np.datetime64("1970-01-01") + np.timedelta64(AT, "D")
    rows = [f"u{i + 1},email,1970-01-01," for i in range(len(LOG)) if i not in (gone, late, other)]
    rows += [
        f"u{gone + 1},email,1970-01-01,{day - 1}",
        f"u{late + 1},email,{day + 1},",
        f"u{other + 1},sms,1970-01-01,",
    ]
    (tmp_path / "consents.csv").write_text("account,purpose,granted,withdrawn\n" + "\n".join(rows) + "\n")
    found = made(shop, "win_back", {"needs_consent": True}, consents=tmp_path / "consents.csv")
    assert names_in(found) == set(plain) - {gone, late, other}
    assert found.left_out["did not agree to be written to"] == 3
    with pytest.raises(UserError, match="needs consent and dataset=tiny has no table of it; set consents="):
        made(shop, "win_back", {"needs_consent": True})
    user = np.repeat(np.arange(1, len(LOG) + 1), 2)
    at = np.where(np.arange(2 * len(LOG)) % 2, np.where(user == gone + 1, (AT - 1) * DAY, 10**6 * DAY), 0)
    ledger = Consent(np.arange(0, 2 * len(LOG) + 1, 2), at, np.arange(2 * len(LOG)) % 2 == 0)
    agreeing = make(
        Given(shipped("win_back", needs_consent=True), replace(shop, consent=ledger), AT * DAY, recommend=newest)
    )
    assert gone not in names_in(agreeing)
    assert agreeing.left_out["no consent at the instant"] == 1


def test_who_was_written_to_lately_or_often_rests_and_later_messages_are_not_known(shop: Prepared, tmp_path: Path):
    plain = sorted(names_in(made(shop, "win_back")))
    day = np.datetime64("1970-01-01") + np.timedelta64(AT, "D")
    sent = [
        (plain[0], 2),
        (plain[1], 10),
        (plain[1], 20),
        (plain[2], 10),
        (plain[2], 31),
        (plain[3], -1),
        (plain[4], 3),
    ]
    later = f"u{plain[5] + 1},{day}T06:00:00\n"
    (tmp_path / "sent.csv").write_text("user_id,at\n" + "".join(f"u{i + 1},{day - n}\n" for i, n in sent) + later)
    found = made(shop, "win_back", sent=tmp_path / "sent.csv")
    assert set(plain) - names_in(found) == {plain[0], plain[1], plain[4]}
    assert found.left_out["written to within 3 days"] == 2
    assert found.left_out["written to 2 times within 30 days"] == 1


def test_arms_depend_on_id_and_key_alone_and_have_their_share():
    ids = [f"c{i}" for i in range(20_000)]
    one = in_control(ids, 0.1, "spring")
    assert abs(one.mean() - 0.1) < 4 * np.sqrt(0.09 / len(ids))
    assert np.array_equal(in_control(ids[::-1], 0.1, "spring")[::-1], one)
    assert np.array_equal(in_control(ids[:50], 0.1, "spring"), one[:50])
    wider, other = in_control(ids, 0.3, "spring"), in_control(ids, 0.1, "autumn")
    assert wider[one].all()
    assert abs((one & other).mean() - 0.01) < 4 * np.sqrt(0.0099 / len(ids))
    assert not in_control(ids, 0.0, "spring").any()


def test_the_power_is_that_of_a_planned_test(shop: Prepared):
    arm = np.arange(5000) % 10 == 0
    found = power_of(arm, Control(), np.full(5000, 0.2))
    again = plan_test(0.2 * 0.8, found["smallest_difference"], 1000.0, treatment_share=0.9)
    assert abs(again.control + again.treatment - 5000) <= 2
    unknown, half = (power_of(arm, Control(), b) for b in (None, np.where(np.arange(5000) % 2, 0.2, np.nan)))
    assert found["smallest_difference"] < half["smallest_difference"] < unknown["smallest_difference"]
    assert half["known"] == 2500
    assert made(shop, "win_back").power["control"] > 0


def test_nobody_currencies_and_rules_that_cannot_be_are_told(shop: Prepared, tmp_path: Path):
    with pytest.raises(UserError, match=r"nobody is in audience=new_customer as of 1970-07-20T00:00:00Z \("):
        made(shop, "new_customer", {"who": {"features": {"orders": [99, None]}}})
    with pytest.raises(UserError, match=r"audience.who.features names 'ordres'. Did you mean 'orders'"):
        made(shop, "new_customer", {"who": {"features": {"ordres": [1, 1]}}})
    with pytest.raises(UserError, match=r"audience.who.lifecycle names 'lost'"):
        made(shop, "win_back", {"who": {"lifecycle": ["lost"]}})
    with pytest.raises(UserError, match=r"give segments=<folder"):
        made(shop, "win_back", {"who": {"cluster": ["many orders"]}})
    with pytest.raises(UserError, match=r"audience.blocks.for_you recommends items; set recommender="):
        make(Given(shipped("win_back"), shop, AT * DAY))
    mixed, _ = tiny_prepared(tmp_path / "mixed", [[1, 2]] * 3, [[DAY, 2 * DAY]] * 3, items={"currency": ["EUR", "USD"]})
    with pytest.raises(UserError, match=r"items have prices in EUR, USD: currencies are mixed"):
        make(Given(shipped("new_customer", blocks={}), mixed, 3 * DAY))
    one, _ = tiny_prepared(tmp_path / "one", [[1, 2]] * 3, [[DAY, 2 * DAY]] * 3)
    with pytest.raises(UserError, match=r"dataset=tiny has no add_to_cart"):
        make(Given(shipped("cart_reminder", blocks={}), one, 3 * DAY))
    pounds, _ = tiny_prepared(tmp_path / "gbp", [[1]] * 3, [[DAY]] * 3, items={"currency": ["GBP"]})
    own = Profit(currency="EUR", customer_value=120, offer_cost=10, contact_cost=0.5, success_rate=0.3)
    with pytest.raises(UserError, match=r"prices in GBP and the dataset's profit is in EUR: currencies are mixed"):
        make(Given(shipped("new_customer", blocks={}), pounds, 3 * DAY, profit=own))


def test_nothing_that_comes_later_changes_an_audience(shop: Prepared):
    time = np.asarray(shop.events.timestamp)
    later = time >= AT * DAY
    assert later.sum() > 100
    rng = np.random.default_rng(0)
    events = replace(
        shop.events,
        item=np.where(later, rng.integers(1, ITEMS + 1, len(time)), shop.events.item).astype(np.int32),
        event_type=np.where(later, rng.permutation(shop.events.event_type), shop.events.event_type),
        price=np.where(later, 999.0, shop.events.price),
    )
    other = replace(shop, events=events)
    for name in ("win_back", "cart_reminder", "replenishment", "vip_early", "new_customer", "first_visit_offer"):
        changes = {"who": {"cart": {"hours": 240}}} if name == "cart_reminder" else {}
        one, two = (pa.concat_tables(made(s, name, changes).chunks(100)) for s in (shop, other))
        assert one.equals(two), name
    assert ready_sessions(shop, shipped("exit_offer"), AT * DAY).table.equals(
        ready_sessions(other, shipped("exit_offer"), AT * DAY).table
    )
    owner, rows = rows_between(shop, np.arange(1, 4), 0, AT * DAY, ("view",))
    assert (time[rows] < AT * DAY).all()
    assert owner.max() <= 2
