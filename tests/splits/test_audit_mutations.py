"""Leaks injected at places that hypothesis chooses: the audit finds every one, and never cries over a clean split."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from leaks import (
    HOME,
    LEAKS,
    SEEDS,
    STRICT_TIMED,
    TIMED,
    Copy,
    catalogue_item_from_the_future,
    clean,
    fitting,
    log,
    training_end_moved_past_the_cutoff,
)
from split_logs import SPECS, spec

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.splits import rules as splits_rules
from shopkeeper.splits import write as splits
from shopkeeper.splits.audit import AuditError, audit_by_perturbation, audit_split
from shopkeeper.splits.rules import lower_bound
from shopkeeper.splits.steps import training_mask
from shopkeeper.splits.write import write_split
from shopkeeper.timeline import DAY

quick = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module", autouse=True)
def _fast_and_tidy():
    with patch("shopkeeper.files._fsync", lambda path: None):  # hundreds of small folders that nobody needs after
        yield
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.mark.parametrize("leak", LEAKS, ids=lambda f: f.__name__)
@given(seed=st.integers(0, SEEDS - 1), which=st.integers(0, 99), place=st.integers(0, 10**6))
@quick
def test_the_audit_finds(leak, seed, which, place):
    names = LEAKS[leak]
    copy = Copy(seed, names[which % len(names)])
    try:
        assume(leak(copy, place))
        with pytest.raises(AuditError) as error:
            audit_split(copy.p, copy.split())
        assert "\n" not in str(error.value)
        assert error.value.violations
    finally:
        shutil.rmtree(copy.path.parent, ignore_errors=True)


# Mutants of the pipeline's own steps: the split is made whole by code with one mistake in it.


def _cutoff_inclusive(values, low, high, wanted):
    return lower_bound(values, low, high, np.asarray(wanted) + 1)


def _whole_log_catalogue(prepared, train_end, spec):
    _, catalogue, beside, seen = REAL_ITEMS(prepared, prepared.offsets[1:], spec)
    return train_end, catalogue, beside, seen


REAL_ITEMS = splits.known_items
REAL_PART = splits_rules.part_of


def _history_up_to_the_target(p, request, rows, user, end, instant, start=None):
    """The classic: everything before the target's row, whatever its time."""
    first = rows[np.concatenate([[True], request[1:] != request[:-1]])] if len(rows) else end
    return REAL_PART(p, request, rows, user, first, instant, start)


def _history_with_the_target(p, request, rows, user, end, instant, start=None):
    return REAL_PART(p, request, rows, user, end + 1, instant, start)


def _cutoffs_a_week_later(p, s):
    cut = REAL_CUTOFFS(p, s)
    return type(cut)(cut.validation + 7 * DAY, cut.test, cut.end)


REAL_CUTOFFS = splits_rules._cutoffs

MUTANTS = {
    "consent is not looked at": (splits_rules, "_agreed", lambda p, division: division, TIMED),
    "cutoffs are inclusive": (splits_rules, "lower_bound", _cutoff_inclusive, TIMED),
    "catalogue and k-core from the whole log": (
        splits,
        "known_items",
        _whole_log_catalogue,
        [n for n in STRICT_TIMED if n not in ("sessions", "sessions_user")],
    ),
    "histories reach up to the target's row": (splits_rules, "part_of", _history_up_to_the_target, TIMED),
    "histories hold the target": (splits_rules, "part_of", _history_with_the_target, list(SPECS)),
    "training goes on after the cutoff": (
        splits_rules,
        "_cutoffs",
        _cutoffs_a_week_later,
        ["temporal", "temporal_all"],
    ),
}


def same(a: Split, b: Split) -> bool:
    files = ("train_end.npy", "catalogue.npy", "validation.parquet", "test.parquet")
    return all((a.path / f).read_bytes() == (b.path / f).read_bytes() for f in files)


