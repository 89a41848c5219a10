"""Leaks for test_audit_mutations.py: each damages a copy of a split in one way, at a place that hypothesis chooses."""

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
from split_logs import SPECS, random_log, spec

from shopkeeper.data.consent import Consent
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.hashing import hash_tree, sealed
from shopkeeper.splits import write as splits
from shopkeeper.splits.write import write_split
from shopkeeper.timeline import DAY

TIMED = [name for name, s in SPECS.items() if s["name"] in ("temporal", "rolling", "sessions")]
STRICT_TIMED = [name for name in TIMED if SPECS[name].get("protocol") != "published"]
SEEDS = 20
HOME = Path(mkdtemp(prefix="audit-"))


@cache
def log(seed: int) -> Prepared:
    return random_log(HOME / f"log{seed}", seed, orders=seed % 3 != 0, consent=seed % 4 == 1)


def fitting(seed: int, name: str) -> int:
    """A seed whose log has whole sessions in each part: odd ones tear orders apart, and sessions with them."""
    return seed - seed % 2 if name.startswith("sessions") else seed


@cache
def clean(seed: int, name: str) -> Split:
    return Split.open(log(seed), write_split(log(seed), spec(name)))


class Copy:
    """A copy of a split folder that may be damaged; `split()` opens it."""

    def __init__(self, seed: int, name: str) -> None:
        seed = fitting(seed, name)
        self.prepared, self.name = log(seed), name
        self.source = clean(seed, name)
        self.path = Path(mkdtemp(dir=HOME)) / self.source.name
        shutil.copytree(self.source.path, self.path)
        self.p = self.prepared

    def split(self) -> Split:
        """Opened with hashes that fit what it holds: a leak that was written, not a file that was damaged."""
        if self.path.parent.parent == HOME:
            self.timeline(lambda t: t.update(files=hash_tree(self.path, skip=frozenset({"timeline.json"}))))
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
        (self.path / "timeline.json").write_text(json.dumps(sealed(said)))


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
    def change(t: dict) -> None:
        days, share = t["spec"]["validation_days"], t["spec"].get("validation_share")
        t["spec"].update(
            {"validation_share": share + 0.1 + k % 5 / 20} if share else {"validation_days": days + 1 + k % 5}
        )

    c.timeline(change)
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
