"""Days and hours are the shop's: cutoffs, visits and slices, with the clocks changing in between."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.features.customer.compute import customer_features
from shopkeeper.features.customer.shop import Shop
from shopkeeper.timeline import CustomerSpec, SplitSpec, customer_windows, instant, iso
from shopkeeper.timeline.zones import add_days, floor_day, instant_of, local

COAST = "America/Los_Angeles"
ZONES = (COAST, "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia")
SECOND = 1_000_000


def at(text: str) -> int:
    return instant(text, "")


@settings(deadline=None)
@given(st.integers(0, 60 * 365 * 86_400), st.sampled_from(ZONES))
def test_clocks_show_what_the_zone_says_and_back(second: int, zone: str):
    right = datetime.fromtimestamp(second, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=UTC).timestamp()
    shown = int(local(np.array(second * SECOND), zone))
    assert shown == round(right) * SECOND
    back = instant_of(shown, zone)
    assert back <= second * SECOND  # of two the earlier
    assert int(local(np.array(back), zone)) == shown


def test_a_midnight_that_the_clocks_skip_is_the_instant_at_which_they_do():
    # Beirut, 26 March 2017: clocks went from 00:00 to 01:00
    assert iso(instant_of(at("2017-03-26"), "Asia/Beirut")) == "2017-03-25T22:00:00Z"
    assert iso(floor_day(at("2017-03-26T10:00"), "Asia/Beirut")) == "2017-03-25T22:00:00Z"


def test_of_an_hour_that_the_clocks_show_twice_the_first_is_meant():
    shown = at("2023-10-29T02:30")  # as if it were UTC: what the clocks show
    assert iso(instant_of(shown, "Europe/Berlin")) == "2023-10-29T00:30:00Z"


def test_clocks_show_the_new_hour_from_the_very_instant_of_a_change():
    changes = np.array([at("2023-03-26T01:00") - 1, at("2023-03-26T01:00"), at("2023-10-29T01:00")])
    shown = [iso(t) for t in local(changes, "Europe/Berlin")]
    assert shown == ["2023-03-26T01:59:59.999999Z", "2023-03-26T03:00:00Z", "2023-10-29T02:00:00Z"]


def test_days_are_counted_on_the_clock():
    assert iso(add_days(at("2023-03-11T08:00"), 2, COAST)) == "2023-03-13T07:00:00Z"  # summer time since the 12th
    assert add_days(at("2023-03-11T08:00"), 2) == at("2023-03-13T08:00")


def test_a_date_is_midnight_in_the_shop_and_a_zone_in_it_counts():
    assert iso(instant("2023-03-03", "", COAST)) == "2023-03-03T08:00:00Z"
    assert iso(instant("2023-03-03T00:00:00Z", "", COAST)) == "2023-03-03T00:00:00Z"
    with pytest.raises(UserError, match="'Mars/Olympus' is not known"):
        instant("2023-03-03", "", "Mars/Olympus")


def split(**settings) -> SplitSpec:
    return SplitSpec.from_config({"name": "temporal", "target_events": ["purchase"], **settings})


def test_windows_of_whole_days_lie_between_midnights_of_the_shop():
    found = split(zone=COAST, validation_days=14, test_days=7).cutoffs(at("2023-01-01"), at("2023-03-17T20:00"))
    days = {name: cutoff["iso"] for name, cutoff in found.as_json().items()}
    # the shop's 18 March begins at 07:00 UTC, its 11 March and 25 February, before summer time, at 08:00
    assert days == {"validation": "2023-02-25T08:00:00Z", "test": "2023-03-11T08:00:00Z", "end": "2023-03-18T07:00:00Z"}
    by_hand = split(zone=COAST, validation="2023-02-24", test="2023-03-03")
    assert [iso(by_hand.validation or 0), iso(by_hand.test or 0)] == ["2023-02-24T08:00:00Z", "2023-03-03T08:00:00Z"]


def test_a_split_in_utc_keeps_its_folder():
    assert split(test_days=7, validation_days=7).folder == split(test_days=7, validation_days=7, zone="UTC").folder
    assert split(test_days=7, validation_days=7).folder != split(test_days=7, validation_days=7, zone=COAST).folder


def test_a_horizon_is_a_length_and_cutoffs_begin_at_the_shops_midnight():
    windows = customer_windows(CustomerSpec(30, zone=COAST), at("2023-01-01"), at("2023-07-01T12:00"))
    assert iso(windows.observed_until) == "2023-07-01T07:00:00Z"
    assert windows.test == windows.observed_until - 30 * 86_400 * SECOND


@pytest.mark.parametrize(
    ("zone", "day", "after"),
    [("Europe/Berlin", "2023-10-29", "2023-10-30"), ("Pacific/Auckland", "2023-04-02", "2023-04-03")],
)
def test_a_log_may_be_complete_until_the_end_of_a_day_of_25_hours(zone, day, after):
    first, last = instant("2022-01-01", "first", zone), instant(f"{day}T20:00", "last", zone)
    spec = CustomerSpec(30, zone=zone, observed_until=after)
    assert customer_windows(spec, first, last).observed_until == floor_day(last, zone) + 25 * 3600 * SECOND
    with pytest.raises(UserError, match="lies outside of the log"):
        customer_windows(CustomerSpec(30, zone=zone, observed_until=f"{after}T00:01"), first, last)


def test_a_visit_in_the_afternoon_is_one_visit():
    # four Thursdays, each from 15:50 to 16:10 on the Pacific coast: midnight in UTC lies in between
    days = ("2023-02-02", "2023-02-09", "2023-02-16", "2023-02-23")
    time = np.array([t for d in days for t in (at(f"{d}T23:50"), at(f"{d}T23:50") + 1200 * SECOND)])
    events = Events(np.ones(8, np.int32), np.ones(8, np.int8), time)
    at_march = np.array([at("2023-03-01")])
    table = customer_features(events, np.array([0, 8]), np.array([1]), at_march, shop=Shop(COAST))
    of = dict(zip(table.names, table.values[0].tolist(), strict=True))
    assert (of["visits_30d"], of["visit_gap_mean"]) == (4, 7)


def test_folds_of_whole_days_begin_at_midnight_in_the_shop_before_and_after_a_clock_change():
    spec = split(kind="rolling", name="rolling", test_days=7, validation_days=7, fold=3, zone=COAST)
    cutoffs = spec.cutoffs(at("2023-01-01"), at("2023-03-20T20:00"))  # summer time since the 12th
    assert [iso(t) for t in (cutoffs.validation, cutoffs.test, cutoffs.end)] == [
        "2023-02-14T08:00:00Z", "2023-02-21T08:00:00Z", "2023-02-28T08:00:00Z",
    ]  # fmt: skip


def test_the_last_fold_leaves_something_before_its_validation_window():
    told = {"kind": "rolling", "name": "rolling", "test_days": 1, "validation_days": 1}
    first, last = at("2023-01-01"), at("2023-01-10T12:00")  # ten days: a fold's validation begins a day after the first
    assert iso(split(**told, fold=7).cutoffs(first, last).validation) == "2023-01-02T00:00:00Z"
    with pytest.raises(UserError, match=r"split.fold=8 lies before .* the last fold that fits is 7"):
        split(**told, fold=8).cutoffs(first, last)
