"""SASRec: a small causal transformer over the items of a history (Kang & McAuley, ICDM 2018, arXiv:1808.09781).

Items and positions are embedded and added; each block is causal self-attention and a pointwise feed-forward layer, both
with residual and layer norm; the last vector of a history is compared with all item embeddings (tied weights). With the
full softmax as loss this is "SASRec+" (Klenitskiy & Vasilev, RecSys 2023, arXiv:2309.07602). Two deviations: dropout on
the output of attention in place of its weights, and optionally (`gated`) sigmoid-gated residuals with a SwiGLU layer
("LiGR" blocks, as in eSASRec, RecSys 2025), which let deeper networks train.

Positions are counted from the end of the window: the newest item has position 0.

Shapes: P positions of a batch in flat order (see attention.py), D width, B sequences, L their length, V items + 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor

from shopkeeper.errors import check, number, one_of, whole
from shopkeeper.nn.attention import Groups, causal_attention, check_heads, compile_blocks, last_attention, undo_blocks
from shopkeeper.nn.dropout import Dropping
from shopkeeper.nn.linear import affine, linear
from shopkeeper.nn.network import Inputs, SequenceNetwork
from shopkeeper.nn.weights import draw_weights

Turns = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SASRecShape:
    """Sizes of the network. `n_types` > 0 adds an embedding of the event type (view, purchase, …) to each position."""

    n_items: int
    width: int = 64
    blocks: int = 2
    heads: int = 1
    max_length: int = 200
    dropout: float = 0.2
    n_types: int = 0
    gated: bool = False

    def __post_init__(self) -> None:
        rules = {name: whole(1) for name in ("width", "blocks", "heads", "max_length")}
        rules |= {"dropout": number(below=1), "gated": one_of(False, True)}
        check(vars(self), rules, "model.")
        check_heads(self.width, self.heads)


class AttentionBlock(Dropping):
    """Attention and feed-forward layer as in the SASRec paper: the norm is on the query alone, K and V see x itself."""

    def __init__(self, shape: SASRecShape):
        super().__init__(shape.dropout)
        self.heads, d = shape.heads, shape.width
        self.norm_q, self.norm_ffn = nn.LayerNorm(d, 1e-6), nn.LayerNorm(d, 1e-6)
        self.q, self.kv, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, d), nn.Linear(d, d)

    def before(self, x_PD: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The residual (the normed query), the query, keys and values."""
        k_PD, v_PD = halves(self.kv, x_PD)
        q_PD = self.norm_q(x_PD)
        return q_PD, linear(q_PD, self.q), k_PD, v_PD

    def before_last(self, x_PD: Tensor, last_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At `last_P` only: the residual and the query (B, D). And what keys and values would be made of (P, D)."""
        q_BD = self.norm_q(x_PD[last_P])
        return q_BD, linear(q_BD, self.q), x_PD

    def after(self, q_PD: Tensor, a_PD: Tensor) -> Tensor:
        """Residuals and the feed-forward layer."""
        x_PD = self.norm_ffn(q_PD + self.drop(linear(a_PD, self.out)))
        return x_PD + self.drop(linear(self.drop(F.relu(linear(x_PD, self.up))), self.down))

    def plain(self, x_BLD: Tensor, hidden_B1ML: Tensor, turns: Turns | None = None) -> Tensor:
        """The same from (B, L, D) with an explicit mask, without dropout; of the last M positions only: (B, M, D).

        Layers see positions one behind another: a graph has one product for each then, its bias within.
        """
        (b, length, d), m = x_BLD.shape, hidden_B1ML.shape[2]
        q_PD = self.norm_q(x_BLD[:, -m:]).reshape(-1, d)
        q_BMD, kv_BLE = self.q(q_PD).view(b, m, d), self.kv(x_BLD.reshape(-1, d)).view(b, length, 2 * d)
        a_PD = self.out(plain_attention(q_BMD, kv_BLE, hidden_B1ML, self.heads, turns).reshape(-1, d))
        x_PD = self.norm_ffn(q_PD + a_PD)
        return (x_PD + self.down(F.relu(self.up(x_PD)))).view(b, m, d)


class GatedBlock(Dropping):
    """Pre-norm block with gated residuals x + sigmoid(W x) * f(norm(x)) and a SwiGLU feed-forward layer of width 2D."""

    def __init__(self, shape: SASRecShape):
        super().__init__(shape.dropout)
        self.heads, d = shape.heads, shape.width
        self.norm_a, self.norm_f = nn.LayerNorm(d, 1e-6), nn.LayerNorm(d, 1e-6)
        self.q, self.kv, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.gate_a, self.gate_f = nn.Linear(d, d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(2 * d, d, bias=False)

    def before(self, x_PD: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The residual, the query, keys and values."""
        n_PD = self.norm_a(x_PD)
        k_PD, v_PD = halves(self.kv, n_PD)
        return x_PD, linear(n_PD, self.q), k_PD, v_PD

    def before_last(self, x_PD: Tensor, last_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At `last_P` only: the residual and the query (B, D). And what keys and values would be made of (P, D)."""
        n_PD = self.norm_a(x_PD)
        return x_PD[last_P], linear(n_PD[last_P], self.q), n_PD

    def after(self, x_PD: Tensor, a_PD: Tensor) -> Tensor:
        """Gated residuals and the feed-forward layer."""
        x_PD = x_PD + torch.sigmoid(linear(x_PD, self.gate_a)) * self.drop(linear(a_PD, self.out))
        gate, up = linear(self.norm_f(x_PD), self.up).chunk(2, -1)
        return x_PD + torch.sigmoid(linear(x_PD, self.gate_f)) * self.drop(linear(F.silu(gate) * up, self.down))

    def plain(self, x_BLD: Tensor, hidden_B1ML: Tensor, turns: Turns | None = None) -> Tensor:
        """The same from (B, L, D) with an explicit mask, without dropout; of the last M positions only: (B, M, D)."""
        n_BLD, last = self.norm_a(x_BLD), hidden_B1ML.shape[2]
        a_BMD = self.out(plain_attention(self.q(n_BLD[:, -last:]), self.kv(n_BLD), hidden_B1ML, self.heads, turns))
        x_BMD = x_BLD[:, -last:]
        x_BMD = x_BMD + torch.sigmoid(self.gate_a(x_BMD)) * a_BMD
        gate, up = self.up(self.norm_f(x_BMD)).chunk(2, -1)
        return x_BMD + torch.sigmoid(self.gate_f(x_BMD)) * self.down(F.silu(gate) * up)


class SASRecNetwork(SequenceNetwork):
    """Item, position and type embeddings, the blocks, the last norm. `forward` gives a vector per position."""

    tables: tuple[str, ...] = ("item", "position", "event_type")
    by_position: ClassVar[tuple[str, ...]] = ("position",)

    def __init__(self, shape: SASRecShape):
        super().__init__(shape.dropout)
        self.shape, d = shape, shape.width
        self.item = nn.Embedding(shape.n_items + 1, d, padding_idx=0)
        self.position = nn.Embedding(shape.max_length, d)
        self.event_type = nn.Embedding(shape.n_types + 1, d) if shape.n_types else None
        self.reads = ("type",) if shape.n_types else ()
        self.blocks: Any = nn.ModuleList(
            (GatedBlock if shape.gated else AttentionBlock)(shape) for _ in range(shape.blocks)
        )
        self.norm = nn.LayerNorm(d, 1e-6)
        draw_weights(self)

    def embed(self, inputs: Inputs) -> Tensor:
        """What enters the blocks, in float32: (P, D)."""
        x_PD = self.item(inputs.item_P) * math.sqrt(self.shape.width) + self.position(inputs.position_P)
        if self.event_type is not None and inputs.type_P is not None:
            x_PD = x_PD + self.event_type(inputs.type_P)
        return self.drop(x_PD)

    def activation_bytes(self, value: int, fused: bool) -> int:
        """Of each block norms, q, k, v, attention, masks of dropout and the feed-forward layer, and the scores."""
        shape = self.shape
        scores = 0 if fused else 2 * shape.heads * shape.max_length * value
        return int(shape.blocks * (18 * shape.width * value + scores) + 8 * 4 * shape.width)

    def forward(self, x_PD: Tensor, groups: Groups, fused: bool = False, last: Tensor | None = None) -> Tensor:
        """Embedded positions -> vectors (P, D); with `last` (B,) only at those flat positions: (B, D)."""
        for i, block in enumerate(self.blocks):
            if last is None or i < len(self.blocks) - 1:
                x_PD, q_PD, k_PD, v_PD = block.before(x_PD)
                x_PD = block.after(x_PD, causal_attention(q_PD, k_PD, v_PD, groups, block.heads, fused))
            else:
                x_BD, q_BD, n_PD = block.before_last(x_PD, last)
                a_BD = last_attention(q_BD, n_PD, block.kv.weight, block.kv.bias, groups, last, block.heads)
                x_PD = block.after(x_BD, a_BD)
        return self.norm(x_PD)

    def compile_parts(self, graphs: bool = False) -> None:
        """Compile what stands between the attentions, for any number of positions; used while training only.

        `graphs`: replayed as CUDA graphs, one for each number of positions, of which there should be few.
        """
        compile_blocks(self.blocks, graphs)

    def undo_compile(self) -> None:
        """Back to eager."""
        undo_blocks(self.blocks)

    def plain(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """The same from left-padded histories (B, L), with one explicit mask: for export, and as the reference. (B, D).

        Float32, no dropout; a history of padding only gives a vector without meaning.
        """
        length = item_BL.shape[1]
        # Not arange(length - 1, -1, -1): ONNX Runtime 1.32 fuses that and the look-up into a Slice that is empty.
        position_L = length - 1 - torch.arange(length, device=item_BL.device)
        x_BLD = self.item(item_BL) * math.sqrt(self.shape.width) + self.position(position_L)
        if self.event_type is not None and type_BL is not None:
            x_BLD = x_BLD + self.event_type(type_BL)
        every_B1LL, last_B11L = causal_hidden(item_BL)
        for block in self.blocks[:-1]:
            x_BLD = block.plain(x_BLD, every_B1LL)
        x_B1D = self.blocks[-1].plain(x_BLD, last_B11L)  # nobody reads the last block's other positions
        return self.norm(x_B1D[:, 0])


def halves(layer: nn.Linear, x_PD: Tensor) -> tuple[Tensor, Tensor]:
    """Both halves of a linear layer's output, each contiguous: attention's products would copy them otherwise."""
    (w1, w2), (b1, b2) = layer.weight.chunk(2), layer.bias.chunk(2)
    return affine(x_PD, w1, b1), affine(x_PD, w2, b2)


PADDED = -1e30  # beside scores as good as minus infinity; padding that sees padding alone has no empty softmax


def causal_hidden(item_BL: Tensor) -> tuple[Tensor, Tensor]:
    """What `plain_attention` adds so that no position sees padding, or what comes later: of all positions
    (B, 1, L, L), and of the last one (B, 1, 1, L).
    """
    length = item_BL.shape[1]
    padded_B11L = torch.where(item_BL > 0, 0.0, PADDED)[:, None, None]
    later_LL = torch.full((length, length), -torch.inf, device=item_BL.device).triu(1)
    return padded_B11L + later_LL, padded_B11L


def plain_attention(
    q_BMD: Tensor, kv_BLE: Tensor, hidden_B1ML: Tensor, heads: int, turns: Turns | None = None
) -> Tensor:
    """Attention by the textbook, of M positions to those that are not hidden: (B, M, D).

    `hidden_B1ML`: is added to scores, 0 where something is seen. `turns`: cosines and sines (B, L, 1, d / 2) by which
    pairs of queries and keys are turned (`transformer.py`).
    """
    b, m, d = q_BMD.shape
    if heads == 1 and turns is None:
        k_BLD, v_BLD = kv_BLE.chunk(2, -1)
        score_BML = q_BMD @ k_BLD.transpose(1, 2) / math.sqrt(d) + hidden_B1ML[:, 0]
        return torch.softmax(score_BML, -1) @ v_BLD
    q, k, v = (x.reshape(b, x.shape[1], heads, -1) for x in (q_BMD, *kv_BLE.chunk(2, -1)))
    if turns is not None:
        q, k = turned(q, *(t[:, -m:] for t in turns)), turned(k, *turns)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    score_BHML = q @ k.transpose(2, 3) / math.sqrt(d // heads) + hidden_B1ML
    return (torch.softmax(score_BHML, -1) @ v).transpose(1, 2).reshape(b, m, d)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Neighbouring numbers of each head, as points of a plane, turned by angles (..., 1, d / 2): (..., H, d)."""
    one, two = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    out: Tensor = torch.stack([one * cos - two * sin, one * sin + two * cos], -1).flatten(-2).to(x.dtype)
    return out
