"""The baselines of a table: asked as the runs were, and the strongest on validation is what others are set beside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from house import House, small_shop
from shopkeeper.evaluation.table import metadata_of
from shopkeeper.pipeline.comparing.section import strongest_baseline
from shopkeeper.pipeline.runs import RunFolder, open_run

HERE = ("dataset=shop", "split=temporal")
REPORT = Path("reports/shop/temporal")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    house = House(tmp_path)
    house.dataset("shop", small_shop())
    return house


def test_baselines_beside_a_run_that_was_trained_anew_are_trained_anew(house: House) -> None:
    place = "runs/shop/next_item/temporal/item_knn"
    house.train(place, "model=item_knn", "evaluation.refit=true", *HERE)
    house.evaluate(*HERE, "report.shuffle=false")
    added = {path.name: open_run(path) for path in (REPORT / "baselines").iterdir()}
    assert set(added) == {"popularity", "recency", "personal_frequency", "recent_popularity"}
    for run in added.values():
        assert run.metrics["refit"] is True
        assert metadata_of(run.table("test"))["refit"] is True
        assert run.metrics["validation"]["ndcg@10"]["value"] is not None
    alone = house.train("runs/popularity", "model=popularity", "evaluation.refit=true", *HERE)
    assert added["popularity"].metrics["test"] == alone.metrics["test"]
    assert added["popularity"].metrics["validation"] == {"ndcg@10": alone.metrics["validation"]["ndcg@10"]}
    found = json.loads((REPORT / "comparisons.json").read_text())["next_item"]
    assert {"item_knn", "popularity"} in [{one["a"], one["b"]} for one in found]


@pytest.mark.parametrize("headline", ["recall@5", "mrr", "revenue@5"])
def test_of_validation_a_baseline_answers_the_headline_and_that_as_a_run_of_its_own_would(
    house: House, headline: str
) -> None:
    words = (*HERE, f"task.headline={headline}", "evaluation.k=[10,5]")
    house.train("runs/shop/next_item/temporal/item_knn", "model=item_knn", *words)
    house.evaluate(*words, "report.shuffle=false")
    alone = house.train("runs/recency", "model=recency", *words).metrics["validation"]
    assert alone[headline]["value"] > 0
    assert open_run(REPORT / "baselines/recency").metrics["validation"] == {headline: pytest.approx(alone[headline])}


def test_the_strongest_baseline_on_validation_is_what_others_are_set_beside(house: House) -> None:
    house.train("runs/shop/next_item/temporal/item_knn", "model=item_knn", *HERE)
    house.evaluate(*HERE, "report.shuffle=false")
    added = {path.name: open_run(path) for path in (REPORT / "baselines").iterdir()}
    value = {name: run.metrics["validation"]["ndcg@10"]["value"] for name, run in added.items()}
    best = max(value, key=lambda name: value[name])
    cfg = house.config("evaluate", *HERE)
    assert strongest_baseline(cfg, added, "ndcg@10", lower=False) == best
    assert strongest_baseline(cfg, added, "ndcg@10", lower=True) == min(value, key=lambda name: value[name])
    named = house.config("evaluate", *HERE, "report.baseline=popularity")
    assert strongest_baseline(named, added, "ndcg@10", lower=False) is None
    strangers: dict[str, RunFolder] = {"item_knn": open_run("runs/shop/next_item/temporal/item_knn")}
    assert strongest_baseline(cfg, strangers, "ndcg@10", lower=False) is None
