"""Leaks injected at places that hypothesis chooses: the audit finds every one, and never cries over a clean split."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from split_logs import SPECS, random_log, spec

from shopkeeper.errors import UserError
from shopkeeper.events import splits, splits_rules
from shopkeeper.events.audit import AuditError, audit_by_perturbation, audit_split
from shopkeeper.events.splits import write_split
from shopkeeper.events.splits_rules import lower_bound
from shopkeeper.events.splits_steps import training_mask
from shopkeeper.sequences.consent import Consent
from shopkeeper.sequences.prepared import Prepared, Split
from shopkeeper.timeline import DAY

TIMED = [name for name, s in SPECS.items() if s["name"] in ("temporal", "rolling", "sessions")]
STRICT_TIMED = [name for name in TIMED if SPECS[name].get("protocol") != "published"]
SEEDS = 20
HOME = Path(mkdtemp(prefix="audit-"))
quick = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module", autouse=True)
def _fast_and_tidy():
    with patch("shopkeeper.files._fsync", lambda path: None):  # hundreds of small folders that nobody needs after
        yield
    shutil.rmtree(HOME, ignore_errors=True)


@cache
def log(seed: int) -> Prepared:
    return random_log(HOME / f"log{seed}", seed, orders=seed % 3 != 0, consent=seed % 4 == 1)


@cache
def clean(seed: int, name: str) -> Split:
    return Split.open(log(seed), write_split(log(seed), spec(name)))


class Copy:
    """A copy of a split folder that may be damaged; `split()` opens it."""

    def __init__(self, seed: int, name: str) -> None:
        self.prepared, self.name = log(seed), name
        self.source = clean(seed, name)
        self.path = Path(mkdtemp(dir=HOME)) / self.source.name
        shutil.copytree(self.source.path, self.path)
        self.p = self.prepared

    def split(self) -> Split:
        return Split.open(self.p, self.path)

    def save(self, name: str, values: np.ndarray) -> None:
        np.save(self.path / f"{name}.npy", values)

    def table(self, part: str) -> list[dict]:
        self.schema = pq.read_schema(self.path / f"{part}.parquet")
        return pq.read_table(self.path / f"{part}.parquet").to_pylist()

    def write(self, part: str, rows: list[dict]) -> None:
        """Write requests back, numbered and counted as if nothing had happened."""
        for i, row in enumerate(rows):
            row["request"] = i
        pq.write_table(pa.Table.from_pylist(rows, schema=self.schema), self.path / f"{part}.parquet")
        self.timeline(lambda t: t["n_requests"].update({part: len(rows)}))

    def timeline(self, change) -> None:
        said = json.loads((self.path / "timeline.json").read_text())
        change(said)
        (self.path / "timeline.json").write_text(json.dumps(said))


# Each takes (copy, number drawn by hypothesis), damages the copy, and returns False where there is nothing to damage.


def training_end_moved_past_the_cutoff(c: Copy, k: int) -> bool:
    end = np.array(c.source.train_end)
    room = np.flatnonzero((end < c.p.offsets[1:]) & (end > c.p.offsets[:-1]))
    if SPECS[c.name]["name"].startswith("leave"):
        room = np.intersect1d(room, c.source.part("test")[0].user - 1)
    if len(room) == 0:
        return False
    u = room[k % len(room)]
    end[u] += 1 + k % (c.p.offsets[u + 1] - end[u])
    c.save("train_end", end)
    return True


def training_rows_of_another_user(c: Copy, k: int) -> bool:
    end = np.array(c.source.train_end)
    u = k % (len(end) - 1)
    end[u] = c.p.offsets[u + 1] + 1
    c.save("train_end", end)
    return True


def catalogue_item_from_the_future(c: Copy, k: int) -> bool:
    unknown = np.setdiff1d(np.arange(1, c.p.n_items + 1, dtype=np.int32), c.source.catalogue)
    if len(unknown) == 0:
        return False
    c.save("catalogue", np.union1d(c.source.catalogue, unknown[k % len(unknown)]).astype(np.int32))
    return True


def catalogue_item_left_out(c: Copy, k: int) -> bool:
    c.save("catalogue", np.delete(c.source.catalogue, k % len(c.source.catalogue)))
    return True


def an_event_in_both_parts(c: Copy, k: int) -> bool:
    validation = c.table("validation")
    donor = validation[k % len(validation)]
    rows = c.table("test")
    own = [r for r in rows if r["user"] == donor["user"]]
    if not own:
        return False
    row = own[k % len(own)]
    row["targets"] = [*donor["targets"][:1], *row["targets"]]
    row["target_rows"] = [*donor["target_rows"][:1], *row["target_rows"]]
    row["warm_targets"] = [*donor["warm_targets"][:1], *row["warm_targets"]]
    c.write("test", rows)
    return True


def a_target_in_its_own_history(c: Copy, k: int) -> bool:
    rows = c.table("test")
    row = rows[k % len(rows)]
    row["end"] = row["target_rows"][k % len(row["target_rows"])] + 1
    c.write("test", rows)
    return True


def the_history_of_another_user(c: Copy, k: int) -> bool:
    rows = c.table("test")
    row, other = rows[k % len(rows)], rows[(k + 1) % len(rows)]
    if row["user"] == other["user"]:
        return False
    row["start"], row["end"] = other["start"], other["end"]
    c.write("test", rows)
    return True


def a_history_that_begins_in_another_users(c: Copy, k: int) -> bool:
    rows = c.table("test")
    some = [r for r in rows if r["start"] > 0 and r["start"] == c.p.offsets[r["user"] - 1]]
    if not some:
        return False
    some[k % len(some)]["start"] -= 1
    c.write("test", rows)
    return True


def a_request_asked_twice(c: Copy, k: int) -> bool:
    rows = c.table("test")
    rows.insert(k % len(rows), dict(rows[k % len(rows)]))
    c.write("test", rows)
    return True


def a_request_left_out(c: Copy, k: int) -> bool:
    rows = c.table("test")
    if len(rows) < 2:
        return False
    del rows[k % len(rows)]
    c.write("test", rows)
    return True


def a_cutoff_moved_in_the_timeline(c: Copy, k: int) -> bool:
    key = ("validation", "test", "end")[k % 3]
    c.timeline(lambda t: t["cutoffs"][key].update(us=t["cutoffs"][key]["us"] + DAY))
    return True


def a_specification_that_was_changed_afterwards(c: Copy, k: int) -> bool:
    c.timeline(lambda t: t["spec"].update(validation_days=t["spec"]["validation_days"] + 1 + k % 5))
    return True


def an_instant_moved_back_into_the_history(c: Copy, k: int) -> bool:
    rows = c.table("test")
    some = [r for r in rows if r["end"] > r["start"]]
    if not some:
        return False
    row = some[k % len(some)]
    row["instant"] = int(c.p.events.timestamp[row["end"] - 1]) - k % DAY
    c.write("test", rows)
    return True


def a_target_from_another_row(c: Copy, k: int) -> bool:
    rows = c.table("test")
    row = rows[k % len(rows)]
    row["targets"][0] = row["targets"][0] % c.p.n_items + 1
    c.write("test", rows)
    return True


def a_validation_target_from_the_test_window(c: Copy, k: int) -> bool:
    test = c.table("test")
    rows = c.table("validation")
    users = {r["user"]: r for r in test}
    some = [r for r in rows if r["user"] in users]
    if not some:
        return False
    row = some[k % len(some)]
    for key in ("targets", "target_rows", "warm_targets"):
        row[key] = users[row["user"]][key]
    c.write("validation", rows)
    return True


def a_cold_target_called_warm(c: Copy, k: int) -> bool:
    rows = c.table("test")
    row = rows[k % len(rows)]
    row["warm_targets"][0] = not row["warm_targets"][0]
    c.write("test", rows)
    return True


def validation_and_test_swapped(c: Copy, k: int) -> bool:
    a, b = c.table("validation"), c.table("test")
    c.write("validation", b)
    c.write("test", a)
    return True


def a_split_of_other_data(c: Copy, k: int) -> bool:
    c.timeline(lambda t: t.update(fingerprint=f"other{k}"))
    return True


def time_stamps_out_of_order(c: Copy, k: int) -> bool:
    ts = np.array(c.p.events.timestamp)
    inner = np.flatnonzero((np.diff(ts) > 0) & (np.diff(c.p.event_user) == 0))
    i = inner[k % len(inner)]
    ts[[i, i + 1]] = ts[[i + 1, i]]
    c.p = replace(c.p, events=replace(c.p.events, timestamp=ts))
    return True


def item_ids_numbered_anew(c: Copy, k: int) -> bool:
    """As a map sorted by popularity over the whole log would: two items change their numbers, everywhere."""
    e = c.p.events
    first = np.full(c.p.n_items + 1, 2**62)
    np.minimum.at(first, e.item, e.timestamp)
    first[0] = 0
    a = 1 + k % c.p.n_items
    later = np.flatnonzero(first > first[a])
    if len(later) == 0:
        return False
    b = later[k % len(later)]
    swap = np.arange(c.p.n_items + 1, dtype=np.int32)
    swap[[a, b]] = swap[[b, a]]
    c.p = replace(c.p, events=replace(e, item=swap[e.item]))
    return write_into(c)


def user_ids_numbered_by_activity(c: Copy, k: int) -> bool:
    """The log's users sorted by number of events: an id tells how active somebody will be."""
    counts = np.diff(c.p.offsets)
    order = np.argsort(-counts, kind="stable")
    if (order == np.arange(len(order))).all():
        return False
    rows = np.concatenate([np.arange(c.p.offsets[u], c.p.offsets[u + 1]) for u in order])
    e = c.p.events
    columns = {n: None if v is None else np.asarray(v)[rows] for n, v in vars(e).items()}
    offsets = np.concatenate([[0], np.cumsum(counts[order])]).astype(np.int64)
    c.p = replace(c.p, offsets=offsets, events=type(e)(**columns))
    return write_into(c)


