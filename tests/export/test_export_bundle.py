"""Export: the folder that is handed over answers exactly as the trained model, or is not written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shopkeeper.bundles.answer import Bundle, verify
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.golden import Draw, answer, best, disagreements, trained_scores
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.customers.oracle import ChurnOracle
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.personal_frequency import PersonalFrequency
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.recommenders.item_pairs.ease import EASE
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.recommenders.networks.bert4rec import BERT4Rec
from shopkeeper.recommenders.networks.gru4rec import GRU4Rec
from shopkeeper.recommenders.networks.hstu import HSTU
from shopkeeper.recommenders.networks.lrurec import LRURec
from shopkeeper.recommenders.networks.narm import NARM
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.recommenders.networks.two_tower import TwoTower
from shopkeeper.recommenders.oracle import Oracle
from shopkeeper.schema import EVENT_TYPES

SMALL = {"width": 8, "blocks": 1, "max_length": 12, "epochs": 1}
GRU = {"width": 8, "layers": 1, "max_length": 12, "epochs": 1}
MODELS: dict[str, Any] = {
    "popularity": lambda: Popularity(half_life_days=3),
    "item_knn": lambda: ItemKNN(neighbours=5),
    "item_knn_with_decay": lambda: ItemKNN(7, half_life_events=3, event_weights={"view": 0.1, "purchase": 1}),
    "sasrec_of_purchases": lambda: SASRec(**SMALL | {"inputs": "targets", "max_length": 5}),
    "ease": lambda: EASE(l2=5.0),
    "recency": lambda: Recency(),
    "personal_frequency": lambda: PersonalFrequency(),
    "gru4rec": lambda: GRU4Rec(**GRU | {"layers": 2}),
    "gru4rec_of_purchases": lambda: GRU4Rec(**GRU | {"inputs": "targets", "max_length": 1}),
    "two_tower": lambda: TwoTower(width=8, hidden=8, max_length=12, epochs=1, content="all"),
    "narm": lambda: NARM(**GRU),
    "lrurec": lambda: LRURec(**SMALL | {"blocks": 2}),
    "hstu": lambda: HSTU(**SMALL | {"blocks": 2}),
    "bert4rec": lambda: BERT4Rec(**SMALL),
    "bert4rec_of_purchases": lambda: BERT4Rec(**SMALL | {"inputs": "targets", "max_length": 2}),
    "gated_sasrec": lambda: SASRec(**SMALL | {"gated": True, "heads": 2, "blocks": 2}),
}


@pytest.fixture(scope="module", params=MODELS)
def exported(request: pytest.FixtureRequest, shop: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    prepared, split = shop
    model = MODELS[request.param]()
    model.fit(prepared, split, Fit(filter_seen=False, progress=False))
    metrics = {"test": {"ndcg@10": {"value": 0.1}}}
    run = MadeFrom(model=request.param, filter_seen=True, metrics=metrics, commit="abc")
    return model, export_bundle(
        model, prepared, split, run, tmp_path_factory.mktemp("exports") / request.param, golden=20
    )


def test_bundle_answers_new_people_as_the_trained_model_does(exported: Any) -> None:
    model, path = exported
    rng = np.random.default_rng(1)
    histories = [rng.integers(1, 41, n).tolist() for n in (1, 2, 17, 90)]
    types = [rng.integers(1, 6, len(h)).tolist() for h in histories]
    scores_BV = np.array(model.score(Requests.from_histories(histories, types)))
    scores_BV[:, [0, 38, 39, 40]] = -np.inf
    asked = [
        [(f"i{i}", EVENT_TYPES[t - 1]) for i, t in zip(*pair, strict=True)]
        for pair in zip(histories, types, strict=True)
    ]
    bundle = Bundle.load(path)
    answers = bundle.recommend(asked, filter_seen=False)
    assert disagreements(scores_BV, answers, bundle.vocabulary.internal, 10) == []
    assert all(len(a) == 10 for a in answers)


def test_a_history_is_answered_alike_alone_and_in_a_batch_of_other_lengths(exported: Any) -> None:
    bundle = Bundle.load(exported[1])
    histories = [["i1"], [], ["i2", "i5", "i7", "i9"], ["i3"] * 30]
    together = bundle.recommend(histories)
    alone = [bundle.recommend([h])[0] for h in histories]
    for a, b in zip(together, alone, strict=True):
        assert [i for i, _ in a] == [i for i, _ in b]
        assert np.allclose([s for _, s in a], [s for _, s in b], atol=1e-6)


def test_seen_items_are_left_out_on_request_and_items_outside_the_catalogue_always(exported: Any) -> None:
    bundle = Bundle.load(exported[1])
    history = [f"i{i}" for i in range(1, 33)]
    shown = [i for i, _ in bundle.recommend([history], filter_seen=True)[0]]
    assert sorted(shown) == sorted(f"i{i}" for i in range(33, 38))
    everything = {i for i, _ in bundle.recommend([["i38", "i39", "i40"]], filter_seen=False)[0]}
    assert not everything & {"i38", "i39", "i40"}


def test_an_empty_history_gets_the_fallback_list_of_the_trained_model(exported: Any) -> None:
    model, path = exported
    scores_BV = np.array(model.score(Requests.from_histories([[]])))
    scores_BV[:, [0, 38, 39, 40]] = -np.inf
    wanted = [f"i{i}" for i, _ in best(scores_BV, 10)[0]]
    assert [i for i, _ in Bundle.load(path).recommend([[]])[0]] == wanted


def test_manifest_says_what_the_bundle_is_and_where_it_comes_from(exported: Any, shop: Any) -> None:
    prepared, split = shop
    manifest = json.loads((exported[1] / "manifest.json").read_text())
    assert manifest["format_version"] == 3
    assert manifest["kind"] == "recommender"
    assert manifest["git_commit"] == "abc"
    assert manifest["metrics"]["test"]["ndcg@10"]["value"] == 0.1
    assert manifest["data"]["fingerprint"] == prepared.fingerprint
    assert manifest["data"]["target_hash"] == split.target_hash("test")
    program = "model.onnx" if manifest["scorer"] == "onnx" else "arrays.npz"
    explained = {"README.md", "card.md", "statement.md", "request.schema.json", "response.schema.json"}
    assert set(manifest["files"]) == {"vocabulary.json", "golden.json", program} | explained
    words = json.loads((exported[1] / "vocabulary.json").read_text())
    assert words["item_ids"] == [f"i{i}" for i in range(1, 41)]


def test_golden_requests_hold_the_trained_models_answers_and_are_replayed(exported: Any) -> None:
    golden = json.loads((exported[1] / "golden.json").read_text())["requests"]
    assert len(golden) == 20
    assert golden[0]["history"] == []
    assert {g["filter_seen"] for g in golden} == {True, False}
    found = verify(exported[1])
    assert found.ok
    assert found.requests == 20


@pytest.mark.parametrize("exported", ["gru4rec", "gated_sasrec"], indirect=True)
def test_the_graph_tells_nothing_of_the_machine_that_wrote_it(exported: Any) -> None:
    content = (exported[1] / "model.onnx").read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b"stack_trace" not in content


@pytest.mark.parametrize("exported", ["gated_sasrec"], indirect=True)
def test_exporting_twice_gives_the_same_bytes(exported: Any, shop: Any, tmp_path: Path) -> None:
    model, path = exported
    again = export_bundle(model, *shop, MadeFrom(), tmp_path / "again", golden=20)
    for name in ("model.onnx", "vocabulary.json", "golden.json"):
        assert (again / name).read_bytes() == (path / name).read_bytes(), name


class Drifting(Popularity):
    """Answers differently from what its weights say."""

    def score(self, requests: Requests) -> np.ndarray:
        scores_BV = super().score(requests)
        scores_BV[:, 5] += 1000
        return scores_BV


def test_a_graph_that_answers_differently_from_the_trained_model_is_refused_and_leaves_nothing(
    shop: Any, tmp_path: Path
) -> None:
    model = Drifting()
    model.fit(*shop, Fit())
    with pytest.raises(UserError, match="was not written: the bundle and the trained model differ"):
        export_bundle(model, *shop, MadeFrom(), tmp_path / "exports" / "bad")
    assert list((tmp_path / "exports").iterdir()) == []


class NoProgram:
    about = About()


def test_a_model_without_a_program_is_refused_with_where_one_is_described(shop: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"NoProgram models cannot be exported: they have no `program`"):
        export_bundle(NoProgram(), *shop, MadeFrom(), tmp_path / "x")


TIMED = {
    "item_knn": lambda: ItemKNN(6, half_life_events=4, half_life_days=5, event_weights={"view": 0.2, "purchase": 1}),
    "personal_frequency": lambda: PersonalFrequency(half_life_days=3, event_weights={"view": 0.2, "purchase": 1}),
}


@pytest.mark.parametrize("name", TIMED)
def test_a_model_that_weighs_events_by_their_age_is_told_their_times(name: str, shop: Any, tmp_path: Path) -> None:
    model: Any = TIMED[name]()
    model.fit(*shop, Fit())
    bundle = Bundle.load(export_bundle(model, *shop, MadeFrom(model=name), tmp_path / "bundle", golden=20))
    cases = Draw(shop[0], model.program(timed=True)).random(300, 5)
    scores_BV = trained_scores(model, cases, shop[1].catalogue)
    assert disagreements(scores_BV, answer(bundle, cases), bundle.vocabulary.internal, 10) == []
    old, new = ["i1", "purchase", "2026-01-01"], ["i2", "purchase", "2026-03-01"]
    late = bundle.recommend([[old, new]])
    assert late != bundle.recommend([[["i1", "purchase", "2026-02-28"], new]])
    assert late == bundle.recommend([[{"item_id": "i1", "timestamp": "2026-01-01T00:00:00+00:00"}, new]])
    with pytest.raises(UserError, match=r"the event 'i1' has no timestamp; this model reads times"):
        bundle.recommend([["i1"]])
    assert bundle.recommend([[new, old]]) == late
    assert len(bundle.recommend([[]])[0]) == 10


@pytest.mark.parametrize("oracle", [Oracle, ChurnOracle])
def test_an_oracle_is_refused_with_the_reason(oracle: Any, shop: Any, tmp_path: Path) -> None:
    said = f"{oracle.__name__} models are not exported: an oracle is no candidate, it knows the simulation's truth"
    with pytest.raises(UserError, match=said):
        export_bundle(oracle(), *shop, MadeFrom(), tmp_path / "x")


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ([("a", 0.9), ("b", 0.5)], 0),
        ([("a", 0.90009), ("b", 0.5)], 0),  # within 1e-4
        ([("a", 0.9002), ("b", 0.5)], 1),
        ([("b", 0.5), ("a", 0.9)], 1),  # order
        ([("a", 0.9), ("c", 0.499995)], 0),  # a tie within 1e-5 may stand in either order
        ([("a", 0.9), ("d", 0.49995)], 1),  # a good score, the wrong item
        ([("a", 0.9), ("a", 0.9)], 1),
        ([("a", 0.9)], 1),
    ],
)
def test_answers_differ_when_ids_or_scores_do_and_ties_may_swap(given: list[tuple[str, float]], wrong: int) -> None:
    scores_BV = np.array([[-np.inf, 0.9, 0.5, 0.499995, 0.49995]], np.float32)
    assert len(disagreements(scores_BV, [given], {"a": 1, "b": 2, "c": 3, "d": 4}, 2)) == wrong
