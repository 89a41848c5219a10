"""What no metric of a small training shows when it is lost: precision, memory, speed, randomness."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from small_training import TRAINER, fit

from shopkeeper.nn import softmax
from shopkeeper.nn.losses import Negatives
from shopkeeper.training.batching.batches import TrainingView
from shopkeeper.training.config import TrainerConfig
from shopkeeper.training.devices import execution
from shopkeeper.training.devices.batch_parallel import Shares
from shopkeeper.training.devices.speed_check import _made_up
from shopkeeper.training.module import SequenceModule

CPU = torch.device("cpu")


def seen_at_each_step(monkeypatch: pytest.MonkeyPatch, look) -> list[Any]:
    """What `look(module)` gives after each training step."""
    seen: list[Any] = []
    original = SequenceModule.training_step

    def step(self: SequenceModule, *args) -> None:
        original(self, *args)
        seen.append(look(self))

    monkeypatch.setattr(SequenceModule, "training_step", step)
    return seen


def test_in_bf16_the_weights_stay_float32(tiny_shop):
    """Rounded at each step, the small ones of late training would be lost."""
    trained = fit(*tiny_shop, epochs=1, trainer={"precision": "bf16"}).trained
    for name, weight in trained.last_weights.items():
        assert weight.dtype == torch.float32
        assert (weight != weight.bfloat16().float()).float().mean() > 0.5, name


@pytest.mark.parametrize(("avx", "amx", "precision"), [(1, 0, "bf16"), (0, 1, "bf16"), (0, 0, "fp32")])
def test_a_processor_with_units_for_bf16_uses_them(monkeypatch: pytest.MonkeyPatch, avx, amx, precision: str):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: bool(avx))
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: bool(amx))
    plan = execution.choose(TrainerConfig(), device=CPU, n_classes=30, max_length=12, batch_size=16, resident=True)
    assert plan.precision == precision


def test_the_softmax_holds_a_chunk_of_logits_and_no_more(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    rows, original = [], torch.mm

    def mm(a, b, **kwargs):
        if b.shape[1] == 30:  # the catalogue
            rows.append(len(a))
        return original(a, b, **kwargs)

    monkeypatch.setattr(softmax.torch, "mm", mm)
    fit(*tiny_shop, epochs=1, trainer={"plan": {**TRAINER["plan"], "chunk": 24}, "validation_requests": 0})
    assert max(rows) == 24
    assert len(rows) > 8  # four batches of more than 24 positions each


def test_batches_are_laid_out_in_buckets_of_like_lengths(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    """A single bucket pads every sequence to the longest one: several times the work."""
    view = _made_up(256, 100, 200)
    plan = execution.choose(TrainerConfig(), device=CPU, n_classes=100, max_length=200, batch_size=128, resident=True)
    users = np.arange(128)
    positions = int(view.length_U[users].sum())
    assert view.batch(users, plan.edges, 0, 0).layout.n_slots < 1.5 * positions
    assert view.batch(users, [200], 0, 0).layout.n_slots > 3 * positions
    used, original = [], TrainingView.batch

    def batch(self, users, edges, *args):
        used.append(tuple(edges))
        return original(self, users, edges, *args)

    monkeypatch.setattr(TrainingView, "batch", batch)
    fit(*tiny_shop, epochs=1)
    assert set(used) == {(4, 8, 12)}


def test_each_step_draws_negatives_of_its_own(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    drawn, original = [], Negatives.draw

    def draw(self, seed, device):
        class_C, log_q_C = original(self, seed, device)
        drawn.append(tuple(class_C.tolist()))
        return class_C, log_q_C

    monkeypatch.setattr(Negatives, "draw", draw)
    fit(*tiny_shop, epochs=2, loss={"name": "sampled_softmax", "negatives": 8})
    assert len(drawn) == len(set(drawn)) == 8  # four batches, twice


def test_the_optimizer_passes_over_the_weights_once(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    fused = seen_at_each_step(monkeypatch, lambda module: [g["fused"] for g in module.optimizers().param_groups])
    fit(*tiny_shop, epochs=1)
    assert fused == [[True, True]] * 4


def test_deterministic_reaches_pytorch(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    seen = seen_at_each_step(monkeypatch, lambda module: torch.are_deterministic_algorithms_enabled())
    try:
        for wanted in (False, True):
            fit(*tiny_shop, epochs=1, trainer={"deterministic": wanted})
    finally:
        torch.use_deterministic_algorithms(False)
    assert seen == [False] * 4 + [True] * 4


def test_what_training_will_take_is_said_before_it_begins(
    tiny_shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    said = seen_at_each_step(monkeypatch, lambda module: "memory: training takes about" in caplog.text)
    fit(*tiny_shop, epochs=1)
    assert said == [True] * 4


def test_no_two_processes_cores_or_steps_draw_the_same_dropout(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    drawn, original = [], Shares.begin

    def begin(self, seeds):
        drawn.extend(seeds)
        original(self, seeds)

    def as_another_process(module: SequenceModule) -> None:
        module.rank = 1
        module.accumulate(module.users_of(module.step), 1, module.optimizers())
        module.rank = 0

    seen_at_each_step(monkeypatch, as_another_process)
    monkeypatch.setattr(Shares, "begin", begin)
    fit(*tiny_shop, epochs=1, trainer={"plan": {**TRAINER["plan"], "cores": 2}})
    assert len(drawn) == len(set(drawn)) == 4 * 2 * 2
