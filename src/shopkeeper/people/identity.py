"""One customer, many keys: e-mail, phone, card, device and account become one person, as far as it was known in time.

Keys are nodes, links between them edges, persons the connected components. A key that was handed on (a link with an
end) is one node before that instant and another after it.

Shapes: E links, K keys, n rows of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from shopkeeper.data.ranges import lower_bound
from shopkeeper.errors import UserError
from shopkeeper.ids.columns import normal_ids
from shopkeeper.ingest.log import Ids, Log
from shopkeeper.people.tables import instants, read_columns
from shopkeeper.timeline import iso

FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Links:
    """E links between a customer's keys: `account` (text) owns `key` (text) from an instant until another."""

    account: pa.Array  # string (E,)
    key: pa.Array  # string (E,)
    valid_from: np.ndarray  # int64 (E,) µs: the link is known from here on
    valid_until: np.ndarray  # int64 (E,) µs, FOREVER where it has no end: from here on the key is somebody else's


@dataclass(frozen=True)
class Persons:
    """Which person each key stands for, as of an instant. Keys are sliced where they were handed on."""

    keys: pa.Array  # string (K,)
    first_slice: np.ndarray  # int64 (K + 1,): slices of key j are first_slice[j]:first_slice[j+1]
    border: np.ndarray  # int64, where each slice but a key's last ends; aligned with `border_first`
    border_first: np.ndarray  # int64 (K + 1,)
    person: np.ndarray  # int64, person of each slice
    names: pa.Array  # string: the name of each person, one of its keys


def read_links(path: Path, columns: Mapping[str, str] | None = None) -> Links:
    """Links from a CSV or Parquet table with `account, key, valid_from` and optionally `valid_until, key_kind`.

    `columns` maps these names to the file's. With `key_kind` the key's text in the log is `kind:key`. Accounts and
    keys are texts as they stand in the log's user id. Times: ISO text (UTC), time stamps, or microseconds.
    """
    table = read_columns(path, ("account", "key", "valid_from"), ("valid_until", "key_kind"), columns)
    key = table["key"]
    if "key_kind" in table:
        key = pc.binary_join_element_wise(table["key_kind"], key, ":")
    start = instants(table["valid_from"], path, "valid_from")
    end = instants(table["valid_until"], path, "valid_until", FOREVER) if "valid_until" in table else None
    end = np.full(len(start), FOREVER) if end is None else end
    if (end <= start).any():
        row = int(np.flatnonzero(end <= start)[0])
        raise UserError(f"{path}, row {row + 2}, column valid_until: the link ends before it begins; mend the row")
    return Links(table["account"], key, start, end)


def links_of(log: Log, account: str, key: str) -> Links:
    """Links that the log's own rows show: both columns (of the file) filled in a row. They leave the log.

    A key is an account's from the first row that shows it until the first row that shows it with another account: a
    tablet on which first one person and then another signs in belongs to each for a while.

    Raises:
        UserError: the log has no times, so that nobody can say since when a link was known.
    """
    if log.timestamp is None:
        raise UserError("identity.from_events needs times, and this data has only an order; leave it out")
    owner, owned = (log.ids[f"file:{name}"] for name in (account, key))
    both = np.flatnonzero((owner.codes >= 0) & (owned.codes >= 0))
    names = [normal_ids(pc.cast(ids.values, pa.string())) for ids in (owner, owned)]
    who, what, when = owner.codes[both], owned.codes[both], log.timestamp[both]
    order = np.lexsort((when, what))  # stable: rows of one instant stay in the order of the file
    who, what, when = who[order], what[order], when[order]
    change = np.ones(len(both), bool)
    change[1:] = (what[1:] != what[:-1]) | (who[1:] != who[:-1])
    who, what, when = who[change], what[change], when[change]
    until = np.full(len(who), FOREVER)
    until[:-1] = np.where(what[1:] == what[:-1], when[1:], FOREVER)
    for name in (account, key):
        del log.ids[f"file:{name}"]
    lasts = until > when
    return Links(names[0].take(pa.array(who[lasts])), names[1].take(pa.array(what[lasts])), when[lasts], until[lasts])


