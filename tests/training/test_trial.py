"""The trial on CUDA, with fakes in place of the card: the fastest way is taken, what fails is named and left out."""

from __future__ import annotations

import logging
import math
import sys
import types
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_training import fit

from shopkeeper.nn.softmax import softmax_cross_entropy
from shopkeeper.training.config import Plan, TrainerConfig
from shopkeeper.training.devices import autotune as trial
from shopkeeper.training.devices import execution


class Network:
    way = "eager"

    def compile_parts(self, graphs: bool = False) -> None:
        assert self.way == "eager", "compiled on top of what was compiled"
        self.way = "graphs" if graphs else "compiled"

    def undo_compile(self) -> None:
        self.way = "eager"

    def zero_grad(self, set_to_none: bool) -> None:
        pass


class Module:
    """Takes `times[way]` seconds for a batch, fails where there is none; its loss depends on the softmax kernel."""

    device, n_batches, micro_batch = torch.device("cpu"), 3, 2

    def __init__(self, plan: Plan, losses: dict[str, float] | None = None):
        self.twin, self.plan, self.losses = Network(), plan, losses or {}

    def users_of(self, step: int) -> list[int]:
        return [0, 1, 2]

    def loss(self, users: Any, network: Network) -> torch.Tensor:
        return torch.tensor(self.losses.get(self.plan.softmax, 1.0))


def settled(monkeypatch: pytest.MonkeyPatch, times: dict[str, float], **changes: Any) -> tuple[Plan, Module]:
    def seconds(module: Module) -> float:
        ms = times.get(module.plan.softmax, times.get(module.twin.way))
        if ms is None:
            raise RuntimeError("no C++ compiler")
        if module.twin.way == "graphs":
            assert module.plan.pad == trial.PAD, "CUDA graphs need shapes that come again"
        return ms / 1e3

    monkeypatch.setattr(trial, "_seconds", seconds)
    losses, resumed = changes.pop("losses", None), changes.pop("resumed", False)
    config = TrainerConfig.of(changes.pop("config", {}))
    module = Module(Plan(device="cuda", **changes), losses)
    return trial.settle(module, config, resumed), module


@pytest.mark.parametrize(
    ("times", "way"),
    [
        ({"eager": 10, "compiled": 5, "graphs": 6}, "compiled"),
        ({"eager": 10, "compiled": 5, "graphs": 2}, "graphs"),
        ({"eager": 10, "compiled": 9.5, "graphs": 9.2}, "eager"),  # not worth the minute it takes
        ({"eager": 10, "compiled": 5}, "compiled"),
        ({"eager": 10}, "eager"),
        ({}, "eager"),  # out of memory, say: training halves its micro-batch by itself
    ],
)
def test_the_trial_takes_the_fastest_way_that_works_and_says_so(times, way: str, monkeypatch, caplog):
    with caplog.at_level(logging.INFO):
        plan, module = settled(monkeypatch, times)
    assert module.twin.way == way
    assert (plan.compile, plan.graphs, plan.pad) == (
        way != "eager",
        way == "graphs",
        trial.PAD if way == "graphs" else 1,
    )
    assert module.plan == plan
    for failed in {"eager", "compiled", "graphs"} - times.keys():
        name = {"graphs": "compiled with CUDA graphs"}.get(failed, failed)
        assert f"trial: {name} failed (RuntimeError: no C++ compiler) and is not used" in caplog.text
    if times:
        assert f"{times['eager']:.1f} ms eager" in caplog.text


@pytest.mark.parametrize("config", [{"compile": "off"}, {"plan": {"compile": False}}])
def test_what_is_set_by_hand_is_not_tried(config, monkeypatch):
    plan, module = settled(monkeypatch, {"eager": 10, "compiled": 1, "graphs": 1}, config=config)
    assert not plan.compile
    assert module.twin.way == "eager"


def test_a_resumed_training_keeps_what_its_plan_says(monkeypatch):
    fast = {"eager": 1, "compiled": 10, "graphs": 10}
    plan, module = settled(monkeypatch, fast, compile=True, graphs=True, pad=trial.PAD, resumed=True)
    assert plan.graphs
    assert module.twin.way == "graphs"


def test_processes_decide_alike(monkeypatch):
    # Here graphs are fastest; the other process failed at them, which the sum of the times shows.
    other = {"eager": 10e-3, "compiled": 4e-3, "graphs": math.inf}
    ways = iter(["eager", "compiled", "graphs"])
    monkeypatch.setattr(trial.distributed, "total", lambda value, processes: value + other[next(ways)])
    plan, _ = settled(monkeypatch, {"eager": 10, "compiled": 4, "graphs": 1}, processes=2)
    assert plan.compile
    assert not plan.graphs


@pytest.mark.parametrize(
    ("times", "losses", "kernel"),
    [
        ({"liger": 3, "chunked": 5}, {}, "liger"),
        ({"liger": 6, "chunked": 5}, {}, "chunked"),
        ({"chunked": 5}, {}, "chunked"),  # it fails
        ({"liger": 3, "chunked": 5}, {"liger": 1.0, "chunked": 1.5}, "chunked"),  # it is wrong
    ],
)
def test_an_installed_softmax_kernel_has_to_work_to_agree_and_to_be_faster(times, losses, kernel, monkeypatch, caplog):
    with caplog.at_level(logging.INFO):
        plan, _ = settled(monkeypatch, times, softmax="liger", losses=losses, config={"compile": "off"})
    assert plan.softmax == kernel
    assert f": {kernel}" in caplog.text


