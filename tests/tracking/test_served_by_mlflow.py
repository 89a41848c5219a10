"""MLflow's server hands requests to a bundle as they came, several at once, and its answers back as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.bundles.answer import Bundle
from shopkeeper.bundles.answer.wire import answered
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.customers.logistic import Logistic
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.tracking.registry import CODE
from tiny import days, tiny_prepared

mlflow = pytest.importorskip("mlflow")
GUIDE = Path(__file__).parents[2] / "docs/site/guides/go-live.md"


def written_in_the_guide() -> Any:
    """Its `inputs.json`, about items of the small shops of tests."""
    found = re.search(r'```json title="inputs.json"\n(.*?)```', GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(re.sub(r"sku-0*(\d+)", r"i\1", found[1]))


@pytest.fixture(scope="module", params=["recommender", "customers"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served")
    if request.param == "recommender":
        histories = [np.random.default_rng(u).integers(1, 13, 8).tolist() for u in range(20)]
        prepared, split = tiny_prepared(place / "shop", histories, days(histories), n_items=12)
        recency = Recency()
        recency.fit(prepared, split, Fit())
        return export_bundle(recency, prepared, split, MadeFrom(model="recency"), place / "bundle", golden=5)
    prepared = toy_shop(place / "shop")
    train, calibration, test = (build_cohort(prepared, t, 60, 90) for t in CUTOFFS)
    logistic = Logistic()
    logistic.fit(train, calibration, Fit())
    return export_bundle(
        logistic, prepared, test, MadeFrom(model="logistic", task="churn"), place / "bundle", golden=20
    )


def test_several_customers_and_times_are_answered_as_the_bundle_itself_does(bundle: Path, tmp_path: Path):
    from mlflow.pyfunc import scoring_server

    own = Bundle.load(bundle)
    asked = written_in_the_guide()
    for one in asked["inputs"]:
        if own.manifest["kind"] == "customer":
            del one["history"][2:]
            for key in ("k", "exclude"):
                one.pop(key, None)
            one.setdefault("as_of", "2025-06-03")
            one["history"] = [e if isinstance(e, list) else [e, "purchase", "2025-05-01"] for e in one["history"]]
    kept = json.loads((bundle / "golden.json").read_text())["requests"]
    asked["inputs"] += [{key: value for key, value in one.items() if key != "expected"} for one in kept]
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=str(CODE), artifacts={"bundle": str(bundle)},
                             input_example=asked["inputs"][:1], pip_requirements=["numpy"])  # fmt: skip
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    said = scoring_server.invocations(
        json.dumps(asked), "application/json", model, model.metadata.get_input_schema()
    ).response
    got = json.loads(said)["predictions"]
    assert got == json.loads(json.dumps(answered(own, asked["inputs"])))
    assert not [one for one in got if "error" in one]
    assert [one.get("id") for one in got[:3]] == ["c17", "c18", "c19"]
    assert [one["unknown_items"] for one in got[:2]] == [1, 0]
