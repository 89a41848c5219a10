"""Features of groups that read more than a customer's own orders: as counted by hand, and blind to what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shopkeeper.customers.audit import audit_cohort
from shopkeeper.customers.build_cohort import build_cohort, features_of
from shopkeeper.customers.build_sessions import audit_sessions, build_sessions
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.features.customer import known
from shopkeeper.features.customer.compute import GROUPS
from shopkeeper.features.customer.declared import Features, bound
from shopkeeper.features.customer.known import lacking, without_lacking
from shopkeeper.features.customer.shop import below_usual
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES
from shopkeeper.splits.audit_error import AuditError
from shopkeeper.splits.perturb import perturb_after
from shopkeeper.typed import read
from tiny import DAY, tiny_prepared

HALF = 40.0
DECLARED = read(Features, {
    "name": "all", "trends": {"windows": [60]}, "category": {"half_life_days": HALF, "named": ["tea"]},
    "brand": {"half_life_days": HALF}, "price_level": {"half_life_days": HALF}, "discounts": {"windows": [90]},
    "sessions": {"windows": [30], "gap_minutes": 60.0}, "time_of_day": True, "time_of_week": True,
    "season": {"days": 60}, "position": {"of": ["orders_90d", "days_since_order"], "days": 120},
    "item_vectors": {"run": "somewhere", "size": 2, "half_life_days": HALF},
    "attributes": {"values": {"age": None, "town": ["Riga"]}},
})  # fmt: skip
VECTORS = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [-1, 0], [0, 0], [0, -1]], np.float32)
AT = 500 * DAY


def shop(path: Path, seed: int = 0, n_users: int = 60) -> Prepared:
    """Two years of visits of a few events each, some with an order of several lines, at changing prices."""
    rng = np.random.default_rng(seed)
    histories: dict[str, list[Any]] = {name: [] for name in ("item", "time", "kind", "price", "order", "session")}
    usual, number = rng.uniform(2, 30, 7), 0
    for _ in range(n_users):
        rows: list[tuple[Any, ...]] = []
        for begin in np.sort(rng.uniform(0, 700, rng.integers(1, 15))):
            number, at = number + 1, int(begin * DAY)
            for _ in range(rng.integers(1, 6)):
                at += int(rng.exponential(0.01) * DAY)
                item, kind = int(rng.integers(1, 7)), rng.choice(["view", "purchase", "purchase", "return"])
                price = usual[item] * rng.choice([1.0, 0.9, 1.2])
                rows.append((item, at, kind, price if rng.random() < 0.9 else np.nan, number * (kind == "purchase"),
                             number * (rng.random() < 0.5)))  # fmt: skip
        rows.sort(key=lambda row: row[1])
        for name, column in zip(histories, zip(*rows, strict=True), strict=True):
            histories[name].append(list(column))
    columns = {name: histories[name] for name in ("price", "order", "session")}
    items = {"category": ["tea", "tea", "cup", "cup", None, "pot"], "brand": ["a", "b", "a", None, "c", "a"]}
    users = {"age": rng.integers(18, 80, n_users).tolist(), "town": rng.choice(["Riga", "Oslo"], n_users).tolist()}
    histories["time"][0][-1] = 730 * DAY
    return tiny_prepared(path, histories["item"], histories["time"], event_types=histories["kind"], columns=columns,
                         items=items, users=users, n_items=6)[0]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return shop(tmp_path_factory.mktemp("groups") / "shop")


def everybody(p: Prepared, at: int) -> np.ndarray:
    assert p.events.timestamp is not None
    return np.flatnonzero(p.events.timestamp[p.offsets[:-1]] < at) + 1


def by_hand(p: Prepared, user: int, at: int) -> dict[str, float]:
    """Plain Python over the rows before an instant."""
    e, nan = p.events, float("nan")
    assert e.timestamp is not None
    assert e.price is not None
    assert e.order is not None
    assert e.session is not None
    time, price = e.timestamp, e.price
    category, brand = (p.items[name].to_pylist() for name in ("category", "brand"))

    def kind(r: int) -> str:
        return EVENT_TYPES[e.event_type[r] - 1]

    def before(who: int, until: int = at, since: float = -np.inf) -> list[int]:
        return [r for r in range(p.offsets[who - 1], p.offsets[who]) if since <= time[r] < until]

    def ordered(rows: list[int]) -> list[int]:
        seen: dict[int, int] = {}
        for r in rows:
            if kind(r) == "purchase":
                seen.setdefault(int(e.order[r]), r)
        return list(seen.values())

    def share(above: float, below: float) -> float:
        return above / below if below else nan

    rows = before(user)
    lines = [r for r in rows if kind(r) == "purchase"]
    orders = ordered(rows)
    weight = {r: 0.5 ** ((at - time[r]) / DAY / HALF) for r in lines}
    found: dict[str, float] = {}

    def late(rs: list[int], days: float) -> list[int]:
        return [r for r in rs if time[r] >= at - days * DAY]

    def money(rs: list[int]) -> float:
        return sum(np.nan_to_num(price[r]) for r in rs)

    found["orders_trend_60d"] = share(len(late(orders, 60)), len(late(orders, 120)))
    found["money_trend_60d"] = share(money(late(lines, 60)), money(late(lines, 120)))
    for name, names in (("category", category), ("brand", brand)):
        held: dict[str, float] = {}
        newest = None
        for r in lines:
            if (one := names[e.item[r] - 1]) is not None:
                held[one], newest = held.get(one, 0.0) + weight[r], one
        whole = sum(held.values())
        found[f"{name}_affinity"] = share(max(held.values(), default=0), whole)
        found[f"{name}_affinity_number"] = share(whole**2, sum(v**2 for v in held.values()))
        found[f"{name}_affinity_newest"] = share(held.get(newest, 0.0), whole) if newest else nan
        if name == "category":
            found["category_affinity_tea"] = share(held.get("tea", 0.0), whole)
    bought = [r for u in range(1, p.n_users + 1) for r in before(u) if kind(r) == "purchase"]
    priced = [r for r in bought if price[r] > 0]
    edges = np.quantile([price[r] for r in priced], [1 / 3, 2 / 3])
    own = [r for r in lines if price[r] > 0]
    for level in range(3):
        here = [weight[r] for r in own if sum(price[r] > edges) == level]
        found[f"price_level_{level + 1}"] = share(sum(here), sum(weight[r] for r in own))
    told = {}
    for r in own:
        earlier = [price[o] for o in priced if e.item[o] == e.item[r] and time[o] < time[r]]
        if earlier:
            told[r] = price[r] <= max(earlier) * 0.95
    found["discount_share"] = share(sum(told.values()), len(told))
    newer = {r: said for r, said in told.items() if r in late(own, 90)}
    found["discount_share_90d"] = share(sum(newer.values()), len(newer))
    sessions: list[list[int]] = []
    last: dict[int, list[int]] = {}
    for r in rows:
        s = int(e.session[r])
        if s not in last or time[r] - time[last[s][-1]] > (DAY if s else 3600 * 10**6):
            last[s] = []
            sessions.append(last[s])
        last[s].append(r)
    found["sessions_30d"] = sum(time[s[0]] >= at - 30 * DAY for s in sessions)
    found["events_per_session"] = share(len(rows), len(sessions))
    found["sessions_with_order_share"] = share(sum(bool(set(s) & set(orders)) for s in sessions), len(sessions))
    for place, name in enumerate(("night", "morning", "afternoon", "evening")):
        found[f"order_share_{name}"] = share(sum(time[r] % DAY * 4 // DAY == place for r in orders), len(orders))
    found["order_share_weekend"] = share(sum((time[r] // DAY + 3) % 7 >= 5 for r in orders), len(orders))
    year = at - 365 * DAY

    def shop_orders(since: int, until: int) -> int:
        return sum(since <= time[r] < until for u in range(1, p.n_users + 1) for r in ordered(before(u)))

    found["orders_year_ago_60d"] = sum(year <= time[r] < year + 60 * DAY for r in orders) if year >= time.min() else nan
    reaches = year - 60 * DAY >= time.min()
    found["shop_season_60d"] = (
        share(shop_orders(year, year + 60 * DAY), shop_orders(year - 60 * DAY, year)) if reaches else nan
    )
    active = [u for u in range(1, p.n_users + 1)
              if any(kind(r) == "purchase" and time[r] >= at - 120 * DAY for r in before(u))]  # fmt: skip

    def number(who: int) -> int:
        return len([r for r in ordered(before(who)) if time[r] >= at - 90 * DAY])

    def silence(who: int) -> float:
        return (at - time[ordered(before(who))[-1]]) / DAY if ordered(before(who)) else nan

    for name, value in (("orders_90d", number), ("days_since_order", silence)):
        steps = np.quantile([value(u) for u in active], np.linspace(0, 1, 101))
        own_value = value(user)
        place = (sum(steps < own_value) + sum(steps <= own_value)) / 202
        found[f"{name}_position"] = nan if np.isnan(own_value) else place
    seen = [r for r in lines if VECTORS[e.item[r]].any()]
    for d in range(2):
        mean = share(sum(weight[r] * VECTORS[e.item[r], d] for r in seen), sum(weight[r] for r in seen))
        found[f"item_vector_{d + 1}"] = (1 + mean) / 2
    found["attribute_age"] = p.users["age"].to_pylist()[user - 1]
    found["attribute_town_Riga"] = float(p.users["town"].to_pylist()[user - 1] == "Riga")
    return found


@pytest.mark.parametrize("at", [200 * DAY, AT])
def test_every_feature_is_as_counted_by_hand(made: Prepared, at: int) -> None:
    user = everybody(made, at)
    table = features_of(made, user, np.full(len(user), at), bound(DECLARED, vectors=VECTORS))
    usual = features_of(made, user, np.full(len(user), at))
    assert table.names[: len(usual.names)] == usual.names
    assert set(DECLARED.groups) == set(GROUPS)
    for place in np.random.default_rng(0).permutation(len(user))[:12]:
        wanted = by_hand(made, int(user[place]), at)
        assert list(wanted) == list(table.names[len(usual.names) :])
        for name, value in wanted.items():
            got = table.values[place, table.names.index(name)]
            np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_not_a_bit_of_any_group_changes_with_what_follows_the_cutoff(made: Prepared) -> None:
    user, declared = everybody(made, AT), bound(DECLARED, vectors=VECTORS)
    later = perturb_after(made, AT, grow=False)
    before, after = (features_of(p, user, np.full(len(user), AT), declared) for p in (made, later))
    assert before.values.tobytes() == after.values.tobytes()
    one, other = (features_of(p, user, np.full(len(user), AT + 150 * DAY), declared) for p in (made, later))
    same = {n for n, column in zip(one.names, (one.values == other.values).T, strict=True) if column.all()}
    # What is others' a year ago, or nobody's in this shop, cannot move.
    still = {"attributes", "channels", "season"}
    for group in set(DECLARED.groups) - still:
        assert not same.issuperset(features_of(made, user[:1], np.array([AT]), only(group)).names), group


def only(group: str) -> Features:
    said = DECLARED.as_json()
    first = {"frequency": said["frequency"], "recency": True} if group == "position" else {}
    return bound(Features.from_json({**first, group: said[group]}), vectors=VECTORS)


@pytest.mark.parametrize("placed", [known.PLACED, 1, 70])
def test_several_cutoffs_in_one_pass_are_what_each_is_alone(
    made: Prepared, placed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "PLACED", placed)  # rows worked on at once
    declared, cutoffs = bound(DECLARED, vectors=VECTORS), [300 * DAY, AT, 600 * DAY]
    who = [everybody(made, t) for t in cutoffs]
    alone = [features_of(made, u, np.full(len(u), t), declared).values for u, t in zip(who, cutoffs, strict=True)]
    every = features_of(made, np.concatenate(who), np.repeat(cutoffs, [len(u) for u in who]), declared).values
    assert every.tobytes() == np.concatenate(alone).tobytes()


@pytest.mark.parametrize("seed", range(5))
def test_what_is_below_the_highest_price_so_far_is_that_of_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    price = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 12, n) / 2)
    item, kind = rng.integers(1, 8, n).astype(np.int32), rng.choice([1, 5, 5], n).astype(np.int8)
    time = rng.integers(0, 60, n)
    bought = [i for i in range(n) if kind[i] == EVENT_CODE["purchase"] and price[i] > 0]
    before = {i: [price[j] for j in bought if item[j] == item[i] and time[j] < time[i]] for i in bought}
    discounted, told = below_usual(Events(item, kind, time, price))
    assert np.flatnonzero(told).tolist() == [i for i in bought if before[i]]
    assert np.flatnonzero(discounted).tolist() == [i for i in bought if before[i] and price[i] <= 0.95 * max(before[i])]


def test_the_audit_finds_a_shop_that_knows_the_future(made: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = replace(DECLARED, item_vectors=None)
    told: dict[str, Any] = {"observed_until": 700 * DAY, "declared": declared}
    audit_cohort(made, build_cohort(made, [400 * DAY, AT], 60, 200, **told), 200)
    monkeypatch.setattr(known, "floor_day", lambda t, zone: t + 90 * DAY)
    with pytest.raises(AuditError, match=r"orders_90d_position.* customers change with what follows the cutoff"):
        audit_cohort(made, build_cohort(made, [400 * DAY, AT], 60, 200, **told), 200)


def test_groups_that_the_data_lack_are_left_out(tmp_path: Path) -> None:
    bare, _ = tiny_prepared(tmp_path / "bare", [[1, 2], [2, 1]], [[DAY, 3 * DAY], [2 * DAY, 4 * DAY]])
    said = lacking(DECLARED, bare)
    assert said == {
        "category": "its items have no category", "brand": "its items have no brand",
        "price_level": "its log has no prices", "discounts": "its log has no prices",
        "sessions": "its log has days and no time of day", "time_of_day": "its log has days and no time of day",
    }  # fmt: skip
    assert set(without_lacking(DECLARED, bare).groups) == set(DECLARED.groups) - set(said)


@pytest.mark.parametrize(
    ("group", "settings", "error"),
    [
        ("category", {"named": ["teas"]}, r"features.category.named: dataset=tiny has no category 'teas'.*'tea'"),
        ("attributes", {"values": {"agee": None}}, r"users of tiny have no 'agee'. Did you mean 'age'"),
        ("attributes", {"values": {"town": None}}, r"'town' holds text; name the values"),
        ("position", {"of": ["order_90d"]}, r"'order_90d' is no feature of a group above .*'orders_90d'"),
    ],
)
def test_what_a_dataset_does_not_have_is_named(
    made: Prepared, group: str, settings: Mapping[str, Any], error: str
) -> None:
    declared = read(Features, {group: settings})
    with pytest.raises(UserError, match=error):
        features_of(made, np.array([1]), np.array([AT]), declared)


def test_attributes_of_who_is_in_a_session_are_audited_as_those_of_that_customer(made: Prepared) -> None:
    declared = replace(DECLARED, item_vectors=None)
    told: dict[str, Any] = {"after": 2, "gap_minutes": 30.0, "observed_until": 720 * DAY, "declared": declared}
    asked = build_sessions(made, [300 * DAY, 400 * DAY], 60, **told)
    audit_sessions(made, asked, 30.0)
    asked.features[:, asked.feature_names.index("attribute_age")] += 1
    with pytest.raises(AuditError, match="attribute_age of customer"):
        audit_sessions(made, asked, 30.0)
