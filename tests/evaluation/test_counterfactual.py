"""Counterfactual estimates on bandits whose true value is known, and refusals where no estimate would be honest."""

from __future__ import annotations

import numpy as np
import pytest

from shopkeeper.errors import UserError
from shopkeeper.evaluation import counterfactual as cf

# A shop window with 4 kinds of visitors and 3 items: click rates, what the old policy showed, what the new one would.
Q = np.array([[0.1, 0.5, 0.3], [0.6, 0.2, 0.4], [0.3, 0.3, 0.7], [0.8, 0.1, 0.1]])
OLD = np.array([[0.7, 0.1, 0.2], [0.2, 0.6, 0.2], [0.4, 0.4, 0.2], [0.1, 0.45, 0.45]])
NEW = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]])
WRONG_OLD = np.array([[0.4, 0.2, 0.4], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.3, 0.3, 0.4]])
TRUTH = float((NEW * Q).sum(axis=1).mean())
ROUNDS = 800


def draw(rng, n=ROUNDS):
    visitor = rng.integers(0, 4, n)
    action = (rng.random(n)[:, None] > OLD[visitor].cumsum(axis=1)).sum(axis=1)
    reward = (rng.random(n) < Q[visitor, action]).astype(float)
    return visitor, action, reward


def log_of(visitor, action, reward, old=OLD, **more):
    return cf.LoggedRounds(reward, action, old[visitor, action], NEW[visitor], **more)


def mean_over_logs(estimate, repetitions=400):
    """Mean and standard error of an estimator's value over many logs."""
    values = [estimate(*draw(np.random.default_rng(seed))) for seed in range(repetitions)]
    return np.mean(values), np.std(values) / np.sqrt(repetitions)


def family(old=OLD, model=Q):
    def logged(v, a, r):
        return r, a, old[v, a], NEW[v]

    return {
        "ips": lambda v, a, r: cf.clipped_ips(*logged(v, a, r)).mean(),
        "snips": lambda v, a, r: cf.snips(*logged(v, a, r)).mean(),
        "dm": lambda v, a, r: cf.direct_method(NEW[v], model[v]).mean(),
        "dr": lambda v, a, r: cf.doubly_robust(*logged(v, a, r), model[v]).mean(),
        "switch_dr": lambda v, a, r: cf.switch_dr(*logged(v, a, r), model[v], threshold=3.0).mean(),
        "dr_os": lambda v, a, r: cf.dr_optimistic_shrinkage(*logged(v, a, r), model[v], shrinkage=20.0).mean(),
    }


@pytest.mark.parametrize("name", ["ips", "snips", "dm", "dr", "switch_dr", "dr_os"])
def test_with_everything_known_each_estimator_is_right_within_monte_carlo_error(name):
    mean, error = mean_over_logs(family()[name])
    # SNIPS is only consistent: its bias is of order 1/n, here below one part in a thousand.
    assert abs(mean - TRUTH) < 3 * error + (0.001 if name == "snips" else 0)


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_a_hopeless_reward_model_does_not_bias_what_rests_on_propensities(name):
    mean, error = mean_over_logs(family(model=np.full_like(Q, 0.9))[name])
    assert abs(mean - TRUTH) < 3 * error + (0.001 if name == "snips" else 0)


@pytest.mark.parametrize("name", ["dm", "dr", "switch_dr", "dr_os"])
def test_wrong_propensities_do_not_bias_what_rests_on_a_right_reward_model(name):
    mean, error = mean_over_logs(family(old=WRONG_OLD)[name])
    assert abs(mean - TRUTH) < 3 * error


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("ips", {"old": WRONG_OLD}),
        ("snips", {"old": WRONG_OLD}),
        ("dm", {"model": np.full_like(Q, 0.9)}),
        ("dr", {"old": WRONG_OLD, "model": np.full_like(Q, 0.9)}),
        ("switch_dr", {"model": np.full_like(Q, 0.9)}),
        ("dr_os", {"model": np.full_like(Q, 0.9)}),
    ],
)
def test_the_part_that_an_estimator_rests_on_being_wrong_shows_as_bias(name, setting):
    mean, error = mean_over_logs(family(**setting)[name], 100)
    assert abs(mean - TRUTH) > 5 * error


def test_terms_equal_the_formulas_written_out_round_by_round():
    v, a, r = draw(np.random.default_rng(5), 40)
    p, model = OLD[v, a], Q[:, ::-1]
    for i in range(40):
        one = slice(i, i + 1)
        given = (r[one], a[one], p[one], NEW[v[one]])
        w = NEW[v[i], a[i]] / OLD[v[i], a[i]]
        base, rest = sum(NEW[v[i], k] * model[v[i], k] for k in range(3)), r[i] - model[v[i], a[i]]
        m = model[v[one]]
        assert cf.clipped_ips(*given, clip=2)[0] == pytest.approx(min(w, 2) * r[i])
        assert cf.doubly_robust(*given, m)[0] == pytest.approx(base + w * rest)
        assert cf.switch_dr(*given, m, threshold=2)[0] == pytest.approx(base + (w if w <= 2 else 0) * rest)
        assert cf.dr_optimistic_shrinkage(*given, m, 3.0)[0] == pytest.approx(base + 3 * w / (w * w + 3) * rest)
    w = NEW[v, a] / p
    assert cf.snips(r, a, p, NEW[v]).mean() == pytest.approx((w * r).sum() / w.sum())


