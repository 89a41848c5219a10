"""`evaluate` asks what the figures mean, writes it down, and leaves what other tools read as it was."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from small_runs import MODELS, Data, evaluated, trained

from shopkeeper.errors import UserError
from shopkeeper.evaluation.table import metadata_of
from shopkeeper.files import write_json
from shopkeeper.hashing import sealed
from shopkeeper.pipeline.comparing.baselines import missing_baselines
from shopkeeper.pipeline.comparing.checks import _trained_without_order, over_seeds_of
from shopkeeper.pipeline.runs import RunFolder, open_run
from shopkeeper.pipeline.told import Evaluate, settings
from tiny import days, tiny_prepared


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
    names = {"comparisons.json", "leaderboard.csv", "leaderboard.json", "leaderboard.txt", "metrics.csv",
             "curves.csv", "reliability.csv", "slices.csv", "report.html",
             "requests.parquet", "sanity.json", "decisions.json", "manifest.json"}  # fmt: skip
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
    models = tmp_path / "runs"
    trained(data, models / "tiny/next_item/temporal/item_knn", "item_knn", split_name="temporal")
    gap = evaluated(runs, tmp_path / "report", models, shuffle=False)["split_gap"]
    assert list(gap["models"]) == ["item_knn"]
    assert gap["models"]["item_knn"]["ratio"] == pytest.approx(1)
    again = trained(data, tmp_path / "again", "item_knn", seed=2)
    gap = evaluated([*runs, again], tmp_path / "report", models, shuffle=False)["split_gap"]
    assert list(gap["models"]) == ["item_knn"]  # with its first seed
    manifest = models / "tiny/next_item/temporal/item_knn/manifest.json"
    kept = manifest.read_text(encoding="utf-8")
    write_json(manifest, sealed({**json.loads(kept), "dataset_fingerprint": "another"}))
    gap = evaluated(runs, tmp_path / "report", models, shuffle=False)["split_gap"]
    assert "were trained on other data" in gap["not_run"]
    manifest.write_text(kept, encoding="utf-8")
    (models / "tiny/next_item/temporal/item_knn/metrics.json").write_text("{}", encoding="utf-8")
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
    assert "with 2 seeds a 95 % interval is too narrow" in seeds["item_knn"]["too_few"]
    assert "item_knn over seeds 1, 2: mean ndcg@10" in (tmp_path / "report" / "leaderboard.txt").read_text("utf-8")
    assert list(json.loads((tmp_path / "report" / "leaderboard.json").read_text("utf-8"))["next_item"]) == [
        "item_knn#1", "item_knn#2", "popularity",
    ]  # fmt: skip
    again_by_model = evaluated([*runs, again], tmp_path / "report", shuffle=False, retrain=["item_knn"])
    assert list(again_by_model["retrained"]) == ["item_knn#1"]
    base = trained(data, tmp_path / "base", "popularity", seed=2, plan={"micro_batch": 64})  # that machine was smaller
    both = evaluated([*runs, again, base], tmp_path / "report", shuffle=False)["seeds"]
    assert both["item_knn"]["ahead_of"]["popularity"]["low"] > 0
    assert both["popularity"]["ahead_of"]["item_knn"]["high"] < 0
    other = RunFolder(again.path, {**again.config, "model": {**again.config["model"], "neighbours": 3}}, again.metrics,
                      again.manifest)  # fmt: skip
    assert evaluated([*runs, other], tmp_path / "report", shuffle=False)["seeds"] == {}
    first = next(run for run in runs if run.metrics["model"] == "item_knn")
    third = RunFolder(first.path, other.config, {**first.metrics, "seed": 3}, first.manifest)
    alike = {"a#1": first, "a#2": again, "a#3": third, "a#2 (b)": other}
    found = over_seeds_of(alike, {name: run.table("test") for name, run in alike.items()}, "ndcg@10")
    assert {name: one["runs"] for name, one in found.items()} == {"a#1": ["a#1", "a#2"], "a#2 (b)": ["a#2 (b)", "a#3"]}
    assert list(found["a#1"]["ahead_of"]) == ["a#2 (b)"]
    knew_more = RunFolder(again.path, again.config, again.metrics, {**again.manifest, "features": "others"})
    assert evaluated([*runs, knew_more], tmp_path / "report", shuffle=False)["seeds"] == {}


def test_a_model_of_two_processes_is_trained_again_on_shuffled_histories_not_on_those_on_disk(data: Data) -> None:
    settings = {"name": "sasrec", "target": "shopkeeper.recommenders.networks.sasrec.SASRec", "width": 4, "epochs": 1}
    config: dict[str, Any] = {"model": settings, "dataset": {"name": "tiny", "filter_seen": False}, "seed": 1,
                              "split": {"name": "leave_one_out"}, "task": {"name": "next_item"}}  # fmt: skip
    trainer = {"accelerator": "cpu", "threads": 1}

    def again(**told: Any) -> np.ndarray:
        run = RunFolder(Path("run"), {**config, "trainer": trainer | told}, {"model": "sasrec"}, {})
        vectors: np.ndarray = _trained_without_order(run, data[1]).item_vectors()
        return vectors

    assert np.array_equal(again(devices=2, plan={"processes": 2}), again(devices=1))


def test_a_model_that_started_from_one_which_knew_the_order_is_not_called_trained_without(data: Data) -> None:
    config = {"model": {"name": "sasrec"}, "init_from": "models/yesterday"}
    with pytest.raises(UserError, match="started from the weights of models/yesterday, which have seen the order"):
        _trained_without_order(RunFolder(Path("run"), config, {"model": "sasrec"}, {}), data[1])


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


def test_a_baseline_that_nobody_trained_is_trained_for_the_table(
    data: Data, runs: list[RunFolder], tmp_path: Path
) -> None:
    shipped = {n: yaml.safe_load(Path(f"conf/model/{n}.yaml").read_text("utf-8")) for n in ("popularity", "recency")}
    out = tmp_path / "report"
    found = evaluated([runs[1]], out, baselines=shipped)
    assert found["missing_baselines"] is None
    board = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))["next_item"]
    assert set(board) == {"item_knn", "popularity", "recency"}
    told = {r["model"]: r["path"] for r in json.loads((out / "manifest.json").read_text(encoding="utf-8"))["runs"]}
    recency = open_run(told["recency"])
    assert recency.path == out / "baselines" / "recency"
    own, other = (metadata_of(run.table()) for run in (recency, runs[1]))
    same = ("target_hash", "filter_seen", "k", "ties", "n_catalogue")
    assert {k: own[k] for k in same} == {k: other[k] for k in same}
    assert own["model"] == "recency"
    rows = pq.read_table(out / "requests.parquet").filter(pc.field("model") == "recency")
    hidden = recency.table()["user_id"].to_pylist()
    assert hidden == rows["user_id"].to_pylist()  # the same number for a customer everywhere in the report
    assert all(name.startswith("customer ") for name in hidden)
    shutil.rmtree(out)
    assert evaluated(runs, out, baselines={})["missing_baselines"].startswith("no recency baseline")


def test_a_shops_own_baseline_is_in_its_table_and_not_where_seen_items_are_left_out(data: Data, tmp_path: Path) -> None:
    own = yaml.safe_load(Path("conf/model/personal_frequency.yaml").read_text("utf-8"))
    told = {"dataset": {"name": "tiny"}, "split": {"name": "leave_one_out"}, "evaluation": {"resamples": 50}}
    cfg = settings({**told, "report": {"shop_baselines": {"personal_frequency": own}}}, Evaluate)
    shop = trained(data, tmp_path / "shop", "popularity")
    assert [run.metrics["model"] for run in missing_baselines(cfg, [shop], tmp_path)] == ["personal_frequency"]
    films = replace(shop, metrics={**shop.metrics, "filter_seen": True})
    assert missing_baselines(cfg, [films], tmp_path) == []


def evaluated_board(runs: list[RunFolder], out: Path, confidence: float, **report: Any) -> dict[str, Any]:
    """`leaderboard.csv` by model; training is told to have used .95."""
    told = [replace(run, config={**run.config, "evaluation": {"confidence": 0.95, "resamples": 50}}) for run in runs]
    evaluated(told, out, confidence=confidence, shuffle=False, **report)
    with (out / "leaderboard.csv").open(newline="", encoding="utf-8") as f:
        return {row["model"]: {k: float(row[k]) for k in ("value", "low", "high")} for row in csv.DictReader(f)}


def test_other_intervals_than_those_of_training_are_made_again(tmp_path: Path) -> None:
    histories = np.random.default_rng(3).integers(1, 13, (60, 7)).tolist()
    told = tiny_prepared(tmp_path / "tiny", histories, days(histories, 19_000))
    runs = [trained(told, tmp_path / name, name) for name in MODELS]
    wide, narrow, bca = (
        evaluated_board(runs, tmp_path / "report", confidence, intervals=kind)["popularity"]["low"]
        for confidence, kind in ((0.99, "percentile"), (0.5, "percentile"), (0.5, "bca"))
    )
    assert wide < narrow
    assert bca != narrow
    assert "50 % intervals" in (tmp_path / "report" / "leaderboard.txt").read_text(encoding="utf-8")
