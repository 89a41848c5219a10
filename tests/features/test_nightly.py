"""Demand as of the night before a request: nothing of its own day, on the shop's clocks, by those who agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from shopkeeper.data.consent import Consent
from shopkeeper.data.nightly import Nightly
from shopkeeper.data.requests import Requests
from shopkeeper.features.pairs import DEMAND, ITEM, ItemFacts, pair_features
from shopkeeper.schema import EVENT_CODE, event_codes
from tiny import DAY, tiny_prepared

HOUR = DAY // 24
PURCHASE = event_codes(["purchase"])


def test_a_night_is_the_midnight_of_the_shop_before_the_request():
    new_york = Nightly(lambda: (np.zeros(0, np.int64), np.zeros(0, np.int32)), "America/New_York")
    winter, summer = 20_454 * DAY, 20_635 * DAY  # 2026-01-01 and 2026-07-01, UTC
    instants = np.array([winter + 4 * HOUR, winter + 5 * HOUR, summer + 3 * HOUR, summer + 4 * HOUR])
    assert (new_york.nights(instants) - instants[[1, 1, 3, 3]]).tolist() == [-DAY, 0, -DAY, 0]


def test_demand_ends_at_the_midnight_before_the_request(tmp_path: Path):
    histories = [[1, 2, 1, 3, 1], [2, 2, 2, 2, 2]]
    times = [[DAY, 2 * DAY, 40 * DAY, 41 * DAY, 42 * DAY], [39 * DAY, 40 * DAY, 41 * DAY, 41 * DAY + HOUR, 42 * DAY]]
    prepared, split = tiny_prepared(tmp_path, histories, times)
    nightly = Nightly.of(prepared, PURCHASE)
    facts = ItemFacts.of(split, PURCHASE)
    buy = EVENT_CODE["purchase"]
    asked = Requests.from_histories([[3]] * 3, [[buy]] * 3, [[0]] * 3, [41 * DAY, 41 * DAY + 2 * HOUR, 43 * DAY])
    owner, item = np.repeat(np.arange(3), 2), np.tile([1, 2], 3)
    told = pair_features(asked, owner, item, facts, PURCHASE, nightly)
    column = dict(zip(ITEM, told[:, -len(ITEM) :].T, strict=True))
    assert column["demand"].tolist() == [2, 3, 2, 3, 3, 6]  # the second asks on the same day as the first
    assert column["demand_7"].tolist() == [1, 2, 1, 2, 2, 5]
    assert column["age_days"].tolist() == [40, 39, 40, 39, 42, 41]
    frozen = pair_features(asked, owner, item, facts, PURCHASE)[:, -len(ITEM) :]
    np.testing.assert_array_equal(frozen, facts.table_VF[item])
    same = [ITEM.index(name) for name in ITEM if name not in DEMAND]
    np.testing.assert_array_equal(told[:, -len(ITEM) :][:, same], frozen[:, same])


def test_what_changes_from_a_night_on_changes_nothing_before_it(tmp_path: Path):
    bought = [[1, 2, 3, 4, 5, 1, 2]]
    prepared, _ = tiny_prepared(tmp_path, bought, [[day * DAY for day in range(7)]])
    nightly = Nightly.of(prepared, PURCHASE)
    other = nightly.changed_from(3 * DAY, 5, np.random.default_rng(0))
    for night in (1, 2, 3):
        np.testing.assert_array_equal(other.until(night * DAY)[1], nightly.until(night * DAY)[1])
    assert (other.until(7 * DAY)[1][3:] != nightly.until(7 * DAY)[1][3:]).all()


def test_whoever_does_not_agree_at_the_cutoff_is_not_counted(tmp_path: Path):
    prepared, _ = tiny_prepared(tmp_path, [[1, 1], [2, 2]], [[0, DAY], [0, DAY]])
    withdrawn = Consent(np.array([0, 1, 3]), np.array([0, 0, 5 * DAY]), np.array([True, True, False]))
    counted = [Nightly.of(replace(prepared, consent=withdrawn), PURCHASE, d * DAY).rows[1].tolist() for d in (4, 6)]
    assert counted == [[1, 2, 1, 2], [1, 1]]


def test_without_time_there_is_no_night(tmp_path: Path):
    assert Nightly.of(tiny_prepared(tmp_path, [[1, 2, 3]])[0], PURCHASE) is None
