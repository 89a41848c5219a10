"""A sequence model of one's own is one network file and one YAML, outside of this package: no other file is touched."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from test_bad_input import HEAD, ROWS, write_raw

from shopkeeper.bundles.answer.verify import verify
from shopkeeper.errors import UserError
from shopkeeper.pipeline.evaluate import evaluate_runs
from shopkeeper.pipeline.export import export_run
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import VERBS, settings
from shopkeeper.pipeline.train import train_model
from shopkeeper.pipeline.tune import tune_model
from shopkeeper.serving import Bundle
from shopkeeper.training.module import SequenceModule

NETWORK = '''
from dataclasses import dataclass

import torch
from torch import nn

from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.recommenders.networks.sequence import SequenceRecommender


@dataclass(frozen=True)
class FadingShape:
    n_items: int
    width: int = 8
    max_length: int = 6
    dropout: float = 0.1


class FadingNetwork(SequenceNetwork):
    """A running sum of item vectors that count the less the older they are."""

    reads = ("age",)

    def __init__(self, shape):
        super().__init__(shape.dropout)
        self.shape = shape
        self.item = nn.Embedding(shape.n_items + 1, shape.width, padding_idx=0)
        self.out = nn.Linear(shape.width, shape.width)

    def embed(self, inputs):
        return self.drop(self.item(inputs.item_P) * torch.exp(-inputs.age_P / 30)[:, None])

    def forward(self, x_PD, groups, fused=False, last=None):
        parts = x_PD.split([b * length for b, length in groups])
        sums = [x.view(b, n, -1).cumsum(1).flatten(0, 1) for x, (b, n) in zip(parts, groups, strict=True)]
        h_PD = self.out(torch.cat(sums))
        return h_PD if last is None else h_PD[last]

    def plain(self, item_BL, type_BL=None, **others_BL):
        real_BL = (item_BL > 0).float() * torch.exp(-others_BL["age"] / 30)
        return self.out((self.item(item_BL) * real_BL[..., None]).sum(1))

    def activation_bytes(self, value, fused):
        return 8 * self.shape.width * value


class Fading(SequenceRecommender):
    format, network_class, shape_class = "mine.fading/1", FadingNetwork, FadingShape
'''
YAML = """
name: fading
task: next_item
target: my_fading.Fading
width: 8
max_length: 6
lr: 0.01
loss: ${loss}
epochs: 4
patience: 0
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with a shop's log, the network file and a `conf/` that holds the model's YAML alone."""
    write_raw(tmp_path, HEAD + "".join(ROWS))
    (tmp_path / "my_fading.py").write_text(NETWORK, encoding="utf-8")
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/fading.yaml").write_text(YAML, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("my_fading", None)


def config(place: Path, verb: str, *words: str) -> dict[str, Any]:
    paths = [f"paths.{k}={place / k}" for k in ("raw", "prepared", "runs", "reports", "exports", "outputs")]
    always = ["dataset=online_retail", "tracking=none", "progress=false", "trainer=cpu", "evaluation.resamples=50"]
    return settings(composed(verb, [*always, *paths, "trainer.precision=fp32", *words]), VERBS[verb])


def test_it_trains_resumes_and_is_evaluated(
    shop: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    whole = train_model(config(shop, "train", "model=fading", "trainer.resume=false"), shop / "models/whole")
    ages: list[torch.Tensor] = []
    original = SequenceModule.training_step

    def step(self: SequenceModule, *args: Any) -> None:
        if self.step == 2:
            raise RuntimeError("killed")
        batch = self.objective.show(self.users_of(self.step), self.plan, 0, 0, self.device)
        assert batch.type_P is None  # nobody asked for types
        ages.append(batch.age_P[batch.layout.slot_N])
        original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceModule, "training_step", step)
        with pytest.raises(RuntimeError, match="killed"):
            train_model(config(shop, "train", "model=fading"), shop / "models/again")
    assert torch.cat(ages).max() > 5  # days
    with caplog.at_level(logging.INFO):
        again = train_model(config(shop, "train", "model=fading"), shop / "models/again")
    assert "going on from" in caplog.text
    one, other = (load_file(run.path / "weights.safetensors") for run in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    page = evaluate_runs(config(shop, "evaluate"), [open_run(again.path)], shop / "reports/page")
    assert "fading" in json.loads((page / "leaderboard.json").read_text())["next_item"]


def test_it_is_tuned_compared_exported_and_answers_from_a_bundle(shop: Path):
    (shop / "conf/tuning/space").mkdir(parents=True)
    (shop / "conf/tuning/space/fading.yaml").write_text(
        "width: {type: categorical, choices: [4, 8]}\n", encoding="utf-8"
    )
    few = ("tuning=random", "tuning.trials=2", "model.epochs=1", f"paths.studies={shop / 'studies'}")
    study = tune_model(config(shop, "tune", "model=fading", *few))
    assert yaml.safe_load((study / "best.yaml").read_text(encoding="utf-8"))["model"]["width"] in (4, 8)
    run = train_model(config(shop, "train", "model=fading"), shop / "models/fading")
    other = train_model(config(shop, "train", "model=popularity"), shop / "models/popularity")
    page = evaluate_runs(config(shop, "evaluate"), [open_run(run.path), open_run(other.path)], shop / "reports/both")
    compared = json.loads((page / "comparisons.json").read_text())["next_item"]
    assert {"fading", "popularity"} in [{one["a"], one["b"]} for one in compared]
    export_run(run, shop / "exports/fading", k=5, golden=8)
    assert verify(shop / "exports/fading").ok
    bundle = Bundle.load(shop / "exports/fading")
    one, other = bundle.vocabulary.item_ids[:2]
    near, far = ([[one, "purchase", f"2011-0{month}-01"], [other, "purchase", "2011-09-02"]] for month in (9, 1))
    scores = [dict(answer.items) for answer in bundle.answer([near, far], k=5)]
    assert len(scores[0]) == len(scores[1]) == 5
    assert scores[0] != scores[1]  # the older the first event, the less it counts


def test_a_model_that_reads_ages_says_so_where_there_are_none(shop: Path, tmp_path: Path):
    import my_fading

    from shopkeeper.models.fit import Fit
    from tiny import cycle_histories, tiny_prepared

    prepared, split = tiny_prepared(tmp_path / "order-only", cycle_histories(6, 5, 6))
    with pytest.raises(UserError, match=r"reads how long ago events were, and tiny has only their order; choose a"):
        my_fading.Fading(epochs=1).fit(prepared, split, Fit(progress=False))
