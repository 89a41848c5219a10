"""Best hours: the shop's where customers are alike, their own where they differ, and a judgement that says which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shopkeeper.campaigns.audience.timing import Habits, Visits, best_times, counts, judged, met, send_times
from shopkeeper.data.prepared import Prepared
from tiny import DAY, tiny_prepared

AT = 200 * DAY
HOUR = DAY // 24
SHOP = np.array([0.2, 0.1, 0.4, 0.2, 0.1])  # at these hours
HOURS = np.array([8, 12, 19, 20, 23])


def shop(path: Path, own: float, n: int = 300) -> Prepared:
    """Customers who come at an hour of their own this often, and else as everybody does; later ones at midnight."""
    rng = np.random.default_rng(0)
    histories, times = [], []
    for _ in range(n):
        mine = rng.choice(HOURS)
        days = np.sort(rng.choice(230, 25, replace=False))
        hours = np.where(rng.random(25) < own, mine, rng.choice(HOURS, 25, p=SHOP))
        hours = np.where(days >= 200, 0, hours)
        histories.append([1, 2] * 25)
        times.append(
            [int(t) for d, h in zip(days, hours, strict=True) for t in (d * DAY + h * HOUR, d * DAY + h * HOUR + 60)]
        )
    return tiny_prepared(path, histories, times)[0]


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    place = tmp_path_factory.mktemp("timing")
    return {"alike": shop(place / "alike", 0.0), "different": shop(place / "different", 0.5)}


def test_a_visit_is_an_hour_on_the_shops_clocks_and_counts_once(tmp_path: Path):
    # 1 July 2024 was a Monday; Berlin is two hours ahead of UTC.
    first = int(np.datetime64("2024-07-01T22:30:00", "us").astype(np.int64))
    prepared, _ = tiny_prepared(tmp_path / "shop", [[1, 1, 1]], [[first, first + 60_000_000, first + HOUR]])
    visits = Visits.of(prepared, first + 2 * HOUR)
    assert visits.hour.tolist() == [22, 23]
    assert visits.weekday.tolist() == [0, 0]
    berlin = replace(prepared, manifest={**prepared.manifest, "config": {"timestamp": {"time_zone": "Europe/Berlin"}}})
    visits = Visits.of(berlin, first + 2 * HOUR)
    assert visits.hour.tolist() == [0, 1]
    assert visits.weekday.tolist() == [1, 1]
    assert len(Visits.of(prepared, first + HOUR).at) == 1


def test_a_log_of_days_knows_no_hours(tmp_path: Path):
    dates = [[int(d * DAY) for d in range(i % 7, 90, 7)] for i in range(60)]
    prepared, _ = tiny_prepared(tmp_path / "dates", [[1] * len(d) for d in dates], dates)
    best, said = best_times(prepared, np.arange(1, 61), 91 * DAY, 28)
    assert set(best) == set(said) == {"weekday"}


def test_where_customers_are_alike_everybodys_best_hour_is_the_shops(shops: dict[str, Prepared]):
    customer = np.arange(1, 301)[::-1]
    best, said = best_times(shops["alike"], customer, AT, 60)
    assert set(best["hour"].tolist()) == {19}
    assert said["hour"]["strength"] > 100
    assert not said["hour"]["better"]
    assert said["hour"]["difference"]["low"] <= 0


def test_where_they_differ_it_is_their_own_and_meets_more_of_their_later_visits(shops: dict[str, Prepared]):
    prepared, customer = shops["different"], np.arange(1, 301)[::-1]
    best, said = best_times(prepared, customer, AT, 60)
    assert said["hour"]["better"]
    assert said["hour"]["own"] > said["hour"]["shop"] + 0.1
    assert len(set(best["hour"].tolist())) == 5
    visits = Visits.of(prepared, AT)
    most = counts(visits, "hour", np.arange(1, 301)).argmax(axis=1)[::-1]
    assert (best["hour"] == most).mean() > 0.8  # shrunk, and yet mostly what they did most
    assert not said["weekday"]["better"]


def test_the_strength_is_that_of_the_dirichlet_that_customers_were_drawn_from():
    rng, s = np.random.default_rng(1), 8.0
    share = rng.dirichlet(s * np.full(7, 1 / 7), 2000)
    day = np.concatenate([rng.choice(7, 30, p=p) for p in share])
    visits = Visits(np.repeat(np.arange(1, 2001), 30), np.zeros(60_000, np.int64), day, day, day)
    assert Habits.of(visits, "weekday").strength == pytest.approx(s, rel=0.1)


def test_alike_customers_are_called_different_as_seldom_as_an_interval_of_95_says(tmp_path: Path):
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(60):
        hour = rng.choice(HOURS, 200 * 12, p=SHOP)
        at = np.tile(np.arange(12) * DAY, 200)
        visits = Visits(np.repeat(np.arange(1, 201), 12), at, at // DAY, hour, hour % 7)
        wrong += judged(visits, "hour", 12 * DAY, 4)["better"]
    assert wrong <= 5


def test_later_visits_change_nothing(shops: dict[str, Prepared]):
    prepared = shops["different"]
    time = np.asarray(prepared.events.timestamp)
    moved = np.where(time >= AT, time + 5 * HOUR, time)
    other = replace(prepared, events=replace(prepared.events, timestamp=moved))
    (best, said), (again, told) = (best_times(p, np.arange(1, 301), AT, 60) for p in (prepared, other))
    assert said == told
    assert all(np.array_equal(best[kind], again[kind]) for kind in best)


def test_of_too_few_customers_nothing_is_said():
    at = np.tile([0, 10 * DAY], 5)
    visits = Visits(np.arange(1, 6).repeat(2), at, at // DAY, np.full(10, 9), np.zeros(10, np.int64))
    assert judged(visits, "hour", 20 * DAY, 15)["difference"] is None


def test_messages_go_at_the_hour_of_the_day_on_the_shops_clocks_and_never_before_now():
    noon = int(np.datetime64("2024-03-30T12:00:00", "us").astype(np.int64))  # the clocks change on the 31st
    days, hour = np.array([0.0, 0.0, 1.2, np.nan]), np.array([9, 20, 9, 9])
    found = send_times(noon, days, hour, "Europe/Berlin")
    told = [None if np.isnan(x) else str(np.datetime64(int(x), "us"))[:16] for x in found]
    assert told == ["2024-03-31T07:00", "2024-03-30T19:00", "2024-03-31T07:00", None]


def test_days_that_all_customers_share_are_no_hundred_observations():
    """On a busy day all come: what one busy Thursday brings to the shop's weekday is no evidence of 300 customers."""
    rng, customers, draws, held, alone = np.random.default_rng(4), np.arange(1, 301), 120, 0, 0
    own = np.where(customers % 2, 1, 5)  # their best weekdays; the shop's is 3, on which a tenth of all visits are
    for _ in range(draws):
        busy = rng.gamma(1.0, 1.0, 28)
        usual = np.where(np.arange(28)[None] % 7 == own[:, None], 2.0, 1.0)
        usual = np.where((np.arange(28)[None] % 7 == 3), 1.5, usual)
        who, day = np.nonzero(rng.random((300, 28)) < 0.12 * usual * busy)
        visits = Visits(who + 1, day * DAY, day, np.full(len(who), 9), day % 7)
        there = np.unique(who) + 1
        found = met(visits, "weekday", there, own[there - 1], 3)["difference"]
        true = (2.0 - 1.5) / 8.5
        share = counts(visits, "weekday", there) / counts(visits, "weekday", there).sum(axis=1, keepdims=True)
        gain = share[np.arange(len(there)), own[there - 1]] - share[:, 3]
        assert found["value"] == pytest.approx(gain.mean())
        held += found["low"] <= true <= found["high"]
        alone += abs(gain.mean() - true) <= 1.96 * gain.std() / np.sqrt(len(there))
    assert held >= 0.88 * draws
    assert alone < 0.6 * draws


