"""A bundle explains itself: what its README says is enough to answer, and every paper in it tells the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from by_readme import wrong_by_the_readme

from javascript import node
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.wire import answered
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.personal_frequency import PersonalFrequency
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.recommenders.item_pairs.ease import EASE
from shopkeeper.recommenders.item_pairs.slim import SLIM
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.recommenders.networks.hstu import HSTU
from shopkeeper.recommenders.networks.sasrec import SASRec

SMALL = {"width": 8, "blocks": 1, "max_length": 12, "epochs": 1}
WEIGHTS = {"view": 0.2, "purchase": 1}
MODELS: dict[str, Any] = {
    "popularity": lambda: Popularity(half_life_days=3),
    "item_knn": lambda: ItemKNN(5, half_life_events=3, half_life_days=5, event_weights=WEIGHTS),
    "ease": lambda: EASE(l2=5.0),
    "ease_every_time": lambda: EASE(l2=5.0, half_life_events=3.0, self_similarity=0.5, every_time=True),
    "recency": lambda: Recency(),
    "personal_frequency": lambda: PersonalFrequency(half_life_days=3, event_weights=WEIGHTS),
    "sasrec_of_purchases": lambda: SASRec(**SMALL | {"inputs": "targets", "max_length": 5}),
    "hstu_with_time": lambda: HSTU(**SMALL | {"time": True}),
}
RUN = MadeFrom(
    task="next_item", filter_seen=True, seed=3, commit="abc", cutoff="2026-01-15T00:00:00Z",
    metrics={"test": {"ndcg@10": {"value": 0.31, "low": 0.28, "high": 0.33, "n": 1234}}},
    judged={"baseline": "recency", "metric": "ndcg@10", "difference": 0.04, "low": 0.01, "high": 0.07,
               "method": "randomisation", "statement": "it is better than recency"},
)  # fmt: skip


@pytest.fixture(scope="module", params=MODELS)
def bundle(request: pytest.FixtureRequest, shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = MODELS[request.param]()
    model.fit(*shop, Fit(filter_seen=False, progress=False))
    folder = tmp_path_factory.mktemp("exports") / request.param
    return export_bundle(model, *shop, replace(RUN, model=request.param), folder, golden=40)


def test_the_code_in_the_readme_answers_every_golden_request(bundle: Path):
    assert wrong_by_the_readme(bundle) == []


def test_a_client_in_javascript_answers_every_golden_request(bundle: Path):
    done = node("verify.mjs", str(bundle))
    assert done.stdout == "40 golden requests, 0 answered differently\n", done.stderr


def test_golden_requests_hold_every_odd_kind(bundle: Path):
    golden = json.loads((bundle / "golden.json").read_text())["requests"]
    manifest = json.loads((bundle / "manifest.json").read_text())
    known = set(json.loads((bundle / "vocabulary.json").read_text())["item_ids"])

    def events(request: Any) -> list[dict[str, Any]]:
        columns = manifest["preprocessing"]["event_columns"]
        return [e if isinstance(e, dict) else dict(zip(columns, [e] if isinstance(e, str) else e, strict=False))
                for e in request["history"]]  # fmt: skip

    assert any(not g["history"] for g in golden)
    assert any(e.get("event_type") is None for g in golden for e in events(g))
    assert any(e["item_id"] not in known for g in golden for e in events(g))
    assert any(g["exclude"] for g in golden)
    assert max(len(g["history"]) for g in golden) > (manifest["history"]["max_length"] or 60)


def test_requests_and_answers_fit_the_schemas(bundle: Path):
    request, response = (json.loads((bundle / f"{n}.schema.json").read_text()) for n in ("request", "response"))
    for schema in (request, response):
        jsonschema.Draft202012Validator.check_schema(schema)
    golden = json.loads((bundle / "golden.json").read_text())["requests"]
    asked = [{key: value for key, value in g.items() if key != "expected"} for g in golden]
    found = answered(Bundle.load(bundle), asked)
    for one, answer in zip(asked, found, strict=True):
        jsonschema.validate(one, request)
        jsonschema.validate(answer, response)


def test_what_the_manifest_says_of_the_graph_is_what_the_graph_takes(bundle: Path):
    manifest, opened = json.loads((bundle / "manifest.json").read_text()), Bundle.load(bundle).model
    told = manifest["preprocessing"]
    if manifest["scorer"] != "onnx":
        assert told["inputs"] is None
        assert {n: a["shape"] for n, a in told["arrays"].items()} == {
            n: list(a.shape) for n, a in opened.arrays.items() if n != "catalogue"
        }
        return
    assert set(told["inputs"]) == {node.name for node in opened.session.get_inputs()}
    assert set(told["outputs"]) == {node.name for node in opened.session.get_outputs()}
    assert told["inputs"]["history"]["type"] == "int64"


def test_the_card_says_where_the_model_comes_from_and_how_well_it_does(bundle: Path, shop: Any):
    card = (bundle / "card.md").read_text(encoding="utf-8")
    for said in (
        "| Trained until | 2026-01-15T00:00:00Z |", "| ndcg@10 | 0.3100 | 0.2800 to 0.3300 | 1,234 |",
        "Against the strongest baseline, `recency`: it is better than recency", "0.0400 (0.0100 to 0.0700)",
        shop[0].fingerprint, "none was applied", "no consent table was applied", "It lists 37 of the 40 items",
    ):  # fmt: skip
        assert said in card


def test_customers_are_told_in_three_languages_what_is_true_of_this_bundle(bundle: Path):
    text = (bundle / "statement.md").read_text(encoding="utf-8")
    longest = json.loads((bundle / "manifest.json").read_text())["history"]["max_length"]
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## English",
        "## Русский",
        "## Українська",
    ]
    assert "are left out" in text
    assert "не показуються" in text
    assert text.count("2026-01-15") == 3
    assert ("the newest" in text) == (longest is not None)
    assert "{" not in text


def test_a_model_with_longer_arithmetic_says_who_does_it(shop: Any, tmp_path: Path):
    model = SLIM()
    model.fit(*shop, Fit(progress=False))
    folder = export_bundle(model, *shop, MadeFrom(model="slim", task="next_item"), tmp_path / "slim", golden=5)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "`shopkeeper answer`" in text
    assert "```python" not in text
    assert "No figures came with the run." in (folder / "card.md").read_text(encoding="utf-8")
