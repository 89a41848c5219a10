"""`best.yaml`: with it, `train` composes what the best trial was trained with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from searches import ROOT, config, stub, trials
from shopkeeper.pipeline import tune
from shopkeeper.pipeline.told import plain
from shopkeeper.tuning import results

SASREC = ["model=sasrec", "loss=sampled_softmax", "loss.negatives=64", "trainer.max_epochs=2", "model.max_length=20",
          "dataset.simulate.customers=300", "split.k_core=2", "timeline.ties=shuffled", "tuning.seeds=[3]"]  # fmt: skip


def experiment(folder: Path, best: Path) -> dict[str, Any]:
    """What `train.py experiment=tuned/mine` is given."""
    shutil.copytree(ROOT / "conf", folder / "conf")
    (folder / "conf/experiment/tuned").mkdir(parents=True)
    shutil.copy(best, folder / "conf/experiment/tuned/mine.yaml")
    with initialize_config_dir(str(folder / "conf"), version_base="1.3"):
        return plain(compose("train", ["experiment=tuned/mine"]))


@pytest.mark.parametrize(
    "words",
    [
        ["tuning=random"],
        ["model=sasrec"],
        SASREC,
        ["model=sasrec", "loss=bce", "+tuning.space.loss.negatives={type: int, low: 3, high: 9}"],
        ["model=lightgbm", "dataset=online_retail", "model.num_threads=2", "task.windows.horizon_days=20"],
        [
            "model=lightgbm",
            "dataset=online_retail",
            "model.num_threads=2",
            "features=rich",
            "features.looks=null",
            "features.category.named=[tea]",
            "+features.attributes.values.age=null",
        ],
        ["dataset=amazon_beauty", "split=leave_one_out", "model.half_life_events=null"],
    ],
)
def test_train_composes_what_the_best_trial_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
):
    cfg = config(tmp_path, *words, "tuning.trials=3")
    worse = 1 if cfg.task.direction == "minimize" else -1
    seen = stub(monkeypatch, lambda cfg, log: worse * len(seen))  # the first is the best
    folder = tune.tune_model(cfg)
    trained, best = experiment(tmp_path, folder / "best.yaml"), seen[0].plain
    for group in ("dataset", "split", "task", "features", "timeline", "model", "seed", "trainer"):
        assert trained[group] == best[group], group
    if "loss" in best["model"]:
        assert trained["loss"] == best["loss"] == best["model"]["loss"]


def test_settings_that_were_found_are_written_down_also_where_they_are_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stub(monkeypatch, lambda cfg, log: 1.0)
    words = ["tuning.trials=1", "tuning.space.neighbours.low=50", "tuning.space.neighbours.high=50"]
    folder = tune.tune_model(config(tmp_path, *words))
    assert "neighbours: 50" in (folder / "best.yaml").read_text()


def test_the_plots_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder):
    drawn = results.write_plots
    stub(monkeypatch, lambda cfg, log: log({"ndcg@10": 0.1}, 1) or cfg.model.parameters["neighbours"])
    monkeypatch.setattr(results, "write_plots", drawn)
    folder = tune.tune_model(config(tmp_path, "tuning=random", "tuning.trials=6"))
    assert {"history.png", "slice.png", "importance.png", "curves.png"} <= {p.name for p in folder.iterdir()}
    assert not [w for w in recwarn if "matplotlib" in w.filename]
    assert len(trials(tmp_path)) == 6
