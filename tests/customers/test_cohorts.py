"""Who is asked about, and what counts as having come back."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.build_cohort import NobodyAskedError, build_cohort
from shopkeeper.data.consent import Consent
from shopkeeper.errors import UserError
from tiny import DAY, tiny_prepared


def shop(tmp_path, days_of_users, types=None):
    histories = [[1] * len(d) for d in days_of_users]
    return tiny_prepared(tmp_path / "shop", histories, [[int(d * DAY) for d in ds] for ds in days_of_users],
                         event_types=types)[0]  # fmt: skip


def test_churned_are_the_active_who_do_not_buy_in_the_half_open_window(tmp_path):
    prepared = shop(
        tmp_path,
        [
            [80, 110],  # active, comes back
            [80],  # active, stays away
            [69.9, 105],  # last purchase before the active window: not asked about
            [70, 100],  # first instant of the active window; back at the very instant of the cutoff
            [99.9, 120],  # back at the very end of the window: too late
            [100],  # first purchase at the cutoff: not known yet
            [130.5],
        ],
    )
    cohort = build_cohort(prepared, 100 * DAY, 20, 30)
    assert cohort.customer.tolist() == [1, 2, 4, 5]
    assert cohort.label is not None
    assert cohort.label.tolist() == [0, 1, 0, 1]
    assert (cohort.end - cohort.start).tolist() == [1, 1, 1, 1]
    assert cohort.observed_until.tolist() == [130 * DAY] * 4


def test_a_purchase_that_is_returned_counts_and_a_return_or_a_view_alone_does_not(tmp_path):
    prepared = shop(
        tmp_path,
        [[90, 110, 111], [90, 110], [90, 110], [99, 110], [130, 131]],
        [
            ["purchase", "purchase", "return"],
            ["purchase", "return"],
            ["purchase", "view"],
            ["return", "purchase"],
            ["purchase", "purchase"],
        ],
    )
    cohort = build_cohort(prepared, 100 * DAY, 20, 30)
    assert cohort.customer.tolist() == [1, 2, 3]
    assert cohort.label is not None
    assert cohort.label.tolist() == [0, 1, 1]


def test_several_cutoffs_are_the_single_cohorts_one_after_another(tmp_path):
    prepared = toy_shop(tmp_path)
    single = [build_cohort(prepared, t, 60, 60) for t in CUTOFFS]
    both = build_cohort(prepared, CUTOFFS, 60, 60)
    for name in ("customer", "cutoff", "features", "label", "start", "end"):
        assert np.array_equal(getattr(both, name), np.concatenate([getattr(c, name) for c in single]), equal_nan=True)
    assert set(np.unique(both.features[:, both.feature_names.index("categories")])) == {1, 2, 3}


def test_a_window_beyond_the_log_is_refused_unless_no_labels_are_asked_for(tmp_path):
    prepared = toy_shop(tmp_path)
    with pytest.raises(UserError, match="ends after the log is complete"):
        build_cohort(prepared, 450 * DAY, 60, 60)
    future = build_cohort(prepared, 450 * DAY, 60, 60, labels=False)
    assert future.label is None
    assert len(future) > 0
    whole = build_cohort(prepared, 420 * DAY, 60, 60, observed_until=480 * DAY)  # until the log's very end
    assert whole.label is not None
    with pytest.raises(UserError, match="ends after the log is complete"):
        build_cohort(prepared, 420 * DAY, 60, 60, observed_until=480 * DAY - 1)


def test_without_an_active_filter_everybody_with_a_purchase_is_asked_about(tmp_path):
    prepared = toy_shop(tmp_path)
    assert len(build_cohort(prepared, CUTOFFS[2], 60, None)) == prepared.n_users


def test_a_cutoff_without_active_customers_and_order_only_data_are_named(tmp_path):
    with pytest.raises(UserError, match="no customer has a purchase in the 5 days before 1970-01-02"):
        build_cohort(shop(tmp_path, [[50, 60]]), DAY, 5, 5)
    order_only = tiny_prepared(tmp_path / "order", [[1, 2, 3]])[0]
    with pytest.raises(UserError, match="no time stamps"):
        build_cohort(order_only, DAY, 5, 5)


def test_a_cutoff_at_which_nobody_agrees_is_counted_and_the_others_are_asked(tmp_path):
    known = shop(tmp_path, [[50, 80, 110], [55, 85, 130.5]])
    agrees_late = Consent(np.array([0, 1, 2]), np.array([70 * DAY, 70 * DAY]), np.array([True, True]))
    prepared = replace(known, consent=agrees_late)
    cohort = build_cohort(prepared, [60 * DAY, 90 * DAY], 20, 30)
    assert cohort.cutoff.tolist() == [90 * DAY] * 2
    assert cohort.left_out == {"no consent at the cutoff": 2, "cutoffs at which no active customer agreed": 1}
    with pytest.raises(NobodyAskedError, match="no active customer agrees at 1970-03-02") as nobody:
        build_cohort(prepared, 60 * DAY, 20, 30)
    assert nobody.value.left_out["no consent at the cutoff"] == 2


def test_who_withdraws_within_the_window_is_left_out_and_who_does_at_its_end_is_not(tmp_path):
    known = shop(tmp_path, [[50, 80], [55, 85], [60, 85, 130.5]])
    ends = np.array([110 * DAY - 1, 110 * DAY, 200 * DAY])
    at = np.stack([np.zeros(3, np.int64), ends], axis=1).ravel()
    withdrawn = Consent(np.array([0, 2, 4, 6]), at, np.tile([True, False], 3))
    cohort = build_cohort(replace(known, consent=withdrawn), 90 * DAY, 20, 30)
    assert cohort.customer.tolist() == [2, 3]
    assert cohort.left_out == {"consent withdrawn inside the label window": 1}


def test_what_happens_after_the_cutoff_changes_labels_only(tmp_path):
    before = toy_shop(tmp_path / "a")
    histories, times, prices = [], [], []
    rng = np.random.default_rng(9)
    events = before.events
    assert events.timestamp is not None
    assert events.price is not None
    for a, b in pairwise(before.offsets):
        kept = events.timestamp[a:b] < CUTOFFS[1]
        new = np.sort(rng.integers(CUTOFFS[1], 500 * DAY, 3))
        histories.append([*events.item[a:b][kept].tolist(), 1, 2, 3])
        times.append([*events.timestamp[a:b][kept].tolist(), *new.tolist()])
        prices.append([*events.price[a:b][kept].tolist(), 1e7, 1 / 3, 0])
    times[0][-1] = 500 * DAY
    categories = before.items["category"].to_pylist()
    after = tiny_prepared(tmp_path / "b", histories, times, columns={"price": prices}, items={"category": categories},
                          n_items=8)[0]  # fmt: skip
    one, other = (build_cohort(p, CUTOFFS[1], 60, 60) for p in (before, after))
    assert one.features.tobytes() == other.features.tobytes()
    assert np.array_equal(one.customer, other.customer)
    assert not np.array_equal(one.label, other.label)