def a_k_core_of_the_whole_log(c: Copy, k: int) -> bool:
    c.p = replace(c.p, manifest={**c.p.manifest, "config": {"filters": {"k_core": 2 + k % 9}}})
    return True


def a_shortest_or_longest_history_of_the_whole_log(c: Copy, k: int) -> bool:
    name = ("min_history", "max_history")[k % 2]
    c.p = replace(c.p, manifest={**c.p.manifest, "config": {"filters": {name: 2 + k % 9}}})
    return True


def keys_joined_as_of_later(c: Copy, k: int) -> bool:
    as_of = c.source.timeline["cutoffs"]["validation"]["us"] + 1 + k
    c.p = replace(c.p, manifest={**c.p.manifest, "changes": {"identity": {"as_of": None if k % 5 == 0 else as_of}}})
    return True


def _consents(c: Copy, user: int, at: int) -> None:
    """Everybody agrees from the start, and this user withdraws at an instant."""
    home = Path(mkdtemp(dir=HOME))
    for table in ("items.parquet", "users.parquet"):
        shutil.copy(c.source.prepared.path / table, home / table)
    n = c.p.n_users
    first = np.arange(n + 1) + (np.arange(n + 1) >= user)
    at_C, agrees = np.zeros(n + 1, np.int64), np.ones(n + 1, bool)
    at_C[user], agrees[user] = at, False
    consent = Consent(first, at_C, agrees)
    pq.write_table(consent.table(), home / "consent.parquet")
    c.p = replace(c.p, path=home, consent=consent)