@pytest.mark.parametrize("mutant", MUTANTS)
@given(seed=st.integers(0, SEEDS - 1), which=st.integers(0, 99))
@quick
def test_the_audit_finds_a_mistake_in_the_code_that_splits(mutant, seed, which):
    module, name, wrong, names = MUTANTS[mutant]
    kind = names[which % len(names)]
    seed = fitting(seed, kind)
    truth = clean(seed, kind)
    home = Path(mkdtemp(dir=HOME))
    p = replace(log(seed), path=home)
    for table in ("items.parquet", "users.parquet", "consent.parquet"):
        if (log(seed).path / table).is_file():
            shutil.copy(log(seed).path / table, home / table)
    try:
        with patch.object(module, name, wrong):
            with patch.object(splits, "audit_split", lambda *_: {}):
                try:
                    made = Split.open(p, write_split(p, spec(kind)))
                except UserError:
                    assume(False)
            assume(not same(made, truth))
            shutil.rmtree(made.path)
            with pytest.raises(AuditError):
                write_split(p, spec(kind))
        assert not made.path.exists()  # a split that leaks is not left lying about
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_clean_split_is_never_flagged(seed):
    for name in SPECS:
        fit = fitting(seed, name)
        split = clean(fit, name)
        assert audit_split(log(fit), split)["passed"]
        assert audit_by_perturbation(log(fit), split, seed=seed)["passed"]


@given(seed=st.integers(0, SEEDS - 1), which=st.integers(0, 99), place=st.integers(0, 10**6))
@quick
def test_the_full_audit_finds_training_rows_and_catalogues_that_depend_on_the_future(seed, which, place):
    """It looks at what is stored only through what another future would have given."""
    names = [n for n in STRICT_TIMED if "k_core" not in SPECS[n]]
    for leak in (training_end_moved_past_the_cutoff, catalogue_item_from_the_future):
        copy = Copy(seed, names[which % len(names)])
        assume(leak(copy, place))
        with pytest.raises(AuditError, match="when events after"):
            audit_by_perturbation(copy.p, copy.split())


def test_the_full_audit_finds_a_count_over_the_whole_log():
    def popularity(p: Prepared) -> np.ndarray:
        return np.bincount(p.events.item, minlength=200)[:50]

    def popularity_before(p: Prepared) -> np.ndarray:
        return np.bincount(p.events.item[p.events.timestamp < cutoff], minlength=200)[:50]

    split = clean(1, "temporal")
    cutoff = split.timeline["cutoffs"]["validation"]["us"]
    assert audit_by_perturbation(log(1), split, {"popularity": popularity_before})["compared"][-1] == "popularity"
    with pytest.raises(AuditError, match="popularity changes when events after 2024"):
        audit_by_perturbation(log(1), split, {"popularity": popularity})


def test_keys_may_be_joined_as_of_the_very_cutoff():
    split = clean(0, "temporal")
    cutoff = split.timeline["cutoffs"]["validation"]["us"]

    def joined(as_of: int) -> Prepared:
        return replace(log(0), manifest={**log(0).manifest, "changes": {"identity": {"as_of": as_of}}})

    assert audit_split(joined(cutoff), split)["passed"]
    with pytest.raises(AuditError, match="later than the cutoff"):
        audit_split(joined(cutoff + 1), split)


def test_leave_one_out_reports_how_much_of_training_lies_after_other_peoples_tests():
    split = clean(2, "leave_one_out")
    p = log(2)
    said = split.timeline["audit"]["training_after_other_test_instants"]
    requests, _ = split.part("test")
    training = np.flatnonzero(training_mask(p.offsets, split.train_end))
    count = sum(
        any(
            p.events.timestamp[row] > t and u != p.event_user[row]
            for u, t in zip(requests.user, requests.instant, strict=True)
        )
        for row in training
    )
    assert said["events"] == count > 0
    assert said["share"] == count / len(training)
