"""A bundle computes what is declared: the same values from raw events, of the shop what it was known to be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.test_groups import DECLARED, VECTORS, shop
from shopkeeper.bundles.answer import Bundle, verify
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.bundles.write import customers, export_bundle
from shopkeeper.bundles.write.golden_customers import external, invented_people, real_people, trained_answers
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.customers.lightgbm import LightGBM
from shopkeeper.errors import UserError
from shopkeeper.features.customer.declared import Features, bound
from shopkeeper.features.customer.known import shop_of
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import GRAPH, Program
from tiny import DAY

MADE_FROM = MadeFrom(model="lightgbm", task="churn")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    prepared = shop(tmp_path_factory.mktemp("declared") / "shop", n_users=300)
    declared = bound(replace(DECLARED, attributes=None), vectors=VECTORS)
    train, test = (
        build_cohort(prepared, t, 60, 200, observed_until=720 * DAY, declared=declared)
        for t in ([400 * DAY, 460 * DAY], 600 * DAY)
    )
    model = LightGBM(max_trees=40, min_data_in_leaf=5)
    model.fit(train, None, Fit(seed=0))
    return prepared, model, test


def test_a_bundle_says_what_the_model_says_of_every_declared_group(trained: Any, tmp_path: Path) -> None:
    prepared, model, test = trained
    used = {n for n, k in zip(model.feature_names, model.booster.feature_importance(), strict=True) if k}
    assert len(used & set(test.feature_names[39:])) > 12
    path = export_bundle(model, prepared, test, MADE_FROM, tmp_path / "it")
    assert verify(path, repeat=1).ok
    manifest = json.loads((path / "manifest.json").read_text())
    assert Features.from_json(manifest["features"]).hash == manifest["features_hash"] == test.declared.hash
    bundle, ids = Bundle.load(path), prepared.items["item_id"].to_pylist()
    people = real_people(test, range(len(test)))
    got = bundle.answer([external(p, ids, ()) for p in people], [write_instant(p.instant) for p in people])
    wanted = model.predict(test).value
    assert max(abs(one.probability - p) for one, p in zip(got, wanted.tolist(), strict=True)) < 1e-12
    held = replace(test, declared=bound(test.declared, shop=shop_of(prepared, test.declared, test.cutoff)))
    invented = invented_people(prepared, test, 60, seed=5)
    answers = bundle.answer([external(p, ids, ()) for p in invented], [write_instant(p.instant) for p in invented])
    said = trained_answers(model, prepared, held, invented)
    pairs = [(a.probability, b.probability) for a, b in zip(answers, said, strict=True) if b.probability is not None]
    assert len(pairs) > 20
    np.testing.assert_allclose(*np.array(pairs).T, rtol=1e-12)


def test_a_shop_that_travels_with_other_numbers_would_be_found(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, model, test = trained
    honest = customers.as_arrays

    def wrong(shop: Any) -> Any:
        arrays = honest(shop)
        return {
            **arrays,
            "shop.positions.values": arrays["shop.positions.values"] + 3,
            "shop.vectors": -arrays["shop.vectors"],
        }

    monkeypatch.setattr(customers, "as_arrays", wrong)
    with pytest.raises(UserError, match=r"answers? other|differ"):
        export_bundle(model, prepared, test, MADE_FROM, tmp_path / "wrong")


def test_what_no_client_sends_is_not_exported(trained: Any, tmp_path: Path) -> None:
    prepared, _, _ = trained
    train = build_cohort(
        prepared, 400 * DAY, 60, 200, observed_until=720 * DAY, declared=replace(DECLARED, item_vectors=None)
    )
    model = LightGBM(max_trees=5, min_data_in_leaf=5)
    model.fit(train, None, Fit(seed=0))
    with pytest.raises(UserError, match=r"features.attributes are of the users' table"):
        export_bundle(model, prepared, train, MADE_FROM, tmp_path / "it")


def test_people_who_are_invented_for_a_graph_have_no_features_of_customers_who_exist(trained: Any) -> None:
    class Reader:
        def predict(self, cohort: Cohort) -> Predictions:
            return Predictions(np.full(len(cohort), 0.5))

    prepared, _, _ = trained
    asked = build_cohort(prepared, 400 * DAY, 60, 200, observed_until=720 * DAY, declared=DECLARED)
    questions = customers.CustomerQuestions(Reader(), Program(GRAPH), prepared, asked)
    assert len(list(questions.golden(prepared.n_users + 10, seed=0))) == prepared.n_users + 10
