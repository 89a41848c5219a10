"""Consent, erasure and pseudonyms: who has not agreed, or asked to be forgotten, is not in what is made of the log."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_identity import links, log, names

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.arrange.ties import shuffle_ties
from shopkeeper.data.consent import LATEST, Consent
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.block import REJECTED
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.log import read_log
from shopkeeper.ingest.matches import as_line, doubtful
from shopkeeper.people.consent import Consents, apply_consent, read_consents
from shopkeeper.people.erasure import (
    apply_erasure,
    erasure_hash,
    pseudonym,
    pseudonymise,
    read_erasure,
    without_erased,
)
from shopkeeper.people.identity import FOREVER, merge_identities
from shopkeeper.people.rules import customer_rules, pin_rules

KEY = "a secret of at least sixteen bytes"


def consents(*rows) -> Consents:
    account, granted, withdrawn = zip(*((*r, FOREVER)[:3] for r in rows), strict=True)
    return Consents(pa.array(account), np.array(granted), np.array(withdrawn))


def kept(events, *args, as_of=LATEST, **kwargs):
    said = apply_consent(events, *args, as_of=as_of, **kwargs)
    assert sum(said["dropped"].values()) == said["rows_before"] - said["rows_after"]
    return list(zip(names(events), events.timestamp.tolist(), strict=True)), said["dropped"]


def test_an_event_is_used_only_if_its_customer_had_agreed_when_it_happened_and_still_does():
    events = log(("amy", 4), ("amy", 5), ("amy", 9), ("bob", 6), ("eve", 6), ("zoe", 6))
    rows, dropped = kept(events, consents(("amy", 5), ("bob", 1, 8), ("eve", 7)))
    assert rows == [("amy", 5), ("amy", 9)]
    assert dropped == {"no record": 1, "withdrawn": 1, "not agreed when it happened": 2}


def test_consent_as_of_an_instant_does_not_see_what_is_withdrawn_later():
    asked = consents(("bob", 1, 8))
    assert kept(log(("bob", 6)), asked, as_of=7)[0] == [("bob", 6)]
    assert kept(log(("bob", 6)), asked, as_of=8)[0] == []


def test_consent_given_again_counts_again_but_not_for_the_time_between():
    events = log(("bob", 2), ("bob", 9), ("bob", 12))
    assert kept(events, consents(("bob", 1, 8), ("bob", 10)))[0] == [("bob", 2), ("bob", 12)]


def test_a_ledger_counts_a_change_from_its_own_instant_on():
    ledger = Consent(np.array([0, 3, 3]), np.array([10, 20, 30]), np.array([True, False, True]))  # the second: nothing
    at = np.array([9, 10, 19, 20, 30])
    first = np.ones(5, np.int32)
    assert ledger.holds(first, at).tolist() == [False, True, True, False, True]
    assert not ledger.holds(first + 1, at).any()
    assert ledger.next_end(first[1:], at[1:]).tolist() == [20, 20, LATEST + 1, LATEST + 1]
    assert ledger.until(20).at.tolist() == [10, 20]
    assert ledger.until(19).at.tolist() == [10]


def test_consent_that_overlaps_itself_is_refused():
    with pytest.raises(UserError, match="account 'bob' is recorded twice at once"):
        apply_consent(log(("bob", 2)), consents(("bob", 1, 8), ("bob", 5)))


def test_a_person_with_two_accounts_agrees_when_one_does_and_none_has_withdrawn():
    known = links(("amy", "phone:7", 1), ("amy2", "phone:7", 1))

    def merged():
        events = log(("amy", 5), ("amy2", 6), ("phone:7", 25))
        merge_identities(events, known, as_of=100)
        return events

    assert len(kept(merged(), consents(("amy", 1)), known)[0]) == 3
    assert kept(merged(), consents(("amy", 1), ("amy2", 1, 20)), known)[0] == []
    again = consents(("amy", 1), ("amy2", 1, 20), ("amy2", 24))
    assert [t for _, t in kept(merged(), again, known)[0]] == [5, 6, 25]


@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.lists(st.integers(0, 40), min_size=1, max_size=5, unique=True).map(sorted),
    ).filter(bool),
    st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 45)), min_size=1, max_size=30),
    st.none() | st.integers(0, 45),
)
@settings(max_examples=80, deadline=None)
def test_consent_agrees_with_a_loop_over_records(changes, rows, as_of):
    """`changes`: instants at which a customer agrees, withdraws, agrees again, …"""
    records = [
        (who, t[i], t[i + 1] if i + 1 < len(t) else FOREVER) for who, t in changes.items() for i in range(0, len(t), 2)
    ]

    def agrees(who, at):
        return any(account == who and start <= at < end for account, start, end in records)

    want = [(who, t) for who, t in rows if agrees(who, t) and (as_of is None or agrees(who, as_of))]
    events = log(*rows)
    assert kept(events, consents(*records), as_of=as_of)[0] == want


def test_an_erased_customer_is_gone_under_every_key_but_a_device_stays_its_next_owners():
    known = links(("amy", "device:1", 5, 20), ("amy", "card:1", 8), ("bob", "device:1", 30))
    events = log(("amy", 1), ("device:1", 2), ("card:1", 3), ("device:1", 40), ("bob", 41), ("zoe", 42))
    said = apply_erasure(events, {"card:1"}, known)
    assert list(zip(names(events), events.timestamp.tolist(), strict=True)) == [
        ("device:1", 40),
        ("bob", 41),
        ("zoe", 42),
    ]
    assert (said["rows"], said["listed"]) == (3, 1)
    assert "card:1" not in str(said)
    assert without_erased(known, {"card:1"}).account.to_pylist() == ["bob"]


def test_rejected_rows_do_not_keep_an_erased_id():
    events = log(("amy", 1), ("bob", 2))
    columns = {name: [None] * 2 for name in REJECTED.names} | {"value": ["amy", "-3"]}
    events.rejected = pa.table(columns, schema=REJECTED)
    apply_erasure(events, {"amy"})
    assert events.rejected["value"].to_pylist() == ["-3"]


def test_the_hash_of_an_erasure_list_knows_no_order_and_can_be_keyed():
    assert erasure_hash(["b", "a"]) == hashlib.sha256(b"a\nb").hexdigest()
    assert erasure_hash(["a", "b"], KEY.encode()) == hmac.new(KEY.encode(), b"a\nb", hashlib.sha256).hexdigest()


def test_pseudonyms_are_keyed_hashes_and_change_nothing_else():
    events = log(("amy", 1), ("bob", 2), ("amy", 3))
    codes = events.user.copy()
    said = pseudonymise(events, KEY.encode())
    assert (
        names(events)[0]
        == hmac.new(KEY.encode(), b"amy", hashlib.sha256).hexdigest()[:32]
        == pseudonym("amy", KEY.encode())
    )
    assert names(events)[0] == names(events)[2] != names(events)[1]
    np.testing.assert_array_equal(events.user, codes)
    assert len(said["key_id"]) == 8
    assert KEY not in str(said)


def test_lists_are_read_from_text_and_tables(tmp_path):
    (tmp_path / "gone.txt").write_text("amy\n\n 007 \n")
    assert read_erasure(tmp_path / "gone.txt") == {"amy", "007"}
    (tmp_path / "gone.csv").write_text("who,asked\n007,2024-01-01\n")
    assert read_erasure(tmp_path / "gone.csv", "who") == {"007"}
    (tmp_path / "consent.csv").write_text(
        "account,purpose,granted,withdrawn\n007,ads,2024-01-01,\nbob,mail,2024-01-01,\n"
    )
    assert read_consents(tmp_path / "consent.csv", "ads").account.to_pylist() == ["007"]
    with pytest.raises(UserError, match=r"knows no purpose 'adds'.*Did you mean 'ads'"):
        read_consents(tmp_path / "consent.csv", "adds")


SHOP = {
    "name": "shop",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "who", "item_id": "what", "timestamp": "when"},
    "timestamp": {"unit": "us"},
    "event_type": {"value": "purchase"},
}


def shop(folder):
    (folder / "log.csv").write_text(
        "who,what,when\namy,pen,1000000000000000\nbob,ink,1100000000000000\ncard:1,pen,1200000000000000\nzoe,ink,1300000000000000\n"
    )
    (folder / "gone.txt").write_text("zoe\n")
    (folder / "links.csv").write_text("account,key,valid_from\namy,card:1,2001-10-01\n")
    (folder / "consent.csv").write_text("account,purpose,granted\namy,personalisation,2001-01-01\nbob,ads,2001-01-01\n")


RULES = {
    "erasure": {"file": "gone.txt"},
    "identity": {"file": "links.csv", "as_of": "2003-01-01"},
    "consent": {"file": "consent.csv", "purpose": "personalisation"},
    "pseudonyms": {"key_env": "TEST_SHOPKEEPER_KEY"},
}


def test_all_rules_of_a_config_are_applied_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_SHOPKEEPER_KEY", KEY)
    shop(tmp_path)
    change = customer_rules(SHOP | RULES, tmp_path)
    out = prepare_dataset(SHOP, tmp_path, tmp_path / "out", progress=False, change=change)
    p = Prepared.open(out)
    assert p.users["user_id"].to_pylist() == [pseudonym("amy", KEY.encode())]
    assert p.offsets.tolist() == [0, 2]
    changes = p.manifest["changes"]
    assert list(changes) == sorted(["erasure", "identity", "consent", "pseudonyms"])
    assert changes["erasure"]["rows"] == 1
    assert changes["identity"]["users_after"] == 2
    assert changes["consent"]["dropped"]["no record"] == 1
    everything = b"".join(f.read_bytes() for f in out.rglob("*") if f.is_file())
    for secret in (KEY, "zoe", "bob", "amy"):
        assert secret.encode() not in everything


def test_without_rules_nothing_is_done():
    assert customer_rules(SHOP, "anywhere") is None
    assert pin_rules(SHOP, "anywhere") == SHOP
    assert customer_rules(SHOP | {"ties": {"order": "file"}}, "anywhere") is None


def test_a_new_erasure_list_makes_prepared_data_stale(tmp_path):
    shop(tmp_path)
    before = pin_rules(SHOP | RULES, tmp_path)
    (tmp_path / "gone.txt").write_text("zoe\nbob\n")
    after = pin_rules(SHOP | RULES, tmp_path)
    assert before["erasure"]["sha256"] != after["erasure"]["sha256"]
    assert before["consent"] == after["consent"]
    assert pin_rules(before, tmp_path) == after


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"erasure": {"fil": "x"}}, "unknown option `erasure.fil`.*Did you mean 'file'"),
        (
            {"identity": {"file": "links.csv", "as_of": "cutof"}},
            "as_of is 'cutof'; it must be .* 'cutoff'",
        ),
        ({"ties": {"order": "shufled"}}, "Did you mean 'shuffled'"),
        ({"pseudonyms": {"key_env": "NO_SUCH_KEY"}}, "NO_SUCH_KEY, which is not set"),
        ({"pseudonyms": {"key_env": "SHORT_KEY"}}, "shorter than 16 bytes"),
        ({"erasure": {"file": "none.txt"}}, "none.txt is missing"),
        ({"ties": {"order": "shuffled"}}, None),
    ],
)
def test_a_wrong_rule_is_named(tmp_path, monkeypatch, rules, message):
    monkeypatch.setenv("SHORT_KEY", "short")
    shop(tmp_path)
    if message is None:
        order_only = {k: v for k, v in SHOP.items() if k != "timestamp"} | {
            "columns": {"user_id": "who", "item_id": "what"}
        }
        change = customer_rules(order_only | rules, tmp_path)
        with pytest.raises(UserError, match="ties=shuffled needs time stamps"):
            prepare_dataset(order_only, tmp_path, tmp_path / "out", progress=False, change=change)
        return
    with pytest.raises(UserError, match=message):
        prepare_dataset(SHOP, tmp_path, tmp_path / "out", progress=False, change=customer_rules(SHOP | rules, tmp_path))
    assert not (tmp_path / "out").exists()


def test_shuffled_ties_are_another_log_with_the_same_events(tmp_path):
    rng = np.random.default_rng(0)
    lines = [
        f"u{u},i{i},{10**15 + t * 10**6}"
        for i, (u, t) in enumerate(zip(rng.integers(0, 5, 200), rng.integers(0, 20, 200), strict=True))
    ]
    (tmp_path / "log.csv").write_text("who,what,when\n" + "\n".join(lines) + "\n")
    made = {}
    for name, rules in (("file", {}), ("one", {"seed": 1}), ("again", {"seed": 1}), ("two", {"seed": 2})):
        rules = {"ties": {"order": "shuffled", **rules}} if rules else {}
        out = prepare_dataset(
            SHOP, tmp_path, tmp_path / name, progress=False, change=customer_rules(SHOP | rules, tmp_path)
        )
        p = Prepared.open(out)
        items = np.array(p.items["item_id"].to_pylist())[p.events.item - 1]
        users = np.array(p.users["user_id"].to_pylist())[p.event_user - 1]
        made[name] = (p.fingerprint, sorted(zip(users, p.events.timestamp.tolist(), items, strict=True)))
    assert len({fingerprint for fingerprint, _ in made.values()}) == 3
    assert made["one"] == made["again"]
    assert all(content == made["file"][1] for _, content in made.values())


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=40), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_only_tied_events_change_places_and_only_among_themselves(rows, seed):
    user, ts = np.array([r[0] for r in rows], np.int64), np.array([r[1] for r in rows], np.int64)
    place = shuffle_ties(user, ts, seed)
    assert sorted(place.tolist()) == list(range(len(rows)))
    np.testing.assert_array_equal(user[place], user)
    np.testing.assert_array_equal(ts[place], ts)


@pytest.mark.parametrize(
    ("rule", "files", "line"),
    [
        (
            "erasure",
            {"gone.txt": "Zoe\nnobody\n"},
            "gone.txt: 0 of 2 listed customers matched; 1 ids differ by capital",
        ),
        ("identity", {"links.csv": "account,key,valid_from\nx,y,2001-10-01\n"}, "links.csv: 0 of 2 keys matched; look"),
        (
            "consent",
            {"consent.csv": "account,purpose,granted\nAmy,personalisation,2001-01-01\n"},
            "consent.csv: 0 of 4 customers with a record of consent matched; 1 ids differ by capital",
        ),
    ],
)
def test_a_table_about_customers_that_matches_nobody_is_a_doubt(rule, files, line, tmp_path):
    shop(tmp_path)
    clean = {**SHOP, rule: RULES[rule]}
    done = customer_rules(clean, tmp_path)(read_log(parse(clean), tmp_path))
    assert not doubtful(done[rule]["match"])
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    match = customer_rules(clean, tmp_path)(read_log(parse(clean), tmp_path))[rule]["match"]
    assert doubtful(match)
    assert as_line(match).startswith(line)
