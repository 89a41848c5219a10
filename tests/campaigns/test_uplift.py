"""Uplift: the metric by hand, the learners against a known truth, and campaigns that were not randomised refused."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from shopkeeper.campaigns.uplift.judge import judged
from shopkeeper.campaigns.uplift.learners import LEARNERS, Trial, uplift_of_others
from shopkeeper.campaigns.uplift.randomised import balance, check_randomised
from shopkeeper.campaigns.uplift.settings import LEARNER_NAMES, Trees
from shopkeeper.customers.build_cohort import features_of
from shopkeeper.errors import UserError
from shopkeeper.metrics import uplift
from shopkeeper.metrics.uplift import uplift_curves
from shopkeeper.simulated.settings import Simulation
from shopkeeper.simulated.shop import simulate
from simulated.shop import shop

TREES = Trees(trees=40, least_in_leaf=50)


def trial(n: int = 6000, seed: int = 0, amounts: bool = False, uneven: bool = False) -> tuple[Trial, np.ndarray]:
    """A campaign that moves those with x0 above 0 by .25; x1 moves the outcome alone. And the truth."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    e = np.where(x[:, 1] > 0, 0.7, 0.3) if uneven else np.full(n, 0.5)
    treated = rng.random(n) < e
    truth = 0.25 * (x[:, 0] > 0)
    outcome = (rng.random(n) < 0.2 + 0.2 * (x[:, 1] > 0) + truth * treated).astype(float)
    scale = 20.0 if amounts else 1.0
    return Trial(x, treated, e, outcome * scale * (rng.uniform(0.5, 1.5, n) if amounts else 1)), truth * scale


def test_the_example_in_the_docstring_is_true():
    found = doctest.testmod(uplift)
    assert found.attempted > 4
    assert found.failed == 0


def test_curves_are_the_formula_at_every_share():
    told, _ = trial(300)
    score = told.features[:, 2].round(1)
    found = uplift_curves(told.outcome, told.treated, score, told.probability)
    for b, cut in enumerate(np.unique(score)[::-1], start=1):
        first = score >= cut
        t, c = first & told.treated, first & ~told.treated
        if t.any() and c.any():
            effect = told.outcome[t].mean() - told.outcome[c].mean()
            assert found.uplift[0, b] == pytest.approx(effect * first.mean(), abs=1e-12)
            q = (told.outcome[t].sum() - told.outcome[c].sum() * t.sum() / c.sum()) / told.treated.sum()
            assert found.qini[0, b] == pytest.approx(q, abs=1e-12)


def test_until_both_arms_have_been_seen_the_curves_are_straight():
    treated = np.array([True, False, True, False])  # the first one is alone
    found = uplift_curves(treated * 1.0, treated, np.array([4.0, 3, 2, 1]), np.full(4, 0.5))
    assert found.qini.tolist() == [[0, 0.25, 0.5, 1, 1]]
    assert found.uplift.tolist() == [[0, 0.25, 0.5, 0.75, 1]]


@pytest.mark.parametrize("uneven", [False, True])
def test_a_constant_score_has_exactly_nothing_and_rows_may_come_in_any_order(uneven: bool):
    told, _ = trial(2000, uneven=uneven)
    rng = np.random.default_rng(3)
    weight = rng.integers(0, 3, (5, 2000)).astype(float)
    constant = uplift_curves(told.outcome, told.treated, np.full(2000, 0.3), told.probability, weight).areas()
    assert (constant["qini"] == 0).all()
    assert (constant["auuc"] == 0).all()
    tied = told.features[:, 0].round(0)
    before = uplift_curves(told.outcome, told.treated, tied, told.probability).areas()
    order = rng.permutation(2000)
    other = told.rows(order)
    after = uplift_curves(other.outcome, other.treated, tied[order], other.probability).areas()
    for figure, value in before.items():
        assert after[figure] == pytest.approx(value, rel=1e-12)