def test_the_graphs_asked_for_need_a_gpu():
    choose = lambda device: execution.choose(
        TrainerConfig(compile="graphs", precision="fp32"), device=torch.device(device), n_classes=9, max_length=9,
        batch_size=4, resident=True, work=0,
    )  # fmt: skip
    assert (choose("cuda").compile, choose("cuda").graphs, choose("cuda").pad) == (True, True, trial.PAD)
    assert (choose("cpu").compile, choose("cpu").graphs, choose("cpu").pad) == (True, False, 1)


def test_with_padded_positions_training_learns_the_same(tiny_shop):
    plain = fit(*tiny_shop, dropout=0.0, epochs=2).trained
    plan = {"edges": [4, 8, 12], "chunk": 64, "pad": 100}
    padded = fit(*tiny_shop, dropout=0.0, epochs=2, trainer={"plan": plan}).trained
    assert padded.plan.pad == 100
    assert [h["loss"] for h in padded.history] == pytest.approx([h["loss"] for h in plain.history], abs=1e-5)


def cut_cross_entropy() -> types.ModuleType:
    """A stand-in with the signature of Apple's kernel."""
    module = types.ModuleType("cut_cross_entropy")

    def linear_cross_entropy(e, c, targets, bias=None, ignore_index=-100, softcap=None, reduction="mean", shift=0):
        assert e.dtype == c.dtype
        return F.cross_entropy((e @ c.T).float(), targets, reduction=reduction)

    module.linear_cross_entropy = linear_cross_entropy  # type: ignore[attr-defined]
    return module


def liger() -> types.ModuleType:
    """A stand-in with the signature of Liger-Kernel's class: weight first."""
    module = types.ModuleType("liger_kernel.transformers")

    class LigerFusedLinearCrossEntropyLoss(torch.nn.Module):
        def __init__(self, ce_weight=None, ignore_index=-100, lse_square_scale=0.0, label_smoothing=0.0,
                     reduction="mean"):  # fmt: skip
            super().__init__()
            self.reduction = reduction

        def forward(self, lin_weight, _input, target, bias=None):
            return F.cross_entropy((_input @ lin_weight.T).float(), target, reduction=self.reduction)

    module.LigerFusedLinearCrossEntropyLoss = LigerFusedLinearCrossEntropyLoss  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(
    ("kernel", "name", "fake"),
    [
        ("cut_cross_entropy", "cut_cross_entropy", cut_cross_entropy),
        ("liger", "liger_kernel.transformers", liger),
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_an_installed_kernel_is_called_as_it_wants_and_agrees_with_the_reference(
    kernel: str, name: str, fake, first: int, monkeypatch
):
    monkeypatch.setitem(sys.modules, name.partition(".")[0], types.ModuleType(name.partition(".")[0]))
    monkeypatch.setitem(sys.modules, name, fake())
    torch.manual_seed(0)
    h_ND, item_VD = torch.randn(20, 8, requires_grad=True), torch.randn(31, 8, requires_grad=True)
    label_N = torch.randint(0, 30, (20,))
    settings = {"scale": 0.3, "first": first}
    ours, reference = (softmax_cross_entropy(h_ND, item_VD, label_N, kernel=k, **settings) for k in (kernel, "chunked"))
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5)
    pairs = (torch.autograd.grad(x, (h_ND, item_VD)) for x in (ours, reference))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("installed", "kernel"),
    [({"cut_cross_entropy", "liger_kernel"}, "cut_cross_entropy"), ({"liger_kernel"}, "liger"), (set(), "chunked")],
)
def test_a_kernel_is_taken_where_it_is_installed_on_a_gpu_in_bf16_alone(installed, kernel: str, monkeypatch):
    found = lambda name: object() if name in installed else None
    monkeypatch.setattr(execution.importlib.util, "find_spec", found)

    def softmax(device: str, precision: str) -> str:
        config = TrainerConfig(precision=precision)
        sizes = {"n_classes": 9, "max_length": 9, "batch_size": 4, "resident": True, "work": 0}
        return execution.choose(config, device=torch.device(device), **sizes).softmax

    assert softmax("cuda", "bf16") == kernel
    assert softmax("cuda", "fp32") == softmax("cpu", "bf16") == "chunked"


def test_no_gradient_outlives_its_batch_in_the_trial():
    weight, seen = torch.ones(1, requires_grad=True), []

    class Learning(Network):
        def zero_grad(self, set_to_none: bool) -> None:
            weight.grad = None

    class Learns(Module):
        def loss(self, users: Any, network: Network) -> torch.Tensor:
            seen.append(weight.grad)
            return weight.sum()

    module = Learns(Plan(device="cpu"))
    module.twin = Learning()
    assert trial._seconds(module) >= 0
    assert seen == [None] * 3 * trial.BATCHES
