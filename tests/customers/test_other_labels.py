"""Returns, something new, discounts: what windows hold of these, whose window says nothing, and a run of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from house import House
from shopkeeper.configuration import find
from shopkeeper.customers.audit import audit_cohort
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import SAYS_NOTHING, as_it_is, build_cohort
from shopkeeper.customers.window import DISCOUNT, NEW, RETURNS, WAIT
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.splits.audit_error import AuditError
from shopkeeper.tasks.find import find_task
from tiny import DAY, tiny_prepared

BOUGHT, BACK = "purchase", "return"
# One customer each: (day, type, item, price); asked at day 100 about [100, 120).
LOGS = {
    "buys the same again, then what others bought before": [
        (90, BOUGHT, 1, 10.0), (101, BOUGHT, 1, 9.0), (119, BOUGHT, 2, 8.0),
    ],
    "sends back what was bought before, then in time": [(95, BOUGHT, 3, 5.0), (99, BACK, 3, 5.0), (100, BACK, 3, 5.0)],
    "buys one new thing twice, and one too late": [
        (91, BOUGHT, 2, 10.0), (110, BOUGHT, 1, 9.6), (110, BOUGHT, 1, 9.6), (120, BOUGHT, 4, 1.0),
    ],
    "nothing": [(80, BOUGHT, 1, 10.0)],
    "is the first to buy it": [(92, BOUGHT, 2, 10.0), (105, BOUGHT, 5, 1.0)],
    "far behind": [(93, BOUGHT, 2, 10.0), (200, BOUGHT, 2, 10.0)],
}  # fmt: skip
RIGHT = {
    RETURNS: [0, 1, 0, 0, 0, 0],
    NEW: [1, 0, 1, 0, 1, 0],
    # item 1 cost at most 10 until day 101, item 2 at most 10 until 119; item 1 at 9.6 is no discount of 5 %.
    DISCOUNT: [1, np.nan, 0, np.nan, np.nan, np.nan],
    WAIT: [1, 20, 10, 20, 5, 20],
}
TASK = {RETURNS: "return_propensity", NEW: "something_new", DISCOUNT: "discount_affinity"}


def by_hand(path: Path) -> Prepared:
    logs = list(LOGS.values())
    columns: dict[str, Any] = {"price": [[row[3] for row in log] for log in logs]}
    times, types = [[row[0] * DAY for row in log] for log in logs], [[row[1] for row in log] for log in logs]
    histories = [[row[2] for row in log] for log in logs]
    return tiny_prepared(path, histories, times, event_types=types, columns=columns, n_items=5)[0]


def asked(prepared: Prepared, of: str, **told: Any) -> Cohort:
    truth = find_task({"name": TASK[of]}).truth if of in TASK else None
    about: dict[str, Any] = {"truth": as_it_is if truth is None else truth.label, "of": of}
    cohort = build_cohort(prepared, 100 * DAY, 20, 50, observed_until=130 * DAY, **about, **told)
    audit_cohort(prepared, cohort, 50, **about)
    return cohort


@pytest.mark.parametrize("of", sorted(RIGHT))
def test_labels_are_those_that_are_counted_by_hand_and_unknown_ones_are_left_out(tmp_path: Path, of: str):
    prepared, right = by_hand(tmp_path), np.array(RIGHT[of], np.float64)
    cohort, known = asked(prepared, of), ~np.isnan(right)
    np.testing.assert_array_equal(cohort.customer, np.flatnonzero(known) + 1)
    np.testing.assert_array_equal(cohort.label, right[known])
    assert cohort.left_out == ({} if known.all() else {SAYS_NOTHING: int((~known).sum())})
    assert len(asked(prepared, of, labels=False)) == len(LOGS)  # as of today everybody is asked


@pytest.mark.parametrize("of", sorted(RIGHT))
def test_a_label_that_the_log_does_not_hold_fails_the_audit(tmp_path: Path, of: str):
    prepared = by_hand(tmp_path)
    cohort = asked(prepared, of)
    assert cohort.label is not None
    cohort.label[0] += 1
    about: dict[str, Any] = {"truth": find_task({"name": TASK[of]}).truth.label if of in TASK else as_it_is, "of": of}
    with pytest.raises(AuditError, match=r"the label of customer 1 at .* is not what the log says"):
        audit_cohort(prepared, cohort, 50, **about)


def test_what_follows_a_line_does_not_change_whether_it_was_a_discount(tmp_path: Path):
    prepared = by_hand(tmp_path)
    before = asked(prepared, DISCOUNT).label
    price = np.array(prepared.events.price)
    price[prepared.events.timestamp >= 119 * DAY] *= 100  # the discount of the first customer is undone, no other line
    object.__setattr__(prepared.events, "price", price)
    np.testing.assert_array_equal(before, [1, 0])
    np.testing.assert_array_equal(asked(prepared, DISCOUNT).label, [1, 0])  # one of two lines is still one


def test_a_log_that_says_nothing_of_what_is_asked_is_told_so(tmp_path: Path):
    prepared = by_hand(tmp_path)
    object.__setattr__(prepared.events, "price", None)
    with pytest.raises(
        UserError, match="says what is asked; choose another cutoff or a longer horizon_days, or another"
    ):
        asked(prepared, DISCOUNT)


@pytest.mark.parametrize("task", sorted(TASK.values()))
def test_a_run_of_each_is_trained_and_says_what_it_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str):
    monkeypatch.chdir(tmp_path)
    house, rng, lines = House(tmp_path), np.random.default_rng(1), []
    for customer in range(40):
        for day in np.cumsum(rng.exponential(9, 40)):
            if day < 300:
                date = np.datetime64("2023-01-01") + int(day)
                kind = BACK if rng.random() < 0.15 else BOUGHT
                price = 10.0 if rng.random() < 0.3 + 0.4 * (customer % 2) else 8.0
                lines.append((f"c{customer}", f"s{rng.integers(30)}", f"{date} 12:00:00", str(price), kind))
    house.dataset(
        "cheap", sorted(lines, key=lambda row: row[2]), ("customer", "item", "time", "price", "kind"),
        event_type={"column": "kind", "map": {BOUGHT: BOUGHT, BACK: BACK}},
        churn={"horizon_days": 30, "active_days": 60},
    )  # fmt: skip
    assert find("task", task) is not None
    run = house.train(
        "run", "model=logistic", f"task={task}", "dataset=cheap", "split=temporal", "model.min_positives=3"
    )
    assert run.metrics["test"]["scored"]["value"] == 1
    assert (SAYS_NOTHING in run.manifest["left_out"].get("test", {})) == (task == "discount_affinity")
