"""Comparisons of two models: refused where they answer different questions, corrected, and said in words."""

from __future__ import annotations

import doctest
import json
import re
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from shopkeeper.errors import UserError
from shopkeeper.evaluation import compare, online_test, seeds
from shopkeeper.evaluation.compare import compare_family, compare_tables, p_shown
from shopkeeper.evaluation.counterfactual import estimators
from shopkeeper.evaluation.seeds import difference_over_seeds, over_seeds
from shopkeeper.files import write_json
from shopkeeper.pipeline import show

FACTS = {
    "dataset": "d", "split": "s", "protocol": "strict", "part": "test", "task": "next_item", "filter_seen": False,
    "target_hash": "ab" * 32, "n_catalogue": 9, "ties": "expected", "seed": 1,
}  # fmt: skip


@pytest.mark.parametrize("module", [compare, seeds, online_test, estimators])
def test_the_examples_in_the_docstrings_are_true(module):
    done = doctest.testmod(module)
    assert (done.failed, done.attempted > 0) == (0, True)


def table(values, user=None, metric="ndcg@10", **facts) -> pa.Table:
    values = np.asarray(values, np.float64)
    columns = {
        "request": np.arange(len(values)),
        "user": np.asarray(np.arange(1, len(values) + 1) if user is None else user, np.int32),
        metric: values,
    }
    return pa.table(columns).replace_schema_metadata({"shopkeeper": json.dumps(FACTS | facts)})


@pytest.fixture(scope="module")
def base():
    return np.random.default_rng(0).random(4000)


def test_a_better_model_is_named_with_its_lead_and_interval(base):
    b = base + 0.012 + np.random.default_rng(1).normal(0, 0.1, len(base))
    c = compare_tables(table(base, model="A"), table(b, model="B"), "ndcg@10")
    assert c.winner == "B"
    assert c.statement.startswith("B is better than A by 0.01")
    assert "NDCG@10 (0.0" in c.statement
    assert c.low < 0.012 < c.high
    assert c.effect_size == pytest.approx(0.12, abs=0.04)
    turned = compare_tables(table(b, model="B"), table(base, model="A"), "ndcg@10")
    assert turned.winner == "B"
    assert turned.statement.split(" by ")[1] == c.statement.split(" by ")[1]


def test_too_few_users_are_told_how_many_more_are_needed(base):
    noise = np.random.default_rng(2).normal(0, 0.2, 500)
    c = compare_tables(
        table(base[:500], model="A"), table(base[:500] + noise, model="B"), "ndcg@10", smallest_effect=0.01
    )
    assert c.winner is None
    # (1.96 + 0.84)^2 * (0.2 / 0.01)^2 = 3,140 users in all
    assert c.users_needed == pytest.approx(3140, rel=0.15)
    assert "to see a difference of 0.01, the smallest that matters here, about 2," in c.statement
    assert "more users would be needed" in c.statement


def test_a_lead_too_small_to_matter_is_said_to_be_so(base):
    c = compare_tables(table(base, model="A"), table(base + 0.001, model="B"), "ndcg@10")
    assert c.winner == "B"
    assert c.statement.endswith("less than the 0.003 that matters here")
    same = compare_tables(table(base, model="A"), table(base, model="B"), "ndcg@10")
    assert same.p_value == 1.0
    assert same.statement == "A and B have the same NDCG@10 for all 4,000 users"
    noise = np.random.default_rng(1).normal(0, 0.001, len(base))
    near = compare_tables(table(base, model="A"), table(base + noise - noise.mean(), model="B"), "ndcg@10")
    assert near.statement.endswith("; if they differ, it is by less than the 0.003 that matters here")


def test_lower_is_better_where_the_metric_is_a_loss(base):
    c = compare_tables(table(base, model="A", metric="brier"), table(base - 0.1, model="B", metric="brier"), "brier")
    assert c.winner == "B"
    assert c.statement == "B is better than A by 0.100 Brier score (0.100 to 0.100)"


@pytest.mark.parametrize(
    ("key", "value"),
    [("target_hash", "cd" * 32), ("part", "validation"), ("filter_seen", True), ("protocol", "published")],
)
def test_models_that_answered_different_questions_are_not_compared(base, key, value):
    with pytest.raises(UserError, match=f"cannot be compared: {key} is"):
        compare_tables(table(base), table(base, **{key: value}), "ndcg@10")


