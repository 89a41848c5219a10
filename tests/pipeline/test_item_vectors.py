"""Features from a trained recommender's items: of one that knows nothing of what is asked, and always the same one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from customers.test_totals_verbs import rows
from house import House
from shopkeeper.errors import UserError
from shopkeeper.models.about import VECTORS
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms import item_vectors
from shopkeeper.pipeline.forms.cohorts import windows_of
from shopkeeper.pipeline.forms.customers import data_of
from shopkeeper.pipeline.forms.item_vectors import declared_of
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.pipeline.score import score
from shopkeeper.pipeline.told import VERBS, settings

BPR = ("dataset=rhythm", "model=bpr", "model.width=4", "model.epochs=2", "evaluation.refit=false")
EARLY = ("split.validation=2023-03-01", "split.test=2023-03-11", "split.end=2023-03-21")
WINDOWS = ("task.windows.horizon_days=20", "task.windows.active_days=60", "task.windows.n_train=1")
ASKED = ("dataset=rhythm", "model=logistic", *WINDOWS, "+features.item_vectors.size=3")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("vectors"))
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60})
    return house


@pytest.fixture(autouse=True)
def there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house.place)


@pytest.fixture(scope="module")
def bpr(house: House) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(house.place)
        return house.train("runs/bpr", *BPR, *EARLY)


def test_a_run_knows_which_recommender_its_features_are_of(house: House, bpr: RunFolder) -> None:
    run = house.train("runs/leaves", *ASKED, "+features.item_vectors.run=bpr")
    names = json.loads((run.path / "model.json").read_text())["feature_names"]
    assert names[-3:] == ["item_vector_1", "item_vector_2", "item_vector_3"]
    told = run.told.features.item_vectors
    assert told is not None
    assert (told.run, told.seal) == ("runs/bpr", bpr.manifest["seal"])
    assert run.manifest["features"] == run.told.features.hash
    house.export(f"run={run.path}", "name=it", "golden=8", "dataset=rhythm", "split=temporal", "calibration_gate=null")
    score(house._composed("score", (f"run={run.path}", "to=scores.parquet")))
    assert Path("scores.parquet").is_file()
    house.train("runs/bpr", *BPR, *EARLY, "seed=2", "overwrite=true")
    with pytest.raises(UserError, match=r"item_vectors.run=runs/bpr was trained anew since"):
        score(house._composed("score", (f"run={run.path}", "to=again.parquet")))


@pytest.mark.parametrize(
    ("words", "model", "expected"),
    [
        ((), "bpr", r"was trained on events until 2023-.*, and the first cutoff is 2023-.*split.validation=2023-"),
        (EARLY, "popularity", r"its model has no vectors of items; name one that has"),
        ((*EARLY, "model.width=1"), "bpr", r"item_vectors.size=3, and .* has vectors of 2 numbers"),
        (("split=leave_one_out",), "bpr", r"has no cutoff in time before which all that it learned lies"),
    ],
)
def test_a_recommender_that_does_not_fit_is_refused_in_one_line(
    house: House, tmp_path: Path, words: tuple[str, ...], model: str, expected: str
) -> None:
    plain = BPR if model == "bpr" else ("dataset=rhythm", f"model={model}", "evaluation.refit=false")
    other = house.train(str(tmp_path / "other"), *plain, *words)
    with pytest.raises(UserError, match=expected):
        house.train(str(tmp_path / "none"), *ASKED, f"+features.item_vectors.run={other.path}")


def test_without_a_run_nothing_is_declared(house: House) -> None:
    with pytest.raises(UserError, match=r"features\.item_vectors lacks `run`; set it"):
        settings(house._composed("train", ASKED), VERBS["train"])


def test_a_search_among_other_features_is_another_search(house: House, bpr: RunFolder) -> None:
    words = ((), ("features.gaps=null",), ("+features.item_vectors.run=bpr",))
    asked = [settings(house._composed("train", (*ASKED[:-1], *some)), VERBS["train"]) for some in words]
    assert len({data_of(cfg)["features"] for cfg in asked}) == 3


def test_of_a_log_that_is_another_one_at_each_cutoff_no_recommender_knows_the_items(
    house: House, bpr: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = house.config("train", *ASKED, "+features.item_vectors.run=bpr")
    prepared = prepare_data(cfg)
    windows = windows_of(cfg, prepared)
    assert declared_of(cfg, windows, prepared.fingerprint).item_vectors == cfg.features.item_vectors
    monkeypatch.setattr(context, "known_per_cutoff", lambda cfg: True)
    with pytest.raises(UserError, match=r"dataset=rhythm is another log at each cutoff .*identity.as_of to a date"):
        declared_of(cfg, windows, prepared.fingerprint)


def test_items_that_the_recommender_has_not_learned_have_no_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, known = np.random.default_rng(1).normal(size=(6, 4)), np.array([False, True, True, False, True, False])

    def kept(vectors: np.ndarray, seal: str) -> np.ndarray:
        model = SimpleNamespace(about=SimpleNamespace(answers=VECTORS), item_vectors=lambda: vectors)
        run = SimpleNamespace(model=lambda: model, manifest={})
        monkeypatch.setattr(item_vectors, "open_run", lambda path: run)
        return item_vectors._kept("somewhere", seal, 2)

    monkeypatch.setattr(context, "prepared_of", lambda manifest: None)
    monkeypatch.setattr(context, "split_of", lambda *_: SimpleNamespace(known=np.flatnonzero(known)))
    found = kept(drawn, "one")
    assert found.any(axis=1).tolist() == known.tolist()
    np.testing.assert_array_equal(found, kept(np.where(known[:, None], drawn, 7.0), "other"))
