"""The packed network against the plain computation on padded histories."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shopkeeper.nn import attention
from shopkeeper.nn.dropout import dropout
from shopkeeper.nn.sasrec import SASRecNetwork, SASRecShape
from shopkeeper.sequences import batches
from shopkeeper.sequences.batches import Layout

LENGTHS = np.array([1, 1, 3, 4, 7, 9])
EDGES = (2, 4, 10)


@pytest.fixture(autouse=True)
def _free_rectangles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "merged" not in request.node.name:
        monkeypatch.setattr(batches, "RECTANGLE", 0)


def packed(network: SASRecNetwork, item_BL: torch.Tensor, type_BL: torch.Tensor | None):
    """Every position's vector and the last ones, through the rectangles."""
    layout = Layout.of(LENGTHS, EDGES, torch.device("cpu"))

    def flat(value_BL: torch.Tensor) -> torch.Tensor:
        value_N = torch.cat([row[-n:] for row, n in zip(value_BL, LENGTHS, strict=True)])
        return torch.zeros(layout.n_slots, dtype=torch.int64).index_copy_(0, layout.slot_N, value_N)

    position_BL = torch.arange(9, -1, -1).expand(6, 10)
    x_PD = network.embed(flat(item_BL), None if type_BL is None else flat(type_BL), flat(position_BL))
    return layout, lambda fused, last=None: network(x_PD, layout.groups, fused, last)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_last_vectors_alone_are_those_among_all_with_biases_as_training_leaves_them(gated: bool, heads: int):
    torch.manual_seed(1)
    network = SASRecNetwork(SASRecShape(20, 8, 2, heads, 10, 0.5, gated=gated)).eval()
    for parameter in network.parameters():  # biases begin at 0, where one that is lost would not show
        torch.nn.init.normal_(parameter, std=0.5)
    layout, run = packed(network, torch.randint(1, 21, (6, 10)), None)
    with torch.inference_mode():
        torch.testing.assert_close(run(False, layout.last_B), run(False)[layout.last_B], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("score_bytes", [1, 1 << 20])  # sequence by sequence, or all at once
def test_packed_rectangles_give_what_the_plain_computation_gives(
    gated: bool, heads: int, score_bytes: int, monkeypatch
):
    monkeypatch.setattr(attention, "SCORE_BYTES", score_bytes)
    torch.manual_seed(0)
    network = SASRecNetwork(SASRecShape(20, 8, 2, heads, 10, 0.5, n_types=3, gated=gated)).eval()
    item_BL = torch.randint(1, 21, (6, 10))
    type_BL = torch.randint(1, 4, (6, 10))
    for row, n in enumerate(LENGTHS):
        item_BL[row, : 10 - n] = type_BL[row, : 10 - n] = 0
    with torch.no_grad():
        want_BD = network.plain(item_BL, type_BL)
    layout, run = packed(network, item_BL, type_BL)
    for fused in (False, True):
        torch.testing.assert_close(run(fused)[layout.last_B], want_BD, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(run(False, layout.last_B), want_BD, rtol=1e-5, atol=1e-5)
    # Positions in between: the plain computation of the cut history (shifted to the newest position) must differ only
    # by the position embedding, so it is compared with that one switched off.
    with torch.no_grad():
        network.position.weight.zero_()
    layout, run = packed(network, item_BL, type_BL)
    cut_BL = torch.roll(item_BL[5:], 4, 1) * (torch.arange(10) >= 5)
    cut_type_BL = torch.roll(type_BL[5:], 4, 1) * (torch.arange(10) >= 5)
    slot = layout.slot_N[LENGTHS[:5].sum() + 4]
    torch.testing.assert_close(run(False)[slot], network.plain(cut_BL, cut_type_BL)[0], rtol=1e-5, atol=1e-5)


def test_a_position_never_sees_what_comes_after_it():
    torch.manual_seed(0)
    network = SASRecNetwork(SASRecShape(20, 8, 2, 2, 10, 0.0)).eval()
    item_BL = torch.randint(1, 21, (6, 10))
    layout, run = packed(network, item_BL, None)
    before = run(False)
    item_BL[5, -1] = item_BL[5, -1] % 20 + 1
    _, run = packed(network, item_BL, None)
    changed = (run(False) - before).abs().sum(1) > 0
    assert changed.nonzero()[:, 0].tolist() == [int(layout.last_B[5])]


def test_dropout_keeps_the_mean_and_the_share_it_was_asked_for():
    torch.manual_seed(0)
    x = dropout(torch.ones(1001, 333), 0.3)
    assert abs((x == 0).float().mean() - 0.3) < 0.003
    assert abs(x.mean() - 1) < 0.005
    assert dropout(x, 0.0) is x


def test_buckets_are_merged_where_padding_is_cheaper_than_another_rectangle():
    merged = Layout.of(LENGTHS, EDGES, torch.device("cpu"))
    assert merged.groups == ((6, 9),)
    many = np.repeat(LENGTHS, 100)
    layout = Layout.of(many, EDGES, torch.device("cpu"))
    assert layout.groups == ((200, 1), (200, 4), (200, 9))
    assert layout.n_slots == 200 * (1 + 4 + 9)
    assert len(layout.slot_N.unique()) == many.sum()
