"""Every file in conf/trainer trains, or says in one line why it cannot."""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from small_training import MODEL, fit

from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.nn.networks.sasrec import SASRecNetwork, SASRecShape
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.config import Recipe, TrainerConfig
from shopkeeper.training.fit import _fits_memory

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(p.stem for p in (CONF / "trainer").glob("*.yaml"))


def trainer(name: str, **changes) -> dict:
    with initialize_config_dir(str(CONF / "trainer"), version_base=None):
        values = dict(compose(name))
    return {**values, "threads": 1, **changes}


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_trainer_runs(tiny_shop, name: str, caplog: pytest.LogCaptureFixture):
    settings = trainer(name)
    assert settings["name"] == name
    if name == "gpu" and not torch.cuda.is_available():
        with pytest.raises(UserError, match="trainer=gpu needs a CUDA device"):
            fit(*tiny_shop, trainer=settings)
        return
    if name == "ddp":
        settings["devices"] = 1  # two are tested in test_distributed.py
    limit = {"profiler": 2, "debug": 1}.get(name, 30 if name == "overfit" else 2)
    model = SASRec(**{**MODEL, "epochs": 2, "dropout": 0.0})
    caplog.set_level(logging.INFO)
    settings["max_epochs"] = min(settings["max_epochs"] or 2, limit)
    model.fit(*tiny_shop, Fit(seed=3, trainer=TrainerConfig.of(settings), progress=False))
    history = model.trained.history
    assert len(history) == settings["max_epochs"]
    assert history[-1]["loss"] < history[0]["loss"] or len(history) == 1
    if name == "overfit":
        assert history[-1]["loss"] < 0.6 * history[0]["loss"]
        assert "ndcg@10" not in history[0]
    if name == "profiler":
        assert "Self CPU" in caplog.text


def test_the_profiler_sees_the_work_of_a_batch_and_leaves_no_trace(tiny_shop, tmp_path: Path, monkeypatch, caplog):
    """With two threads a batch would be shared out to two others, of which the profiler knows nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = trainer("profiler", threads=2, precision="fp32", validation_requests=0)
    caplog.set_level(logging.INFO)
    SASRec(**{**MODEL, "dropout": 0.0}).fit(*tiny_shop, Fit(seed=3, trainer=TrainerConfig.of(settings), progress=False))
    for work in ("_Chunked", "aten::mm", "AddmmBackward", "Optimizer.step"):  # the first is the softmax
        assert work in caplog.text
    assert not list(tmp_path.iterdir())  # Lightning's megabytes of JSON, of which nobody was told


def test_streamed_from_files_it_learns_the_same_and_leaves_no_files(tiny_shop, tmp_path: Path, caplog):
    resident = fit(*tiny_shop, epochs=2).trained
    caplog.set_level(logging.INFO)
    streamed = fit(*tiny_shop, epochs=2, folder=tmp_path, trainer={"resident": "mapped"}).trained
    assert [h["loss"] for h in streamed.history] == [h["loss"] for h in resident.history]
    assert not streamed.plan.resident
    assert "streamed from files" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_what_does_not_fit_into_memory_is_streamed_without_being_asked(tiny_shop, monkeypatch):
    split = tiny_shop[1]
    network = SASRecNetwork(SASRecShape(n_items=5, n_types=3))
    rows = int((split.train_end - split.prepared.offsets[:-1]).sum())
    for room, fits in ((40 * rows, True), (30 * rows, False)):
        monkeypatch.setattr("shopkeeper.training.devices.memory.available", lambda device, room=room: room)
        assert _fits_memory(rows, TrainerConfig(), network) is fits
    monkeypatch.undo()
    assert fit(*tiny_shop, epochs=1).trained.plan.resident
    monkeypatch.setattr("shopkeeper.training.fit._fits_memory", lambda *_: False)
    assert not fit(*tiny_shop, epochs=1).trained.plan.resident


def test_the_shipped_model_config_fits_the_recipe():
    values = yaml.safe_load((CONF / "model" / "sasrec.yaml").read_text())
    assert values["loss"] == "${loss}"
    values["loss"] = yaml.safe_load((CONF / "loss" / "softmax.yaml").read_text())
    model = SASRec(**{k: v for k, v in values.items() if k not in ("name", "task", "target")})
    shipped = {"patience_steps": 100, "weight_decay": 0.3, "average": "best", "average_epochs": 3}
    assert model.recipe == replace(Recipe(), **shipped)  # a class obeys patience alone, and keeps one epoch's weights


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"acelerator": "cpu"}, "unknown option `trainer.acelerator`. Did you mean 'accelerator'"),
        ({"precision": "fp8"}, "trainer.precision is 'fp8'; it is not known; choose auto or"),
        ({"plan": {"microbatch": 3}}, "unknown option `trainer.plan.microbatch`. Did you mean 'micro_batch'"),
        ({"devices": 0}, "trainer.devices is 0"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_nearest_one(values, said: str):
    with pytest.raises(UserError) as e:
        TrainerConfig.of(values)
    assert said in str(e.value)


def test_a_bare_off_in_yaml_means_off():
    assert TrainerConfig.of(yaml.safe_load("compile: off")).compile == "off"


def test_the_bar_shows_loss_rate_best_and_time_left(tiny_shop, capfd: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setattr("time.monotonic", iter(range(10**6)).__next__)  # drawn at every batch
    SASRec(**MODEL).fit(*tiny_shop, Fit(seed=3, trainer=TrainerConfig.of(trainer("cpu")), progress=True))
    shown = capfd.readouterr().err
    for part in ("epoch 5/5", "loss=", "events/s=", "best ndcg@10=0.", "100%"):
        assert part in shown


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
def test_compiled_it_learns_the_same(tiny_shop):
    eager = fit(*tiny_shop, dropout=0.0, epochs=2).trained
    compiled = fit(*tiny_shop, dropout=0.0, epochs=2, trainer={"compile": "on"}).trained
    assert compiled.plan.compile
    assert [h["loss"] for h in compiled.history] == pytest.approx([h["loss"] for h in eager.history], abs=1e-5)