def test_shrinkage_runs_from_the_direct_method_to_doubly_robust():
    v, a, r = draw(np.random.default_rng(6))
    given = (r, a, OLD[v, a], NEW[v], Q[v] * 0.5)
    np.testing.assert_array_equal(cf.dr_optimistic_shrinkage(*given, 0.0), cf.direct_method(NEW[v], Q[v] * 0.5))
    np.testing.assert_array_equal(cf.dr_optimistic_shrinkage(*given, np.inf), cf.doubly_robust(*given))
    np.testing.assert_allclose(cf.dr_optimistic_shrinkage(*given, 1e12), cf.doubly_robust(*given), rtol=1e-9)
    weight = cf.importance_weights(a, OLD[v, a], NEW[v])
    assert (3.0 * weight / (weight**2 + 3.0)).max() <= np.sqrt(3.0) / 2 + 1e-12


def test_95_percent_intervals_hold_the_truth_about_95_times_in_a_hundred():
    repetitions, held = 400, dict.fromkeys(("ips", "clipped_ips", "snips", "dr", "switch_dr", "dr_os"), 0)
    for seed in range(repetitions):
        v, a, r = draw(np.random.default_rng(10_000 + seed), 400)
        result = cf.evaluate_policy(log_of(v, a, r), Q[v] * 0.7, resamples=300, seed=seed)
        for name in held:
            held[name] += result.estimates[name]["low"] <= TRUTH <= result.estimates[name]["high"]
    for name, count in held.items():
        assert 0.92 <= count / repetitions <= 0.98, (name, count / repetitions)


def test_the_table_holds_the_estimators_own_means():
    v, a, r = draw(np.random.default_rng(13))
    table = cf.evaluate_policy(log_of(v, a, r), Q[v] * 0.8, clip=2, switch=3, shrinkage=20, resamples=10).table()
    expected = family(model=Q * 0.8)
    expected["clipped_ips"] = lambda v, a, r: cf.clipped_ips(r, a, OLD[v, a], NEW[v], clip=2).mean()
    found = dict(zip(table["estimator"].to_pylist(), table["value"].to_pylist(), strict=True))
    assert found == pytest.approx({name: estimate(v, a, r) for name, estimate in expected.items()})


def test_rounds_of_one_customer_are_not_taken_for_independent_evidence():
    v, a, r = (np.repeat(x, 10) for x in draw(np.random.default_rng(7), 200))
    by_round = cf.evaluate_policy(log_of(v, a, r), resamples=500).estimates["ips"]
    by_customer = cf.evaluate_policy(log_of(v, a, r, cluster=np.arange(2000) // 10), resamples=500).estimates["ips"]
    width = (by_customer["high"] - by_customer["low"]) / (by_round["high"] - by_round["low"])
    assert width == pytest.approx(np.sqrt(10), rel=0.15)
    assert by_customer["value"] == pytest.approx(by_round["value"])


def test_diagnostics_say_how_far_the_policies_are_apart():
    v, a, r = draw(np.random.default_rng(8), 20_000)
    d = cf.evaluate_policy(log_of(v, a, r), resamples=200).diagnostics
    assert d["overlap"] == pytest.approx(np.minimum(OLD, NEW).sum(axis=1).mean(), abs=0.02)
    assert d["mean_weight_low"] < 1 < d["mean_weight_high"]
    second_moment = (NEW**2 / OLD).sum(axis=1).mean()
    assert d["effective_sample_size"] == pytest.approx(20_000 / second_moment, rel=0.05)
    same = cf.evaluate_policy(cf.LoggedRounds(r, a, OLD[v, a], OLD[v]), resamples=10).diagnostics
    assert same["effective_sample_size"] == pytest.approx(20_000)
    assert same["overlap"] == pytest.approx(1)


def test_a_log_that_hangs_on_one_round_says_so():
    v, a, r = draw(np.random.default_rng(9))
    p = OLD[v, a].copy()
    p[3] = 1e-6
    result = cf.evaluate_policy(cf.LoggedRounds(r, a, p, NEW[v]), resamples=100)
    assert any("one round carries" in w for w in result.warnings)
    assert not cf.evaluate_policy(log_of(v, a, r), resamples=100).warnings
    halved = cf.evaluate_policy(cf.LoggedRounds(r, a, OLD[v, a] / 2, NEW[v]), resamples=100)
    assert any("propensities are wrong" in w for w in halved.warnings)


def small(**changes):
    columns = {
        "reward": np.array([0.0, 1, 0, 1]),
        "action": np.array([0, 1, 0, 1]),
        "propensity": np.array([0.5, 0.5, 0.5, 0.5]),
        "target": np.full((4, 2), 0.5),
    }
    return cf.LoggedRounds(**(columns | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"propensity": None}, "no propensities"),
        ({"propensity": np.array([0.5, 0.0, 0.5, 0.5])}, "propensity of round 1 is 0.0"),
        ({"propensity": np.array([0.5, 0.5, 1.5, 0.5])}, "propensity of round 2 is 1.5"),
        ({"propensity": np.array([np.nan, 0.5, 0.5, 0.5])}, "propensity of round 0 is nan"),
        ({"reward": np.array([0.0, np.inf, 0, 1])}, "reward of round 1"),
        ({"action": np.array([0, 1, 0, 2])}, "action 2 of round 3"),
        ({"action": np.array([0, 0, 0, 0])}, "no support: 50.00% .* action 1"),
        ({"stratum": np.array([1, 2, 1, 2])}, "no support: 50.00% .* stratum"),
        ({"propensity": np.array([1.0, 1, 1, 1])}, "deterministic"),
        ({"target": np.full((4, 2), 0.6)}, "sum to 1.2"),
        ({"target": np.tile([1.5, -0.5], (4, 1))}, "negative"),
        ({"target": np.array([[0, 1.0], [1, 0], [0, 1], [1, 0]])}, "no overlap"),
        ({"target": np.full((3, 2), 0.5)}, "shape"),
        ({"propensity": np.array([0.5])}, "column propensity has shape"),
        ({"reward": np.zeros(0)}, "empty"),
    ],
)
def test_a_log_that_cannot_answer_is_refused_with_the_reason(changes, message):
    small()
    with pytest.raises(UserError, match=message):
        small(**changes)


