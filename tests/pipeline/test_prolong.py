"""A training that is asked to last longer goes on from the finished one; a search leaves no checkpoints behind."""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from test_bad_input import HEAD, ROWS, config, write_raw

from shopkeeper import tracking
from shopkeeper.errors import UserError
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.told import Train, but, settings
from shopkeeper.pipeline.train import train_model, validate_model

SMALL = (
    "model=sasrec", "model.width=8", "model.max_length=8", "model.patience=0", "trainer.precision=fp32",
    "evaluation.refit=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prolong")
    write_raw(place, HEAD + "".join(ROWS))
    return place


def run(shop: Path, name: str, *words: str) -> Any:
    return train_model(config(shop, "train", *SMALL, *words), shop / "models" / name)


def weights(run: Any) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in load_file(run.path / "weights.safetensors").items()}


def test_twice_the_epochs_take_half_as_many_steps_and_give_the_same_weights(
    shop: Path, caplog: pytest.LogCaptureFixture
):
    run(shop, "short", "trainer.max_epochs=2")
    with caplog.at_level(logging.INFO):
        longer = run(shop, "longer", "trainer.max_epochs=4")
    assert "going on from 2 epochs of" in caplog.text
    assert "epoch 3:" in caplog.text
    assert "epoch 2:" not in caplog.text
    assert weights(longer) == weights(run(shop, "whole", "trainer.max_epochs=4", "trainer.resume=false"))
    assert open_run(shop / "models/short").manifest["files"]  # it kept its own checkpoint, whole


def test_a_run_folder_that_was_used_again_does_not_block_the_longer_training(
    shop: Path, caplog: pytest.LogCaptureFixture
):
    run(shop, "reused", "trainer.max_epochs=1", "seed=6")
    run(shop, "reused", "trainer.max_epochs=1", "seed=6", "model.lr=0.01")
    with caplog.at_level(logging.INFO):
        longer = run(shop, "reused", "trainer.max_epochs=2", "seed=6")
    assert "holds another training by now: this one starts afresh" in caplog.text
    assert len(json.loads((longer.path / "training.json").read_text())["history"]) == 2


def test_after_memory_ran_out_a_training_goes_on_with_less_of_it(shop: Path, caplog: pytest.LogCaptureFixture):
    class Killed(BaseException):  # as by the system: nothing is tidied up
        pass

    def kill(metrics: Any, epoch: int) -> None:
        if epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        validate_model(config(shop, "train", *SMALL, "trainer.max_epochs=3", "seed=12"), kill)
    less = ("trainer.micro_batch=4", "trainer.memory_gib=1", "trainer.checkpoint_epochs=2", "trainer.resident=mapped")
    with caplog.at_level(logging.INFO):
        gone_on = run(shop, "less", "trainer.max_epochs=3", "seed=12", *less)
    assert "4 sequences at a time, not 128 as stored there" in caplog.text
    assert "epoch 1:" not in caplog.text
    plan = gone_on.config["trainer"]["plan"]
    assert (plan["micro_batch"], plan["resident"]) == (4, False)


def test_the_config_that_a_run_keeps_repeats_it_with_the_plan_that_was_chosen(shop: Path):
    first = run(shop, "chosen", "trainer.max_epochs=1", "seed=7", "trainer.micro_batch=3")
    kept = yaml.safe_load((first.path / "config.yaml").read_text())
    told = settings(kept, Train)
    assert told.plain["trainer"]["plan"] == json.loads((first.path / "training.json").read_text())["plan"]
    again = train_model(but(told, trainer={**told.trainer.plain, "micro_batch": None}), shop / "models" / "repeated")
    assert weights(again) == weights(first)


def test_the_plan_of_two_processes_does_not_bind_one(shop: Path):
    cfg = config(shop, "train", *SMALL, "trainer.max_epochs=1", "seed=8")
    ddp = {**cfg.trainer.plain, "plan": {"processes": 2}}  # as the config of a run of trainer=ddp has it
    assert train_model(but(cfg, trainer=ddp), shop / "models" / "alone").config["trainer"]["plan"]["processes"] == 1


def test_the_curve_of_a_prolonged_training_begins_with_its_first_epoch(shop: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = []
    monkeypatch.setattr(
        "shopkeeper.pipeline.pictures.figures.learning_curve", lambda history, *_: drawn.append(history)
    )
    told: list[tuple[str, int | None]] = []
    monkeypatch.setattr(tracking.Run, "_tell", lambda *_, **__: None)
    monkeypatch.setattr(
        tracking.Run, "metrics", lambda _, values, step=None: told.extend((name, step) for name in values)
    )
    monkeypatch.setattr(tracking, "start", lambda *_: nullcontext(tracking.Run("a tracked run")))
    run(shop, "curve", "trainer.max_epochs=2", "seed=13")
    run(shop, "longer curve", "trainer.max_epochs=4", "seed=13")
    assert [[row["epoch"] for row in history] for history in drawn] == [[1, 2], [1, 2, 3, 4]]
    told.clear()
    run(shop, "trained anew", "trainer.max_epochs=2", "seed=13", "evaluation.refit=true")
    assert {("training/loss", 2), ("training/anew/loss", 2)} <= set(told)
    assert len(set(told)) == len(told)  # no step of a curve is told twice
    first, _, anew = ([(row["epoch"], row["loss"], row["ndcg@10"]) for row in history] for history in drawn)
    assert anew == first  # what validation followed, not the training until the test cutoff


def test_the_same_training_asked_for_again_is_done_again(shop: Path, caplog: pytest.LogCaptureFixture):
    run(shop, "first", "trainer.max_epochs=1", "seed=5")
    with caplog.at_level(logging.INFO):
        run(shop, "second", "trainer.max_epochs=1", "seed=5")
    assert "epoch 1:" in caplog.text


def test_a_cosine_decay_starts_afresh_and_says_so(shop: Path, caplog: pytest.LogCaptureFixture):
    run(shop, "cosine", "trainer.max_epochs=1", "model.decay=cosine")
    with caplog.at_level(logging.INFO):
        run(shop, "cosine longer", "trainer.max_epochs=2", "model.decay=cosine")
    assert "planned for 1 epochs, now there are 2" in caplog.text
    assert "epoch 1:" in caplog.text


def test_a_pruned_or_failed_trial_leaves_no_checkpoint(shop: Path):
    class Pruned(Exception):
        pass

    def prune(metrics: Any, epoch: int) -> None:
        if epoch == 2:
            raise Pruned

    before = set((shop / "outputs/checkpoints").glob("sasrec-*"))
    with pytest.raises(Pruned):
        validate_model(config(shop, "train", *SMALL, "trainer.max_epochs=3", "seed=9"), prune)
    assert set((shop / "outputs/checkpoints").glob("sasrec-*")) == before


def test_the_same_command_started_twice_does_not_mix_two_trainings(shop: Path):
    refused = []

    def start_again(metrics: Any, epoch: int) -> None:
        with pytest.raises(UserError, match=r"another process is at work on .*checkpoints/sasrec-") as e:
            run(shop, "twice", "trainer.max_epochs=2", "seed=10")
        refused.append(e)

    validate_model(config(shop, "train", *SMALL, "trainer.max_epochs=2", "seed=10"), start_again)
    assert len(refused) == 2
    run(shop, "twice", "trainer.max_epochs=1", "seed=10")  # the first has ended: nobody is at work
    assert not list((shop / "outputs/checkpoints").glob(".*.lock"))
