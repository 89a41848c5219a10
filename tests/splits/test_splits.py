"""Splits: every kind against a plain loop over users, and the promises that all of them keep."""

from __future__ import annotations

import numpy as np
import pytest
from split_logs import SPECS, START, random_log, spec, write_log
from split_loops import as_dict, distinct, opened, user_steps

from shopkeeper.timeline import DAY


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


def test_ties_are_counted_but_lines_of_one_order_are_no_tie(tmp_path):
    at = START + np.array([1, 1, 2, 2, 3, 9])
    p = write_log(tmp_path / "log", list("aaaaab"), list("uvwxyz"), at, order=[0, 0, 5, 5, 0, 0])
    assert opened(p, spec("leave_one_out")).timeline["tie_share"] == 2 / 6
