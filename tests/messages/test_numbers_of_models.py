"""A number that a model cannot work with is told in one line when it is made, not by a library when it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest

from shipped import CONF, composed
from shopkeeper.errors import UserError
from shopkeeper.models.make import make

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
LABELLED = ("base_rate", "logistic", "two_part", "lightgbm", "hazard", "quantile_trees", "usual_gap", "mlp", "gru")
TREES = ("lightgbm", "hazard", "quantile_trees", "two_stage")


def shipped(model: str) -> dict[str, Any]:
    settings: dict[str, Any] = composed("train", f"model={model}", *(["model.name=BPR"] if model == "recbole" else []))
    return settings["model"]


@pytest.mark.parametrize("model", MODELS)
def test_what_is_no_finite_number_is_no_setting_of_a_model(model: str):
    told = shipped(model)
    make(told)
    for name, value in told.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            for wrong in (math.nan, math.inf):
                with pytest.raises(UserError, match=rf"{name}\b[^\n]*{wrong}"):
                    make({**told, name: wrong})


@pytest.mark.parametrize("model", TREES)
@pytest.mark.parametrize(
    ("name", "wrong"),
    [("learning_rate", 0), ("num_leaves", 1), ("num_leaves", 131073), ("min_data_in_leaf", -1), ("feature_fraction", 0),
     ("feature_fraction", 1.5), ("lambda_l2", -1), ("num_threads", 0), ("patience", 0)],
)  # fmt: skip
def test_what_lightgbm_refuses_is_refused_before_anything_is_learnt(model: str, name: str, wrong: float):
    with pytest.raises(UserError, match=rf"^(two_stage: )?model\.{name}={wrong} must be a (whole )?number"):
        make({**shipped(model), name: wrong})


@pytest.mark.parametrize(
    ("model", "name", "wrong"),
    [("lightgbm", "max_trees", 0), ("lightgbm", "tweedie_variance_power", 2), ("hazard", "max_trees", 0),
     ("hazard", "periods", 0), ("hazard", "periods", 10**6), ("quantile_trees", "max_trees", 0),
     ("logistic", "inverse_penalty", 0), ("two_part", "inverse_penalty", -1), ("bpr", "learning_rate", 0),
     ("ials", "threads", 0), ("ials", "width", 0), ("slim", "self_similarity", -1), ("user_knn", "own_weight", -1),
     ("up_cf", "locality", 10**9), ("up_cf", "asymmetry", 1.5), ("tifu_knn", "own_share", 1.5),
     ("item_to_item", "lift", -0.5), ("buy_it_again", "prior", 0), ("vstan", "gap_hours", 1e12),
     ("two_stage", "window_days", 0), ("pareto_nbd", "min_customers", 0), ("pareto_nbd", "most_customers", 0),
     *((model, "most_customers", -1) for model in ("bg_nbd", "pareto_nbd")),
     *((model, "min_positives", 0) for model in LABELLED)],
)  # fmt: skip
def test_a_number_outside_of_its_range_is_named_with_the_range(model: str, name: str, wrong: float):
    with pytest.raises(UserError, match=rf"model\.{name}={wrong} must be a (whole )?number (above|at least|of|from)"):
        make({**shipped(model), name: wrong})
