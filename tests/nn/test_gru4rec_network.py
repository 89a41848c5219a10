"""The recurrent network in rectangles against its gates computed by hand, and against PyTorch's own layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shopkeeper.nn.network import Inputs
from shopkeeper.nn.networks.gru4rec import GRU4RecNetwork, GRU4RecShape
from shopkeeper.nn.recurrent import recurrent
from shopkeeper.training.batching.layout import Layout

LENGTHS = np.array([1, 1, 3, 4, 7, 9])


def packed(network: GRU4RecNetwork, item_BL: torch.Tensor, type_BL: torch.Tensor | None, behind: int = 0):
    """Through the rectangles; `behind`: the item that stands where padding is."""
    layout = Layout.of(LENGTHS, (2, 4, 10), torch.device("cpu"), pad=64)

    def flat(value_BL: torch.Tensor, fill: int = 0) -> torch.Tensor:
        value_N = torch.cat([row[-n:] for row, n in zip(value_BL, LENGTHS, strict=True)])
        return torch.full((layout.n_slots,), fill).index_copy_(0, layout.slot_N, value_N)

    inputs = Inputs(flat(item_BL, behind), flat(item_BL * 0), None if type_BL is None else flat(type_BL))
    return layout, lambda last=None: network(network.embed(inputs), layout.groups, False, last)


@pytest.mark.parametrize("layers", [1, 2])
def test_rectangles_give_what_the_gates_by_hand_give(layers: int):
    torch.manual_seed(0)
    network = GRU4RecNetwork(GRU4RecShape(20, 8, layers, 10, 0.5, 0.5, n_types=3)).eval()
    for parameter in network.parameters():  # biases begin at 0, where one that is lost would not show
        torch.nn.init.normal_(parameter, std=0.5)
    item_BL, type_BL = torch.randint(1, 21, (6, 10)), torch.randint(1, 4, (6, 10))
    for row, n in enumerate(LENGTHS):
        item_BL[row, : 10 - n] = type_BL[row, : 10 - n] = 0
    with torch.no_grad():
        want_BD = network.plain(item_BL, type_BL)
        assert want_BD.std(0).min() > 0.01
        layout, run = packed(network, item_BL, type_BL)
        torch.testing.assert_close(run()[layout.last_B], want_BD, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(run(layout.last_B), want_BD, rtol=1e-5, atol=1e-5)


def test_neither_what_comes_after_it_nor_padding_changes_a_vector():
    torch.manual_seed(0)
    network = GRU4RecNetwork(GRU4RecShape(20, 8, 2, 10)).eval()
    item_BL = torch.randint(1, 21, (6, 10))
    layout, run = packed(network, item_BL, None)
    before = run()
    _, run = packed(network, item_BL, None, behind=5)
    torch.testing.assert_close(run()[layout.slot_N], before[layout.slot_N])
    item_BL[5, -1] = item_BL[5, -1] % 20 + 1
    _, run = packed(network, item_BL, None)
    changed = (run() - before).abs().sum(1) > 0
    assert changed.nonzero()[:, 0].tolist() == [int(layout.last_B[5])]


def test_states_and_gradients_are_those_of_pytorchs_own_layer():
    torch.manual_seed(0)
    layout = Layout.of(LENGTHS, (2, 4, 10), torch.device("cpu"), pad=64)
    layer = torch.nn.GRU(8, 8, batch_first=True).double()
    x_PD = torch.randn(layout.n_slots, 8, dtype=torch.float64, requires_grad=True)
    asked = [x_PD, *layer.parameters()]
    wanted_PD = torch.cat([
        layer(x.view(b, length, -1))[0].reshape(b * length, -1)
        for x, (b, length) in zip(x_PD.split([b * n for b, n in layout.groups]), layout.groups, strict=True)
    ])  # fmt: skip
    found_PD, weight_PD = recurrent(x_PD, layout.groups, layer), torch.randn_like(wanted_PD)
    torch.testing.assert_close(found_PD, wanted_PD)
    found, wanted = (torch.autograd.grad((y_PD * weight_PD).sum(), asked) for y_PD in (found_PD, wanted_PD))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