def test_a_reward_model_of_another_shape_or_with_gaps_is_refused():
    for predicted in (np.zeros((4, 3)), np.full((4, 2), np.nan)):
        with pytest.raises(UserError, match="reward model"):
            cf.evaluate_policy(small(), predicted)
    with pytest.raises(UserError, match="level"):
        cf.evaluate_policy(small(), level=95)


def test_the_reward_model_learns_the_click_rates_and_never_from_the_round_it_predicts():
    rng = np.random.default_rng(11)
    visitor = rng.integers(0, 2, 6000)
    action = rng.integers(0, 3, 6000)
    rates = np.array([[0.2, 0.5, 0.8], [0.1, 0.33, 0.66]])  # additive in the logit, nearly
    reward = (rng.random(6000) < rates[visitor, action]).astype(float)
    predicted = cf.cross_fitted_rewards(reward, action, 3, np.eye(2)[visitor])
    for x in (0, 1):
        np.testing.assert_allclose(predicted[visitor == x].mean(axis=0), rates[x], atol=0.04)
    # A feature that is the answer of that round alone cannot be learnt from other rounds.
    noise = (rng.random(200) < 0.5).astype(float)
    own = cf.cross_fitted_rewards(noise, np.zeros(200, int), 1, np.eye(200), regularisation=1e-3)[:, 0]
    assert abs(np.corrcoef(own, noise)[0, 1]) < 0.3


def test_customers_stay_in_one_fold_and_amounts_get_a_linear_model():
    rng = np.random.default_rng(12)
    customer = np.arange(400) // 4
    pair = rng.random((400, 2, 1))
    action = rng.integers(0, 2, 400)
    spend = 3 + 2 * action + 5 * pair[np.arange(400), action, 0]
    predicted = cf.cross_fitted_rewards(spend, action, 2, None, pair, customer, regularisation=1e-6)
    np.testing.assert_allclose(predicted, 3 + 2 * np.arange(2) + 5 * pair[:, :, 0], atol=1e-3)
    identity = np.eye(100)[customer]  # knows each customer: useless when all of a customer's rounds are held out
    coin = np.repeat((rng.random(100) < 0.5).astype(float), 4)
    blind = cf.cross_fitted_rewards(coin, np.zeros(400, int), 1, identity, None, customer, regularisation=1e-3)[:, 0]
    told = cf.cross_fitted_rewards(coin, np.zeros(400, int), 1, identity, regularisation=1e-3)[:, 0]
    assert np.corrcoef(told, coin)[0, 1] > 0.9
    assert abs(np.corrcoef(blind, coin)[0, 1]) < 0.4


def test_a_log_without_a_single_click_has_a_reward_model_too():
    predicted = cf.cross_fitted_rewards(np.zeros(20), np.arange(20) % 2, 2)
    assert (predicted > 0).all()
    assert (predicted < 0.05).all()
    with pytest.raises(UserError, match="folds"):
        cf.cross_fitted_rewards(np.zeros(3), np.zeros(3, int), 1)
