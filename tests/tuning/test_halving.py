"""Successive halving: few trials see the end, those that wait go on where they were, and nothing is trained twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from searches import config, stub, trials
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline import tune
from shopkeeper.pipeline.forms.fitting import PausedError, forgotten_if_it_fails
from shopkeeper.pipeline.told import Train
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.config import TrainerConfig
from tiny import cycle_histories, days, tiny_prepared

Patch = pytest.MonkeyPatch
EPOCHS = 27
WORDS = ("tuning=halving", "tuning.sampler=random", f"trainer.max_epochs={EPOCHS}")


def search(folder: Path, monkeypatch: Patch, goodness: Any, *words: str) -> tuple[Counter[str], dict[str, int]]:
    """Train by a stub that goes on where a trial was; how often each epoch was trained, and the best of each trial."""
    done: dict[str, int] = {}
    trained: Counter[str] = Counter()

    def value(cfg: Train, log: Any) -> float:
        trial = str(cfg.trial)
        for epoch in range(done.get(trial, 0) + 1, EPOCHS + 1):
            trained[f"{trial} {epoch}"] += 1
            done[trial] = epoch
            log({"ndcg@10": goodness(cfg.model.parameters["neighbours"], epoch)}, epoch)
        return float(goodness(cfg.model.parameters["neighbours"], EPOCHS))

    stub(monkeypatch, value)
    tune.tune_model(config(folder, *WORDS, *words))
    return trained, done


def test_the_best_third_goes_on_nothing_is_trained_twice_and_each_setting_costs_one_trial(
    tmp_path: Path, monkeypatch: Patch
):
    trained, done = search(tmp_path, monkeypatch, lambda n, epoch: n / 1000 + epoch / 100, "tuning.trials=27")
    assert len(done) == 27, "one that goes on costs no other setting its place"
    assert set(trained.values()) == {1}
    assert set(done.values()) <= {1, 3, 9, 27}
    setting = {str(t["number"]): t["params"]["neighbours"] for t in trials(tmp_path)}
    for rung in (1, 3, 9):
        came = sorted((trial for trial in done if done[trial] >= rung), key=lambda t: -setting[t.rpartition("/")[2]])
        assert len(came) >= 27 // rung
        assert all(done[trial] > rung for trial in came[: len(came) // 3]), "one of the best third still waits"
    assert sum(trained.values()) < 27 * EPOCHS / 3


def test_whoever_leads_later_goes_on_where_it_was(tmp_path: Path, monkeypatch: Patch):
    order: list[int] = []

    def goodness(neighbours: int, epoch: int) -> float:  # all after the second trial are worse than both
        if neighbours not in order:
            order.append(neighbours)
        return 1.0 - order.index(neighbours) / 100

    trained, done = search(tmp_path, monkeypatch, goodness, "tuning.trials=7")
    second = next(trial for trial in done if trial.endswith("/1"))
    assert done[second] > 1, "of six the second one leads, too"
    assert set(trained.values()) == {1}
    states = [t["state"] for t in trials(tmp_path)]
    assert states[1] == "pruned"
    assert len(states) > 7


def test_a_search_by_halving_that_goes_on_spends_what_is_left_of_its_budget(tmp_path: Path, monkeypatch: Patch):
    both = [search(tmp_path, monkeypatch, lambda n, epoch: n / 1000, f"tuning.trials={n}")[1] for n in (5, 9)]
    assert len(both[0]) == 5
    assert len(both[1].keys() - both[0].keys()) == 4


def test_a_training_that_waits_has_saved_its_epoch_and_ends_as_one_that_never_waited(tmp_path: Path):
    bought = cycle_histories(40, 9, 12)
    prepared, split = tiny_prepared(tmp_path / "data", bought, days(bought))
    settings: dict[str, Any] = {"width": 8, "blocks": 1, "max_length": 10, "epochs": 4, "batch_size": 16, "patience": 0}
    trainer = TrainerConfig(accelerator="cpu", precision="fp32", threads=1)
    seen: list[int] = []

    def fit(folder: Path | None, until: int) -> SASRec:
        def tell(metrics: Any, epoch: int) -> None:
            seen.append(epoch)
            if epoch == until:
                raise PausedError

        model = SASRec(**settings)
        asked = Fit(seed=1, trainer=trainer, progress=False, folder=folder, log=tell)
        with forgotten_if_it_fails(asked, ("validation",)):
            model.fit(prepared, split, asked)
        return model

    whole = fit(None, 99)
    seen.clear()
    for until in (1, 3):
        with pytest.raises(PausedError) as e:
            fit(tmp_path / "run", until)
        assert e.value.folder == tmp_path / "run"
    again = fit(tmp_path / "run", 99)
    assert seen == [1, 2, 3, 4]
    told = ("loss", "ndcg@10")
    assert [[h[k] for k in told] for h in again.trained.history] == [
        [h[k] for k in told] for h in whole.trained.history
    ]
    assert all((again.trained.last_weights[k] == v).all() for k, v in whole.trained.last_weights.items())


def test_checkpoints_of_trials_that_wait_go_with_the_end_of_the_search(tmp_path: Path, monkeypatch: Patch):
    places, waited, gone = tmp_path / "checkpoints", set(), set()

    def value(cfg: Train, log: Any) -> float:
        place = places / str(cfg.trial).replace("/", "-")
        try:
            with forgotten_if_it_fails(replace(Fit(), folder=place), ("validation",)):
                log({"ndcg@10": cfg.model.parameters["neighbours"]}, 1)
        except PausedError:
            waited.add(place)
            raise
        return float(cfg.model.parameters["neighbours"])

    stub(monkeypatch, value)
    monkeypatch.setattr(tune, "remove_checkpoints", gone.add)
    tune.tune_model(config(tmp_path / "studies", *WORDS, "tuning.trials=6", f"paths.checkpoints={places}"))
    assert waited
    assert gone == waited
    assert "waits_in" not in trials(tmp_path / "studies")[-1]
