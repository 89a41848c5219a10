"""What each feature adds to a score: exactly as LightGBM has it, and together the score that was used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import as_it_is, build_cohort
from shopkeeper.customers.lightgbm import LightGBM
from shopkeeper.customers.logistic import Logistic
from shopkeeper.customers.window import ORDERS
from shopkeeper.models.about import COUNTS
from shopkeeper.models.fit import Fit
from shopkeeper.models.shares import LONGEST, MOST, tree_shares


def forest(leaves: int, trees: int, **parameters: object) -> tuple[lgb.Booster, np.ndarray]:
    """Trees over features with gaps, and rows to ask."""
    rng = np.random.default_rng(1)
    x = rng.gamma(1, 10, (4000, 30))
    x[:, :20][rng.random((4000, 20)) < 0.2] = np.nan
    x[:, 5] = np.round(x[:, 5])
    y = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) * rng.random(4000) + x[:, 25]
    settings = {"objective": "regression", "num_leaves": leaves, "verbose": -1, "seed": 1, "num_threads": 1}
    booster = lgb.train({**settings, "feature_fraction": 0.6, **parameters}, lgb.Dataset(x, y), trees)
    return lgb.Booster(model_str=booster.model_to_string()), x[:300]


@pytest.mark.parametrize("leaves", [2, 8, 31])
@pytest.mark.parametrize("parameters", [{}, {"use_missing": False}])
def test_tables_of_ways_through_a_tree_give_the_shapley_values_of_lightgbm(leaves: int, parameters: dict[str, object]):
    booster, x = forest(leaves, 20, **parameters)
    found, theirs = tree_shares(booster, x), booster.predict(x, pred_contrib=True)
    assert np.abs(found.share - theirs[:, :-1]).max() < 1e-9 * np.abs(theirs).max()
    assert found.base == pytest.approx(theirs[0, -1], rel=1e-12)
    np.testing.assert_allclose(found.score, booster.predict(x, raw_score=True), rtol=1e-9)


def test_a_long_path_has_a_table_of_its_own_and_one_of_too_many_features_is_left_to_lightgbm(
    monkeypatch: pytest.MonkeyPatch,
):
    booster, x = forest(64, 3, min_data_in_leaf=5)
    theirs = booster.predict(x, pred_contrib=True)
    depth = max(tree["max_depth"] for tree in map(_depth, booster.dump_model()["tree_info"]))
    assert depth > MOST
    assert np.abs(tree_shares(booster, x).share - theirs[:, :-1]).max() < 1e-9 * np.abs(theirs).max()
    monkeypatch.setattr("shopkeeper.models.shares.LONGEST", 3)
    assert LONGEST > 3
    assert np.array_equal(tree_shares(booster, x).share, theirs[:, :-1])


def _depth(tree: dict[str, object]) -> dict[str, int]:
    def below(node: dict[str, object]) -> int:
        return 0 if "leaf_value" in node else 1 + max(below(node["left_child"]), below(node["right_child"]))  # type: ignore[arg-type]

    return {"max_depth": below(tree["tree_structure"])}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cohort]:
    shop = toy_shop(tmp_path_factory.mktemp("shop"))
    orders = {"truth": as_it_is, "of": ORDERS, "answers": COUNTS}
    return {
        "probabilities": build_cohort(shop, CUTOFFS[:2], 60, 90, observed_until=CUTOFFS[2]),
        "counts": build_cohort(shop, CUTOFFS[:2], 60, 90, observed_until=CUTOFFS[2], **orders),
    }


@pytest.mark.parametrize(
    ("model", "answers"), [(LightGBM, "probabilities"), (LightGBM, "counts"), (Logistic, "probabilities")]
)
def test_contributions_add_up_to_what_is_calibrated(
    model: type[LightGBM | Logistic], answers: str, cohorts: dict[str, Cohort], tmp_path: Path
):
    cohort = cohorts[answers]
    first = model(max_trees=15) if model is LightGBM else model()
    first.fit(replace(cohort), cohort, Fit(seed=1))
    first.save(tmp_path)
    again = model()
    again.load(tmp_path)
    assert again.about.explains
    found, said = again.contributions(cohort), again.predict(cohort)
    raw = np.exp(found.score) if answers == "counts" else 1 / (1 + np.exp(-found.score))
    np.testing.assert_allclose(again.calibrator(raw), said.value, rtol=1e-9)
    assert (np.abs(found.share) > 0.01).any()
