"""Online tests planned and read: simulated tests hold the promised power, coverage and error rates."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm

from shopkeeper.errors import UserError
from shopkeeper.evaluation import resampling
from shopkeeper.evaluation.online_test import (
    cuped,
    customer_variance,
    difference,
    plan_test,
    read_out,
    sample_ratio,
    sequential_margin,
)
from shopkeeper.evaluation.resampling import Redealt


def test_a_planned_test_sees_the_effect_as_often_as_promised():
    plan = plan_test(4.0, 0.5, customers_per_day=100, correlation=0.6, treatment_share=0.3)
    assert plan.treatment / (plan.treatment + plan.control) == pytest.approx(0.3, abs=0.002)
    assert plan.days == (plan.treatment + plan.control) / 100
    without = plan_test(4.0, 0.5, customers_per_day=100, treatment_share=0.3)
    assert plan.control == pytest.approx(without.control * 0.64, abs=1)
    seen, rng = 0, np.random.default_rng(1)
    for _ in range(1000):
        treated = np.arange(plan.control + plan.treatment) < plan.treatment
        before = rng.normal(size=len(treated))
        value = 2 * (0.6 * before + 0.8 * rng.normal(size=len(treated))) + 0.5 * treated
        found = read_out(value, treated, before, treatment_share=0.3)["cuped"]
        seen += found["low"] > 0
    assert seen / 1000 == pytest.approx(0.8, abs=0.04)


def test_the_textbook_number_comes_out():
    # (1.96 + 0.8416)^2 * 2 / 0.1^2 = 1569.8 customers per arm
    assert plan_test(1.0, 0.1, 100).treatment == 1570


def test_the_variance_counts_customers_and_not_requests():
    rng = np.random.default_rng(2)
    requests = rng.integers(1, 9, 300)
    user = np.repeat(np.arange(300), requests)
    taste = 5 + rng.normal(size=300)

    def experiment(rng):
        return taste[user] + rng.normal(size=len(user))

    mean, _, n = customer_variance(experiment(rng), user)
    assert n == 300
    assert mean == pytest.approx(experiment(rng).mean(), abs=0.1)
    # Bootstrap over customers as the independent answer.
    value = experiment(np.random.default_rng(3))
    sums, counts = np.bincount(user, value), np.bincount(user)
    drawn = rng.integers(0, 300, (4000, 300))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    assert customer_variance(value, user)[1] / 300 == pytest.approx(means.var(), rel=0.1)
    one_each = rng.normal(size=500)
    assert customer_variance(one_each, np.arange(500))[1] == pytest.approx(one_each.var(ddof=1))


def test_a_lost_tenth_of_one_arm_is_found_and_an_honest_split_is_not_accused():
    assert sample_ratio((5000, 5050))["ok"]
    assert not sample_ratio((5000, 4500))["ok"]
    assert sample_ratio((9000, 1000), treatment_share=0.1)["ok"]
    # p of the chi-square with one degree of freedom is that of the two-sided normal test.
    z = (5050 - 5025) / np.sqrt(10050 * 0.25)
    assert sample_ratio((5000, 5050))["p"] == pytest.approx(2 * norm.sf(z))
    counts = np.random.default_rng(4).binomial(10_000, 0.5, 1500)
    assert sum(not sample_ratio((10_000 - c, c))["ok"] for c in counts.tolist()) <= 5  # 0.75 expected at 0.0005


def test_cuped_is_unbiased_covers_95_percent_and_is_narrower():
    rng = np.random.default_rng(5)
    held = plain_held = 0
    widths, values = [], []
    for _ in range(2000):
        treated = rng.random(400) < 0.5
        before = rng.gamma(2.0, 1.0, 400)
        value = before + rng.normal(size=400) + np.where(treated, 0.3 + 0.2 * (before - 2), 0)
        found = read_out(value, treated, before)
        held += found["cuped"]["low"] <= 0.3 <= found["cuped"]["high"]
        plain_held += found["difference"]["low"] <= 0.3 <= found["difference"]["high"]
        values.append(found["cuped"]["value"])
        widths.append(found["cuped"]["standard_error"] / found["difference"]["standard_error"])
        left = found["variance_left"]
    assert 0.93 <= held / 2000 <= 0.97
    assert 0.93 <= plain_held / 2000 <= 0.97
    assert np.mean(values) == pytest.approx(0.3, abs=3 * np.std(values) / np.sqrt(2000))
    assert np.mean(widths) < 0.65
    assert left == pytest.approx(np.mean(widths) ** 2, rel=0.25)


def of_alike_arms(seed: int, customers: int, rows: int):
    """Value, treated and customer of an A/A test with several rows of each customer, and a covariate."""
    rng = np.random.default_rng(seed)
    level = rng.normal(10, 3, customers)
    customer = np.repeat(np.arange(customers), rng.integers(1, rows + 1, customers))
    value = level[customer] + rng.normal(0, 0.3, len(customer))
    return value, customer % 2, customer, level[customer] + rng.normal(0, 3, len(customer))


@pytest.mark.parametrize("customers", [12, 40])
def test_several_rows_of_a_customer_are_no_more_customers(customers):
    """Of 400 tests without an effect 20 exclude 0; more than 34 come up once in 1,000 such series."""
    wrong = dict.fromkeys(("difference", "cuped"), 0)
    for seed in range(400):
        value, treated, customer, before = of_alike_arms(seed, customers, 9)
        found = read_out(value, treated, before, customer=customer)
        assert found["difference"]["n"] == sum((found["sample_ratio"]["control"], found["sample_ratio"]["treatment"]))
        assert found["difference"]["n"] == customers
        for name in wrong:
            wrong[name] += not found[name]["low"] <= 0 <= found[name]["high"]
    assert 5 <= wrong["difference"] <= 34
    assert 5 <= wrong["cuped"] <= 34


def test_a_customer_counts_once_by_mean_or_by_sum():
    value, treated, customer, before = of_alike_arms(0, 60, 5)
    mean = [value[customer == c].mean() for c in range(60)]
    total = [value[customer == c].sum() for c in range(60)]
    x = np.array([before[customer == c].mean() for c in range(60)])
    arm = np.arange(60) % 2
    for plain, sums in ((mean, False), (total, True)):
        by_hand = read_out(np.array(plain), arm, x)
        found = read_out(value, treated, before, customer=customer, total=sums)
        assert found["cuped"] == pytest.approx(by_hand["cuped"])
        assert found["difference"] == pytest.approx(by_hand["difference"])


def test_too_few_customers_get_no_sentence_that_is_valid_at_every_look():
    treated = np.arange(98) % 2
    value = np.random.default_rng(1).normal(size=98) + 5 * treated
    assert "an arm of 49 customers is too small" in read_out(value, treated)["words"]
    more = np.tile(value, 2), np.tile(treated, 2)
    assert read_out(*more)["words"].startswith("The treatment is better")


def test_cuped_with_a_useless_covariate_changes_nothing():
    rng = np.random.default_rng(6)
    value, treated = rng.normal(size=100), np.arange(100) % 2
    adjusted, left = cuped(value, np.full(100, 3.0), treated)
    np.testing.assert_array_equal(adjusted, value)
    assert left == 1
    assert cuped(np.ones(100), rng.normal(size=100), treated)[1] == 1


def test_an_effect_on_the_value_does_not_leak_into_the_adjustment():
    treated = np.arange(2000) % 2 == 0
    before = np.random.default_rng(7).normal(size=2000) + treated * 0.5  # a chance imbalance
    value = 2 * before + 100 * treated
    adjusted, _ = cuped(value, before, treated)
    assert difference(adjusted, treated)[0] == pytest.approx(100)


def looks(effect, seeds=600, customers=3000, first=100):
    """Per simulated test: did the single-look interval, and the sequential one, exclude 0 at any look?"""
    rng = np.random.default_rng(8)
    fixed = sequential = 0
    n = np.arange(1, customers + 1)
    margin = np.array([sequential_margin(1.0, int(k), 1000) for k in n])
    for _ in range(seeds):
        treated = rng.random(customers) < 0.5
        value = (rng.random(customers) < 0.3 + effect * treated).astype(float)
        n1, n0 = treated.cumsum(), (~treated).cumsum()
        with np.errstate(invalid="ignore", divide="ignore"):
            m1, m0 = (value * treated).cumsum() / n1, (value * ~treated).cumsum() / n0
            error = np.sqrt(m1 * (1 - m1) / (n1 - 1) + m0 * (1 - m0) / (n0 - 1))
        size = np.abs(m1 - m0)[first:]
        fixed += (size > 1.96 * error[first:]).any()
        sequential += (size > margin[first:] * error[first:]).any()
    return fixed / seeds, sequential / seeds


def test_looking_at_every_customer_keeps_the_sequential_error_rate_and_breaks_the_fixed_one():
    fixed, sequential = looks(effect=0.0)
    assert sequential <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 600)
    assert fixed > 0.25


def test_the_sequential_interval_finds_a_real_effect():
    assert looks(effect=0.1, seeds=200)[1] > 0.95


def test_the_sequential_margin_is_the_formula_and_tightest_near_the_plan():
    rho2 = (-2 * np.log(0.05) + np.log(-2 * np.log(0.05)) + 1) / 500
    by_hand = np.sqrt(2 * (800 * rho2 + 1) / (800**2 * rho2) * np.log(np.sqrt(800 * rho2 + 1) / 0.05))
    assert sequential_margin(0.1, 800, 500) == pytest.approx(0.1 * np.sqrt(800) * by_hand)
    value, treated = np.random.default_rng(10).normal(size=800), np.arange(800) % 2
    row = read_out(value, treated, planned_n=500)["difference"]
    assert row["sequential_high"] - row["value"] == pytest.approx(row["standard_error"] * np.sqrt(800) * by_hand)
    assert row["value"] - row["sequential_low"] == pytest.approx(row["standard_error"] * np.sqrt(800) * by_hand)
    ratio = [sequential_margin(1.0, n, 1000) for n in (50, 1000, 50_000)]
    assert ratio[1] < ratio[0]
    assert ratio[1] < ratio[2]
    assert ratio[1] < 3.2  # a peeker's price: some half more than 1.96


def test_the_words_follow_the_sequential_interval_and_forbid_reading_a_broken_split():
    rng = np.random.default_rng(9)
    treated = np.arange(4000) % 2
    noise = rng.normal(size=4000)
    assert read_out(noise + 0.5 * treated, treated)["words"].startswith("The treatment is better: +0.")
    assert read_out(noise - 0.5 * treated, treated)["words"].startswith("The treatment is worse: -0.")
    assert read_out(noise, treated)["words"].startswith("Cannot tell the arms apart yet")
    kept = (treated == 0) | (np.arange(4000) % 8 != 1)
    lost = read_out((noise + 0.5 * treated)[kept], treated[kept])
    assert lost["words"].startswith("Do not read this test: 2000 and 1500 customers")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan_test(1.0, 0.0, 10), "effect is 0"),
        (lambda: plan_test(0.0, 0.1, 10), "variance is 0"),
        (lambda: plan_test(1.0, 0.1, 10, power=1.0), "power"),
        (lambda: plan_test(1.0, 0.1, 10, correlation=1.0), "correlation"),
        (lambda: plan_test(1.0, 0.1, 10, treatment_share=1.0), "treatment_share"),
        (lambda: read_out([1.0, np.nan, 2, 3], [0, 1, 0, 1]), "column value, row 1, is nan"),
        (lambda: read_out([1.0, 2, 3], [0, 0, 1]), "2 and 1 customers"),
        (lambda: read_out([1.0, 2, 3, 4], [0, 2, 1, 1]), "treated"),
        (lambda: read_out([1.0, 2, 3, 4], [0, 0, 1, 1], [1.0]), "covariate"),
        (lambda: sample_ratio((0, 0)), "0 and 0"),
        (lambda: read_out([1.0, 2, 3, 4], [0, 0, 1, 1], customer=["a", "b", "b", "c"]), "customer b is in both arms"),
        (lambda: read_out([1.0, 2, 3, 4], [0, 0, 1, 1], customer=["a"]), "customer has 1 rows for 4 values"),
        (lambda: read_out([1.0, 2, 3, 4], [0, 0, 1, 1], customer=["a", "a", "b", "c"]), "1 and 2 customers"),
        (lambda: customer_variance(np.ones(3), np.ones(3)), "1 customer"),
        (lambda: sequential_margin(1.0, 0, 10), "n is 0"),
    ],
)
def test_a_question_without_an_answer_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize(("customers", "share"), [(100, 0.1), (300, 0.1), (40, 0.5)])
def test_an_interval_of_money_calls_chance_a_gain_as_seldom_as_it_says_though_few_are_in_control(customers, share):
    """10, 30 and 20 in control. Of 400 draws 10 are a gain; more than 20 come up once in 500 such series."""
    rng, gains, losses, draws = np.random.default_rng(2), 0, 0, 400
    for _ in range(draws):
        before, paid = ((rng.random(customers) < 0.2) * rng.lognormal(3, 1, customers) for _ in range(2))
        treated = rng.permutation(customers) >= share * customers
        found = read_out(paid, treated, before, treatment_share=1 - share)["cuped"]
        gains += found["low"] > 0  # with Welch's interval alone 92, 55 and 8
        losses += found["high"] < 0
    assert gains <= 20
    assert losses <= 20


def test_the_interval_holds_an_effect_that_all_have_alike_and_finds_it():
    rng, held, seen, draws = np.random.default_rng(3), 0, 0, 400
    for _ in range(draws):
        treated = rng.permutation(300) >= 30
        found = read_out(rng.lognormal(3, 1, 300) + 40.0 * treated, treated, treatment_share=0.9)["difference"]
        held += found["low"] <= 40 <= found["high"]
        seen += found["low"] > 0
    assert held >= 0.93 * draws
    assert seen > 0.9 * draws


def test_what_is_lost_by_swapped_arms_is_what_was_gained_and_chance_stays_in_the_middle_where_nothing_is_skewed():
    rng = np.random.default_rng(2)
    paid, arm = rng.lognormal(3, 1.5, 300), np.arange(300) % 10 > 0
    one, other = (read_out(paid, treated)["difference"] for treated in (arm, ~arm))
    assert [one["low"], one["high"]] == pytest.approx([-other["high"], -other["low"]], rel=0.05)
    assert one["value"] - one["low"] > one["high"] - one["value"]  # of a tenth in control: few may have paid much
    mixed = rng.permutation(300)
    again = read_out(paid[mixed], arm[mixed])["difference"]
    assert again == pytest.approx(one, rel=1e-9)  # rows in any order
    even = read_out(np.tile([1.0, 2.0, 3.0], 20), np.arange(60) < 30)["difference"]
    assert even["high"] - even["value"] == pytest.approx(even["value"] - even["low"], rel=0.05)


def test_deals_are_counted_by_hand():
    """Of four customers, two of them treated, there are six deals: their studentised differences one by one."""
    value, treated = np.array([0.0, 1.0, 4.0, 9.0]), np.array([True, False, False, True])
    difference_, error = difference(value, treated)
    dealt = Redealt.of(value, treated, difference_, error, 3000)
    for effect in (0.0, 2.5):
        plain, expected = value - effect * treated, []
        for one in combinations(range(4), 2):
            a, b = plain[list(one)], plain[[i for i in range(4) if i not in one]]
            expected.append((a.mean() - b.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
        found, count = np.unique(dealt._studentised(effect).round(9), return_counts=True)
        assert found == pytest.approx(sorted(expected))
        assert count / 3000 == pytest.approx(1 / 6, abs=0.04)


def test_orders_of_very_many_customers_are_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch):
    value, treated = np.random.default_rng(0).random(60), np.arange(60) < 30
    kept = Redealt.of(value, treated, *difference(value, treated), 999)
    resampling.kept_orders.cache_clear()
    monkeypatch.setattr(resampling, "CELLS", 59)
    for n, orders in ((60, 0), (58, 5)):
        Redealt.of(value[:n], treated[:n], *difference(value[:n], treated[:n]), 10)
        assert resampling.kept_orders.cache_info().currsize == orders
    resampling.kept_orders.cache_clear()  # of another size of blocks
    monkeypatch.undo()
    np.testing.assert_array_equal(Redealt.of(value, treated, *difference(value, treated), 999).sums, kept.sums)


def test_a_covariate_costs_a_degree_of_freedom_as_in_a_regression_on_it():
    rng, m = np.random.default_rng(0), 10
    x, treated = np.tile(rng.normal(size=m), 2), np.repeat([0, 1], m)  # the same covariates in both arms
    y = 2 * x + 0.5 * treated + rng.normal(size=2 * m)
    columns = np.column_stack([np.ones(2 * m), treated, x])
    fitted, left, *_ = np.linalg.lstsq(columns, y)
    error = np.sqrt(left[0] / (2 * m - 3) * np.linalg.inv(columns.T @ columns)[1, 1])
    found = read_out(y, treated, x)["cuped"]
    assert (found["value"], found["standard_error"]) == pytest.approx((fitted[1], error))
