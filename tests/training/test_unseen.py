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
from shopkeeper.nn.networks.sasrec import SASRecNetwork, SASRecShape
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


@pytest.mark.parametrize(
    ("device", "avx", "amx", "share", "precision"),
    [
        ("cpu", 1, 0, 1, "bf16"),
        ("cpu", 0, 1, 1, "bf16"),
        ("cpu", 1, 1, 0.99, "fp32"),  # for each new shape oneDNN makes a kernel, which takes longer than so little work
        ("cpu", 0, 0, 100, "fp32"),
        ("cuda", 0, 0, 0.01, "bf16"),
    ],
)
def test_units_for_bf16_are_used_where_a_batch_has_enough_to_multiply(monkeypatch, device, avx, amx, share, precision):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: bool(avx))
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: bool(amx))
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    plan = execution.choose(
        TrainerConfig(), device=torch.device(device), n_classes=30, max_length=12, batch_size=16, resident=True,
        work=share * execution.BF16_FROM,
    )  # fmt: skip
    assert plan.precision == precision


def test_the_work_of_a_batch_is_that_of_its_matrices_and_of_the_catalogue():
    network = SASRecNetwork(SASRecShape(n_items=30, width=8, max_length=12, blocks=2))
    block = 3 * 8 * 8 + 8 * 8 + 2 * 8 * 8  # query, key and value, what joins the heads, the feed-forward layer
    assert execution.work_of(network, 30, 16 * 5) == 16 * 5 * (2 * block + 30 * 8)


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
    plan = execution.choose(
        TrainerConfig(), device=CPU, n_classes=100, max_length=200, batch_size=128, resident=True, work=0
    )
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