def test_the_interval_of_alike_days_is_that_over_customers():
    rng = np.random.default_rng(6)
    who, day = np.repeat(np.arange(1, 401), 7), np.concatenate([rng.choice(28, 7, replace=False) for _ in range(400)])
    visits = Visits(who, day * DAY, day, rng.integers(0, 24, len(who)), day % 7)
    people, own = np.arange(1, 401), rng.integers(0, 24, 400)
    found = met(visits, "hour", people, own, 9)["difference"]
    came = counts(visits, "hour", people) / 7
    gain = came[np.arange(400), own] - came[:, 9]
    error = gain.std(ddof=1) / np.sqrt(400)
    assert found["value"] == pytest.approx(gain.mean())
    assert 1.9 * error < found["high"] - found["value"] < 2.5 * error
    one = met(visits.some(visits.at == 0), "hour", np.unique(who[day == 0]), own[np.unique(who[day == 0]) - 1], 9)
    assert (one["difference"]["low"], one["difference"]["high"]) == (-1.0, 1.0)  # a day says nothing of days


def test_a_day_of_the_interval_is_one_of_the_shops_clocks(tmp_path: Path):
    """The same visits on the same clocks: that of Auckland, half of whose days UTC's midnight cuts, and UTC's."""
    rng = np.random.default_rng(7)
    shown = [np.sort((rng.choice(28, 8, replace=False) * 24 + rng.integers(0, 24, 8)) * HOUR + DAY) for _ in range(60)]
    found = []
    for zone, ahead in (("UTC", 0), ("Pacific/Auckland", 12 * HOUR)):  # in 1970 without summer time
        times = [(at - ahead).tolist() for at in shown]
        prepared, _ = tiny_prepared(tmp_path / zone[:3], [[1] * 8] * 60, times)
        manifest = {**prepared.manifest, "config": {"timestamp": {"time_zone": zone}}}
        visits = Visits.of(replace(prepared, manifest=manifest), 40 * DAY)
        people = np.arange(1, 61)
        found.append(met(visits, "weekday", people, people % 7, 3))
    assert found[0] == found[1]
