"""Best hours: the shop's where customers are alike, their own where they differ, and a judgement that says which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shopkeeper.campaigns.audience.timing import Habits, Visits, best_times, counts, judged, send_times
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
    visits = Visits(np.repeat(np.arange(1, 2001), 30), np.zeros(60_000, np.int64), day, day)
    assert Habits.of(visits, "weekday").strength == pytest.approx(s, rel=0.1)


def test_alike_customers_are_called_different_as_seldom_as_an_interval_of_95_says(tmp_path: Path):
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(60):
        hour = rng.choice(HOURS, 200 * 12, p=SHOP)
        at = np.tile(np.arange(12) * DAY, 200)
        visits = Visits(np.repeat(np.arange(1, 201), 12), at, hour, hour % 7)
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
    visits = Visits(np.arange(1, 6).repeat(2), np.tile([0, 10 * DAY], 5), np.full(10, 9), np.zeros(10, np.int64))
    assert judged(visits, "hour", 20 * DAY, 15)["difference"] is None


def test_messages_go_at_the_hour_of_the_day_on_the_shops_clocks_and_never_before_now():
    noon = int(np.datetime64("2024-03-30T12:00:00", "us").astype(np.int64))  # the clocks change on the 31st
    days, hour = np.array([0.0, 0.0, 1.2, np.nan]), np.array([9, 20, 9, 9])
    found = send_times(noon, days, hour, "Europe/Berlin")
    told = [None if np.isnan(x) else str(np.datetime64(int(x), "us"))[:16] for x in found]
    assert told == ["2024-03-31T07:00", "2024-03-30T19:00", "2024-03-31T07:00", None]
