"""`loss=`: every shipped loss trains, and what is drawn depends on seed and step alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from small_training import TRAINER, assert_close, fit

from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline.told import plain
from shopkeeper.recommenders.networks.bert4rec import BERT4Rec
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.config import Plan, TrainerConfig
from shopkeeper.training.devices import memory
from shopkeeper.training.module import SequenceModule
from tiny import tiny_prepared

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(p.stem for p in (CONF / "loss").glob("*.yaml"))
SAMPLED = [
    {"name": "sampled_softmax", "negatives": 9},
    {"name": "bce", "negatives": 9, "draw": "popularity"},
    {"name": "bpr_max", "negatives": 9},
]


def composed(*words: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("train", list(words)))


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_loss_trains_from_the_command_line(tiny_shop, name: str):
    loss = composed(f"loss={name}")["model"]["loss"]
    assert loss["name"] == name
    history = fit(*tiny_shop, loss=loss, epochs=6).trained.history
    assert history[-1]["loss"] < history[0]["loss"]


def test_a_setting_of_the_loss_reaches_the_model():
    assert composed("loss=sampled_softmax", "loss.negatives=7")["model"]["loss"]["negatives"] == 7


def test_as_many_negatives_as_there_are_items_are_the_full_softmax(tiny_shop):
    full, sampled = (
        fit(*tiny_shop, epochs=2, loss=x).trained for x in ("softmax", {"name": "sampled_softmax", "negatives": 30})
    )
    assert [h["loss"] for h in full.history] == [h["loss"] for h in sampled.history]


@pytest.mark.parametrize("loss", SAMPLED)
def test_micro_batches_and_repetitions_see_the_same_negatives(tiny_shop, loss):
    settings = {"loss": loss, "dropout": 0.0, "epochs": 2}
    whole = fit(*tiny_shop, **settings).trained
    again = fit(*tiny_shop, **settings).trained
    assert [h["loss"] for h in whole.history] == [h["loss"] for h in again.history]
    pieces = fit(*tiny_shop, **settings, trainer={"micro_batch": 5}).trained
    assert [h["loss"] for h in pieces.history] == pytest.approx([h["loss"] for h in whole.history], abs=1e-5)
    assert_close(pieces.last_weights, whole.last_weights)


@pytest.mark.parametrize("loss", SAMPLED)
def test_a_catalogue_with_gaps_learns_about_its_own_items(tmp_path: Path, loss, monkeypatch: pytest.MonkeyPatch):
    histories = [[1, 4, 6, 1, 4, 6, 1, 4], [4, 6, 1, 4, 6, 1], [2, 1, 4, 3, 6, 1, 4, 6]] * 4
    prepared, split = tiny_prepared(tmp_path / "p", histories, n_items=6, catalogue=[1, 4, 6])
    seen: list[torch.Tensor] = []
    original = SequenceModule.accumulate

    def spy(self, *args):
        loss = original(self, *args)
        seen.append(self.network.item.weight.grad.abs().sum(1))
        return loss

    monkeypatch.setattr(SequenceModule, "accumulate", spy)
    trained = fit(prepared, split, loss=loss | {"negatives": 2}, epochs=30, dropout=0.0).trained
    assert trained.history[-1]["loss"] < 0.8 * trained.history[0]["loss"]
    touched = torch.stack(seen).sum(0) > 0
    assert touched.tolist() == [False, True, False, False, True, False, True]


@pytest.mark.parametrize("model", [SASRec, BERT4Rec])
@pytest.mark.parametrize("catalogue", [[1, 2, 3, 4], [2, 4, 5, 6]])
def test_what_a_customer_has_is_no_negative_of_hers(tmp_path: Path, catalogue: list[int], model: type):
    """Everybody has everything: with their sequences left out nothing is left to be told from, else a lot is."""
    a, b, c, d = catalogue
    prepared, split = tiny_prepared(tmp_path / "p", [[a, b, c, d, a, b, d, c]] * 8, n_items=6, catalogue=catalogue)
    losses = {}
    for leave_out in ("label", "sequence"):
        loss = {"name": "sampled_softmax", "negatives": 3, "leave_out": leave_out}
        made = model(width=8, blocks=1, heads=1, max_length=12, epochs=2, patience=0, loss=loss)
        made.fit(prepared, split, Fit(seed=3, trainer=TrainerConfig.of(TRAINER), progress=False))
        losses[leave_out] = [h["loss"] for h in made.trained.history]
    assert losses["sequence"] == [0.0, 0.0]
    assert min(losses["label"]) > 0.5


def test_smoothed_labels_cost_what_pytorch_says_in_training_too(tiny_shop):
    plain, smooth = (fit(*tiny_shop, epochs=1, dropout=0.0, loss=x).trained.history[0]["loss"]
                     for x in ("softmax", {"name": "softmax", "smoothing": 0.2}))  # fmt: skip
    assert smooth != plain
    assert abs(smooth - plain) < 0.2  # at the begin all classes are alike


def test_smoothed_baskets_are_refused_with_the_way_out():
    with pytest.raises(UserError, match=r"loss\.smoothing=0\.1 is of single labels.*use loss\.smoothing=0"):
        SASRec(targets="baskets", loss={"name": "softmax", "smoothing": 0.1})


def test_few_negatives_make_a_large_catalogue_affordable():
    sizes = {"data_bytes": 0, "n_parameters": 1, "n_classes": 10**6, "width": 64, "activations": 10_000,
             "length": 200, "plan": Plan(micro_batch=512, chunk=25_000)}  # fmt: skip
    full, sampled = (memory.estimate_memory(**sizes, negatives=n).softmax for n in (0, 256))
    assert sampled < 0.05 * full


def test_gsasrec_and_esasrec_have_their_own_losses():
    gbce, sampled = (composed(f"model={name}")["model"]["loss"] for name in ("gsasrec", "esasrec"))
    assert (gbce["name"], gbce["calibration"]) == ("gbce", 0.75)
    assert (sampled["name"], sampled["negatives"]) == ("sampled_softmax", 256)
