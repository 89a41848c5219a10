"""The look back in rectangles against sums by hand over the states of PyTorch's own layers."""

from __future__ import annotations

import numpy as np
import torch
from test_gru4rec_network import LENGTHS, packed

from shopkeeper.nn.networks.narm import NARMNetwork, NARMShape


def network() -> NARMNetwork:
    torch.manual_seed(0)
    made = NARMNetwork(NARMShape(20, 8, 2, 10, 0.5, 0.5, n_types=3)).eval()
    for parameter in made.parameters():  # biases begin at 0, where one that is lost would not show
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def histories() -> tuple[torch.Tensor, torch.Tensor]:
    item_BL, type_BL = torch.randint(1, 21, (6, 10)), torch.randint(1, 4, (6, 10))
    for row, n in enumerate(LENGTHS):
        item_BL[row, : 10 - n] = type_BL[row, : 10 - n] = 0
    return item_BL, type_BL


def test_rectangles_and_the_plain_form_give_what_sums_by_hand_give():
    net, (item_BL, type_BL) = network(), histories()
    with torch.no_grad():
        layout, run = packed(net, item_BL, type_BL)
        plain_BD = net.plain(item_BL, type_BL)
        torch.testing.assert_close(run()[layout.last_B], plain_BD, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(run(layout.last_B), plain_BD, rtol=1e-4, atol=1e-5)
        now, then, weigh, both = (getattr(net, n).weight.numpy() for n in ("now", "then", "weigh", "both"))
        for row, n in enumerate(LENGTHS):
            x_1LD = (net.item.weight[item_BL[row, -n:]] + net.event_type.weight[type_BL[row, -n:]])[None]
            for layer in net.layers:
                x_1LD = layer(x_1LD)[0]
            h_LD = x_1LD[0].numpy()
            about_D = np.zeros(8)
            for h_D in h_LD:
                about_D += float(weigh[0] @ (1 / (1 + np.exp(-(now @ h_LD[-1] + then @ h_D))))) * h_D
            want_D = both @ np.concatenate([h_LD[-1], about_D])
            np.testing.assert_allclose(plain_BD[row].numpy(), want_D, rtol=1e-3, atol=1e-4)


def test_neither_what_comes_after_it_nor_padding_changes_a_vector():
    net, (item_BL, _) = network(), histories()
    layout, run = packed(net, item_BL, None)
    before = run()
    _, run = packed(net, item_BL, None, behind=5)
    torch.testing.assert_close(run()[layout.slot_N], before[layout.slot_N])
    item_BL[5, -1] = item_BL[5, -1] % 20 + 1
    _, run = packed(net, item_BL, None)
    changed = (run() - before).abs().sum(1) > 0
    assert changed.nonzero()[:, 0].tolist() == [int(layout.last_B[5])]
