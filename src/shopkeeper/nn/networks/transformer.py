r"""A causal Transformer over what happened and how long after each other: item, type and gap of each event.

SASRec's blocks (`sasrec.py`) without its positions, which count from the newest event of a sequence. Where an event
stands, and when it was, is told to attention by turning queries and keys: numbers 2m and 2m + 1 of a head are turned
by the angle $w_m x$, so that a product of a query and a key knows the difference of their x alone (J. Su et al.,
RoFormer, arXiv 2104.09864). Of each head one half is turned by the place in the sequence, the other by days, with
wavelengths from two days to eleven years. Nothing counts from the end: one pass over a customer's history serves every
instant that is asked about.

Shapes: P positions of a batch in flat order (see attention.py), D width, B sequences, L their length, H heads, d their
width, V items + 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from shopkeeper.errors import UserError
from shopkeeper.nn.attention import Groups, causal_attention, compile_blocks, undo_blocks
from shopkeeper.nn.days import PARTS, Baskets, Days, in_parts
from shopkeeper.nn.network import Inputs, SequenceNetwork
from shopkeeper.nn.networks.sasrec import AttentionBlock, GatedBlock, SASRecShape, causal_hidden, turned
from shopkeeper.nn.weights import draw_weights

PLACES, DAYS = (2 * math.pi, 2e3 * math.pi), (2.0, 4e3)  # shortest and longest wavelength


@dataclass(frozen=True)
class TransformerShape(SASRecShape):
    """Sizes of the network, as of SASRec; a head is turned in pairs, half of them by place and half by days.

    `baskets`: each step is a basket.
    """

    heads: int = 2
    max_length: int = 128
    baskets: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % (4 * self.heads):
            raise UserError(
                f"model.width={self.width} is not divisible by 4 * model.heads = {4 * self.heads}: of a head, pairs "
                f"are turned, half of them by time; choose a multiple of {4 * self.heads}"
            )


class TransformerNetwork(SequenceNetwork):
    """Item, gap and type embeddings, the blocks, the last norm. `forward` gives a vector per position."""

    tables: tuple[str, ...] = ("item", "event_type", "gap", "basket")
    looks_ahead: ClassVar[bool] = False

    def __init__(self, shape: TransformerShape):
        super().__init__(shape.dropout)
        self.shape, d = shape, shape.width
        self.item = nn.Embedding(shape.n_items + 1, d, padding_idx=0)
        self.event_type = nn.Embedding(shape.n_types + 1, d) if shape.n_types else None
        self.gap = Days(d)
        self.basket = Baskets(d) if shape.baskets else None
        typed, told = ("type",) if shape.n_types else (), ("amount", "lines") if shape.baskets else ()
        self.reads = (*typed, "since", *told)
        self.blocks: Any = nn.ModuleList(
            (GatedBlock if shape.gated else AttentionBlock)(shape) for _ in range(shape.blocks)
        )
        self.norm = nn.LayerNorm(d, 1e-6)
        draw_weights(self)

    def embed(self, inputs: Inputs) -> Tensor:
        """What enters the blocks, in float32, and behind it the days since the event before: (P, D + 3)."""
        assert inputs.since_P is not None
        others = {name: getattr(inputs, f"{name}_P") for name in self.reads if name != "type"}
        x_PD = self.drop(self._embedded(inputs.item_P, inputs.type_P, **others))
        return torch.cat([x_PD, in_parts(inputs.since_P)], 1)

    def _embedded(self, item: Tensor, kind: Tensor | None, since: Tensor, **others: Tensor) -> Tensor:
        x: Tensor = self.item(item) * math.sqrt(self.shape.width) + self.gap(since)
        if self.basket is not None:
            x = x + self.basket(others["amount"], others["lines"])
        return x if self.event_type is None or kind is None else x + self.event_type(kind)

    def _turns(self, place: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the angles of places and of days since the first event, float32 (..., 1, d / 2)."""
        n = self.shape.width // self.shape.heads // 4  # of each half of a head
        share_m = torch.arange(n, dtype=torch.float64, device=place.device) / max(n - 1, 1)
        waves = [
            x.double()[..., None] / (short * (long / short) ** share_m)
            for x, (short, long) in ((place, PLACES), (days, DAYS))
        ]
        whole = torch.cat(waves, -1)
        angle = (2 * math.pi * (whole - whole.floor())).float()[..., None, :]  # float32 has no cosine of large ones
        return angle.cos(), angle.sin()

    def forward(self, x_PD: Tensor, groups: Groups, fused: bool = False, last: Tensor | None = None) -> Tensor:
        """Embedded positions -> vectors (P, D); with `last` (B,) only at those flat positions: (B, D)."""
        x_PD, parts_P3 = x_PD.split([self.shape.width, PARTS], 1)
        sizes = [b * length for b, length in groups]
        since = parts_P3.double().sum(1).split(sizes)
        days_P = torch.cat([s.view(b, n).cumsum(1).flatten() for s, (b, n) in zip(since, groups, strict=True)])
        place_P = torch.cat([torch.arange(n, device=x_PD.device).repeat(b) for b, n in groups])
        turns = self._turns(place_P, days_P)
        for i, block in enumerate(self.blocks):
            x_PD, q_PD, k_PD, v_PD = block.before(x_PD)
            q_PD, k_PD = (turned(x.unflatten(-1, (block.heads, -1)), *turns).flatten(-2) for x in (q_PD, k_PD))
            a_PD = causal_attention(q_PD, k_PD, v_PD, groups, block.heads, fused)
            if last is not None and i == len(self.blocks) - 1:
                x_PD, a_PD = x_PD[last], a_PD[last]
            x_PD = block.after(x_PD, a_PD)
        return self.norm(x_PD)

    def plain(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """The same from left-padded histories (B, L), with one explicit mask: for export, and as the reference. (B, D).

        Float32, no dropout; a history of padding only gives a vector without meaning.
        """
        length, since_BL = item_BL.shape[1], others_BL["since"]
        x_BLD = self._embedded(item_BL, type_BL, **others_BL)
        place_BL = torch.arange(length, device=item_BL.device).expand(item_BL.shape)
        cos, sin = self._turns(place_BL, since_BL.double().cumsum(1))
        every_B1LL, last_B11L = causal_hidden(item_BL)
        for block in self.blocks[:-1]:
            x_BLD = block.plain(x_BLD, every_B1LL, (cos, sin))
        return self.norm(self.blocks[-1].plain(x_BLD, last_B11L, (cos, sin))[:, 0])

    def activation_bytes(self, value: int, fused: bool) -> int:
        """Of each block as SASRec's, queries and keys once more where they are turned; and of all, the angles."""
        shape = self.shape
        scores = 0 if fused else 2 * shape.heads * shape.max_length * value
        turns = 4 * shape.width // shape.heads
        return int(shape.blocks * (22 * shape.width * value + scores) + turns + 8 * 4 * shape.width)

    def compile_parts(self, graphs: bool = False) -> None:
        """As of SASRec."""
        compile_blocks(self.blocks, graphs)

    def undo_compile(self) -> None:
        """Back to eager."""
        undo_blocks(self.blocks)
