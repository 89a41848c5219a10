"""The Transformer about customers: packed rows against the plain form, angles by hand, and nothing that looks ahead."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shopkeeper.errors import UserError
from shopkeeper.nn import attention
from shopkeeper.nn.network import Inputs
from shopkeeper.nn.networks.sasrec import turned
from shopkeeper.nn.networks.transformer import DAYS, PLACES, TransformerNetwork, TransformerShape
from shopkeeper.training.batching import layout as layouts
from shopkeeper.training.batching.layout import Layout

LENGTHS = np.array([1, 1, 3, 4, 7, 9])
EDGES = (2, 4, 10)


def network(gated: bool = False, heads: int = 2) -> TransformerNetwork:
    torch.manual_seed(0)
    made = TransformerNetwork(TransformerShape(20, 16, 2, heads, 10, 0.5, n_types=3, gated=gated)).eval()
    for parameter in made.parameters():  # biases begin at 0, where one that is lost would not show
        torch.nn.init.normal_(parameter, std=0.4)
    with torch.no_grad():
        made.item.weight[0] = 0
    return made


def histories() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Items, types and days since the event before, padded on the left: (6, 10)."""
    torch.manual_seed(1)
    item_BL, type_BL = torch.randint(1, 21, (6, 10)), torch.randint(1, 4, (6, 10))
    since_BL = torch.rand(6, 10).exp().pow(6)  # up to 400 days
    for row, n in enumerate(LENGTHS):
        item_BL[row, : 10 - n] = type_BL[row, : 10 - n] = 0
        since_BL[row, : 11 - n] = 0
    return item_BL, type_BL, since_BL


def packed(net: TransformerNetwork, item_BL: torch.Tensor, type_BL: torch.Tensor, since_BL: torch.Tensor):
    layout = Layout.of(LENGTHS, EDGES, torch.device("cpu"))

    def flat(value_BL: torch.Tensor) -> torch.Tensor:
        value_N = torch.cat([row[-n:] for row, n in zip(value_BL, LENGTHS, strict=True)])
        return torch.zeros(layout.n_slots, dtype=value_BL.dtype).index_copy_(0, layout.slot_N, value_N)

    unread = torch.zeros(layout.n_slots, dtype=torch.int64)
    x_PD = net.embed(Inputs(flat(item_BL), unread, flat(type_BL), since_P=flat(since_BL)))
    return layout, lambda fused=False, last=None: net(x_PD, layout.groups, fused, last)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("score_bytes", [1, 1 << 20])  # sequence by sequence, or all at once
def test_packed_rectangles_give_what_the_plain_computation_gives(gated: bool, score_bytes: int, monkeypatch):
    monkeypatch.setattr(attention, "SCORE_BYTES", score_bytes)
    monkeypatch.setattr(layouts, "RECTANGLE", 0)
    net, (item_BL, type_BL, since_BL) = network(gated), histories()
    with torch.inference_mode():
        want_BD = net.plain(item_BL, type_BL, since=since_BL)
        layout, run = packed(net, item_BL, type_BL, since_BL)
        assert len(layout.groups) > 1
        for fused in (False, True):
            torch.testing.assert_close(run(fused)[layout.last_B], want_BD, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(run(False, layout.last_B), want_BD, rtol=1e-4, atol=1e-5)
        # between: what it says of a history that ends there
        slot = layout.slot_N[LENGTHS[:5].sum() + 4]
        cut = [torch.roll(x[5:], 4, 1) * (torch.arange(10) >= 5) for x in (item_BL, type_BL, since_BL)]
        torch.testing.assert_close(run()[slot], net.plain(cut[0], cut[1], since=cut[2])[0], rtol=1e-4, atol=1e-5)


def test_queries_and_keys_are_turned_by_place_and_by_days():
    """Against complex numbers: a product knows how far apart in the sequence and in time, and nothing else."""
    net, d = network(heads=2), 8
    place, days = torch.tensor([0, 3, 9]), torch.tensor([0.0, 1.25, 3000.5], dtype=torch.float64)
    x = torch.randn(3, 2, d)
    got = turned(x, *net._turns(place, days)).double().numpy()
    waves = [(place.numpy(), w) for w in PLACES] + [(days.numpy(), w) for w in DAYS]
    z = x.double().numpy()
    for m, (at, wave) in enumerate(waves):  # two of each, as a head has four pairs
        want = (z[..., 2 * m] + 1j * z[..., 2 * m + 1]) * np.exp(2j * np.pi * at / wave)[:, None]
        np.testing.assert_allclose(got[..., 2 * m] + 1j * got[..., 2 * m + 1], want, atol=1e-5)
    one, other = torch.randn(2, 1, 1, d)
    apart = [
        (turned(one, *net._turns(p, t)) * turned(other, *net._turns(p + 4, t + 30.0))).sum()
        for p, t in ((torch.tensor([0]), torch.tensor([0.0])), (torch.tensor([70]), torch.tensor([900.0])))
    ]
    torch.testing.assert_close(*apart, rtol=1e-4, atol=1e-5)


def test_what_follows_a_position_changes_nothing_there_and_days_survive_a_network_in_bf16():
    net, (item_BL, type_BL, since_BL) = network(), histories()
    with torch.inference_mode():
        layout, run = packed(net, item_BL, type_BL, since_BL)
        before = run()
        item_BL[5, -1], since_BL[5, -1] = item_BL[5, -1] % 20 + 1, 77.0
        _, run = packed(net, item_BL, type_BL, since_BL)
        changed = (run() - before).abs().sum(1) > 0
        assert changed.nonzero()[:, 0].tolist() == [int(layout.last_B[5])]
        unread = torch.zeros(6, dtype=torch.int64)
        since_P = since_BL[5, :6] + 1000.3
        x_PD = net.embed(Inputs(unread + 1, unread, unread + 1, since_P=since_P)).to(torch.bfloat16)
        torch.testing.assert_close(x_PD[:, -3:].double().sum(1), since_P.double(), rtol=1e-7, atol=0)


def test_a_width_that_cannot_be_turned_is_named():
    with pytest.raises(UserError, match=r"model\.width=12 is not divisible by 4 \* model\.heads = 8: .* multiple of 8"):
        TransformerShape(20, width=12, heads=2)