def test_a_resample_without_one_of_the_arms_says_nothing_and_moves_no_interval():
    """Two of six are treated: about one resample in eleven draws neither, and each other one has an effect of 1."""
    treated, score, half = np.arange(6) < 2, np.arange(6) % 2 + 0.0, np.full(6, 0.5)
    weight = np.stack([np.ones(6), ~treated * 1.0])
    found = uplift_curves(treated * 1.0, treated, score, half, weight).areas()
    assert all(np.isfinite(values[0]) and np.isnan(values[1]) for values in found.values())
    told = Trial(np.zeros((6, 1)), treated, half, treated * 1.0)
    assert judged(told, {"score": score})["score"]["effect"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_a_weight_of_two_is_a_customer_twice():
    told, _ = trial(500)
    twice = np.where(np.arange(500) % 3 == 0, 2.0, 1.0)
    rows = np.repeat(np.arange(500), twice.astype(int))
    score = told.features[:, 0].round(1)
    one = uplift_curves(told.outcome, told.treated, score, told.probability, twice[None]).areas()
    again = told.rows(rows)
    other = uplift_curves(again.outcome, again.treated, score[rows], again.probability).areas()
    for figure, value in one.items():
        assert other[figure] == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("name", LEARNER_NAMES)
@pytest.mark.parametrize("kind", ["even", "uneven", "amounts"])
def test_every_learner_finds_whom_the_campaign_moves(name: str, kind: str):
    told, truth = trial(amounts=kind == "amounts", uneven=kind == "uneven", seed=1)
    found = uplift_of_others(name, told, TREES, folds=2, seed=0)
    moved = truth > 0
    apart = found[moved].mean() - found[~moved].mean()
    assert 0.5 * truth.max() < apart < 1.4 * truth.max()
    assert abs(found.mean() - truth.mean()) < 0.2 * truth.max()
    assert abs(found[told.features[:, 1] > 0].mean() - found[told.features[:, 1] < 0].mean()) < 0.35 * truth.max()


def test_the_interval_holds_the_effect_and_tells_a_ranking_from_chance():
    told, truth = trial(seed=2)
    noise = np.random.default_rng(9).random(len(truth))
    found = judged(told, {"best": truth, "noise": noise}, resamples=200)
    assert found["best"]["effect"]["low"] < truth.mean() < found["best"]["effect"]["high"]
    assert found["best"]["qini"]["low"] > 0
    assert found["best"]["first"]["low"] < 0.25 < found["best"]["first"]["high"]
    assert found["noise"]["qini"]["low"] < 0 < found["noise"]["qini"]["high"]
    assert found["best"]["qini"]["value"] == pytest.approx(0.25 / 8, rel=0.35)  # half are moved: a triangle


def test_learners_are_known_by_the_names_of_the_settings():
    assert tuple(LEARNERS) == LEARNER_NAMES


def test_a_campaign_by_chance_is_taken_and_one_by_choice_refused():
    told, _ = trial(4000)
    assert check_randomised(told, True, TREES).against == ""
    uneven, _ = trial(4000, uneven=True)
    assert check_randomised(uneven, True, TREES).against == ""
    with pytest.raises(UserError, match=r"the features tell who was treated .* uplift needs a randomised one"):
        check_randomised(replace(uneven, probability=np.full(4000, uneven.treated.mean())), False, TREES)
    with pytest.raises(UserError, match=r"do not fit the probabilities"):
        check_randomised(replace(told, probability=np.full(4000, 0.6)), True, TREES)
    with pytest.raises(UserError, match="in one arm"):
        check_randomised(replace(told, treated=np.ones(4000, bool)), True, TREES)
    with pytest.raises(UserError, match="a chance of both arms"):
        check_randomised(replace(told, probability=told.treated.astype(float)), True, TREES)


def test_campaigns_by_chance_are_refused_as_rarely_as_the_level_says():
    p = np.array([balance(trial(400, seed=s)[0], True, Trees(trees=5, least_in_leaf=20)).p_features for s in range(40)])
    assert 0.25 < p.mean() < 0.75
    assert (p < 0.05).mean() < 0.15


def test_over_several_seeds_the_hidden_effect_lies_in_the_interval_as_often_as_it_says(tmp_path: Path):
    held = 0
    for seed in range(1, 9):
        simulate(Simulation(preset="btyd", seed=seed, customers=1200, campaign=True), tmp_path / str(seed))
        table = pq.read_table(tmp_path / str(seed) / "campaign.parquet")
        truth = pq.read_table(tmp_path / str(seed) / "hidden" / "uplift.parquet")["uplift"].to_numpy()
        y, w, e = (table[n].to_numpy(zero_copy_only=False) for n in ("converted", "treated", "propensity"))
        told = Trial(np.zeros((len(y), 1)), w.astype(bool), e, y.astype(float))
        found = judged(told, {"truth": truth, "constant": np.ones(len(y))}, resamples=200, seed=seed)
        assert found["constant"]["qini"] == found["constant"]["auuc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
        first = truth >= np.quantile(truth, 0.7)
        for figure, hidden in (("effect", truth.mean()), ("first", truth[first].mean())):
            held += found["truth"][figure]["low"] <= hidden <= found["truth"][figure]["high"]
    assert held >= 13  # of 16; 95 of 100 are promised


def test_of_the_simulated_campaign_the_hidden_effect_lies_in_the_interval(tmp_path: Path):
    sold = shop(tmp_path, preset="btyd", seed=4, customers=4000, campaign=True)
    table, truth = pq.read_table(tmp_path / "campaign.parquet"), pq.read_table(tmp_path / "hidden" / "uplift.parquet")
    number = {u: i for i, u in enumerate(sold.prepared.users["user_id"].to_pylist(), start=1)}
    kept = np.array([u in number for u in table["user_id"].to_pylist()])
    user = np.array([number[u] for u in table["user_id"].to_pylist() if u in number])
    column = {name: table[name].to_numpy(zero_copy_only=False)[kept] for name in ("treated", "propensity", "converted")}
    at = table["timestamp"].cast("int64").to_numpy()[kept]
    x = features_of(sold.prepared, user, at).values
    told = Trial(x, column["treated"].astype(bool), column["propensity"], column["converted"].astype(float))
    hidden = truth["uplift"].to_numpy()[kept]
    check_randomised(told, True, TREES)
    scores = {name: uplift_of_others(name, told, TREES, folds=2, seed=0) for name in ("t", "r")}
    found = judged(told, {**scores, "truth": hidden}, resamples=100)
    effect = found["t"]["effect"]
    assert effect["low"] < hidden.mean() < effect["high"]
    for name, score in scores.items():
        first = score >= np.quantile(score, 0.7)
        assert hidden[first].mean() > hidden.mean(), name
        assert found[name]["first"]["low"] < hidden[first].mean() < found[name]["first"]["high"], name
    assert found["truth"]["qini"]["low"] > 0
