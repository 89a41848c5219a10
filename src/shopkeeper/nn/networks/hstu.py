"""HSTU: layers of pointwise attention over the items of a history, and over when they were (Zhai et al., ICML 2024).

In place of softmax each pair of positions has a weight of its own, SiLU(q k + bias), so that how much there was counts
and not its shares alone; what is read is normed and multiplied by a gate, and there is no feed-forward layer ("Actions
Speak Louder than Words", arXiv:2402.17152). The bias is learned for how many events lie between two positions and, with
`time`, for how long the one looked at was before the next event, or before the instant that is asked about: then the
network reads the instant. Deviations: weights are divided by the number of events that are looked at instead of the
longest history, which the norm that follows undoes but for its epsilon; the bias in time is interpolated between the
paper's buckets (powers of e^.301 seconds), so that rounding moves no event from one to the next; the last vector is
normed as in SASRec.

Positions are counted from the end of the window: the newest item has position 0.

Shapes: P positions of a batch in flat order (see attention.py), D width, B sequences, b those of a rectangle, L its
length, H heads, d their width, V items + 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor, nn

from shopkeeper.errors import check, number, one_of, whole
from shopkeeper.nn.attention import Groups, check_heads
from shopkeeper.nn.days import PARTS, in_parts
from shopkeeper.nn.dropout import Dropping
from shopkeeper.nn.linear import linear
from shopkeeper.nn.network import Inputs, SequenceNetwork
from shopkeeper.nn.weights import draw_weights

KNOTS = 72  # of the bias in time; the last one stands for 50 years and more
STEP = 0.301  # of the logarithm of seconds from knot to knot
SECONDS = 86_400  # of a day


@dataclass(frozen=True)
class HSTUShape:
    """Sizes of the network. `n_types` > 0 adds an embedding of the event type (view, purchase, …) to each item.

    `time`: how long ago an event was, as of what is asked, has a say in how much it counts.
    """

    n_items: int
    width: int = 64
    blocks: int = 2
    heads: int = 2
    max_length: int = 200
    dropout: float = 0.2
    time: bool = False
    n_types: int = 0

    def __post_init__(self) -> None:
        rules = {name: whole(1) for name in ("width", "blocks", "heads", "max_length")}
        check(vars(self), rules | {"dropout": number(below=1), "time": one_of(False, True)}, "model.")
        check_heads(self.width, self.heads)


class HSTUBlock(Dropping):
    """u, v, q, k = SiLU(W norm(x)); x + W (u * norm(SiLU(q k + bias) v / n))."""

    def __init__(self, shape: HSTUShape):
        super().__init__(shape.dropout)
        self.heads, d = shape.heads, shape.width
        self.norm_x, self.norm_a = nn.LayerNorm(d, 1e-6), nn.LayerNorm(d, 1e-6)
        self.uvqk, self.out = nn.Linear(d, 4 * d), nn.Linear(d, d)

    def forward(self, x_PD: Tensor, groups: Groups, bias: list[Tensor]) -> Tensor:
        """`bias`: of each rectangle, (1 or b, L, L)."""
        u_PD, v_PD, q_PD, k_PD = F.silu(linear(self.norm_x(x_PD), self.uvqk)).chunk(4, -1)
        sizes = [b * length for b, length in groups]
        parts = zip(*(x.split(sizes) for x in (q_PD, k_PD, v_PD)), groups, bias, strict=True)
        a_PD = torch.cat([_attention(q, k, v, b, length, self.heads, s) for q, k, v, (b, length), s in parts])
        return x_PD + linear(self.drop(u_PD * self.norm_a(a_PD)), self.out)

    def plain(self, x_BLD: Tensor, bias_BLL: Tensor, mask_BLL: Tensor) -> Tensor:
        """The same from (B, L, D) with an explicit mask, a head after the other, without dropout."""
        u_BLD, v_BLD, q_BLD, k_BLD = F.silu(self.uvqk(self.norm_x(x_BLD))).chunk(4, -1)
        n_BL1 = mask_BLL.sum(-1, keepdim=True).clamp(min=1)
        heads = []
        for q, k, v in zip(*(x.chunk(self.heads, -1) for x in (q_BLD, k_BLD, v_BLD)), strict=True):
            heads.append((F.silu(q @ k.transpose(1, 2) + bias_BLL) * mask_BLL / n_BL1) @ v)
        return x_BLD + self.out(u_BLD * self.norm_a(torch.cat(heads, -1)))


class HSTUNetwork(SequenceNetwork):
    """Item, position and type embeddings, the blocks with a bias for each, the last norm."""

    tables: tuple[str, ...] = ("item", "position", "event_type", "distance", "gap")
    by_position: ClassVar[tuple[str, ...]] = ("position", "distance")

    def __init__(self, shape: HSTUShape):
        super().__init__(shape.dropout)
        self.shape, d = shape, shape.width
        self.item = nn.Embedding(shape.n_items + 1, d, padding_idx=0)
        self.position = nn.Embedding(shape.max_length, d)
        self.event_type = nn.Embedding(shape.n_types + 1, d) if shape.n_types else None
        self.distance = nn.Embedding(shape.max_length, shape.blocks)  # of the position that is looked at
        self.gap = nn.Embedding(KNOTS, shape.blocks) if shape.time else None
        self.reads = (*(("type",) if shape.n_types else ()), *(("until",) if shape.time else ()))
        self.blocks: Any = nn.ModuleList(HSTUBlock(shape) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(d, 1e-6)
        draw_weights(self)

    def embed(self, inputs: Inputs) -> Tensor:
        """What enters the blocks, in float32: (P, D); behind it, with `time`, days to the next event: (P, D + 3)."""
        x_PD = self.drop(self._embedded(inputs.item_P, inputs.position_P, inputs.type_P))
        if self.gap is None or inputs.until_P is None:
            return x_PD
        return torch.cat([x_PD, in_parts(inputs.until_P)], 1)

    def _embedded(self, item: Tensor, position: Tensor, kind: Tensor | None) -> Tensor:
        x: Tensor = self.item(item) * math.sqrt(self.shape.width) + self.position(position)
        return x if self.event_type is None or kind is None else x + self.event_type(kind)

    def _bias(self, length: int, until_bL: Tensor | None) -> list[Tensor]:
        """By distance and by time, of each block: float32 (1 or b, L, L).

        What lies after a position has a number without meaning.
        """
        at_L = torch.arange(length, device=self.distance.weight.device)
        bias = self.distance((at_L[:, None] - at_L).clamp(min=0))[None]  # (…, blocks)
        if self.gap is not None and until_bL is not None:
            # From the event that is looked at to the next one after the position that looks; sums need float64.
            end_bL = until_bL.double().cumsum(1)
            begin_bL = end_bL - until_bL
            seconds_bLL = ((end_bL[:, :, None] - begin_bL[:, None, :]) * SECONDS).float()
            x_bLL = (seconds_bLL.clamp(min=1).log() / STEP).clamp(max=KNOTS - 1.001)
            low_bLL = x_bLL.floor()
            share_bLL, knot_bLL = x_bLL - low_bLL, low_bLL.long()
            low = self.gap(knot_bLL)
            bias = bias + low + share_bLL[..., None] * (self.gap(knot_bLL + 1) - low)
        return [bias_bLL.contiguous() for bias_bLL in bias.unbind(-1)]

    def forward(self, x_PD: Tensor, groups: Groups, fused: bool = False, last: Tensor | None = None) -> Tensor:
        """Embedded positions -> vectors (P, D); with `last` (B,) only at those flat positions: (B, D)."""
        until: list[Tensor | None] = [None] * len(groups)
        if self.gap is not None:
            x_PD, parts_P3 = x_PD.split([self.shape.width, PARTS], 1)
            sizes = [b * length for b, length in groups]
            until_P = parts_P3.double().sum(1)
            until = [u.view(b, length) for u, (b, length) in zip(until_P.split(sizes), groups, strict=True)]
        biases = [self._bias(length, u) for (_, length), u in zip(groups, until, strict=True)]
        for i, block in enumerate(self.blocks):
            x_PD = block(x_PD, groups, [bias[i].to(x_PD.dtype) for bias in biases])
        return self.norm(x_PD if last is None else x_PD[last])

    def plain(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """The same from left-padded histories (B, L), with one explicit mask: for export, and as the reference. (B, D).

        Float32, no dropout; a history of padding only gives a vector without meaning.
        """
        length = item_BL.shape[1]
        position_L = length - 1 - torch.arange(length, device=item_BL.device)  # see nn/networks/sasrec.py
        x_BLD = self._embedded(item_BL, position_L, type_BL)
        seen_LL = torch.ones(length, length, dtype=torch.bool, device=item_BL.device).tril()
        mask_BLL = (item_BL > 0)[:, None, :] & seen_LL
        bias = self._bias(length, others_BL.get("until"))
        for block, bias_BLL in zip(self.blocks, bias, strict=True):
            x_BLD = block.plain(x_BLD, bias_BLL, mask_BLL)
        return self.norm(x_BLD[:, -1])

    def activation_bytes(self, value: int, fused: bool) -> int:
        """Of each block norms, u, v, q, k, attention and its mask, and the scores of heads; the bias in time."""
        shape = self.shape
        scores = 4 * shape.heads * shape.max_length * value
        bias = shape.max_length * (32 + 16 * shape.blocks if shape.time else 8)
        return int(shape.blocks * (14 * shape.width * value + scores) + bias + 8 * 4 * shape.width)


def _attention(q: Tensor, k: Tensor, v: Tensor, b: int, length: int, heads: int, bias: Tensor) -> Tensor:
    """SiLU(q k + bias) v, divided by how many positions are looked at, within a rectangle: (b L, D)."""
    q_bHLd, k_bHLd, v_bHLd = (x.reshape(b, length, heads, -1).transpose(1, 2) for x in (q, k, v))
    weight_bHLL = F.silu(q_bHLd @ k_bHLd.transpose(2, 3) + bias[:, None])
    seen_LL = torch.ones(length, length, dtype=q.dtype, device=q.device).tril_()
    seen_LL /= torch.arange(1, length + 1, dtype=q.dtype, device=q.device)[:, None]
    return ((weight_bHLL * seen_LL) @ v_bHLd).transpose(1, 2).reshape(b * length, -1)
