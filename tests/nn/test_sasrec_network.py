"""The packed network against the plain computation on padded histories."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shopkeeper.nn import attention
from shopkeeper.nn.attention import even
from shopkeeper.nn.dropout import dropout
from shopkeeper.nn.network import Inputs
from shopkeeper.nn.networks.sasrec import SASRecNetwork, SASRecShape
from shopkeeper.training.batching import layout as layouts
from shopkeeper.training.batching.layout import Layout, regular

LENGTHS = np.array([1, 1, 3, 4, 7, 9])
EDGES = (2, 4, 10)


@pytest.fixture(autouse=True)
def _free_rectangles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "merged" not in request.node.name:
        monkeypatch.setattr(layouts, "RECTANGLE", 0)


def packed(network: SASRecNetwork, item_BL: torch.Tensor, type_BL: torch.Tensor | None):
    """Every position's vector and the last ones, through the rectangles."""
    layout = Layout.of(LENGTHS, EDGES, torch.device("cpu"))

    def flat(value_BL: torch.Tensor) -> torch.Tensor:
        value_N = torch.cat([row[-n:] for row, n in zip(value_BL, LENGTHS, strict=True)])
        return torch.zeros(layout.n_slots, dtype=torch.int64).index_copy_(0, layout.slot_N, value_N)

    position_BL = torch.arange(9, -1, -1).expand(6, 10)
    x_PD = network.embed(Inputs(flat(item_BL), flat(position_BL), None if type_BL is None else flat(type_BL)))
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
    # 200 sequences of up to 9: 8 of up to 4 come along, for a number of sequences that comes again (256 would be worse)
    assert [(b, length) for b, length in layout.groups if length > 1] == [(192, 4), (256, 9)]
    assert len(layout.slot_N.unique()) == many.sum()


@pytest.mark.parametrize("pad", [1, 64])
@pytest.mark.parametrize("n", [1, 2, 7, 64, 100])
def test_a_layout_holds_every_position_once_in_shapes_that_come_again(n: int, pad: int):
    rng = np.random.default_rng(n)
    edges = (4, 8, 16, 32, 50)
    for _ in range(20):
        lengths = np.sort(np.minimum(rng.geometric(0.1, n), 50))
        layout = Layout.of(lengths, edges, torch.device("cpu"), pad)
        sizes = [b * length for b, length in layout.groups]
        assert sum(sizes) == layout.n_slots == (-(-layout.n_slots // pad) * pad if pad > 1 else regular(layout.n_slots))
        assert len(layout.slot_N.unique()) == len(layout.slot_N) == lengths.sum()
        assert torch.equal(layout.last_B, layout.slot_N[torch.from_numpy(lengths.cumsum() - 1)])
        real = [(b, length) for b, length in layout.groups if length > 1]
        assert all(even(b) == b for b, _ in real[1:])  # the first takes what is left
        assert all(length == min(regular(length), 50) for _, length in real)


def test_numbers_that_come_again_are_few_and_not_much_larger():
    found = {regular(n) for n in range(1, 4097)}
    assert len(found) <= 16 * 9
    assert all(n <= regular(n) <= n * 1.0626 for n in range(1, 4097))
    assert [even(n) for n in range(1, 14)] == [1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16]


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("score_bytes", [1, 1 << 20])
def test_the_gradients_of_packed_attention_are_those_of_pytorchs_own(heads: int, score_bytes: int, monkeypatch):
    monkeypatch.setattr(attention, "SCORE_BYTES", score_bytes)
    torch.manual_seed(2)
    groups = ((3, 1), (5, 4), (7, 9), (2, 1))
    q, k, v = (torch.randn(3 + 20 + 63 + 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    weight_PD = torch.randn(88, 8, dtype=torch.float64)
    found = []
    for fused in (False, True):
        out_PD = attention.causal_attention(q, k, v, groups, heads, fused)
        found.append((out_PD, *torch.autograd.grad((out_PD * weight_PD).sum(), (q, k, v), materialize_grads=True)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_fused_attention_leaves_cudnn_out_and_the_setting_of_the_process_as_it_was(monkeypatch):
    asked, kernel = [], attention.F.scaled_dot_product_attention

    def seen(*args, **kwargs):
        asked.append(torch.backends.cuda.cudnn_sdp_enabled())
        return kernel(*args, **kwargs)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", seen)
    before = torch.backends.cuda.cudnn_sdp_enabled()
    q_PD = torch.randn(6, 8)
    attention.causal_attention(q_PD, q_PD, q_PD, ((2, 3),), 2, fused=True)
    assert asked == [False]
    assert torch.backends.cuda.cudnn_sdp_enabled() is before is True