def connect(links: Links, as_of: int) -> Persons:
    """Persons as of an instant: only links known strictly before it count, and an end only if it came before it.

    A person is named after the account whose first link is oldest (of equal ones, the smallest text): a name that
    later links do not change.
    """
    known = links.valid_from < as_of
    account, key = links.account.filter(pa.array(known)), links.key.filter(pa.array(known))
    start = links.valid_from[known]
    until = np.where(links.valid_until[known] < as_of, links.valid_until[known], FOREVER)
    both = pa.concat_arrays([account, key]).dictionary_encode()
    keys, code = both.dictionary, both.indices.to_numpy()
    left, right = code[: len(account)].astype(np.int64), code[len(account) :].astype(np.int64)
    ended = until < FOREVER
    pair = np.unique(np.stack([right[ended], until[ended]], axis=1), axis=0)  # sorted by (key, instant)
    border_first = np.searchsorted(pair[:, 0], np.arange(len(keys) + 1))
    first_slice = border_first + np.arange(len(keys) + 1)
    persons = Persons(keys, first_slice, pair[:, 1], border_first, np.zeros(0, np.int64), keys)
    low, high = slice_of(persons, right, start), slice_of(persons, right, np.where(ended, until - 1, FOREVER))
    low, high = np.minimum(low, high), np.maximum(low, high)
    times = high - low + 1  # a link that outlasts another owner's end joins several slices
    to = np.repeat(low, times) + np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    whose = np.repeat(slice_of(persons, left, start), times)
    n = int(first_slice[-1])
    graph = coo_matrix((np.ones(len(to), np.int8), (whose, to)), shape=(n, n))
    n_persons, person = connected_components(graph, directed=False)
    # Names: an account with the oldest link; slices without any link keep the key's own text, numbered.
    owner = np.repeat(np.arange(len(keys)), np.diff(first_slice))
    number = np.arange(n) - first_slice[owner]
    oldest = np.full(n, FOREVER)
    np.minimum.at(oldest, slice_of(persons, left, start), start)
    rank = np.empty(len(keys), np.int64)
    rank[pc.sort_indices(keys).to_numpy()] = np.arange(len(keys))
    best = np.lexsort((number, rank[owner], oldest, person))
    head = best[np.concatenate([[True], np.diff(person[best]) > 0])] if n else best
    names = keys.take(pa.array(owner[head]))
    suffix = pa.array([f"#{x}" if x else "" for x in number[head].tolist()], pa.string())
    names = pc.binary_join_element_wise(names, suffix, "")
    assert len(names) == n_persons
    return Persons(keys, first_slice, pair[:, 1], border_first, person.astype(np.int64), names)


def slice_of(persons: Persons, key: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The slice of each key (number) that holds at an instant: int64, same length. A slice holds until its border."""
    first, past = persons.border_first[key], persons.border_first[key + 1]
    after = np.where(at < FOREVER, at, FOREVER - 1) + 1
    return persons.first_slice[key] + lower_bound(persons.border, first, past, after) - first


def merge_identities(log: Log, links: Links, as_of: int) -> dict[str, Any]:
    """Replace the log's user ids by persons, in place; ids without a link stay as they are.

    Returns what the manifest keeps: `as_of` and how many links, keys and persons there were.
    """
    persons = connect(links, as_of)
    users = log.ids["user_id"]
    before = _used(users)
    person = persons_of_rows(persons, log)
    # Texts: the persons', then those of ids that no link knows.
    names = pa.concat_arrays([pc.cast(persons.names, users.values.type), users.values])
    codes = np.where(person >= 0, person, len(persons.names) + users.codes)
    codes[users.codes < 0] = -1
    log.ids["user_id"] = Ids(codes.astype(np.int32), names)
    return {
        "as_of": int(as_of),
        "as_of_iso": iso(as_of),
        "links_known": int((links.valid_from < as_of).sum()),
        "links_later": int((links.valid_from >= as_of).sum()),
        "users_before": before,
        "users_after": _used(log.ids["user_id"]),
    }


def persons_of_rows(persons: Persons, log: Log) -> np.ndarray:
    """The person behind each row of a log, int64 (n,), -1 where no link knows the row's user id."""
    users = log.ids["user_id"]
    node = pc.fill_null(pc.index_in(users.values, value_set=persons.keys), -1).to_numpy(zero_copy_only=False)
    node = np.append(node.astype(np.int64), -1)  # the last entry is for missing ids (code -1)
    of_code = np.full(len(node), -1, np.int64)
    linked = np.flatnonzero(node >= 0)
    of_code[linked] = persons.person[persons.first_slice[node[linked]]]
    out = of_code[users.codes]
    handed_on = np.zeros(len(node), bool)
    handed_on[linked] = np.diff(persons.border_first)[node[linked]] > 0
    rows = np.flatnonzero(handed_on[users.codes])
    if len(rows) and log.timestamp is not None:
        out[rows] = persons.person[slice_of(persons, node[users.codes[rows]], log.timestamp[rows])]
    return out


def persons_with(persons: Persons, ids: set[str]) -> np.ndarray:
    """Which persons ever had one of these keys: bool, one per person and a last False for "no person" (-1)."""
    wanted = pc.is_in(persons.keys, value_set=pa.array(sorted(ids), persons.keys.type)).to_numpy(zero_copy_only=False)
    hit = np.zeros(len(persons.names) + 1, bool)
    hit[persons.person[np.repeat(wanted, np.diff(persons.first_slice))]] = True
    return hit


def _used(ids: Ids) -> int:
    seen = np.zeros(len(ids.values) + 1, bool)
    seen[ids.codes] = True
    return int(seen[:-1].sum())
