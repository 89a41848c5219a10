"""`evaluate` asks what the figures mean, writes it down, and leaves what other tools read as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.errors import UserError
from shopkeeper.evaluation.table import evaluate_requests, summarise
from shopkeeper.pipeline.evaluate import evaluate_runs
from shopkeeper.pipeline.runs import RunFolder, write_run
from shopkeeper.recommenders.base import Fit, make
from shopkeeper.sequences.prepared import Prepared, Split
from tiny import cycle_histories, days, tiny_prepared

Data = tuple[Prepared, Split]
KNN = {"neighbours": 10, "shrinkage": 1.0, "half_life_events": 0.5, "half_life_days": None, "self_similarity": None}
MODELS: dict[str, dict[str, Any]] = {
    "popularity": {"half_life_days": None, "relative_to": "cutoff", "event_weights": None},
    "item_knn": {**KNN, "event_weights": None},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    histories = cycle_histories(60, 12, 7)  # the next item follows from the last: order matters here
    return tiny_prepared(tmp_path_factory.mktemp("evaluate") / "tiny", histories, days(histories, 19_000))


def trained(data: Data, folder: Path, name: str, seed: int = 1, split_name: str = "leave_one_out") -> RunFolder:
    """A finished run, as `train` leaves it."""
    prepared, split = data
    settings = yaml.safe_load((Path("conf/model") / f"{name}.yaml").read_text(encoding="utf-8")) | MODELS[name]
    config = {
        "model": settings,
        "task": {"name": "next_item", "headline": "ndcg@10"},
        "dataset": {"name": "tiny", "filter_seen": False},
        "trainer": {},
        "seed": seed,
        "init_from": None,
    }
    model = make(settings)
    model.fit(prepared, split, Fit(seed=seed, progress=False))
    table = evaluate_requests(model, split, "test", metadata={"model": name, "seed": seed})
    about = {"dataset": "tiny", "split": split_name, "protocol": split.protocol, "task": "next_item", "model": name}
    metrics = {**about, "seed": seed, "filter_seen": False, "target_hash": split.target_hash()}
    metrics["test"] = summarise(table, resamples=50)
    facts = {"prepared": str(prepared.path), "dataset_fingerprint": prepared.fingerprint, "split": split.name}
    return write_run(folder, config, model, metrics, {"test": table}, facts)


@pytest.fixture(scope="module")
def runs(data: Data, tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    root = tmp_path_factory.mktemp("models") / "tiny" / "leave_one_out" / "next_item"
    return [trained(data, root / name, name) for name in MODELS]


def evaluated(runs: list[RunFolder], out: Path, models: Path | None = None, **report: Any) -> dict[str, Any]:
    """`sanity.json` of the recommenders; the whole report lies in `out`."""
    cfg = {
        "dataset": {"name": "tiny"},
        "paths": {"models": str(models or out.parent / "none")},
        "evaluation": {"confidence": 0.95, "resamples": 50, "smallest_effect": 0.003},
        "report": {"customers": 2, "baseline": "popularity", "resamples": 50, **report},
        "tracking": {"name": "none"},
    }
    evaluate_runs(cfg, runs, out)
    found: dict[str, Any] = json.loads((out / "sanity.json").read_text(encoding="utf-8"))["next_item"]
    return found


def test_order_is_worth_something_to_a_model_that_reads_it_and_nothing_to_popularity(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    found = evaluated(runs, tmp_path / "report", retrain=["item_knn"])
    assert found["shuffled"]["item_knn"]["winner"] == "as it was"
    assert found["shuffled"]["item_knn"]["difference"] > 0.05
    assert found["shuffled"]["popularity"]["difference"] == 0
    assert list(found["retrained"]) == ["item_knn"]
    assert found["retrained"]["item_knn"]["winner"] == "as it was"
    html = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Item-kNN: loses 0." in html
    assert "Popularity: no difference; it does not look at the order" in html


def test_the_files_that_dvc_and_the_notebook_read_are_there_beside_the_checks(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    out = tmp_path / "report"
    found = evaluated(runs, out, shuffle=False)
    assert found["shuffled"] == {}
    names = {"comparisons.json", "leaderboard.csv", "leaderboard.json", "leaderboard.txt", "report.html",
             "requests.parquet", "sanity.json", "manifest.json"}  # fmt: skip
    assert {p.name for p in out.iterdir()} == names
    board = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))["next_item"]
    assert list(board) == ["item_knn", "popularity"]
    comparisons = json.loads((out / "comparisons.json").read_text(encoding="utf-8"))["next_item"]
    assert [c["winner"] for c in comparisons] == ["item_knn"]
    assert set(found["checks"]) == set(board)
    assert found["coverage_curves"]["popularity"]["coverage"][-1] == pytest.approx(10 / 12)
    assert found["uses_instant"] == []
    assert found["like_the_best"] == ["item_knn"]


def test_the_other_split_is_set_beside_this_one_where_it_has_runs_and_otherwise_the_command_is_given(
    data: Data, runs: list[RunFolder], tmp_path: Path
) -> None:
    gap = evaluated(runs, tmp_path / "report", shuffle=False)["split_gap"]
    assert "python train.py dataset=tiny split=temporal model=popularity" in gap["not_run"]
    models = tmp_path / "models"
    trained(data, models / "tiny/temporal/next_item/item_knn", "item_knn", split_name="temporal")
    gap = evaluated(runs, tmp_path / "report", models, shuffle=False)["split_gap"]
    assert list(gap["models"]) == ["item_knn"]
    assert gap["models"]["item_knn"]["ratio"] == pytest.approx(1)
    (models / "tiny/temporal/next_item/item_knn/metrics.json").write_text("{}", encoding="utf-8")
    gap = evaluated(runs, tmp_path / "report", models, shuffle=False)["split_gap"]
    assert "was changed or damaged" in gap["not_run"]


def test_several_seeds_are_put_together_and_other_settings_are_not(
    data: Data, runs: list[RunFolder], tmp_path: Path
) -> None:
    again = trained(data, tmp_path / "again", "item_knn", seed=2)
    seeds = evaluated([*runs, again], tmp_path / "report", shuffle=False)["seeds"]
    assert list(seeds) == ["item_knn"]
    assert seeds["item_knn"]["ahead_of"] == {}
    assert seeds["item_knn"]["seeds"] == ["1", "2"]
    assert seeds["item_knn"]["spread"] == 0  # nothing in it is drawn at random
    assert "Over seeds" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    base = trained(data, tmp_path / "base", "popularity", seed=2)
    both = evaluated([*runs, again, base], tmp_path / "report", shuffle=False)["seeds"]
    assert both["item_knn"]["ahead_of"]["popularity"]["low"] > 0
    assert both["popularity"]["ahead_of"]["item_knn"]["high"] < 0
    other = RunFolder(again.path, {**again.config, "model": {**again.config["model"], "neighbours": 3}}, again.metrics,
                      again.manifest)  # fmt: skip
    assert evaluated([*runs, other], tmp_path / "report", shuffle=False)["seeds"] == {}


def test_a_misspelt_model_to_train_again_is_named(runs: list[RunFolder], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run 'item_kn'. Did you mean 'item_knn'\?"):
        evaluated(runs, tmp_path / "report", retrain=["item_kn"])
    assert not (tmp_path / "report").exists()


def test_runs_of_other_data_are_not_compared_even_where_the_targets_are_the_same(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    other = replace(runs[1], manifest={**runs[1].manifest, "dataset_fingerprint": "another"})
    with pytest.raises(UserError, match="was trained on other data than"):
        evaluated([runs[0], other], tmp_path / "report")
