"""Customer models travel as arrays and are scored without the library that trained them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shopkeeper.bundles.answer import CustomerBundle, verify
from shopkeeper.bundles.write import export_customer_bundle
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.customers.lightgbm import LightGBM
from shopkeeper.customers.logistic import Logistic
from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError

MODELS = {"base_rate": BaseRate, "logistic": Logistic, "lightgbm": lambda: LightGBM(max_trees=60)}


def cohort(seed: int, n: int = 400) -> Cohort:
    """Customers of whom the inactive ones churn; some features are unknown."""
    rng = np.random.default_rng(seed)
    features = rng.gamma(1.0, 20.0, (n, 4))
    features[rng.random((n, 4)) < 0.1] = np.nan
    features[rng.random((n, 4)) < 0.1] = 0
    label = (rng.random(n) < 1 / (1 + np.exp(-(np.nan_to_num(features[:, 0]) - 20) / 10))).astype(float)
    rows = np.arange(n, dtype=np.int64)
    events = Events(np.ones(n + 1, np.int32), np.ones(n + 1, np.int8))
    names = ("days_since_order", "orders", "money", "gap_mean")
    return Cohort((rows + 1).astype(np.int32), rows, features, names, events, rows, rows + 1, rows, label, 30.0)


@pytest.fixture(scope="module", params=MODELS)
def exported(request: pytest.FixtureRequest, shop: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model: Any = MODELS[request.param]()
    model.fit(cohort(1), cohort(2), seed=0)
    out = tmp_path_factory.mktemp("exports") / request.param
    return model, export_customer_bundle(model, cohort(3), shop[0], {"model": request.param, "task": "churn"}, out)


def test_new_customers_get_the_probability_of_the_trained_model(exported: Any) -> None:
    model, path = exported
    new = cohort(4)
    assert np.allclose(CustomerBundle.load(path).predict(new.features), model.predict(new).probability, atol=1e-9)


def test_golden_customers_are_replayed(exported: Any) -> None:
    found = verify(exported[1])
    assert found.ok
    assert found.requests == 100


def test_an_unknown_feature_is_named_and_an_absent_one_counts_as_unknown(exported: Any) -> None:
    _, path = exported
    bundle = CustomerBundle.load(path)
    with pytest.raises(UserError, match=r"no feature 'order'. Did you mean 'orders'"):
        bundle.predict([{"order": 1}])
    with pytest.raises(UserError, match="not a number"):
        bundle.predict([{"orders": "many"}])  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"shape \(2, 3\)"):
        bundle.predict(np.zeros((2, 3)))
    assert np.array_equal(bundle.predict([{"orders": 2}]), bundle.predict(np.array([[np.nan, 2, np.nan, np.nan]])))


def test_arrays_that_score_differently_are_refused(shop: Any, tmp_path: Path) -> None:
    model = Logistic()
    model.fit(cohort(1), cohort(2))
    predict = model.predict
    model.predict = lambda c: type(p := predict(c))(p.probability + 1e-3)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="was not written"):
        export_customer_bundle(model, cohort(3), shop[0], {}, tmp_path / "bad")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_scores_is_refused_with_its_reason(shop: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scores to export: not fitted"):
        export_customer_bundle(Logistic(), cohort(3), shop[0], {}, tmp_path / "bad")