def test_one_that_was_trained_anew_before_test_is_not_compared_with_one_that_was_not(base):
    with pytest.raises(
        UserError, match=r"refit is 'None' and 'True'; train one again with the other's evaluation\.refit"
    ):
        compare_tables(table(base), table(base, refit=True), "ndcg@10")


def test_a_table_with_requests_missing_is_not_compared(base):
    with pytest.raises(UserError, match="different requests"):
        compare_tables(table(base), table(base[:-1]), "ndcg@10")


def test_rows_may_lie_in_any_order(base):
    a, b = table(base, model="A"), table(base**2, model="B")
    shuffled = b.take(np.random.default_rng(3).permutation(len(base)))
    assert compare_tables(a, b, "ndcg@10") == compare_tables(a, shuffled, "ndcg@10")


def test_a_family_is_corrected_as_one(base):
    rng = np.random.default_rng(4)
    models = {f"m{i}": table(base + rng.normal(0, 0.1, len(base)), model=f"m{i}") for i in range(5)}
    family = compare_family(models, ["ndcg@10"])
    assert len(family) == 10
    assert {c.family for c in family} == {10}
    alone = compare_tables(models["m0"], models["m1"], "ndcg@10")
    assert alone.p_adjusted == alone.p_value
    assert alone.high - alone.low < family[0].high - family[0].low  # ten that hold together are wider than one
    assert family[0].p_adjusted > family[0].p_value
    assert len(compare_family(models, ["ndcg@10"], reference="m2")) == 4
    with pytest.raises(UserError, match="Did you mean 'm2'"):
        compare_family(models, ["ndcg@10"], reference="m22")


def test_a_p_value_below_the_resolution_is_written_as_such(base):
    c = compare_tables(table(base, model="A"), table(base + 0.1, model="B"), "ndcg@10")
    assert c.as_dict()["p_shown"] == "< 0.001"
    assert (p_shown(0.0009), p_shown(0.001), p_shown(float("nan")), p_shown(None)) == ("< 0.001", "0.001", "–", "–")


def test_a_sentence_says_what_its_interval_says(base):
    """Of many leads, some near the border: "better" stands beside bounds above 0 as printed, the rest holds 0."""
    said = set()
    for lead in np.linspace(0, 0.02, 12):
        rng = np.random.default_rng(int(lead * 1e6))
        models = {f"m{i}": table(base[:300] + rng.normal(lead * i, 0.1, 300), model=f"m{i}") for i in range(4)}
        for c in compare_family(models, ["ndcg@10"]):
            low, high = map(float, re.search(r"\((\S+) to (\S+)\)", c.statement).groups())
            better = " is better than " in c.statement
            assert (low > 0) if better else (low <= 0 <= high), c.statement
            said.add(better)
    assert said == {True, False}


def test_values_that_one_model_lacks_are_left_out(base):
    b = base + 0.1
    b[:1000] = np.nan
    c = compare_tables(table(base, model="A"), table(b, model="B"), "ndcg@10")
    assert (c.n, c.n_users) == (3000, 3000)
    assert c.mean_b - c.mean_a == pytest.approx(0.1)


def test_a_comparison_can_be_written_as_json(base, tmp_path):
    c = compare_tables(table(base, model="A"), table(base + 0.5, model="B"), "ndcg@10")
    write_json(tmp_path / "c.json", c.as_dict())


@pytest.mark.parametrize("test", ["randomisation", "bootstrap"])
def test_equal_models_are_told_apart_about_one_time_in_twenty(test):
    rng = np.random.default_rng(5)
    false = 0
    for experiment in range(300):
        user = np.repeat(np.arange(1, 101), 3)
        skill = rng.normal(0, 0.1, (2, 100))[:, user - 1]  # users differ from model to model, requests follow them
        a, b = rng.random(300) + skill[0], rng.random(300) + skill[1]
        c = compare_tables(table(a, user), table(b, user), "ndcg@10", test=test, resamples=300, seed=experiment)
        false += c.p_value <= 0.05
    assert 0.02 <= false / 300 <= 0.09  # the long form, with 2,000 experiments, is benchmarks/error_rates.py


