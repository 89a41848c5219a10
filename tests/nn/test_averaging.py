"""Averages of weights, and what item vectors cost: sums by hand, in a training that is killed, and off by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training import checkpoint
from shopkeeper.training.averaging import Average
from shopkeeper.training.batching.batches import TrainingView
from shopkeeper.training.config import Recipe, TrainerConfig
from shopkeeper.training.module import SequenceModule
from training.small_training import MODEL, TRAINER, fit, shop


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return shop(tmp_path_factory.mktemp("averaged"))


def walked(way: str, values: list[float], decay: float = 0.7, epochs: int = 3) -> tuple[nn.Linear, Average]:
    network = nn.Linear(1, 1, bias=False)
    average = Average(network, way, decay, epochs)
    for number, value in enumerate(values, 1):
        nn.init.constant_(network.weight, value)
        average.step()
        average.epoch(number)
    return network, average


def test_the_running_average_is_what_its_formula_says():
    network, average = walked("ema", [1.0, 2.0, 4.0, -8.0])
    want = 1.0
    for t, value in ((2, 2.0), (3, 4.0), (4, -8.0)):
        decay = min(0.7, (1 + t) / (10 + t))  # .25, .31, .36
        want = decay * want + (1 - decay) * value
    with average.in_place():
        assert network.weight.item() == pytest.approx(want, rel=1e-6)
    assert network.weight.item() == -8


def test_the_last_epochs_are_averaged_alike():
    network, average = walked("last", [100.0, 1.0, 2.0, 6.0])
    with average.in_place():
        assert network.weight.item() == 3
    assert network.weight.item() == 6


def test_what_is_kept_of_a_training_is_the_mean_of_its_last_epochs(data: Any):
    told: dict[str, Any] = {"trainer": {"validation_requests": 0}}
    ends = [fit(*data, epochs=n, **told).trained.last_weights for n in (2, 3)]
    model = fit(*data, epochs=3, average="last", average_epochs=2, **told)
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, (ends[0][name] + ends[1][name]) / 2, rtol=1e-5, atol=1e-7)
    for name, value in model.trained.last_weights.items():  # training itself has not noticed
        assert torch.equal(value, ends[1][name])


@pytest.mark.parametrize(("lower_is_better", "mean"), [(False, 3.5), (True, 50.5)])
def test_the_best_epochs_are_averaged_and_of_equal_ones_the_earlier(lower_is_better: bool, mean: float):
    network = nn.Linear(1, 1, bias=False)
    average, new = Average(network, "best", 0.7, 2), []
    for weight, value in ((100.0, 0.1), (1.0, 0.2), (2.0, 0.3), (3.0, 0.2), (5.0, 0.3), (7.0, 0.3)):
        nn.init.constant_(network.weight, weight)
        average.epoch(len(new) + 1)
        new.append(average.validated(len(new) + 1, value, lower_is_better))
    assert new == [False, True, not lower_is_better, False, not lower_is_better, False]
    assert average.numbers == ([1, 2] if lower_is_better else [3, 5])
    with average.in_place():
        assert network.weight.item() == mean
    assert network.weight.item() == 7


def test_what_is_kept_is_the_mean_of_the_epochs_that_validation_found_best_where_that_is_better(data: Any):
    model = fit(*data, epochs=6, lr=0.1, average="best", average_epochs=3)
    rows, raw = model.trained.history, fit(*data, epochs=6, lr=0.1).trained.history
    assert [row["ndcg@10"] for row in rows] == [row["ndcg@10"] for row in raw]
    assert model.trained.best_value == max(max(row["ndcg@10"], row.get("averaged", 0.0)) for row in rows)
    (best,) = (row for row in rows if row.get("averaged") == model.trained.best_value)  # or nothing is shown here
    assert model.trained.best_epoch == best["epoch"]
    chosen = sorted(rows[: best["epoch"]], key=lambda row: -row["ndcg@10"])[:3]
    assert model.trained.summary()["averaged"] == sorted(row["epoch"] for row in chosen)
    told: dict[str, Any] = {"trainer": {"validation_requests": 0}, "lr": 0.1}
    ends = [fit(*data, epochs=row["epoch"], **told).trained.last_weights for row in chosen]
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, sum(end[name] for end in ends) / 3, rtol=1e-5, atol=1e-7)


def test_without_validation_the_last_epochs_stand_for_the_best(data: Any):
    told: dict[str, Any] = {"epochs": 4, "average_epochs": 2, "trainer": {"validation_requests": 0}}
    best, last, raw = (fit(*data, average=way, **told) for way in ("best", "last", "none"))
    assert best.trained.best_epoch == 4
    for name, value in best.network.state_dict().items():
        assert torch.equal(value, last.network.state_dict()[name]), name
    assert not torch.equal(best.network.item.weight, raw.network.item.weight)


@pytest.mark.parametrize("epochs", [(1, 3, 4), ()])
def test_without_validation_it_is_of_the_epochs_that_validation_chose_before(data: Any, epochs: tuple[int, ...]):
    ends = [fit(*data, epochs=n, trainer={"validation_requests": 0}).trained.last_weights for n in epochs or (4,)]
    again = Fit(
        seed=3, steps=4, epochs=epochs, progress=False, trainer=TrainerConfig.of(TRAINER | {"validation_requests": 0})
    )
    model = SASRec(**MODEL, average="best", average_epochs=2)  # fewer, and of one as it was: what was chosen counts
    model.fit(*data, again)
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, sum(end[name] for end in ends) / len(ends), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("way", "asked"), [("ema", 100), ("last", 100), ("best", 100), ("best", 0)])
def test_killed_and_gone_on_with_the_averages_are_those_of_a_run_that_was_not(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, asked: int
):
    told = {"average": way, "average_decay": 0.9, "average_epochs": 2, "epochs": 4}
    told["trainer"] = {"validation_requests": asked}
    whole = fit(*data, **told)
    raw = fit(*data, **told | {"average": "none"})
    assert [h["loss"] for h in whole.trained.history] == [h["loss"] for h in raw.trained.history]
    figure = "averaged" if way == "best" else "ndcg@10"
    if asked:
        assert [h.get(figure) for h in whole.trained.history] != [h["ndcg@10"] for h in raw.trained.history]
    else:
        assert not torch.equal(whole.network.item.weight, raw.network.item.weight)
    original = SequenceModule.training_step

    def step(self: SequenceModule, *args: Any) -> None:
        if self.step == 10:
            raise RuntimeError("killed")
        original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceModule, "training_step", step)
        patch.setattr(
            checkpoint.Resumable, "on_train_batch_end", lambda self, trainer, module, *a: self.save(trainer, module)
        )
        with pytest.raises(RuntimeError, match="killed"):
            fit(*data, folder=tmp_path, **told)
    again = fit(*data, folder=tmp_path, **told)
    assert [h.get(figure) for h in again.trained.history] == [h.get(figure) for h in whole.trained.history]
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_long_item_vectors_cost_their_squares(data: Any):
    told: dict[str, Any] = {"epochs": 1, "lr": 1e-12, "dropout": 0.0}
    plain, held = (fit(*data, item_l2=x, **told) for x in (0.0, 0.5))
    view = TrainingView.build(data[1], ["purchase"], "all", 12)
    at = np.concatenate([np.arange(s, s + n) for s, n in zip(view.start_U, view.length_U, strict=True)])
    square = plain.network.item.weight[view.item_M[torch.from_numpy(at)].long()].square().sum(1).mean()
    apart = held.trained.history[0]["loss"] - plain.trained.history[0]["loss"]
    assert apart == pytest.approx(0.5 * float(square.detach()), rel=1e-3)


def test_the_rate_warms_up_and_falls_as_half_a_cosine():
    recipe = Recipe(lr=0.1, warmup_steps=4, decay="cosine", epochs=10)
    module = SequenceModule.__new__(SequenceModule)
    vars(module).update(recipe=recipe, n_batches=2)
    rates = [module.learning_rate(step) for step in range(21)]
    assert rates[0] == pytest.approx(0.1 / 4)
    assert rates[10] == pytest.approx(0.1 * 0.55)
    assert rates[20] == pytest.approx(0.01)
