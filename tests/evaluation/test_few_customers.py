"""What is said of no, one or two customers, of values that are all alike, and of differences that are rounding."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from shopkeeper.errors import UserError
from shopkeeper.evaluation.aggregates import compare_aggregates
from shopkeeper.evaluation.alarms.oracle_alarm import better_than_oracle
from shopkeeper.evaluation.compare import compare_family, p_shown
from shopkeeper.evaluation.counterfactual import LoggedRounds, evaluate_policy
from shopkeeper.evaluation.leaderboard import leaderboard
from shopkeeper.evaluation.online_test import read_out
from shopkeeper.evaluation.report.checks import _worth
from shopkeeper.evaluation.seeds import Seeds, difference_over_seeds, over_seeds
from shopkeeper.evaluation.slices import slice_results
from shopkeeper.evaluation.table import summarise
from shopkeeper.pipeline import show
from shopkeeper.pipeline.comparing.compared import _difference


def table(values, user=None, seed: int = 0, **columns) -> pa.Table:
    n = np.arange(len(values))
    facts = json.dumps({"dataset": "d", "target_hash": "h", "seed": seed})
    columns = {"request": n, "user": n + 1 if user is None else user, "ndcg@10": np.asarray(values, float), **columns}
    return pa.table(columns).replace_schema_metadata({"shopkeeper": facts})


def scores(probability, customer, label=(0, 1, 0, 1, 0, 1)) -> pa.Table:
    n = np.arange(len(probability))
    time = pa.array(n, pa.timestamp("us"))
    columns = {"request": n, "user": n, "user_id": list(customer), "instant": time, "label": np.asarray(label, float)}
    facts = json.dumps({"target_hash": "h", "model": "m"})
    return pa.table({**columns, "probability": probability}).replace_schema_metadata({"shopkeeper": facts})


def seeds(values, user=None) -> list[pa.Table]:
    return [table(values, user, seed) for seed in (0, 1)]


X = np.random.default_rng(0).random(120)
ONE, TWO = np.ones(120, int), np.arange(120) % 2 + 1


def test_a_p_above_the_level_is_not_written_as_the_level():
    assert [p_shown(p) for p in (0.05, 0.0500001, 0.0504, 0.0496)] == ["0.050", "0.051", "0.051", "0.050"]
    assert (p_shown(1.0), p_shown(0.0011), p_shown(0.00099)) == ("1.000", "0.002", "< 0.001")


def test_a_bound_that_is_off_zero_is_not_written_as_zero():
    noise = np.random.default_rng(1).normal(0, 2e-6, 120)
    a, b = table(X), table(X + 8e-7 + noise - noise.mean())
    (c,) = compare_family({"a": a, "b": b}, ["ndcg@10"])
    assert c.winner == "b"
    near = c.statement.partition("(")[2].partition(" to ")[0]
    assert float(near) > 0
    assert float(_difference(c).partition("(")[2].partition(" to ")[0]) > 0
    assert float(_worth("sasrec", c.as_dict()).partition("(")[2].partition(" to ")[0]) > 0
    ahead = {"ease": {"mean": 3e-5, "low": 1e-5, "high": 5e-5, "n_users": 9}}
    found = {"seeds": ["1", "2"], "spread": 0.0, "mean": 0.5, "low": 0.4, "high": 0.6, "from_users": 1.0,
             "from_seeds": 0.0, "ahead_of": ahead}  # fmt: skip
    assert "better than ease: by 0.000030 (0.000010 to 0.000050)" in show.over_seeds("sasrec", "ndcg@10", found)
    everywhere = {"slice:s": ["all"] * 120}
    tables = {"a": table(X, **everywhere), "b": table(b["ndcg@10"].to_numpy(), **everywhere)}
    (loss,) = slice_results(tables, "ndcg@10", winner="a", resamples=20)["losses"]
    assert float(loss["statement"].rpartition("(")[2].partition(" to ")[0]) > 0


def test_an_infinite_value_is_refused_and_makes_no_interval_of_nothing():
    """It was said that the two differ by less than what matters."""
    tables = {"a": table(np.r_[np.inf, X[1:]]), "b": table(X)}
    with pytest.raises(UserError, match="ndcg@10 of 'a' is infinite for 1 requests"):
        compare_family(tables, ["ndcg@10"])


@pytest.mark.parametrize("differing", [0, 1, 5])
def test_users_without_a_difference_are_no_bound_on_what_differs(differing):
    """It was said that the two differ by less than what matters, where 119 of 120 had no value in either."""
    a = np.zeros(120)
    b = np.where(np.arange(120) < differing, 0.01, a)
    (c,) = compare_family({"a": table(a), "b": table(b)}, ["ndcg@10"])
    same, few = "a and b have the same NDCG@10 for all 120 users", f"differ for {differing} user"
    assert c.winner is None
    assert "if they differ" not in c.statement
    assert (few in c.statement) if differing else (c.statement == same)


def test_a_slice_of_few_customers_is_small_however_many_requests_it_has():
    own = {"slice:s": ["all"] * 120}
    for user, small in ((ONE, True), (TWO, True), (np.arange(120) % 5 + 1, True), (np.arange(120) % 6 + 1, False)):
        tables = {"a": table(X, user, **own), "b": table(X + 0.1, user, **own)}
        found = slice_results(tables, "ndcg@10", winner="a", resamples=20)
        assert found["slices"][0]["small"] is small
        assert found["tests"] == len(found["losses"]) == 1 - small
        json.dumps(found)


def test_a_model_without_a_value_wins_in_no_slice_and_loses_in_none():
    own = {"slice:s": ["all"] * 120}
    tables = {"blank": table(np.full(120, np.nan), **own), "b": table(X, **own)}
    found = slice_results(tables, "ndcg@10", resamples=20)
    assert (found["winner"], found["tests"], found["losses"]) == ("b", 0, [])


def test_the_best_mean_over_fewer_requests_is_not_called_better_than_what_beats_it_there():
    some = np.arange(120) < 60
    tables = {
        "a": table(np.where(some, 0.8, np.nan)),
        "b": table(np.where(some, 0.9, 0.1)),
        "c": table(np.full(120, 0.05)),
        "blank": table(np.full(120, np.nan)),
    }
    (board,) = leaderboard(tables, "ndcg@10", resamples=20)["boards"]
    assert [(m["name"], m["like_the_best"]) for m in board["models"]] == [
        ("a", True), ("b", True), ("c", False), ("blank", False),
    ]  # fmt: skip


def nothing_said(found: Seeds) -> bool:
    return bool(np.isnan(found.low) and np.isnan(found.high)) and found.as_dict()["low"] is None


def test_over_seeds_one_customer_says_nothing_of_others():
    assert nothing_said(over_seeds([table(X, ONE, 0), table(X + 0.01, ONE, 1)], "ndcg@10"))
    found = difference_over_seeds(seeds(X, ONE), seeds(X + 0.3, ONE), "ndcg@10")
    assert nothing_said(found)
    of_one = over_seeds(seeds(X, ONE), "ndcg@10").as_dict()
    text = show.over_seeds("m", "ndcg@10", {**of_one, "seeds": ["0", "1"], "ahead_of": {"o": found.as_dict()}})
    assert "nothing can be said of it and o: 1 users have a value of both" in text


@pytest.mark.parametrize(("customers", "told"), [(2, False), (5, False), (6, True)])
def test_over_seeds_equal_leads_of_few_customers_are_no_finding(customers, told):
    found = difference_over_seeds(seeds(np.zeros(customers)), seeds(np.full(customers, 0.3)), "ndcg@10")
    assert (found.low > 0) == told
    assert found.mean == pytest.approx(0.3)


def test_over_seeds_rounding_is_no_difference():
    found = difference_over_seeds(seeds(X), seeds(X + 0.1 - 0.1), "ndcg@10")
    assert found.mean == found.low == found.high == 0


def test_over_seeds_models_are_compared_where_all_their_runs_have_a_value():
    a, b = np.where(np.arange(120) < 20, np.nan, X), np.where(np.arange(120) >= 90, np.nan, X + 0.1)
    found = difference_over_seeds(seeds(a), seeds(b), "ndcg@10")
    assert (found.n_users, found.mean) == (70, pytest.approx(0.1))


def test_over_seeds_nothing_in_common_is_no_crash():
    a, b = np.where(np.arange(120) < 60, np.nan, X), np.where(np.arange(120) >= 60, np.nan, X)
    assert nothing_said(difference_over_seeds(seeds(a), seeds(b), "ndcg@10"))
    assert nothing_said(over_seeds([table(a, None, 0), table(b, None, 1)], "ndcg@10"))


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, 19.99])
def test_equal_arms_are_not_told_apart_by_rounding(value):
    for n in (151, 333, 1001):
        treated = np.arange(n) % 2
        assert read_out(np.full(n, value), treated)["words"].startswith("Cannot tell the arms apart")
        before = np.random.default_rng(n).random(n)
        after = read_out(2.5 * before + value, treated, before)  # all of it was known before
        assert after["cuped"]["low"] <= 0 <= after["cuped"]["high"]
        assert after["words"].startswith("Cannot tell the arms apart")


@pytest.mark.parametrize(("size", "told"), [(2, False), (3, False), (4, True)])
def test_arms_whose_values_are_all_alike_are_told_apart_only_where_chance_does_not_deal_them_so(size, told):
    """Of 2 and 2 customers one deal in three puts the high values on one side, of 4 and 4 one in 35."""
    found = read_out(np.repeat([0.0, 1.0], size), np.repeat([0, 1], size))
    assert (found["difference"]["low"] > 0) == told


def test_an_arm_of_two_lends_its_narrowness_to_no_interval():
    treated = (np.arange(1000) < 2).astype(int)
    value = np.where(treated, 0.0, np.random.default_rng(3).normal(0.5, 0.5, 1000))
    found = read_out(value, treated, treatment_share=0.002)
    assert found["difference"]["low"] < 0 < found["difference"]["high"]
    assert found["words"].startswith("Nothing holds at every look yet: an arm of 2 customers is too small")


def test_a_test_that_only_a_single_look_would_decide_says_so():
    treated = np.arange(1000) % 2
    value = np.random.default_rng(4).normal(0, 1, 1000)
    value += treated * (0.16 - (value[treated == 1].mean() - value[treated == 0].mean()))
    found = read_out(value, treated)
    assert found["difference"]["low"] > 0 > found["difference"]["sequential_low"]
    assert "Had this been planned as the only look, the treatment would be better (+0.0" in found["words"]


def test_a_hopeless_split_has_no_p_of_zero():
    treated = (np.arange(60_000) % 30 == 0).astype(int)
    assert "(p < 1e-12)" in read_out(np.zeros(60_000), treated)["words"]


def test_a_policy_judged_by_one_customer_has_no_interval_and_says_so():
    rng = np.random.default_rng(5)
    for customers, said in ((1, True), (2, False)):
        log = LoggedRounds(rng.random(200), rng.integers(0, 2, 200), propensity=np.full(200, 0.5),
                  target=np.tile([0.2, 0.8], (200, 1)), cluster=np.arange(200) % customers)  # fmt: skip
        found = evaluate_policy(log, resamples=50)
        assert (found.estimates["ips"]["low"] is None) == said
        assert any("one customer" in w for w in found.warnings) == said
        assert not (said and any("is not 1" in w for w in found.warnings))
        assert found.table()["low"].null_count == (3 if said else 0)


def test_one_customer_gives_a_customer_model_no_interval():
    found = summarise(scores([0.1, 0.9, 0.2, 0.8, 0.3, 0.7], "aaaaaa"), resamples=20)
    assert found["auroc"] == {"value": 1.0, "low": None, "high": None, "n": 6}
    assert summarise(scores([0.1, 0.9, 0.2, 0.8, 0.3, 0.7], "aabbcc"), resamples=20)["auroc"]["low"] == 1


@pytest.mark.parametrize(("customers", "p"), [("aaaaaa", None), ("aaabbb", 0.5), ("aabbcc", 0.25), ("abcdef", 2**-5)])
def test_few_customers_do_not_make_one_model_better_than_another(customers, p):
    bad, good = scores([0.5, 0.4] * 3, customers), scores([0.1, 0.9] * 3, customers)
    (found,) = compare_aggregates({"bad": bad, "good": good}, ["auroc"], resamples=200)
    assert found.as_dict()["p_value"] == p
    assert np.isnan(found.low) if p is None else (found.low > 0) == (p <= 0.05)


@pytest.mark.parametrize(("customers", "alarm"), [(2, False), (5, False), (11, False), (12, True)])
def test_a_few_lucky_customers_are_no_leak(customers, alarm):
    """All of 12 ahead of the oracle: by chance once in 4,096 when both are alike, seldom enough for an alarm."""
    found = better_than_oracle("m", table(np.full(customers, 0.5)), table(np.zeros(customers)), "ndcg@10")
    assert (found is not None) == alarm


def test_the_worth_of_order_is_not_said_of_one_customer():
    for lead in (0.0, 0.3):
        (c,) = compare_family({"shuffled": table(X, ONE), "as it was": table(X + lead, ONE)}, ["ndcg@10"])
        assert _worth("sasrec", c.as_dict()) == "SASRec: nothing can be said; 1 customers have a value of both"
