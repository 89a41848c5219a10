"""Many keys become one person, but only as far as it was known at the cutoff."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.errors import UserError
from shopkeeper.ingest.log import Ids, Log
from shopkeeper.people.identity import FOREVER, Links, connect, merge_identities, read_links
from shopkeeper.timeline import instant


def links(*rows) -> Links:
    account, key, start, *until = zip(*((*r, FOREVER)[:4] for r in rows), strict=True)
    return Links(pa.array(account), pa.array(key), np.array(start), np.array(until[0]))


def log(*rows) -> Log:
    """A log of (user id, time) rows; every row shows the same item."""
    users = pa.array([u for u, _ in rows]).dictionary_encode()
    n = len(rows)
    return Log(
        {
            "user_id": Ids(users.indices.to_numpy().astype(np.int32), users.dictionary),
            "item_id": Ids(np.zeros(n, np.int32), pa.array(["i1"])),
        },
        np.ones(n, np.int8),
        np.array([t for _, t in rows], np.int64),
    )


def names(events: Log) -> list[str]:
    ids = events.ids["user_id"]
    return [ids.values[int(c)].as_py() for c in ids.codes]


def test_keys_that_share_an_account_or_each_other_are_one_person():
    known = links(("amy", "card:1", 1), ("amy", "phone:7", 2), ("amy2", "phone:7", 3), ("bob", "card:2", 1))
    events = log(("card:1", 5), ("amy", 6), ("amy2", 7), ("bob", 8), ("zoe", 9))
    said = merge_identities(events, known, as_of=10)
    assert names(events) == ["amy", "amy", "amy", "bob", "zoe"]
    assert (said["users_before"], said["users_after"], said["links_later"]) == (5, 3, 0)


def test_a_link_learned_at_or_after_the_cutoff_does_not_merge_histories_before_it():
    known = links(("amy", "device:1", 5), ("bob", "device:1", 10))
    for as_of, want in ((10, ["amy", "bob", "amy"]), (11, ["amy", "amy", "amy"]), (5, ["amy", "bob", "device:1"])):
        events = log(("amy", 1), ("bob", 2), ("device:1", 3))
        said = merge_identities(events, known, as_of)
        assert names(events) == want
        assert said["as_of"] == as_of
        assert said["links_known"] == int((known.valid_from < as_of).sum())


def test_a_device_that_was_handed_on_belongs_to_its_first_owner_until_then():
    known = links(("amy", "device:1", 5, 20), ("bob", "device:1", 30))
    events = log(("device:1", 1), ("device:1", 19), ("device:1", 20), ("device:1", 40), ("amy", 50), ("bob", 50))
    merge_identities(events, known, as_of=100)
    assert names(events) == ["amy", "amy", "bob", "bob", "amy", "bob"]
    events = log(("device:1", 1), ("device:1", 25))
    merge_identities(events, known, as_of=25)  # bob is not known yet, but that the device has left amy is
    assert names(events) == ["amy", "device:1#1"]
    events = log(("device:1", 1), ("device:1", 20))
    merge_identities(events, known, as_of=20)  # nor that it has left amy
    assert names(events) == ["amy", "amy"]


def test_a_person_keeps_its_name_when_younger_accounts_join():
    old = links(("old", "card:1", 5))
    more = links(("a-new", "card:1", 8), ("old", "card:1", 5))
    for known in (old, more):
        events = log(("card:1", 1))
        merge_identities(events, known, as_of=100)
        assert names(events) == ["old"]


edges = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 50)), max_size=25)


@given(edges, st.integers(0, 51))
@settings(max_examples=60, deadline=None)
def test_persons_are_the_connected_components_of_what_was_known(rows, as_of):
    rows = [(f"a{x}", f"k{y}", t) for x, y, t in rows]
    graph = nx.Graph((x, y) for x, y, t in rows if t < as_of)
    everybody = sorted({name for x, y, _ in rows for name in (x, y)})
    if not everybody:
        return
    events = log(*((name, 60) for name in everybody))
    merge_identities(events, links(*rows), as_of)
    name_of = dict(zip(everybody, names(events), strict=True))
    for x in everybody:
        for y in everybody:
            together = x == y or (x in graph and y in graph and nx.has_path(graph, x, y))
            assert (name_of[x] == name_of[y]) == together


def test_ten_thousand_keys_in_a_chain_are_one_person():
    n = 10_000
    chain = Links(
        pa.array([f"a{i // 2}" for i in range(n)]),
        pa.array([f"k{(i + 1) // 2}" for i in range(n)]),
        np.arange(n, dtype=np.int64),
        np.full(n, FOREVER),
    )
    assert len(connect(chain, FOREVER).names) == 1
    assert connect(chain, FOREVER).names.to_pylist() == ["a0"]


def test_links_are_read_from_a_table_under_its_own_column_names(tmp_path):
    path = tmp_path / "links.csv"
    path.write_text("who,kind,value,since,to\namy,card,007,2024-01-01,\nbob,device,x,2024-02-01T10:00:00Z,2024-03-01\n")
    got = read_links(
        path, {"account": "who", "key": "value", "key_kind": "kind", "valid_from": "since", "valid_until": "to"}
    )
    assert got.key.to_pylist() == ["card:007", "device:x"]
    assert got.valid_from.tolist() == [instant("2024-01-01", "t"), instant("2024-02-01T10:00", "t")]
    assert got.valid_until.tolist() == [FOREVER, instant("2024-03-01", "t")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("account,key,valid_form\na,b,2024-01-01\n", "no column 'valid_from'. Did you mean 'valid_form'"),
        ("account,key,valid_from\na,b,yesterday\n", "row 2, column valid_from: 'yesterday' is no instant"),
        ("account,key,valid_from\na,b,2024-01-01\na,,2024-01-01\n", "row 3, column 'key': the value is missing"),
        (
            "account,key,valid_from,valid_until\na,b,2024-01-02,2024-01-01\n",
            "row 2, column valid_until: .* ends before",
        ),
    ],
)
def test_a_broken_table_of_links_is_named_by_file_row_and_column(tmp_path, text, message):
    path = tmp_path / "links.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_links(path)
    assert str(path) in str(error.value)
    with pytest.raises(UserError, match="is missing"):
        read_links(tmp_path / "none.csv")
