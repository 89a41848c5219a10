"""Attention both ways in rectangles against the plain form, and against BERT4Rec's own layers put together by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_gru4rec_network import LENGTHS
from torch import nn

from shopkeeper.nn import attention
from shopkeeper.nn.attention import full_attention
from shopkeeper.nn.network import Inputs
from shopkeeper.nn.networks.bert4rec import EPSILON, BERT4RecNetwork, BERT4RecShape
from shopkeeper.training.batching.layout import Layout


def network(n_types: int = 0) -> BERT4RecNetwork:
    torch.manual_seed(0)
    made = BERT4RecNetwork(BERT4RecShape(20, 8, 2, 2, 10, 0.5, n_types=n_types)).eval()
    for parameter in made.parameters():  # biases begin at 0, where one that is lost would not show
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def histories(net: BERT4RecNetwork) -> tuple[torch.Tensor, torch.Tensor]:
    """Items and types padded on the left, with the mask as the newest, of the lengths `LENGTHS` with it."""
    item_BL, type_BL = torch.randint(1, 21, (6, 10)), torch.randint(1, 4, (6, 10))
    item_BL[:, -1], type_BL[:, -1] = net.mask, 0
    for row, n in enumerate(LENGTHS):
        item_BL[row, : 10 - n] = type_BL[row, : 10 - n] = 0
    return item_BL, type_BL


def packed(net: BERT4RecNetwork, item_BL: torch.Tensor, type_BL: torch.Tensor) -> tuple[Layout, Any]:
    """Through the rectangles."""
    layout = Layout.of(LENGTHS, (2, 4, 10), torch.device("cpu"), pad=64)

    def flat(value_BL: torch.Tensor) -> torch.Tensor:
        value_N = torch.cat([row[-n:] for row, n in zip(value_BL, LENGTHS, strict=True)])
        return torch.zeros(layout.n_slots, dtype=torch.int64).index_copy_(0, layout.slot_N, value_N)

    position_BL = (9 - torch.arange(10)).expand(6, 10)
    inputs = Inputs(flat(item_BL), flat(position_BL), flat(type_BL))
    return layout, lambda fused=False, last=None, asked=None: net(net.embed(inputs), layout.groups, fused, last, asked)


def test_cuda_graphs_are_of_blocks_whose_shapes_come_again(monkeypatch: pytest.MonkeyPatch):
    modes: list[str | None] = []
    monkeypatch.setattr(torch, "compile", lambda part, dynamic, mode: modes.append(mode) or part)
    network().compile_parts(graphs=True)
    assert modes == ["reduce-overhead", "reduce-overhead", None, None]


@pytest.mark.parametrize("fused", [False, True])
def test_rectangles_give_what_the_plain_form_gives(fused: bool):
    net = network(n_types=3)
    item_BL, type_BL = histories(net)
    with torch.no_grad():
        want_BD = net.plain(item_BL[:, :-1], type_BL[:, :-1])
        assert want_BD.std(0).min() > 0.01
        layout, run = packed(net, item_BL, type_BL)
        torch.testing.assert_close(run(fused)[layout.last_B], want_BD, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(run(fused, layout.last_B), want_BD, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("fused", "score_bytes"), [(False, attention.SCORE_BYTES), (False, 500), (True, 500)])
@pytest.mark.parametrize("asked", [[0, 3, 4, 9, -1], [-3, -2, -1], [-1]])  # of some sequences and rectangles none
def test_what_is_hidden_has_the_vectors_and_gradients_that_it_has_among_all(
    asked: list[int], fused: bool, score_bytes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attention, "SCORE_BYTES", score_bytes)  # 500: a piece for each sequence or two
    net = network()
    layout, run = packed(net, *histories(net))
    asked_N = layout.slot_N[torch.tensor(asked)]
    found = {}
    for name, vectors in {"among all": lambda: run(fused)[asked_N], "alone": lambda: run(fused, asked=asked_N)}.items():
        net.zero_grad()
        vector_ND = vectors()
        vector_ND.square().sum().backward()
        found[name] = [vector_ND.detach(), *(p.grad for p in net.parameters())]
    for alone, all_ in zip(found["alone"], found["among all"], strict=True):
        torch.testing.assert_close(alone, all_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pad", [64, 1])  # with 1 a rectangle has no padding where its sequences are of one length
@pytest.mark.parametrize("score_bytes", [attention.SCORE_BYTES, 500])  # 500: a piece for each sequence or two
def test_both_ways_of_attention_have_the_same_gradients(pad: int, score_bytes: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention, "SCORE_BYTES", score_bytes)
    torch.manual_seed(0)
    layout = Layout.of(LENGTHS, (2, 4, 10), torch.device("cpu"), pad=pad)
    real_P = torch.zeros(layout.n_slots, dtype=torch.bool).index_fill_(0, layout.slot_N, True)
    grads = []
    for fused in (False, True):
        torch.manual_seed(1)
        q, k, v = (torch.randn(layout.n_slots, 8, requires_grad=True) for _ in range(3))
        full_attention(q, k, v, real_P, layout.groups, 2, fused)[layout.slot_N].square().sum().backward()
        grads.append([x.grad for x in (q, k, v)])
    for mine, its in zip(*grads, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)


def test_an_event_sees_what_comes_after_it_and_nothing_behind_its_own_sequence():
    net = network()
    item_BL, type_BL = histories(net)
    layout, run = packed(net, item_BL, type_BL)
    with torch.no_grad():
        before = run()
        item_BL[5, -2] = item_BL[5, -2] % 20 + 1
        changed = (packed(net, item_BL, type_BL)[1]() - before).abs().sum(1) > 1e-6
    first = int(layout.slot_N[layout.row_N == 5][0])
    assert changed.nonzero()[:, 0].tolist() == list(range(first, first + 9))


def test_its_layers_are_those_of_the_paper():
    """Put together from PyTorch's own encoder layer (norm after, GELU), with the same weights, in the order of time."""
    net = network()
    item_BL, _ = histories(net)
    item_BL = item_BL[5:, 1:]  # nine positions, none padded
    d = net.shape.width
    x_BLD = torch.where((item_BL == net.mask)[..., None], net.hidden.weight[0], net.item(item_BL.clamp(max=20)))
    x_BLD = nn.functional.layer_norm(
        x_BLD + net.position.weight[:9].flip(0), (d,), net.norm_x.weight, net.norm_x.bias, EPSILON
    )
    for block in net.blocks:
        layer = nn.TransformerEncoderLayer(d, 2, 4 * d, 0.0, "gelu", EPSILON, batch_first=True).eval()
        state = {
            "self_attn.in_proj_weight": torch.cat([block.q.weight, block.kv.weight]),
            "self_attn.in_proj_bias": torch.cat([block.q.bias, block.kv.bias]),
        }
        for name, mine in {"self_attn.out_proj": block.out, "linear1": block.up, "linear2": block.down,
                           "norm1": block.norm_a, "norm2": block.norm_f}.items():  # fmt: skip
            state |= {f"{name}.weight": mine.weight, f"{name}.bias": mine.bias}
        layer.load_state_dict(state)
        x_BLD = layer(x_BLD)
    want_BD = net.norm(nn.functional.gelu(net.out(x_BLD[:, -1])))
    torch.testing.assert_close(net.plain(item_BL[:, :-1]), want_BD, rtol=1e-4, atol=1e-5)


def test_a_history_with_padding_before_it_has_the_vector_of_the_history():
    net = network()
    item_BL = torch.tensor([[0, 0, 0, 3, 7, 5]])
    torch.testing.assert_close(net.plain(item_BL), net.plain(item_BL[:, 3:]), rtol=1e-5, atol=1e-6)
    assert np.isfinite(net.plain(item_BL * 0).detach().numpy()).all()