def trained_on_after_consent_was_withdrawn(c: Copy, k: int) -> bool:
    trained = np.flatnonzero(c.source.train_end > c.p.offsets[:-1]) + 1
    _consents(c, int(trained[k % len(trained)]), c.source.timeline["cutoffs"]["validation"]["us"] - k)
    return True


def asked_about_after_consent_was_withdrawn(c: Copy, k: int) -> bool:
    requests, _ = c.source.part("test")
    one = k % len(requests)
    _consents(c, int(requests.user[one]), int(requests.instant[one]))
    return True


def write_into(c: Copy) -> bool:
    """Split the changed log itself, without the audit that would stop it, so that all else fits together."""
    home = Path(mkdtemp(dir=HOME))
    c.p = replace(c.p, path=home)
    for table in ("items.parquet", "users.parquet", "consent.parquet"):
        if (c.source.prepared.path / table).is_file():
            shutil.copy(c.source.prepared.path / table, home / table)
    with patch.object(splits, "audit_split", lambda *_: {}):
        c.path = write_split(c.p, spec(c.name))
    return True


LEAKS = {
    training_end_moved_past_the_cutoff: list(SPECS),
    training_rows_of_another_user: list(SPECS),
    catalogue_item_from_the_future: [
        n for n in SPECS if n not in ("temporal_published",) and not n.startswith("leave")
    ],
    catalogue_item_left_out: [n for n in SPECS if "k_core" not in SPECS[n]],
    an_event_in_both_parts: [n for n in SPECS if n != "held_out_users"],
    a_target_in_its_own_history: list(SPECS),
    the_history_of_another_user: list(SPECS),
    a_history_that_begins_in_another_users: list(SPECS),
    a_request_asked_twice: list(SPECS),
    a_request_left_out: [n for n in SPECS if n not in ("sessions", "sessions_user", "held_out_users")],
    a_cutoff_moved_in_the_timeline: TIMED,
    a_specification_that_was_changed_afterwards: TIMED,
    an_instant_moved_back_into_the_history: list(SPECS),
    a_target_from_another_row: list(SPECS),
    a_validation_target_from_the_test_window: [n for n in TIMED if not n.startswith("sessions")],
    a_cold_target_called_warm: list(SPECS),
    validation_and_test_swapped: [n for n in SPECS if n != "held_out_users"],
    a_split_of_other_data: list(SPECS),
    time_stamps_out_of_order: list(SPECS),
    item_ids_numbered_anew: STRICT_TIMED,
    user_ids_numbered_by_activity: STRICT_TIMED,
    a_k_core_of_the_whole_log: STRICT_TIMED,
    a_shortest_or_longest_history_of_the_whole_log: STRICT_TIMED,
    keys_joined_as_of_later: STRICT_TIMED,
    trained_on_after_consent_was_withdrawn: TIMED,
    asked_about_after_consent_was_withdrawn: TIMED,
}


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
    _, catalogue, seen = REAL_ITEMS(prepared, prepared.offsets[1:], spec)
    return train_end, catalogue, seen


REAL_ITEMS = splits.known_items
REAL_PART = splits_rules._part


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
    "histories reach up to the target's row": (splits_rules, "_part", _history_up_to_the_target, TIMED),
    "histories hold the target": (splits_rules, "_part", _history_with_the_target, list(SPECS)),
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
        split = clean(seed, name)
        assert audit_split(log(seed), split)["passed"]
        assert audit_by_perturbation(log(seed), split, seed=seed)["passed"]


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
