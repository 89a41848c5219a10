"""A sequence network about customers is a network file and a YAML outside of this package: no other file is touched."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from house import House
from pipeline.test_own_task import rows
from shopkeeper.bundles.answer.verify import verify
from shopkeeper.pipeline.train import train_model
from shopkeeper.pipeline.tune import tune_model
from shopkeeper.serving import Bundle
from shopkeeper.training.module import SequenceModule

NETWORK = '''
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from shopkeeper.customers.networks.sequence import SequenceCustomerModel
from shopkeeper.nn.days import Days
from shopkeeper.nn.network import SequenceNetwork


@dataclass(frozen=True)
class RhythmShape:
    n_items: int
    width: int = 8
    max_length: int = 20
    dropout: float = 0.1


class RhythmNetwork(SequenceNetwork):
    """The mean of the gaps so far."""

    reads = ("since",)
    looks_ahead: ClassVar[bool] = False

    def __init__(self, shape):
        super().__init__(shape.dropout)
        self.shape = shape
        self.item = nn.Embedding(shape.n_items + 1, shape.width, padding_idx=0)
        self.gap = Days(shape.width)
        self.out = nn.Linear(shape.width, shape.width)

    def embed(self, inputs):
        return self.drop(self.gap(inputs.since_P))

    def forward(self, x_PD, groups, fused=False, last=None):
        parts = x_PD.split([b * length for b, length in groups])
        means = []
        for x, (b, n) in zip(parts, groups, strict=True):
            count = torch.arange(1, n + 1, dtype=x.dtype)[:, None]
            means.append((x.view(b, n, -1).cumsum(1) / count).flatten(0, 1))
        h_PD = self.out(torch.cat(means))
        return h_PD if last is None else h_PD[last]

    def plain(self, item_BL, type_BL=None, **others_BL):
        real_BL1 = (item_BL > 0).float()[..., None]
        return self.out((self.gap(others_BL["since"]) * real_BL1).sum(1) / real_BL1.sum(1).clamp(min=1))

    def activation_bytes(self, value, fused):
        return 8 * self.shape.width * value


class Rhythm(SequenceCustomerModel):
    format, network_class, shape_class = "mine.rhythm/1", RhythmNetwork, RhythmShape
'''
YAML = """
defaults:
  - override /task@_global_.task: churn
name: rhythm_model
task: churn
tasks: customers
target: my_rhythm.Rhythm
width: 8
max_length: 20
dropout: 0.1
held_out: 0.2
min_positives: 5
lr: 0.02
batch_size: 16
epochs: 4
patience: 0
"""
WORDS = ("dataset=rhythm", "split=temporal", "model=rhythm_model", "trainer.precision=fp32")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A project folder with a shop's log, the network file and the model's YAML."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_rhythm.py").write_text(NETWORK, encoding="utf-8")
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/rhythm_model.yaml").write_text(YAML, encoding="utf-8")
    made = House(tmp_path)
    made.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60, "n_train": 3})
    yield made
    sys.modules.pop("my_rhythm", None)


def test_it_trains_resumes_after_a_kill_with_equal_weights_and_is_evaluated(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    whole = house.train("models/whole", *WORDS, "trainer.resume=false")
    original = SequenceModule.training_step
    asked: list[tuple[int, int]] = []

    def step(self: SequenceModule, *args: Any) -> None:
        if self.step == self.n_batches + 1:
            raise RuntimeError("killed")
        batch = self.objective.show(self.users_of(self.step), self.plan, 0, 0, self.device)
        assert batch.type_P is None  # nobody asked for types
        asked.append((len(batch.layout.last_B), len(batch.slot_J)))
        original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceModule, "training_step", step)
        with pytest.raises(RuntimeError, match="killed"):
            house.train("models/again", *WORDS)
    sequences, questions = (sum(each) for each in zip(*asked, strict=True))
    assert questions > 2 * sequences  # a history is read once for its three cutoffs
    with caplog.at_level(logging.INFO):
        again = house.train("models/again", *WORDS)
    assert caplog.text.count("going on from") == 2  # after the kill; and for test, where only the calibration is new
    one, other = (load_file(run.path / "weights.safetensors") for run in (whole, again))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert json.loads((again.path / "training.json").read_text())["best_log_loss"] is not None
    assert list((again.path / "checkpoint").rglob("step-*"))
    house.train("models/base", "dataset=rhythm", "split=temporal", "model=base_rate", "model.min_positives=5")
    house.evaluate("dataset=rhythm", "split=temporal", "runs=[models/again,models/base]", "out=page")
    assert set(json.loads(Path("page/leaderboard.json").read_text())["churn"]) == {"rhythm_model", "base_rate"}


def test_a_longer_training_goes_on_from_a_finished_run(house: House, caplog: pytest.LogCaptureFixture):
    house.train("models/short", *WORDS)
    with caplog.at_level(logging.INFO):
        longer = train_model(house.config("train", *WORDS, "model.epochs=6"), Path("models/longer"))
    assert "going on from 4 epochs of" in caplog.text
    assert len(json.loads((longer.path / "training.json").read_text())["history"]) == 6


def test_it_is_tuned_with_pruning_exported_and_answers_from_a_bundle(house: House):
    (house.place / "conf/tuning/space").mkdir(parents=True)
    (house.place / "conf/tuning/space/rhythm_model.yaml").write_text(
        "lr: {type: categorical, choices: [0.02, 0.03, 0.01, 1.0e-7]}\n", encoding="utf-8"
    )
    few = ("tuning=random", "tuning.pruner=median", "tuning.startup_trials=3", "tuning.trials=7")
    folder = tune_model(house.config("tune", *WORDS, *few))
    found = json.loads((folder / "trials.json").read_text())
    assert {t["state"] for t in found} == {"complete", "pruned"}
    assert 1e-7 in {t["params"]["lr"] for t in found if t["state"] == "pruned"}
    assert 1e-7 not in {t["params"]["lr"] for t in found[3:] if t["state"] == "complete"}
    assert all((len(t["epochs"]) == 4) == (t["state"] == "complete") for t in found)
    assert not list(Path("outputs").rglob("step-*"))  # nobody goes on with a trial
    house.train("models/rhythm", *WORDS)
    house.export(
        "run=models/rhythm", "name=rhythm", "golden=12", "dataset=rhythm", "split=temporal", "calibration_gate=null"
    )
    assert verify("exports/rhythm").ok
    often = [["s1", "purchase", f"2023-07-{n:02d}T12:00:00Z"] for n in range(1, 19)]
    seldom = [["s1", "purchase", f"2023-0{n}-18T12:00:00Z"] for n in range(1, 8)]
    one, other, none = Bundle.load("exports/rhythm").answer([often, seldom, []], as_of="2023-07-19")
    assert 0 < one.probability < other.probability < 1
    assert none.probability is None
