"""Asked of a session after its n-th event: sessions by hand, nothing later of them is seen, a run that is scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from house import House
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import NobodyAskedError, join_cohorts
from shopkeeper.customers.build_sessions import audit_sessions, build_sessions, open_sessions
from shopkeeper.customers.folds import rows_of
from shopkeeper.data.consent import Consent
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events
from shopkeeper.data.session_rows import LaidOut
from shopkeeper.errors import UserError
from shopkeeper.pipeline.score import score
from shopkeeper.splits.audit_error import AuditError
from tiny import DAY, tiny_prepared

MINUTE = 60_000_000
BEGIN = 100 * DAY + 600 * MINUTE  # a day at ten
VIEW, CART, BOUGHT = "view", "add_to_cart", "purchase"
# A customer each: (minutes after BEGIN, type, item, price); asked after the third event, 30 minutes of silence end it.
LOGS = {
    "buys after": [
        (-9000, BOUGHT, 1, 5.0), (0, VIEW, 1, 5.0), (2, VIEW, 2, 9.0), (6, CART, 1, 5.0), (20, BOUGHT, 1, 5.0),
    ],
    "buys at the same minute": [(0, VIEW, 3, 1.0), (1, VIEW, 3, 1.0), (1, VIEW, 4, np.nan), (1, BOUGHT, 3, 1.0)],
    "buys in the next session": [(0, VIEW, 1, 5.0), (9, VIEW, 1, 5.0), (9, VIEW, 1, 5.0), (40, BOUGHT, 1, 5.0)],
    "has bought by then": [(0, VIEW, 1, 5.0), (1, BOUGHT, 1, 5.0), (2, VIEW, 2, 9.0), (3, BOUGHT, 2, 9.0)],
    "is short": [(0, VIEW, 1, 5.0), (1, VIEW, 1, 5.0)],
    "goes on at the end": [(1430, VIEW, 1, 5.0), (1431, VIEW, 1, 5.0), (1432, VIEW, 2, 9.0), (1445, BOUGHT, 2, 9.0)],
    "is later": [(3000, VIEW, 1, 5.0), (3001, VIEW, 1, 5.0), (3002, VIEW, 2, 9.0), (3003, BOUGHT, 2, 9.0)],
}  # fmt: skip
ASKED = {"after": 3, "gap_minutes": 30.0, "observed_until": 110 * DAY}


def by_hand(path: Path, sessions: bool = False) -> Prepared:
    logs = list(LOGS.values())
    columns: dict[str, Any] = {"price": [[row[3] for row in log] for log in logs]}
    if sessions:  # each row of a customer is another tab in turn
        columns["session"] = [[1 + j % 2 for j in range(len(log))] for log in logs]
    times, types = [[BEGIN + row[0] * MINUTE for row in log] for log in logs], [[row[1] for row in log] for log in logs]
    histories = [[row[2] for row in log] for log in logs]
    return tiny_prepared(path, histories, times, event_types=types, columns=columns, n_items=4)[0]


def asked(prepared: Prepared, **told: Any) -> Cohort:
    cohort = build_sessions(prepared, [BEGIN], 1.0, **{**ASKED, **told})
    audit_sessions(prepared, cohort, ASKED["gap_minutes"])
    return cohort


def test_sessions_by_hand(tmp_path: Path):
    cohort = asked(by_hand(tmp_path))
    np.testing.assert_array_equal(cohort.customer, [1, 2, 3])
    np.testing.assert_array_equal(cohort.label, [1, 1, 0])
    np.testing.assert_array_equal((cohort.cutoff - BEGIN) / MINUTE, [6, 1, 9])
    np.testing.assert_array_equal(cohort.end - cohort.start, [4, 3, 3])  # the purchase of the same minute is not there
    assert cohort.left_out == {
        "sessions of fewer than 3 events": 2,  # the short one, and the purchase after a silence
        "sessions with a purchase by then": 1,
        "sessions that go on after their window": 1,
    }
    known = dict(zip(cohort.feature_names, cohort.features.T, strict=True))
    for name, right in {
        "session_views": [2, 3, 3],
        "session_add_to_carts": [1, 0, 0],
        "session_minutes": [6, 1, 9],
        "session_last_gap_minutes": [4, 0, 0],
        "session_items": [2, 2, 1],
        "session_items_known": [1, 0, 0],
        "session_price_mean": [19 / 3, 1, 5],
        "session_price_highest": [9, 1, 5],
        "session_hour": [10.1, 10 + 1 / 60, 10.15],
        "session_weekday": [5, 5, 5],  # 1970-04-11, a Saturday
        "orders": [1, 0, 0],  # as the session began
        "days_since_order": [6.25, np.nan, np.nan],
    }.items():
        np.testing.assert_allclose(known[name], right, err_msg=name)


def test_a_session_goes_on_as_long_as_the_pause_that_would_end_it_is_not_over():
    events = Events(np.ones(2, np.int32), np.ones(2, np.int8), np.array([BEGIN, BEGIN + MINUTE]))
    sessions = LaidOut.of(events, np.ones(2, np.int32), 30)
    for minutes, more, going in ((31, 0, [0]), (31, 1, [])):
        at = np.array([BEGIN + minutes * MINUTE + more])
        assert sessions.going_on(events, at, 2, 30).tolist() == going
    assert sessions.going_on(events, np.array([BEGIN + 2 * MINUTE]), 3, 30).tolist() == []


def test_where_the_log_says_which_session_a_row_is_of_other_rows_may_lie_between(tmp_path: Path):
    cohort = build_sessions(by_hand(tmp_path, sessions=True), [BEGIN], 3.0, **{**ASKED, "after": 2})
    audit_sessions(by_hand(tmp_path / "again", sessions=True), cohort, 30.0)
    rows = dict(zip(cohort.customer.tolist(), cohort.session.tolist(), strict=True))  # type: ignore[union-attr]
    assert rows[3] == [9, 11]
    assert cohort.end[cohort.customer == 3].tolist() == [12]


def test_nothing_that_follows_the_event_after_which_is_asked_is_seen(tmp_path: Path):
    prepared = by_hand(tmp_path)
    cohort = asked(prepared)
    assert cohort.session is not None
    seen = np.zeros(len(prepared.events.item), bool)
    for first, end in zip(cohort.start, cohort.end, strict=True):
        seen[first:end] = True
    rng, e = np.random.default_rng(0), prepared.events
    assert e.timestamp is not None
    assert e.price is not None
    other = replace(
        e,
        item=np.where(seen, e.item, rng.integers(1, 5, len(seen))).astype(np.int32),
        price=np.where(seen, e.price, 77.0),
        event_type=np.where(seen, e.event_type, 1).astype(np.int8),  # nobody buys anything any more
    )
    again = build_sessions(replace(prepared, events=other), [BEGIN], 1.0, **ASKED)
    some = np.isin(again.customer, cohort.customer)
    assert again.features[some].tobytes() == cohort.features.tobytes()
    np.testing.assert_array_equal(again.label[some], [0, 0, 0])  # type: ignore[index]


@pytest.mark.parametrize("wrong", ["label", "features", "rows"])
def test_what_the_log_does_not_say_fails_the_audit_of_sessions(tmp_path: Path, wrong: str):
    prepared = by_hand(tmp_path)
    cohort = asked(prepared)
    assert cohort.label is not None
    assert cohort.session is not None
    said = {"label": "the label of the session of customer 1 at .* is not what the log says",
            "features": "session_views of customer 1 at .* change with what follows",
            "rows": "the session of customer 1 at .* is not asked after its first 3 events"}[wrong]  # fmt: skip
    if wrong == "label":
        cohort.label[0] = 0
    elif wrong == "features":
        cohort.features[0, cohort.feature_names.index("session_views")] += 1
    else:
        cohort = replace(cohort, end=cohort.end + 1)
    with pytest.raises(AuditError, match=said):
        audit_sessions(prepared, cohort, ASKED["gap_minutes"])


def test_a_session_is_asked_about_once_though_windows_overlap_and_rows_stay_rows(tmp_path: Path):
    prepared = by_hand(tmp_path)
    cohort = build_sessions(prepared, [BEGIN - DAY // 2, BEGIN], 1.0, **ASKED)
    assert cohort.customer.tolist() == [1, 2, 3]
    assert cohort.session is not None
    np.testing.assert_array_equal(rows_of(cohort, np.array([2, 0])).session, cohort.session[[2, 0]])
    assert len(join_cohorts([(prepared, cohort), (prepared, cohort)]).session) == 6  # type: ignore[arg-type]
    with pytest.raises(UserError, match="end after the log is complete"):
        build_sessions(prepared, [BEGIN], 30.0, **ASKED)
    with pytest.raises(NobodyAskedError, match="no session of 9 events or more without a purchase begins in 1 days"):
        asked(prepared, after=9)


def test_who_does_not_agree_is_not_asked(tmp_path: Path):
    prepared = by_hand(tmp_path)
    n = prepared.n_users
    ends = np.where(np.arange(n) == 0, BEGIN + 10 * MINUTE, 200 * DAY)  # the first one inside the session
    at, in_force = np.stack([np.zeros(n, np.int64), ends], axis=1).ravel(), np.tile([True, False], n)
    agreeing = replace(prepared, consent=Consent(np.arange(0, 2 * n + 1, 2), at, in_force))
    cohort = build_sessions(agreeing, [BEGIN], 1.0, **ASKED)
    assert cohort.customer.tolist() == [2, 3]
    assert cohort.left_out["sessions without consent"] == 1


def test_sessions_that_go_on_are_asked_as_of_an_instant_from_what_was_seen_by_then(tmp_path: Path):
    prepared, whole = by_hand(tmp_path), asked(by_hand(tmp_path / "again"))
    at = BEGIN + 15 * MINUTE
    live = open_sessions(prepared, at, **ASKED)
    assert live.customer.tolist() == [1, 3]  # the second and the fourth have bought; the others are short or to come
    assert live.label is None
    np.testing.assert_array_equal(live.features, whole.features[[0, 2]])
    assert open_sessions(prepared, BEGIN + 33 * MINUTE, **ASKED).customer.tolist() == [3]  # the first has bought now
    with pytest.raises(UserError, match="no session of 3 events or more goes on at 1970-04-11T09:59:00Z"):
        open_sessions(prepared, BEGIN - MINUTE, **ASKED)


def clicks() -> list[tuple[str, ...]]:
    """150 customers with sessions of views on most days; who puts something in the cart buys more often."""
    rng, found = np.random.default_rng(8), []
    for customer in range(150):
        for day in np.flatnonzero(rng.random(90) < 0.1):
            at, minute = np.datetime64("2023-01-01T09:00") + int(day) * 1440, 0
            carted = rng.random() < 0.4
            kinds = ["view", "view", "add_to_cart" if carted else "view"]
            kinds += ["purchase"] if rng.random() < (0.7 if carted else 0.1) else ["view"]
            for kind in kinds:
                minute += int(rng.integers(1, 5))
                found.append(
                    (f"c{customer}", f"s{rng.integers(9)}", f"{at + minute}".replace("T", " ") + ":00", "2.0", kind)
                )
    return sorted(found, key=lambda row: row[2])


def test_intention_is_trained_compared_and_said_of_sessions_that_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    house = House(tmp_path)
    house.dataset(
        "clicks",
        clicks(),
        ("customer", "item", "time", "price", "kind"),
        event_type={"column": "kind", "map": {kind: kind for kind in (VIEW, CART, BOUGHT)}},
        churn={"horizon_days": 14, "active_days": 30},
    )
    monkeypatch.chdir(tmp_path)
    words = ("dataset=clicks", "split=temporal", "task=session_intention")
    run = house.train("runs/logistic", "model=logistic", *words, "audit=full")
    table = run.table("test")
    assert table.num_rows > 60
    assert run.metrics["test"]["auroc"]["value"] > 0.75
    score(house._composed("score", (f"run={run.path}", "at=2023-03-20 09:08:00", "to=live.parquet")))
    told = pq.read_table("live.parquet").to_pylist()
    live = [row for row in told if not row["blank_reason"]]
    assert 0 < len(live) < len(told) == 150
    assert all(0 < row["probability"] < 1 for row in live)
    assert {row["blank_reason"] for row in told} == {"", "no session that goes on after 3 events without a purchase"}
