"""The user's tower in rectangles against means taken by hand."""

from __future__ import annotations

import numpy as np
import torch
from test_gru4rec_network import LENGTHS, packed

from shopkeeper.nn.networks.two_tower import HALVES, TwoTowerNetwork, TwoTowerShape


def network(n_types: int = 0) -> TwoTowerNetwork:
    torch.manual_seed(0)
    made = TwoTowerNetwork(TwoTowerShape(20, 8, 16, 10, 0.5, n_types)).eval()
    for parameter in made.parameters():  # biases begin at 0, where one that is lost would not show
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def histories() -> torch.Tensor:
    item_BL = torch.randint(1, 21, (6, 10))
    for row, n in enumerate(LENGTHS):
        item_BL[row, : 10 - n] = 0
    return item_BL


def test_rectangles_and_the_plain_form_give_what_means_by_hand_give():
    towers, item_BL = network(n_types=3), histories()
    type_BL = torch.where(item_BL > 0, torch.randint(1, 4, (6, 10)), 0)
    with torch.no_grad():
        layout, run = packed(towers, item_BL, type_BL)  # type: ignore[arg-type]
        plain_BD = towers.plain(item_BL, type_BL)
        torch.testing.assert_close(run()[layout.last_B], plain_BD)
        torch.testing.assert_close(run(layout.last_B), plain_BD)
        for row, n in enumerate(LENGTHS):
            x_LD = (towers.item.weight[item_BL[row, -n:]] + towers.event_type.weight[type_BL[row, -n:]]).numpy()
            ago_L = np.arange(n)[::-1]
            means = [np.average(x_LD, axis=0, weights=0.5 ** (ago_L / half)) for half in HALVES]
            hidden = torch.relu(towers.hidden(torch.tensor(np.concatenate(means), dtype=torch.float32)))
            torch.testing.assert_close(plain_BD[row], towers.out(hidden), rtol=1e-5, atol=1e-5)


def test_neither_what_comes_after_it_nor_padding_changes_a_vector():
    towers, item_BL = network(), histories()
    layout, run = packed(towers, item_BL, None)  # type: ignore[arg-type]
    before = run()
    _, run = packed(towers, item_BL, None, behind=5)  # type: ignore[arg-type]
    torch.testing.assert_close(run()[layout.slot_N], before[layout.slot_N])
    item_BL[5, -1] = item_BL[5, -1] % 20 + 1
    _, run = packed(towers, item_BL, None)  # type: ignore[arg-type]
    changed = (run() - before).abs().sum(1) > 0
    assert changed.nonzero()[:, 0].tolist() == [int(layout.last_B[5])]
