"""The filter against brute force: in a tiny world every hidden path is enumerated and weighed in plain Python."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from shopkeeper.recommenders.oracle import order_days, order_posterior
from shopkeeper.schema import MICROSECONDS_PER_DAY as DAY
from shopkeeper.simulated.choice import mixture
from shopkeeper.simulated.customers import CART, ORDER, RETURN, VIEW, hidden_paths, live
from shopkeeper.simulated.filtering import Histories, filter_days, replay, survival, visits
from shopkeeper.simulated.world import World, build

LIVELY = [[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.1, 0.0, 0.9]]
SLEEPY = [[0.4, 0.5, 0.1], [0.2, 0.6, 0.2], [0.05, 0.05, 0.9]]
TINY: dict[str, Any] = {
    "world_seed": 3, "first_date": "2024-01-30", "days": 6, "n_items": 4, "categories": ["a", "b"],
    "category_price": [1.0, 2.0], "category_replenished": [1.0, 0.5], "category_return_rate": [0.3, 0.3],
    "category_partner": [1, 0], "category_peak_month": [0, 1], "season_strength": 0.5, "zipf": 0.5,
    "price_spread": 0.1, "item_taste": 0.8, "cycle_days": [1, 3], "sale_factor": 0.9, "sale_months": [2],
    "weekday": [0.9, 1.0, 1.0, 1.0, 0.8, 0.7, 1.0], "month": [1.0] * 12,
    "tastes": [
        {"share": 0.4, "loves": {"a": 3.0}, "elsewhere": 1.0}, {"share": 0.6, "loves": {"b": 4.0}, "elsewhere": 0.5},
    ],
    "tempos": [
        {"share": 0.5, "web": 0.6, "store": 0.2, "buy": 0.5, "initial": [0.8, 0.2, 0.0], "transition": LIVELY},
        {"share": 0.5, "web": 0.4, "store": 0.1, "buy": 0.7, "initial": [0.6, 0.3, 0.1], "transition": SLEEPY,
         "memory": 0.6},
    ],
    "state_factors": {"web": [1.0, 0.5, 0.1], "store": [1.0, 0.5, 0.1], "buy": [1.0, 0.6, 0.3]},
    "view_weights": {"session": 0.3, "views": 0.1, "carts": 0.1, "follow": 0.1, "due": 0.2},
    "order_weights": {"session": 0.05, "views": 0.15, "carts": 0.3, "follow": 0.15, "due": 0.2},
    "follow_within": "partner", "follow_popular": 0.5, "follow_shares": [0.6, 0.4], "follow_days": 2,
    "addon_shares": [0.3], "alike_within": 5, "steps_order": [0.3, 0.4, 0.3], "steps_browse": [0.0, 0.6, 0.4],
    "cart_probability": 0.4, "decay": 0.6, "start_early": 0.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    return build(TINY)


@pytest.fixture(scope="module")
def people(world: World) -> list[list[tuple[int, int, int, int]]]:
    """Histories of 60 customers: (event type, item, µs, channel), without returns."""
    rng = np.random.default_rng(5)
    log = live(world, hidden_paths(world, 60, rng), rng)
    out: list[list[tuple[int, int, int, int]]] = [[] for _ in range(60)]
    for c, e, i, t, ch in zip(log.customer, log.event_type, log.item, log.timestamp, log.channel, strict=True):
        if e != RETURN:
            out[c].append((int(e), int(i), int(t), int(ch)))
    return [p for p in out if p]


def histories(people: list[list[tuple[int, int, int, int]]]) -> Histories:
    flat = np.array([row for p in people for row in p], np.int64).reshape(-1, 4)
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in people])]).astype(np.int64)
    return Histories(offsets, flat[:, 1], flat[:, 0], flat[:, 2], flat[:, 3])


def choice_by_hand(world: World, k: int, before: list[tuple[int, int, int, int]], day: int, order: bool) -> np.ndarray:
    """Distribution of the next choice, from the description of the world alone."""
    w = (world.order_weights if order else world.view_weights)[k]
    day_of = lambda t: t // DAY - world.first_day
    purchases = [(i, t) for e, i, t, _ in before if e == ORDER]
    last = max((t for _, t in purchases), default=-1)
    since = [row for row in before if row[2] > last]
    parts = []
    today = [i for e, i, t, _ in before if e == VIEW and day_of(t) == day]
    parts.append((w[0], world.alike[today[-1]] if today else None))
    for weight, event, width in ((w[1], VIEW, 5), (w[2], CART, 3)):
        recent = [i for e, i, _, _ in since if e == event][-width:][::-1]
        share = np.zeros(world.n_items + 1)
        for age, i in enumerate(recent):
            share[i] += world.decay**age
        parts.append((weight, share / share.sum() if recent else None))
    first = [i for i, t in purchases if t == last][:1]
    parts.append((w[3], world.follow[first[0]] if first and day - day_of(last) <= world.follow_days else None))
    due = np.zeros(world.n_items + 1)
    latest = {i: day_of(t) for i, t in [(i, t) for i, t in purchases if world.cycle[i] > 0][-8:]}
    for i, bought in latest.items():
        due[i] = max(0.0, 1 - abs((day - bought) / world.cycle[i] - 1) / 0.4)
    parts.append((w[4] * due.max(), due / due.sum() if due.sum() > 0 else None))
    month = (np.datetime64("1970-01-01") + np.timedelta64(world.first_day + day, "D")).astype(object).month - 1
    out, left = np.zeros(world.n_items + 1), 1.0
    for weight, share in parts:
        if share is not None:
            out, left = out + weight * share, left - weight
    return out + left * world.taste[k, month]


def day_by_hand(world: World, k: int, s: int, past: list, rows: list, day: int, first: bool, order: bool) -> float:
    """Probability of what a day showed (`rows`) in state s; `order`: an order is known to come after them."""
    web, store = world.web[k, s], world.store[k, s]
    if first:
        web, store = web / (web + store), store / (web + store)
    else:
        web, store = web * world.calendar[day], store * world.calendar[day]
    if not rows and not order:
        return 1.0 if first else 1 - web - store
    channel = rows[0][3]
    views = [row for row in rows if row[0] == VIEW]
    bought = order or any(row[0] == ORDER for row in rows)
    if channel == 1:
        p = store
    else:
        p = web * (world.buy[k, s] if bought else 1 - world.buy[k, s])
        p *= (1 - world.steps_order[0] if views else world.steps_order[0]) if bought else 1.0
    before = list(past)
    ordered = False
    for row in rows:
        if row[0] == VIEW or (row[0] == ORDER and not ordered):
            p *= choice_by_hand(world, k, before, day, row[0] == ORDER)[row[1]]
        ordered |= row[0] == ORDER
        before.append(row)
    return p


def paths(world: World, p: list, upto: int, order_on: int | None = None) -> dict[tuple[int, tuple[int, ...]], float]:
    """Joint probability of what was visible and each hidden path (type, states from the first day to `upto`)."""
    day_of = lambda row: row[2] // DAY - world.first_day
    begin = day_of(p[0])
    out = {}
    for k in range(world.n_types):
        for states in itertools.product(range(3), repeat=upto - begin + 1):
            weight = world.prior[k] * world.initial[k, states[0]]
            for a, b in itertools.pairwise(states):
                weight *= world.transition[k, a, b]
            for n, s in enumerate(states):
                day = begin + n
                past, rows = [r for r in p if day_of(r) < day], [r for r in p if day_of(r) == day]
                if weight > 0:
                    weight *= day_by_hand(world, k, s, past, rows, day, n == 0, day == order_on)
            out[k, states] = weight
    return out


def posterior_by_hand(world: World, weights: dict) -> np.ndarray:
    out = np.zeros((world.n_types, 3))
    for (k, states), weight in weights.items():
        out[k, states[-1]] += weight
    return out / out.sum()


def test_the_filter_equals_the_sum_over_all_hidden_paths(world: World, people: list) -> None:
    some = people[:25]
    v = visits(world, replay(world, histories(some)))
    for day in (2, 4):
        alpha = filter_days(world, v, np.full(len(some), day))
        for b, p in enumerate(some):
            until = [r for r in p if r[2] // DAY - world.first_day <= day]
            if until:
                by_hand = posterior_by_hand(world, paths(world, until, day))
                np.testing.assert_allclose(alpha[b], by_hand, rtol=1e-9, atol=1e-14)
            else:
                assert np.isnan(alpha[b]).all(), "nothing is known of a customer before the first visit"


def test_the_probability_of_no_order_equals_the_sum_over_all_futures(world: World, people: list) -> None:
    cut, horizon = 3, 3
    some = [q for q in ([r for r in p if r[2] // DAY - world.first_day < cut] for p in people) if q][:8]
    alpha = filter_days(world, visits(world, replay(world, histories(some))), np.full(len(some), cut - 1))
    stay = np.einsum("kst,kt->ks", world.transition, survival(world, cut, horizon))
    for b, p in enumerate(some):
        total = none = 0.0
        for (k, states), weight in paths(world, p, cut - 1).items():
            total += weight
            for future in itertools.product(range(3), repeat=horizon):
                w, now = weight, states[-1]
                for n, s in enumerate(future):
                    o = (world.web[k, s] * world.buy[k, s] + world.store[k, s]) * world.calendar[cut + n]
                    w, now = w * world.transition[k, now, s] * (1 - o), s
                none += w
        assert np.sum(alpha[b] * stay) == pytest.approx(none / total, rel=1e-9)


def test_the_next_order_equals_the_sum_over_all_hidden_paths(world: World, people: list) -> None:
    asked, before, channel = [], [], []
    for p in people:
        orders = [n for n, r in enumerate(p) if r[0] == ORDER and (n == 0 or p[n - 1][2] != r[2])]
        for n in orders:
            if (p[n][2] - p[0][2]) // DAY <= 4 and n > 0:
                asked.append(p[n])
                before.append(p[:n])
                channel.append(p[n][3])
    assert len(asked) > 30
    kinds = {("store", c) if c == 1 else ("web", c) for c in channel}
    assert len(kinds) == 2, "both channels must be asked about"
    r = replay(world, histories(before))
    v = visits(world, r)
    today = order_days(world, v, np.array([a[2] for a in asked]), len(asked))
    post = order_posterior(world, v, today, np.array(channel))
    scored = mixture(
        world, r.windows(r.histories.offsets[1:], np.arange(len(asked)), today), post.sum(axis=2), world.order_weights
    )
    for b, (p, a) in enumerate(zip(before, asked, strict=True)):
        day = a[2] // DAY - world.first_day
        # The order itself is the evidence; its item must not be, so it is weighed with every item it could have been.
        joint = np.zeros(world.n_items + 1)
        for item in range(1, world.n_items + 1):
            joint[item] = sum(paths(world, [*p, (ORDER, item, a[2], a[3])], day).values())
        np.testing.assert_allclose(scored[b], joint / joint.sum(), rtol=1e-9, atol=1e-13)


def test_a_single_shot_of_the_generator_has_the_probabilities_of_the_tables(world: World) -> None:
    """Frequencies of the first day's visible outcomes over many customers, against the tables."""
    rng = np.random.default_rng(11)
    hidden = hidden_paths(world, 40_000, rng)
    log = live(world, hidden, rng)
    begin = hidden.first[log.customer]
    on_first = log.timestamp // DAY - world.first_day == begin
    ordered = np.zeros(40_000, bool)
    ordered[log.customer[on_first & (log.event_type == ORDER)]] = True
    on_web, in_store = world.first_evidence()
    state = hidden.state[np.arange(40_000), hidden.first]
    expected = (on_web * world.buy + in_store)[hidden.kind, state]
    z = (ordered.sum() - expected.sum()) / np.sqrt(np.sum(expected * (1 - expected)))
    assert abs(z) < 3.5
    assert np.all(np.bincount(log.customer, minlength=40_000) > 0), "everybody is visible on the first day"
