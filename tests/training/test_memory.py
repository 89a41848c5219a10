"""Memory: said before, refused when it cannot fit, halved when it runs out."""

from __future__ import annotations

import logging

import pytest
import torch
from small_training import assert_close, fit

from shopkeeper.errors import UserError
from shopkeeper.training import memory
from shopkeeper.training.config import Plan
from shopkeeper.training.module import SequenceModule

SIZES = {
    "data_bytes": 10**6, "n_parameters": 10**6, "n_classes": 10**5, "width": 64, "blocks": 2, "heads": 1,
    "max_length": 200,
}  # fmt: skip


def run_out(monkeypatch: pytest.MonkeyPatch, above: int, error: Exception) -> list[int]:
    """Every attempt at more than `above` sequences fails; gives the list of sizes tried."""
    tried: list[int] = []
    original = SequenceModule.loss

    def loss(self, users, network, scale):
        tried.append(len(users))
        if len(users) > above:
            raise error
        return original(self, users, network, scale)

    monkeypatch.setattr(SequenceModule, "loss", loss)
    return tried


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_micro_batch_and_keeps_the_effective_one(
    tiny_shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
):
    plain = fit(*tiny_shop, dropout=0.0, epochs=2)
    tried = run_out(monkeypatch, 5, error)
    with caplog.at_level(logging.WARNING):
        halved = fit(*tiny_shop, dropout=0.0, epochs=2)
    assert tried[:6] == [16, 8, 4, 4, 4, 4]
    assert "8 sequences at a time instead of 16; the effective batch stays 16" in caplog.text
    assert halved.trained.plan.micro_batch == 4
    assert_close(halved.trained.last_weights, plain.trained.last_weights)


def test_a_single_sequence_that_does_not_fit_ends_with_the_settings_to_change(
    tiny_shop, monkeypatch: pytest.MonkeyPatch
):
    run_out(monkeypatch, 0, MemoryError())
    with pytest.raises(UserError, match=r"one sequence at a time; choose a smaller model\.max_length"):
        fit(*tiny_shop)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    run_out(monkeypatch, 5, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(*tiny_shop)


@pytest.mark.parametrize(
    ("plan", "change", "part", "remedy"),
    [
        ({"chunk": 100_000}, {}, "softmax", "chunk"),
        ({"micro_batch": 4096}, {}, "activations", "micro_batch"),
        ({}, {"data_bytes": 10**11}, "data", "resident=mapped"),
        ({}, {"n_parameters": 10**10}, "optimizer", "width"),
    ],
)
def test_what_cannot_fit_is_refused_and_the_setting_to_change_is_named(plan, change, part, remedy):
    estimate = memory.estimate_memory(**{**SIZES, **change}, plan=Plan(**plan))
    with pytest.raises(UserError, match=rf"the largest part is {part}: .*{remedy}"):
        memory.refuse_if_too_big(estimate, 2**30)
    memory.refuse_if_too_big(estimate, 2**50)


def test_training_refuses_before_it_starts(tiny_shop):
    with pytest.raises(UserError, match=r"training would take .* may be used"):
        fit(*tiny_shop, trainer={"memory_gib": 1e-6})


def test_chunks_keep_the_softmax_small_whatever_the_batch():
    small, large = (memory.estimate_memory(**SIZES, plan=Plan(micro_batch=m)).softmax for m in (64, 4096))
    assert small == large
    full = memory.estimate_memory(**SIZES, plan=Plan(micro_batch=4096, chunk=10**9)).softmax
    assert full > 100 * large
