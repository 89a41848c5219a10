"""Customer windows: labels are observed after everything that is known, and never twice."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shopkeeper.errors import UserError
from shopkeeper.timeline import DAY, CustomerSpec, CustomerWindows, customer_windows, instant, iso

FIRST, LAST = instant("2009-12-01T07:45", "first"), instant("2010-12-09T20:01", "last")


def test_online_retail_gets_the_cutoffs_that_its_published_baselines_were_measured_at():
    windows = customer_windows(CustomerSpec(horizon_days=90, active_days=90), FIRST, LAST)
    assert iso(windows.test) == "2010-09-10T00:00:00Z"
    assert iso(windows.calibration) == "2010-06-12T00:00:00Z"
    assert [iso(t) for t in windows.train] == ["2010-03-14T00:00:00Z"]
    assert iso(windows.observed_until) == "2010-12-09T00:00:00Z"
    assert windows.as_json()["horizon_days"] == 90.0


@settings(deadline=None)
@given(
    days=st.integers(30, 2000),
    horizon=st.floats(0.5, 200),
    gap=st.floats(0, 20),
    active=st.none() | st.floats(1, 200),
    n_train=st.none() | st.integers(1, 5),
)
def test_no_label_window_reaches_the_next_cutoff_or_the_unseen_end(days, horizon, gap, active, n_train):
    first, last = FIRST, FIRST + days * DAY
    try:
        w = customer_windows(CustomerSpec(horizon, active, gap, n_train=n_train), first, last)
    except UserError:
        assume(False)
    cutoffs = [*w.train, w.calibration, w.test]
    assert cutoffs == sorted(set(cutoffs))
    assert all(a + w.horizon + w.gap <= b for a, b in pairwise(cutoffs))
    assert w.test + w.horizon <= w.observed_until <= last
    assert min(cutoffs) > first
    assert w.active is None or min(cutoffs) - w.active >= first


def test_a_horizon_longer_than_the_distance_between_calibration_and_test_is_refused():
    spec = CustomerSpec(90, test="2010-09-10", calibration="2010-08-01")
    with pytest.raises(UserError, match=r"horizon_days=90 .* exceeds the 40 days between calibration"):
        customer_windows(spec, FIRST, LAST)


def test_a_gap_moves_the_earlier_cutoffs_away_from_the_windows():
    w = customer_windows(CustomerSpec(60, 60, gap_days=10), FIRST, LAST)
    assert w.test - w.calibration == 70 * DAY


def test_as_many_training_cutoffs_as_fit_may_be_asked_for_and_no_more():
    fit = customer_windows(CustomerSpec(60, 60), FIRST, LAST).train
    assert customer_windows(CustomerSpec(60, 60, n_train=len(fit)), FIRST, LAST).train == fit
    with pytest.raises(UserError, match=f"n_train={len(fit) + 1}, but only {len(fit)} training cutoff"):
        customer_windows(CustomerSpec(60, 60, n_train=len(fit) + 1), FIRST, LAST)


def test_a_log_is_complete_after_its_first_event_and_until_the_midnight_after_its_last():
    midnight = instant("2010-12-10", "end")
    assert customer_windows(CustomerSpec(60, 60, observed_until=midnight), FIRST, LAST).observed_until == midnight
    for outside in (FIRST, midnight + 1):
        with pytest.raises(UserError, match="lies outside of the log"):
            customer_windows(CustomerSpec(60, 60, observed_until=outside), FIRST, LAST)


def test_nobody_is_asked_at_the_very_first_event_where_no_history_is_wanted():
    first = instant("2009-12-01", "first")
    w = customer_windows(CustomerSpec(10), first, first + 40 * DAY)
    assert [(t - first) // DAY for t in (*w.train, w.calibration, w.test)] == [10, 20, 30]


def test_windows_that_overlap_roll_on_to_the_calibration_cutoff_and_each_is_there_once():
    first = instant("2009-12-01", "first")
    w = customer_windows(CustomerSpec(10, step_days=5), first, first + 40 * DAY)
    assert [(t - first) // DAY for t in w.train] == [5, 10]
    assert [(t - first) // DAY for t in w.rolling] == [5, 10, 15, 20]
    w = customer_windows(CustomerSpec(10, step_days=4), first, first + 40 * DAY)
    assert [(t - first) // DAY for t in w.rolling] == [2, 6, 10, 12, 16, 20]


def test_a_window_beyond_the_log_is_refused():
    with pytest.raises(UserError, match="ends after the log is complete"):
        customer_windows(CustomerSpec(90, test="2010-11-01"), FIRST, LAST)
    w = customer_windows(CustomerSpec(90, 90), FIRST, LAST)
    assert w.window(w.test) == (w.test, w.observed_until)
    with pytest.raises(UserError, match="choose an earlier cutoff"):
        w.window(w.test + 1)


def test_a_log_too_short_for_three_windows_says_which_setting_to_change():
    with pytest.raises(UserError, match=r"no training cutoff fits.*shorten horizon_days"):
        customer_windows(CustomerSpec(150, 90), FIRST, LAST)


def test_settings_come_from_a_config_and_typing_errors_are_named():
    assert CustomerSpec.from_config({"horizon_days": 90, "active_days": 90}) == CustomerSpec(90, 90)
    with pytest.raises(UserError, match="Did you mean 'horizon_days'"):
        CustomerSpec.from_config({"horizont_days": 90})
    with pytest.raises(UserError, match="horizon_days is missing"):
        CustomerSpec.from_config({})
    with pytest.raises(UserError, match="above 0"):
        customer_windows(CustomerSpec(0), FIRST, LAST)


@pytest.mark.parametrize("value", ["10.09.2010", "soon", True, None])
def test_what_is_no_instant_is_refused_with_the_name_of_its_setting(value):
    with pytest.raises(UserError, match=r"test: .* is no instant"):
        instant(value, "test")


def test_instants_are_utc_unless_they_say_otherwise():
    assert instant("2010-09-10", "t") == instant("2010-09-10T02:00:00+02:00", "t") == 1284076800000000
    assert iso(1284076800000001) == "2010-09-10T00:00:00.000001Z"
    assert isinstance(customer_windows(CustomerSpec(90, 90), FIRST, LAST), CustomerWindows)
