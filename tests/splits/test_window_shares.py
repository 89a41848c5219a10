"""Windows that are shares of the log's target events, where nobody knows how many days a log has."""

from __future__ import annotations

import numpy as np
import pytest
from split_logs import START, random_log, spec, write_log
from split_loops import opened

from shopkeeper.errors import UserError
from shopkeeper.schema import EVENT_CODE
from shopkeeper.splits.audit import audit_by_perturbation
from shopkeeper.timeline import DAY, SplitSettings, SplitSpec

MINUTE = DAY // 24 // 60


def cutoffs(split) -> list[int]:
    return [split.timeline["cutoffs"][key]["us"] for key in ("validation", "test", "end")]


@pytest.mark.parametrize(("test", "validation"), [(0.1, 0.3), (0.25, 0.25), (0.001, 0.001)])
def test_windows_hold_their_shares_of_target_events_however_long_they_take(tmp_path, test, validation):
    p = random_log(tmp_path / "log", 4, n=400)
    split = opened(p, spec("temporal_shares", test_share=test, validation_share=validation))
    at = np.sort(p.events.timestamp[p.events.event_type == EVENT_CODE["purchase"]])
    last = at[-max(1, round(test * len(at)))]
    before = at[at < last]
    first = before[-max(1, round(validation * len(at)))]
    assert cutoffs(split) == [first, last, p.span[1] + 1]


def test_a_share_beside_days_or_a_cutoff_counts_from_there(tmp_path):
    at = START + np.arange(20) * DAY + 5
    p = write_log(tmp_path / "log", np.arange(20) % 3, np.arange(20) % 4, at)
    days = opened(p, spec("temporal", k_core=None, validation_days=None, validation_share=0.2, test_days=2.5))
    assert cutoffs(days) == [at[13], at[19] + 1 - round(2.5 * DAY), at[19] + 1]
    by_hand = {"test": "2024-01-11", "end": "2024-01-16"}  # 15 events until then, 10 before test
    hand = opened(p, spec("temporal_shares", test_share=None, **by_hand))
    assert cutoffs(hand) == [at[7], START + 10 * DAY, START + 15 * DAY]


def test_folds_move_back_by_the_length_that_the_last_test_window_has(tmp_path):
    at = START + np.arange(40) * MINUTE
    p = write_log(tmp_path / "log", np.arange(40) % 3, np.arange(40) % 4, at)
    asked = {"validation_days": None, "test_days": None, "validation_share": 0.1, "test_share": 0.1}
    folds = [cutoffs(opened(p, spec("rolling", fold=fold, **asked))) for fold in (0, 2)]
    step = 3 * MINUTE + 1  # from the fourth last event to the last one, which is in
    assert folds == [[at[32], at[36], at[39] + 1], [at[32] - 2 * step, at[36] - 2 * step, at[39] + 1 - 2 * step]]


@pytest.mark.parametrize("name", ["temporal", "sessions", "rolling"])
def test_the_full_audit_passes_where_windows_are_shares(tmp_path, name):
    p = random_log(tmp_path / "log", 2)
    asked = {"validation_days": None, "test_days": None, "validation_share": 0.3, "test_share": 0.3, "k_core": None}
    split = opened(p, spec(name, **asked, **({"fold": 1} if name == "rolling" else {})))
    assert audit_by_perturbation(p, split)["passed"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"validation_share": 0.5, "test_share": 0.5}, "must stay below 1"),
        ({"validation_share": 0.1, "test_days": 2, "validation_days": 2}, "_days and validation_share both say"),
        ({"validation_share": 1.5, "test_share": 0.1}, "split.validation_share is 1.5"),
        ({"validation_share": 0.5}, "split.test_share, or the cutoff split.test"),
        ({"validation_share": 0.1, "test": "2023-12-01"},
         "no purchase event lies before 2023-12-01T.*; let test begin later"),
        ({"validation_share": 0.1, "test_share": 0.1, "end": "2023-12-01"}, "; let split.end lie later"),
        ({"validation_share": 0.95, "test_share": 0.04}, "; lower split.validation_share or split.test_share"),
    ],
)  # fmt: skip
def test_shares_that_cannot_be_are_one_line(tmp_path, settings, said):
    at = START + np.arange(20) // 10 * DAY
    p = write_log(tmp_path / "log", np.arange(20) % 3, np.arange(20) % 4, at)
    with pytest.raises(UserError, match=said) as error:
        opened(p, {"name": "temporal", "target_events": ["purchase"], **settings})
    assert "\n" not in str(error.value)


def test_a_window_that_is_told_one_way_is_not_filled_in_the_other():
    shares = SplitSettings.of({"name": "temporal", "validation_share": 0.2, "test_share": 0.2})
    days = SplitSettings.of({"name": "temporal", "validation_days": 28, "test_days": 28})
    half = SplitSettings.of({"name": "temporal", "test_days": 3})
    assert shares.filled(days).given == shares.given
    assert days.filled(shares).given == days.given
    assert half.filled(shares).given == {"name": "temporal", "test_days": 3, "validation_share": 0.2}


def test_splits_that_know_no_shares_keep_their_folders():
    names = {"temporal": "temporal-f840cd95", "rolling": "rolling-89847432", "sessions": "sessions-eba40e9c",
             "held_out_users": "held_out_users-b2301547"}  # fmt: skip
    assert {name: SplitSpec.from_config(spec(name)).folder for name in names} == names