def test_the_variance_of_users_and_of_seeds_is_separated():
    rng = np.random.default_rng(6)
    estimates = []
    for _ in range(60):
        user, seed = rng.normal(0, 0.3, 300)[:, None], rng.normal(0, 0.02, 8)[None]
        value = 0.5 + user + seed + rng.normal(0, 0.2, (300, 8))
        result = over_seeds([table(v, seed=s) for s, v in enumerate(value.T)], "ndcg@10")
        estimates.append((result.from_users, result.from_seeds, result.low <= 0.5 <= result.high, result.mean))
    from_users, from_seeds, covered, mean = np.array(estimates).T
    assert from_users.mean() == pytest.approx(0.3**2 / 300 + 0.2**2 / 2400, rel=0.05)
    assert from_seeds.mean() == pytest.approx(0.02**2 / 8, rel=0.3)
    assert covered.mean() >= 0.85
    assert mean.std() == pytest.approx(np.sqrt((from_users + from_seeds).mean()), rel=0.35)


def test_a_difference_over_seeds_counts_the_users_once():
    rng = np.random.default_rng(7)
    user = rng.normal(0.5, 0.3, 400)
    a = [table(user + rng.normal(0, 0.05, 400), seed=s) for s in range(4)]
    b = [table(user + 0.02 + rng.normal(0, 0.05, 400), seed=s) for s in range(4)]
    result = difference_over_seeds(a, b, "ndcg@10")
    assert result.low < 0.02 < result.high
    assert result.high - result.low < 0.02  # the users' own level, which is the same for both, has dropped out
    assert len(result.per_seed) == 4


def test_differences_over_seeds_of_a_family_hold_together():
    """Equal models, four of them with three seeds each: any of six intervals misses 0 in one family of twenty."""
    rng, wrong = np.random.default_rng(8), {1: 0, 6: 0}
    for _ in range(120):
        user = rng.normal(0.5, 0.3, (60, 1))
        models = [user + rng.normal(0, 0.1, (60, 3)) for _ in range(4)]
        runs = [[table(v, seed=s) for s, v in enumerate(m.T)] for m in models]
        for family in wrong:
            found = [difference_over_seeds(a, b, "ndcg@10", family=family) for a, b in combinations(runs, 2)]
            wrong[family] += not all(d.low <= 0 <= d.high for d in found)
    assert wrong[6] <= 12
    assert wrong[1] > 12  # each for itself


@pytest.mark.parametrize(
    ("metric", "bounds", "said"),
    [
        ("ndcg@10", (0.01, 0.03), "better than ease: by 0.0200 (0.0100 to 0.0300)"),
        ("log_loss", (0.01, 0.03), "worse than ease: by"),
        ("ndcg@10", (-0.03, 0.07), "cannot be told apart from ease: 0.0200 (-0.0300 to 0.0700)"),
    ],
)
def test_over_seeds_a_model_is_ahead_only_where_its_interval_says_so(metric, bounds, said):
    low, high = bounds
    ahead = {"ease": {"mean": 0.02, "low": low, "high": high, "n_users": 9}}
    found = {"from_users": 1.0, "from_seeds": 1.0, "seeds": ["1", "2"], "spread": 0.1, "mean": 0.5, "low": 0.4,
             "high": 0.6, "ahead_of": ahead}  # fmt: skip
    assert said in show.over_seeds("sasrec", metric, found)


def test_the_same_seed_twice_is_not_two_seeds(base):
    with pytest.raises(UserError, match="must differ in their seed"):
        over_seeds([table(base), table(base)], "ndcg@10")


@pytest.mark.parametrize(("have", "users"), [(0, "0 users have"), (1, "1 user has")])
def test_nothing_is_said_of_models_that_share_no_two_users(base, have, users):
    b = np.where(np.arange(len(base)) < have, base + 0.1, np.nan)
    c = compare_tables(table(base, model="A"), table(b, model="B"), "ndcg@10")
    assert c.winner is None
    assert c.statement == f"nothing can be said of A and B on NDCG@10: {users} a value of both"


def test_a_resample_that_drew_nobody_does_not_blank_the_interval():
    a = np.linspace(0, 1, 10)
    b = np.where(np.arange(10) < 2, a + np.array([0.1, 0.3] + [0] * 8), np.nan)
    c = compare_tables(table(a, model="A"), table(b, model="B"), "ndcg@10")
    # Two customers: whatever their values, no interval at this level excludes 0 without assumptions.
    assert c.low <= 0 < c.difference == pytest.approx(0.2)
    assert np.isfinite([c.low, c.high]).all()
    assert c.statement.endswith("their values differ for 2 users, too few to tell")
