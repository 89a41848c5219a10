"""A share of the batch for each core: the same is learned, and the same numbers come every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import TRAINER, assert_close, fit

from shopkeeper.training.devices.batch_parallel import share_of
from shopkeeper.training.module import SequenceModule


def trainer(cores: int, **changes) -> dict:
    plan = TRAINER["plan"] | {"cores": cores} | changes.pop("plan", {})
    return {"threads": cores, "plan": plan, **changes}


def curve(model) -> list[float]:
    return [h["loss"] for h in model.trained.history]


@pytest.mark.parametrize("cores", [2, 3, 7])
@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax"])
def test_any_number_of_cores_learns_what_one_learns(tiny_shop, cores: int, loss: str):
    settings = {"dropout": 0.0, "epochs": 3, "clip": 1.0, "loss": {"name": loss, "negatives": 8}}
    one = fit(*tiny_shop, **settings)
    many = fit(*tiny_shop, trainer=trainer(cores), **settings)
    assert many.trained.plan.cores == cores
    assert curve(many) == pytest.approx(curve(one), abs=1e-5)
    for name in ("ndcg@10", "mrr"):
        assert [h[name] for h in many.trained.history] == [h[name] for h in one.trained.history]
    assert_close(many.trained.last_weights, one.trained.last_weights)


def test_more_cores_than_customers_in_a_batch_are_no_trouble(tiny_shop):
    settings = {"dropout": 0.0, "epochs": 1, "batch_size": 2}
    assert curve(fit(*tiny_shop, trainer=trainer(3), **settings)) == pytest.approx(
        curve(fit(*tiny_shop, **settings)), abs=1e-5
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_with_dropout_two_cores_give_the_same_numbers_run_to_run_killed_or_not(
    tiny_shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
):
    settings = {"dropout": 0.3, "epochs": 4, "trainer": trainer(2, precision=precision)}
    whole = fit(*tiny_shop, **settings)
    again = fit(*tiny_shop, **settings)
    original = SequenceModule.training_step

    def step(self: SequenceModule, *args) -> None:
        if self.step == 9:
            raise KeyboardInterrupt
        original(self, *args)

    monkeypatch.setattr(SequenceModule, "training_step", step)
    with pytest.raises(BaseException):  # noqa: B017 (Lightning turns the interrupt into an exit)
        fit(*tiny_shop, folder=tmp_path, **settings)
    monkeypatch.undo()
    resumed = fit(*tiny_shop, folder=tmp_path, **settings)
    for other in (again, resumed):
        assert curve(other) == curve(whole)
        for name, value in whole.trained.last_weights.items():
            assert torch.equal(value, other.trained.last_weights[name]), name


def test_each_share_draws_its_own_dropout(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    drawn: list[tuple[int, ...]] = []
    original = SequenceModule.loss

    def loss(self, users, network, scale):
        state = network.generator.get_state()
        drawn.append(tuple(torch.randint(10**9, (4,), generator=network.generator).tolist()))
        network.generator.set_state(state)
        return original(self, users, network, scale)

    monkeypatch.setattr(SequenceModule, "loss", loss)
    fit(*tiny_shop, epochs=1, trainer=trainer(2))
    assert len(drawn) == 8  # four batches
    assert len(set(drawn)) == 8


def test_out_of_memory_in_one_share_halves_them_all(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    settings = {"dropout": 0.0, "epochs": 2}
    plain = fit(*tiny_shop, **settings)
    original = SequenceModule.loss

    def loss(self, users, network, scale):
        if len(users) > 3:
            raise MemoryError
        return original(self, users, network, scale)

    monkeypatch.setattr(SequenceModule, "loss", loss)
    halved = fit(*tiny_shop, trainer=trainer(2), **settings)
    assert halved.trained.plan.micro_batch == 4
    assert_close(halved.trained.last_weights, plain.trained.last_weights)


def test_shares_hold_every_customer_once_and_as_much_work_each():
    rng = np.random.default_rng(0)
    length_U = rng.geometric(0.02, 1000)
    users = rng.permutation(1000)[:128]
    for parts in (2, 3, 5):
        shares = [share_of(users, length_U, i, parts) for i in range(parts)]
        assert sorted(np.concatenate(shares)) == sorted(users)
        work = [length_U[s].sum() for s in shares]
        assert max(work) < 1.1 * min(work)
    assert share_of(users, length_U, 0, 1) is users
