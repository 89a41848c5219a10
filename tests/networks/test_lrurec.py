"""Linear recurrent units: steps and rounds against the recurrence by the textbook, and what they learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nn.test_gru4rec_network import LENGTHS, packed
from recommenders.checks import check_goes_on_after_a_kill, check_learns_a_cycle, fitted, stranger
from shopkeeper.models.fit import Fit
from shopkeeper.nn.networks.lrurec import SEQUENCES, LRURecNetwork, LRURecShape, _States, _states, in_rounds
from shopkeeper.recommenders.networks.lrurec import LRURec
from shopkeeper.training.config import TrainerConfig
from tiny import cycle_histories, days, tiny_prepared

FIT = Fit(seed=1, trainer=TrainerConfig(accelerator="cpu", precision="fp32", threads=1), progress=False)
SMALL: dict[str, Any] = {"width": 16, "max_length": 10, "dropout": 0.1, "lr": 0.01, "batch_size": 16, "patience": 0}


def network() -> LRURecNetwork:
    torch.manual_seed(0)
    made = LRURecNetwork(LRURecShape(20, 8, 2, 10, 0.5, n_types=3)).eval()
    for parameter in made.parameters():  # biases begin at 0, where one that is lost would not show
        parameter.data += 0.3 * torch.randn(parameter.shape)
    return made


def histories() -> tuple[torch.Tensor, torch.Tensor]:
    item_BL, type_BL = torch.randint(1, 21, (6, 10)), torch.randint(1, 4, (6, 10))
    for row, n in enumerate(LENGTHS):
        item_BL[row, : 10 - n] = type_BL[row, : 10 - n] = 0
    return item_BL, type_BL


def test_elsewhere_than_on_a_cpu_no_call_is_made_for_some_of_the_sequences():
    class Calls(TorchDispatchMode):
        made = 0

        def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.made += 1
            return call(*args, **(kwargs or {}))

    def calls(sequences: int) -> int:
        entered = torch.empty(sequences * 5, 8, device="meta", requires_grad=True)
        each = torch.empty(4, dtype=torch.complex64, device="meta", requires_grad=True)
        with Calls() as counted:
            _States.apply(entered, each, ((sequences, 5),)).sum().backward()
        return counted.made

    assert 0 < calls(2) == calls(10 * SEQUENCES)


def test_vectors_and_gradients_are_those_of_the_recurrence_event_by_event():
    net, (item_BL, type_BL) = network(), histories()
    weight_BD = torch.randn(6, 8)

    def learned(vector_BD: torch.Tensor) -> dict[str, torch.Tensor]:
        net.zero_grad()
        (vector_BD * weight_BD).sum().backward()
        return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}

    plain_BD = net.plain(item_BL, type_BL)
    assert plain_BD.std(0).min() > 0.01
    want = learned(plain_BD)
    assert {name for name, _ in net.named_parameters()} == set(want)
    assert min(g.abs().max() for g in want.values()) > 1e-4
    layout, run = packed(net, item_BL, type_BL)
    for vector_BD in (run()[layout.last_B], run(layout.last_B)):
        torch.testing.assert_close(vector_BD, plain_BD, rtol=1e-4, atol=1e-5)
        for name, gradient in learned(vector_BD).items():
            torch.testing.assert_close(gradient, want[name], rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    torch.testing.assert_close(net.exported(item_BL, type_BL), plain_BD, rtol=1e-4, atol=1e-5)


def test_the_recurrence_is_what_its_formula_says():
    net, (item_BL, _) = network(), histories()
    net.event_type = None
    with torch.no_grad():
        x_LD, block, decay = net._embedded(item_BL[4, -7:], None).numpy(), net.blocks[0], net.decays[0]
        got_D = block.plain(net._embedded(item_BL[4:5], None), item_BL[4:5] > 0, decay)[0, -1]
        pace_N = np.exp(-np.exp(decay.nu.numpy()) + 1j * np.exp(decay.theta.numpy()))
        enter_ED, out_DE = block.enter.weight.numpy(), block.out.weight.numpy()
        b_ND, bias_E = enter_ED[0::2] + 1j * enter_ED[1::2], block.enter.bias.numpy()
        h_N = np.zeros(16, complex)
        for x_D in x_LD:
            h_N = pace_N * h_N + np.exp(decay.gamma.numpy()) * (b_ND @ x_D + bias_E[0::2] + 1j * bias_E[1::2])
        y_D = ((out_DE[:, 0::2] - 1j * out_DE[:, 1::2]) @ h_N).real + block.out.bias.numpy()
        want_D = block.after(torch.from_numpy(x_LD[-1:]), torch.from_numpy(y_D[None].astype(np.float32)))[0]
    torch.testing.assert_close(got_D, want_D, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 200])
def test_rounds_give_what_steps_give_forwards_and_back(length: int):
    torch.manual_seed(0)
    u_bLN = torch.randn(3, length, 5, dtype=torch.complex64)
    each_N = torch.polar(torch.rand(5) * 0.2 + 0.8, torch.rand(5) * 6)
    parts = (each_N.real, each_N.imag, 200)
    h_bLN = torch.complex(*in_rounds(u_bLN.real, u_bLN.imag, *parts))
    got_bLN = torch.empty_like(u_bLN)
    _states(u_bLN, each_N, got_bLN, False)
    torch.testing.assert_close(got_bLN, h_bLN, rtol=1e-3, atol=1e-4)
    flipped_bLN = u_bLN.flip(1)
    h_bLN = torch.complex(*in_rounds(flipped_bLN.real, flipped_bLN.imag, *parts)).flip(1)
    _states(u_bLN, each_N, got_bLN, True)
    torch.testing.assert_close(got_bLN, h_bLN, rtol=1e-3, atol=1e-4)


def test_gradients_of_the_states_are_those_of_the_rounds():
    torch.manual_seed(0)
    groups = ((SEQUENCES + 4, 3), (2, 1), (1, 7))
    sizes = [b * length for b, length in groups]
    u_PE, weight_PE = torch.randn(sum(sizes), 10, requires_grad=True), torch.randn(sum(sizes), 10)
    each_N = torch.polar(torch.rand(5) * 0.2 + 0.8, torch.rand(5) * 6).requires_grad_()
    got_PE = _States.apply(u_PE, each_N, groups)
    parts = []
    for u, (b, length) in zip(u_PE.split(sizes), groups, strict=True):
        u_bLN = torch.view_as_complex(u.view(b, length, 5, 2))
        h_bLN = torch.stack(in_rounds(u_bLN.real, u_bLN.imag, each_N.real, each_N.imag, 7), -1)
        parts.append(h_bLN.reshape(b * length, 10))
    want_PE = torch.cat(parts)
    torch.testing.assert_close(got_PE, want_PE, rtol=1e-4, atol=1e-5)
    for got, want in zip(*(torch.autograd.grad((h * weight_PE).sum(), (u_PE, each_N)) for h in (got_PE, want_PE)),
                         strict=True):  # fmt: skip
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_neither_what_comes_after_it_nor_padding_changes_a_vector():
    net, (item_BL, _) = network(), histories()
    layout, run = packed(net, item_BL, None)
    before = run()
    _, run = packed(net, item_BL, None, behind=5)
    torch.testing.assert_close(run()[layout.slot_N], before[layout.slot_N])
    torch.testing.assert_close(net.plain(item_BL), net.plain(torch.nn.functional.pad(item_BL, (7, 0))))
    item_BL[5, -1] = item_BL[5, -1] % 20 + 1
    _, run = packed(net, item_BL, None)
    changed = (run() - before).abs().sum(1) > 0
    assert changed.nonzero()[:, 0].tolist() == [int(layout.last_B[5])]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns_a_cycle(tmp_path: Path, precision: str):
    fit = replace(FIT, trainer=replace(FIT.trainer, precision=precision))
    check_learns_a_cycle(lambda: LRURec(**SMALL, epochs=30), tmp_path, fit)


def test_it_knows_what_a_session_began_with(tmp_path: Path):
    rng, bought = np.random.default_rng(0), []
    for i in range(90):  # 1 or 2 first, then anything of 3..5, and at the fifth step what the first one was for
        bought.append([1 + i % 2, *rng.integers(3, 6, 3).tolist(), 6 + i % 2, 8, 8])
    prepared, split = tiny_prepared(tmp_path / "sessions", bought, days(bought))
    asked = stranger([[1, 3, 4, 5], [2, 3, 4, 5], [1, 5, 5, 3], [2, 5, 5, 3]])
    last = replace(FIT, trainer=replace(FIT.trainer, validation_requests=0))  # each ends with 8, which says nothing
    scores = fitted(lambda: LRURec(**SMALL, epochs=25), prepared, split, last).score(asked)
    assert scores[:, 1:].argmax(1).tolist() == [5, 6, 5, 6]


def test_killed_and_gone_on_with_it_has_the_weights_of_a_run_that_was_not(tmp_path: Path):
    bought = cycle_histories(60, 9, 12)
    prepared, split = tiny_prepared(tmp_path / "data", bought, days(bought))
    trainer = replace(FIT.trainer, checkpoint_minutes=0.0)

    def fit(folder: Path | None) -> LRURec:
        model = LRURec(**SMALL, epochs=4)
        model.fit(prepared, split, Fit(seed=1, trainer=trainer, progress=False, folder=folder))
        return model

    check_goes_on_after_a_kill(fit, tmp_path / "run")
