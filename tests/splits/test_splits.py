"""Splits: every kind against a plain loop over users, and the promises that all of them keep."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from split_logs import SPECS, START, random_log, spec, write_log

from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.schema import EVENT_CODE
from shopkeeper.splits.catalogue import k_core
from shopkeeper.splits.write import write_split
from shopkeeper.timeline import DAY, SplitSpec

CONF = Path(__file__).parents[2] / "conf" / "split"
PURCHASE = EVENT_CODE["purchase"]


def user_steps(p, u):
    """Target steps of a user as lists of rows, by a plain loop: order lines together, sorted by first row."""
    order, out, where = p.events.order, [], {}
    for row in range(p.offsets[u - 1], p.offsets[u]):
        if p.events.event_type[row] != PURCHASE:
            continue
        code = 0 if order is None else int(order[row])
        if code and code in where:
            out[where[code]].append(row)
        else:
            where[code] = len(out)
            out.append([row])
    return out


def distinct(p, rows):
    seen, out = set(), []
    for row in rows:
        if p.events.item[row] not in seen:
            seen.add(p.events.item[row])
            out.append(int(row))
    return out


def as_dict(split, name):
    """{(user, history start, end): target rows} of a part."""
    requests, targets = split.part(name)
    return {
        (int(u), int(s), int(e)): targets.row[targets.offsets[b] : targets.offsets[b + 1]].tolist()
        for b, (u, s, e) in enumerate(zip(requests.user, requests.start, requests.end, strict=True))
    }


def opened(p, settings):
    return Split.open(p, write_split(p, settings))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 2])
def test_leave_last_agrees_with_a_loop_over_users(tmp_path, seed, k):
    p = random_log(tmp_path / "log", seed, n=200, orders=seed < 4)
    split = opened(p, spec("leave_k_out", k=k))
    want = {"validation": {}, "test": {}}
    for u in range(1, p.n_users + 1):
        steps = user_steps(p, u)
        train_end = p.offsets[u]
        if len(steps) >= 2 * k + 1:
            train_end = steps[-2 * k][0]
            for part, chosen in (("validation", steps[-2 * k : -k]), ("test", steps[-k:])):
                rows = sorted(row for step in chosen for row in step)
                want[part][u, int(p.offsets[u - 1]), chosen[0][0]] = distinct(p, rows)
        assert split.train_end[u - 1] == train_end
    for part in want:
        assert as_dict(split, part) == want[part]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("targets", ["first", "last", "all"])
def test_temporal_agrees_with_a_loop_over_users(tmp_path, seed, targets):
    p = random_log(tmp_path / "log", seed, orders=seed < 4)
    ts = p.events.timestamp
    split = opened(p, spec("temporal", targets=targets, k_core=None))
    cutoffs = {k: v["us"] for k, v in split.timeline["cutoffs"].items()}
    assert cutoffs["end"] == START + 60 * DAY
    assert cutoffs["test"] == START + 50 * DAY
    for part, low, high in (
        ("validation", cutoffs["validation"], cutoffs["test"]),
        ("test", cutoffs["test"], cutoffs["end"]),
    ):
        want = {}
        for u in range(1, p.n_users + 1):
            inside = [s for s in user_steps(p, u) if low <= ts[s[0]] < high]
            if not inside:
                continue
            chosen = {"first": inside[:1], "last": inside[-1:], "all": inside}[targets]
            instant = low if targets == "all" else ts[chosen[0][0]]
            rows = sorted(row for step in chosen for row in step if ts[row] < high)
            end = int(p.offsets[u - 1] + (ts[p.offsets[u - 1] : p.offsets[u]] < instant).sum())
            want[u, int(p.offsets[u - 1]), end] = distinct(p, rows)
        assert as_dict(split, part) == want


@pytest.mark.parametrize("seed", range(4))
def test_held_out_users_are_asked_for_what_follows_their_fold_in(tmp_path, seed):
    p = random_log(tmp_path / "log", seed)
    split = opened(p, spec("held_out_users"))
    asked = {name: as_dict(split, name) for name in ("validation", "test")}
    held = {u for part in asked.values() for u, _, _ in part}
    assert len(held) == sum(len(part) for part in asked.values()) > 4
    for part in asked.values():
        for (u, start, end), rows in part.items():
            assert split.train_end[u - 1] == start == p.offsets[u - 1]
            n = p.offsets[u] - start
            assert end <= start + int(n * 0.6)  # earlier only where that would cut an order
            later = [row for step in user_steps(p, u) if step[0] >= end for row in step]
            assert rows == distinct(p, sorted(later))
    others = [u for u in range(1, p.n_users + 1) if split.train_end[u - 1] > p.offsets[u - 1]]
    assert not held & set(others)
    assert all(split.train_end[u - 1] == p.offsets[u] for u in others)


def test_who_is_held_out_does_not_change_when_other_users_join(tmp_path):
    few = random_log(tmp_path / "few", 1, n=150)
    user = np.concatenate([few.event_user, np.arange(1000, 1040)])
    item = np.concatenate([few.events.item, np.arange(1, 41)])
    ts = np.concatenate([few.events.timestamp, np.full(40, few.events.timestamp.max() + DAY)])
    many = write_log(tmp_path / "many", user, item, ts)
    a, b = opened(few, spec("held_out_users")), opened(many, spec("held_out_users"))
    old = slice(0, few.n_users)
    np.testing.assert_array_equal(a.train_end > few.offsets[:-1], (b.train_end > many.offsets[:-1])[old])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("history", ["session", "user"])
def test_sessions_ask_for_each_step_of_a_session_that_began_after_the_cutoff(tmp_path, seed, history):
    p = random_log(tmp_path / "log", seed, n=600, orders=seed < 2)
    ts, session = p.events.timestamp, p.events.session
    split = opened(p, spec("sessions", history=history))
    cut = {k: v["us"] for k, v in split.timeline["cutoffs"].items()}
    want = {"validation": [], "test": []}
    for u in range(1, p.n_users + 1):
        begin, newest = {}, {}
        for row in range(p.offsets[u - 1], p.offsets[u]):
            before = newest.get(session[row])  # the row before it of the same session id, or of none
            longest = DAY if session[row] else 200 * 60_000_000
            fresh = before is None or ts[row] - ts[before] > longest
            begin[row] = row if fresh else begin[before]
            newest[session[row]] = row
        for step in user_steps(p, u):
            start = begin[step[0]]
            for part, low, high in (("validation", cut["validation"], cut["test"]), ("test", cut["test"], cut["end"])):
                if low <= ts[start] < high and ts[step[0]] < high and step[0] > start:
                    first = start if history == "session" else int(p.offsets[u - 1])
                    end = first + int((ts[first : step[0]] < ts[step[0]]).sum())
                    want[part].append((u, first, end, tuple(distinct(p, [r for r in step if ts[r] < high]))))
    for part in want:
        requests, targets = split.part(part)
        rows = [tuple(targets.row[a:b].tolist()) for a, b in zip(targets.offsets, targets.offsets[1:], strict=False)]
        got = list(zip(requests.user.tolist(), requests.start.tolist(), requests.end.tolist(), rows, strict=True))
        assert got == want[part]


@pytest.mark.parametrize("targets", ["first", "last", "all"])
def test_sessions_whose_rows_alternate_are_told_apart_by_their_id(tmp_path, targets):
    hour, t = DAY // 24, START + 10 * DAY
    user = ["a"] * 10 + ["b"] * 2
    session = [1, 1, 2, 3, 2, 3, 2, 4, 5, 4, 6, 6]  # 2 and 3, 4 and 5 in two tabs
    time = [
        START,
        START + 1,
        *(t + k for k in range(5)),
        *(t + 5 * DAY + k for k in range(3)),
        t + 5 * DAY,
        t + 5 * DAY + hour,
    ]
    p = write_log(tmp_path / "log", user, np.arange(12), time, ["view"] * 12, session=session)
    split = opened(p, spec("sessions", target_events=["view"], targets=targets, validation_days=5, test_days=1))
    n = {"first": (2, 2), "last": (2, 2), "all": (3, 2)}[targets]
    assert (len(split.part("validation")[0]), len(split.part("test")[0])) == n
    rows = split.part("validation")[1].row.tolist()
    assert rows == {"first": [4, 5], "last": [5, 6], "all": [4, 5, 6]}[targets]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("seed", [1, 5])
def test_the_lines_of_the_targets_are_all_lines_of_the_steps_that_are_asked_for(tmp_path, name, seed):
    p = random_log(tmp_path / "log", seed, n=1200, consent=seed == 5, n_items=4)
    split = opened(p, spec(name))
    of_user = {u: user_steps(p, u) for u in range(1, p.n_users + 1)}
    steps = {row: step for own in of_user.values() for step in own for row in step}
    n_steps = {"leave_k_out": 2, "temporal_all": None, "held_out_users": None}.get(name, 1)  # of a request; None: all
    several = 0
    for part in ("validation", "test"):
        requests, targets = split.part(part)
        end = split.timeline["cutoffs"] and split.timeline["cutoffs"]["end" if part == "test" else "test"]["us"]
        target, line = targets.all_lines
        for b in range(len(requests)):
            a, z = targets.offsets[b : b + 2]
            asked = [steps[int(targets.row[a])]]
            if n_steps != 1:
                asked = [s for s in of_user[requests.user[b]] if s[0] >= requests.end[b]][:n_steps]
                asked = [s for s in asked if not end or p.events.timestamp[s[0]] < end]
            own = [row for step in asked for row in step if not end or p.events.timestamp[row] < end]
            assert sorted(line[(target >= a) & (target < z)].tolist()) == sorted(own)
        money = np.bincount(targets.request, targets.money(p.events), minlength=len(requests))
        paid = np.bincount(targets.request[target], p.events.price[line], minlength=len(requests))
        np.testing.assert_allclose(money, paid)
        high = [max(p.events.price[line[target == i]]) for i in range(len(targets.row))]
        assert targets.price(p.events).tolist() == high
        cut, span = targets[1:3], slice(targets.offsets[:2][-1], targets.offsets[:4][-1])
        assert cut.money(p.events).tolist() == targets.money(p.events)[span].tolist()
        several += len(line) - len(targets.row)
    assert several > 0


def test_rolling_folds_are_the_last_window_moved_back_each_in_a_folder_of_its_own(tmp_path):
    p = random_log(tmp_path / "log", 3)
    folds = [opened(p, spec("rolling", fold=i)) for i in range(3)]
    assert len({s.name for s in folds}) == 3
    cut = [{k: v["us"] for k, v in s.timeline["cutoffs"].items()} for s in folds]
    assert cut[1]["end"] == cut[0]["test"]
    assert cut[2]["end"] == cut[1]["test"]
    whole = opened(p, spec("temporal", validation_days=8, test_days=8, k_core=None))
    assert whole.target_hash() == folds[0].target_hash()
    with pytest.raises(UserError, match=r"split.fold=9 lies before .* the last fold that fits is 5"):
        write_split(p, spec("rolling", fold=9))


@pytest.mark.parametrize("name", SPECS)
def test_the_same_specification_gives_the_same_bytes_and_is_not_made_twice(tmp_path, name):
    a, b = random_log(tmp_path / "a", 7), random_log(tmp_path / "b", 7)
    one, two = write_split(a, spec(name)), write_split(b, spec(name))
    assert one.name == two.name
    files = sorted(f.name for f in one.iterdir())
    assert files == ["catalogue.npy", "test.parquet", "timeline.json", "train_end.npy", "validation.parquet"]
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in files)
    before = (one / "timeline.json").stat().st_mtime_ns
    assert write_split(a, spec(name)) == one
    assert (one / "timeline.json").stat().st_mtime_ns == before


def test_a_split_of_other_data_is_made_again(tmp_path):
    p = random_log(tmp_path / "log", 1)
    path = write_split(p, spec("temporal"))
    before = (path / "timeline.json").stat().st_mtime_ns
    p.manifest["fingerprint"] = "other data"
    write_split(p, spec("temporal"))
    assert (path / "timeline.json").stat().st_mtime_ns != before


def test_order_lines_are_one_step_and_an_item_bought_twice_is_one_target(tmp_path):
    p = write_log(
        tmp_path / "log",
        ["a"] * 6,
        ["x", "y", "z", "x", "z", "x"],
        START + np.array([1, 2, 3, 3, 3, 3]),
        order=[1, 2, 3, 3, 3, 3],
    )
    split = opened(p, spec("leave_one_out"))
    requests, targets = split.part("test")
    assert requests.end.tolist() == [2]
    assert targets.row.tolist() == [2, 3]  # z and x, each once
    assert split.part("validation")[0].end.tolist() == [1]
    assert split.train_end.tolist() == [1]


def test_what_happens_at_the_very_instant_of_a_temporal_request_is_not_its_history(tmp_path):
    at = START + np.array([0, 3, 4, 5, 5]) * DAY
    p = write_log(tmp_path / "log", list("abbbb"), list("xvwyz"), at, ["purchase"] * 2 + ["view"] * 2 + ["purchase"])
    split = opened(p, spec("temporal", validation_days=2, test_days=2, k_core=None))
    requests, targets = split.part("test")
    assert targets.row.tolist() == [4]
    assert (requests.start.tolist(), requests.end.tolist()) == ([1], [3])  # the view y at the same instant is left out


def test_an_order_belongs_to_the_window_of_its_first_line_and_ends_with_that_window(tmp_path):
    at = START + np.array([0, 0, 3, 5, 5, 6]) * DAY  # validation [3, 5), test [5, 7)
    p = write_log(tmp_path / "log", list("abaaba"), list("xxyzxw"), at, order=[1, 2, 3, 3, 4, 3])
    split = opened(p, spec("temporal", validation_days=2, test_days=2, k_core=None))
    names = np.array(p.items["item_id"].to_pylist())
    assert names[split.part("validation")[1].item - 1].tolist() == ["y"]  # z and w of that order come too late
    assert split.part("test")[0].user.tolist() == [2]  # and are no order of the test window either


def test_an_empty_window_names_the_setting_that_widens_it(tmp_path):
    p = write_log(tmp_path / "log", list("abc"), list("xyz"), START + np.array([0, 9, 9]) * DAY)
    with pytest.raises(UserError, match=r"no purchase event for validation in .*; raise split.validation_days"):
        write_split(p, spec("temporal", validation_days=1, test_days=1, k_core=None))


def test_users_with_too_few_steps_are_training_only_and_counted(tmp_path):
    p = write_log(tmp_path / "log", list("aaaabb"), list("wxyzxy"))
    split = opened(p, spec("leave_one_out"))
    assert split.part("test")[0].user.tolist() == [1]
    assert split.train_end.tolist() == [2, 6]
    assert split.timeline["n_users_without_request"] == 1


def test_people_without_a_history_are_asked_too_and_marked_cold(tmp_path):
    at = START + np.array([0, 1, 4, 6]) * DAY
    p = write_log(tmp_path / "log", ["a", "b", "new", "newer"], ["x", "y", "x", "q"], at)
    split = opened(p, spec("temporal", validation_days=3, test_days=1, k_core=None))
    table = split.request_table("test")
    assert table["warm_user"].to_pylist() == [False]
    assert table["warm_targets"].to_pylist() == [[False]]
    assert table["start"].to_pylist() == table["end"].to_pylist()
    assert split.request_table("validation")["warm_targets"].to_pylist() == [[True]]
    assert split.timeline["cold"]["test"] == {
        "requests_of_cold_users": 1,
        "requests_without_history": 1,
        "cold_targets": 1,
        "cold_items": 1,
    }
    assert split.timeline["audit"]["first_seen_in_test"] == {"items": 1, "targets": 1, "examples": ["q"]}


def test_under_strict_the_catalogue_holds_what_training_has_seen_and_under_published_the_whole_log(tmp_path):
    p = random_log(tmp_path / "log", 5)
    strict = opened(p, spec("temporal", k_core=None))
    published = opened(p, spec("temporal", k_core=None, protocol="published"))
    _, rows = strict.training_rows()
    np.testing.assert_array_equal(strict.catalogue, np.unique(p.events.item[rows]))
    assert len(strict.catalogue) < len(published.catalogue) == p.n_items
    assert strict.name != published.name
    assert strict.target_hash() == published.target_hash()


def test_the_strict_k_core_is_counted_on_training_rows(tmp_path):
    p = random_log(tmp_path / "log", 5)
    split = opened(p, spec("temporal", k_core=6))
    offsets, rows = split.training_rows()
    assert np.bincount(p.events.item[rows])[split.catalogue].min() >= 6
    n = np.diff(offsets)
    assert n[n > 0].min() >= 6
    loose = opened(p, spec("temporal", k_core=None))
    assert len(rows) < len(loose.training_rows()[1])
    assert split.target_hash() == loose.target_hash()  # who is asked does not depend on the core


def test_the_k_core_is_the_largest_set_whatever_the_order_of_removal():
    rng = np.random.default_rng(0)
    item, user = rng.integers(0, 30, 300), rng.integers(0, 40, 300)
    events = list(zip(item.tolist(), user.tolist(), strict=True))
    while True:  # one event at a time
        bad = [e for e in events if sum(x[0] == e[0] for x in events) < 6 or sum(x[1] == e[1] for x in events) < 6]
        if not bad:
            break
        events.remove(bad[0])
    got = k_core(item, user, 6)
    assert sorted(zip(*(x.tolist() for x in got), strict=True)) == sorted(events)
    assert len(events) > 0


def test_the_target_hash_has_the_bytes_that_its_docstring_says(tmp_path):
    p = write_log(tmp_path / "log", ["ü,1", "ü,1", "ü,1", "b", "b", "b", "b"], ["x", "é", "a", "x", "q", "é", "a"],
                  START + np.array([1, 2, 3, 1, 2, 3, 3]), order=[0, 0, 0, 0, 0, 9, 9])  # fmt: skip
    split = opened(p, spec("leave_one_out"))
    lines = [f"b\x1f{START + 3}\x1fa\x1eé\x1e\n", f"ü,1\x1f{START + 3}\x1fa\x1e\n"]
    assert split.target_hash() == hashlib.sha256("".join(lines).encode()).hexdigest()
    order_only = write_log(tmp_path / "order", list("aaa"), list("xyz"))
    assert opened(order_only, spec("leave_one_out")).target_hash() == hashlib.sha256(b"a\x1f\x1fz\x1e\n").hexdigest()


def test_the_target_hash_can_be_taken_before_pseudonyms(tmp_path):
    import pyarrow as pa

    plain = write_log(tmp_path / "plain", list("aaab"), list("xyzx"))
    secret = write_log(tmp_path / "secret", ["7f"] * 3 + ["e1"], list("xyzx"))
    split = opened(secret, spec("leave_one_out"))
    assert split.target_hash() != opened(plain, spec("leave_one_out")).target_hash()
    secret.manifest["fingerprint"] = "again"
    split = Split.open(secret, write_split(secret, spec("leave_one_out"), real_users=lambda: pa.array(["a", "b"])))
    assert split.target_hash() == opened(plain, spec("leave_one_out")).target_hash()


def test_ties_are_counted_but_lines_of_one_order_are_no_tie(tmp_path):
    at = START + np.array([1, 1, 2, 2, 3, 9])
    p = write_log(tmp_path / "log", list("aaaaab"), list("uvwxyz"), at, order=[0, 0, 5, 5, 0, 0])
    assert opened(p, spec("leave_one_out")).timeline["tie_share"] == 2 / 6


@pytest.mark.parametrize("name", ["temporal", "rolling", "sessions"])
def test_a_split_by_time_of_order_only_data_is_refused_in_one_line(tmp_path, name):
    p = write_log(tmp_path / "log", list("aaab"), list("xyzx"))
    with pytest.raises(UserError, match=r"needs time stamps.*use split=leave_one_out") as error:
        write_split(p, spec(name, protocol="published", k_core=None, test_days=None))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "log").glob("splits/*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "leave_one_out", "target_events": ["return"]}, "it has view, purchase: set split.target_events"),
        ({"name": "leave_k_out", "k": 99}, "no user of tiny has the 199 purchase steps"),
        (
            {"name": "temporal", "validation_days": 50, "test_days": 50},
            "lower split.validation_days or split.test_days",
        ),
        ({"name": "temporal", "validation_days": 5}, "set split.test_days"),
        ({"name": "temporal", "validation_days": 10, "test_days": 10, "k_core": 400}, "lower k_core"),
        (
            {"name": "temporal", "validation_days": "ten", "test_days": 10},
            "split.validation_days is 'ten'; it must be a number",
        ),
        ({"name": "temporal", "test": "2024-01-20", "validation": "2024-02-01"}, "cutoffs must follow each other"),
        ({"name": "temporal", "test_days": 3, "validation_days": 3, "fold": 1}, "setting 'fold' means nothing"),
        ({"name": "temporel"}, "Did you mean 'temporal'"),
        ({"name": "temporal", "test_days": 3, "validation_days": 3, "targets": "frist"}, "Did you mean 'first'"),
        ({"name": "leave_one_out", "protocol": "stirct"}, "Did you mean 'strict'"),
        ({"name": "leave_one_out", "k_core": 5}, "dataset.filters.k_core"),
        ({"name": "held_out_users", "test_share": 0.6, "validation_share": 0.5}, "must stay below 1"),
        ({"name": "held_out_users", "test_share": 0.0000001}, "raise split.test_share"),
        ({"name": "held_out_users", "fold_in": 1.0}, "fold_in"),
    ],
)
def test_a_split_that_cannot_be_made_names_the_setting_to_change(tmp_path, settings, message):
    p = random_log(tmp_path / "log", 2)
    with pytest.raises(UserError, match=message) as error:
        write_split(p, {"target_events": ["purchase"], **settings})
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "log").glob("splits/*"))


def test_a_setting_that_a_kind_does_not_read_does_not_change_its_hash():
    a = SplitSpec.from_config(spec("temporal", test_days=30))
    assert a.folder == SplitSpec.from_config(spec("temporal", test_days=30.0)).folder
    assert a.folder != SplitSpec.from_config(spec("temporal", test_days=29)).folder


@pytest.mark.parametrize("name", ["leave_one_out", "leave_k_out", "temporal", "rolling", "held_out_users", "sessions"])
def test_every_shipped_config_splits_a_log(tmp_path, name):
    import yaml

    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    config["target_events"] = ["purchase"]
    for key in ("validation_days", "test_days"):
        if key in config:
            config[key] = 15
    split = opened(random_log(tmp_path / "log", 3, n=800), config)
    assert split.name.startswith(name + "-")
    assert split.timeline["audit"]["passed"]


def test_a_refit_learns_only_from_those_who_agree_at_the_test_cutoff(tmp_path):
    p = random_log(tmp_path / "log", 1, consent=True)
    again = Split.open(p, write_split(p, spec("temporal_all"))).until_test()
    agrees = p.consent.holds(np.arange(1, p.n_users + 1), again.timeline["cutoffs"]["test"]["us"])
    trained = again.train_end > p.offsets[:-1]
    assert trained.any()
    assert (~agrees).any()
    assert not (trained & ~agrees).any()
