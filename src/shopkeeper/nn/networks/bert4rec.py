"""BERT4Rec: a transformer that looks both ways and says which items are hidden (Sun et al., CIKM 2019).

While it trains, some items of a history are hidden behind a mask, and the vector at each mask is compared with all item
embeddings (`training/objectives/cloze.py`); asked what comes next, it finds a mask behind the newest event. Item and
position embeddings are added and normed; each block is attention to all real positions and a feed-forward layer of
width 4D, both with the norm after the residual; a layer with a norm of its own makes the vector that is compared.
Trained for long enough and over the whole catalogue, it is what its paper (arXiv:1904.06690) says of it (Petrov &
Macdonald, "A Systematic Review and Replicability Study of BERT4Rec", RecSys 2022, arXiv:2207.07483). Deviations:
dropout on the output of attention in place of its weights, no output bias, so that scores are inner products, and a
hidden item is always the mask, never another item.

Positions are counted from the end of the window: the newest event, or the mask that asks, has position 0.

Shapes: P positions of a batch in flat order (see attention.py), D width, B sequences, L their length, V items + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor, nn

from shopkeeper.errors import check, number, whole
from shopkeeper.nn.attention import (
    Groups,
    asked_attention,
    check_heads,
    compile_blocks,
    full_attention,
    last_attention,
    undo_blocks,
)
from shopkeeper.nn.dropout import Dropping
from shopkeeper.nn.linear import linear
from shopkeeper.nn.network import Inputs, SequenceNetwork
from shopkeeper.nn.networks.sasrec import PADDED, halves, plain_attention
from shopkeeper.nn.weights import draw_weights

EPSILON = 1e-12  # of the norms
ROWS = 64  # what is hidden is filled up to a multiple of this: oneDNN makes a kernel for each new number of rows


@dataclass(frozen=True)
class BERT4RecShape:
    """Sizes of the network, and what share of a history is hidden while it trains.

    `masked`: the chance of each step with target events; at least one is hidden. `masked_last`: the share of histories
    of which the last step alone is hidden, as when it is asked. `n_types` > 0 adds an embedding of the event type
    (view, purchase, …) to each position; that of what is hidden is hidden, too.
    """

    n_items: int
    width: int = 64
    blocks: int = 2
    heads: int = 2
    max_length: int = 200
    dropout: float = 0.2
    masked: float = 0.2
    masked_last: float = 0.1
    n_types: int = 0

    def __post_init__(self) -> None:
        rules = {name: whole(1) for name in ("width", "blocks", "heads")} | {"max_length": whole(2)}
        rules |= {name: number(below=1) for name in ("dropout", "masked", "masked_last")}
        check(vars(self), rules, "model.")
        check_heads(self.width, self.heads)


class BERTBlock(Dropping):
    """norm(x + attention(x)), then norm(x + feed-forward(x))."""

    def __init__(self, shape: BERT4RecShape):
        super().__init__(shape.dropout)
        self.heads, d = shape.heads, shape.width
        self.q, self.kv, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.norm_a, self.norm_f = nn.LayerNorm(d, EPSILON), nn.LayerNorm(d, EPSILON)

    def before(self, x_PD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, keys and values."""
        return linear(x_PD, self.q), *halves(self.kv, x_PD)

    def after(self, x_PD: Tensor, a_PD: Tensor) -> Tensor:
        """Residuals, norms and the feed-forward layer."""
        x_PD = self.norm_a(x_PD + self.drop(linear(a_PD, self.out)))
        return self.norm_f(x_PD + self.drop(linear(F.gelu(linear(x_PD, self.up)), self.down)))

    def plain(self, x_BLD: Tensor, hidden_B11L: Tensor) -> Tensor:
        """The same from (B, L, D) with an explicit mask, without dropout."""
        a_BLD = plain_attention(self.q(x_BLD), self.kv(x_BLD), hidden_B11L, self.heads)
        x_BLD = self.norm_a(x_BLD + self.out(a_BLD))
        return self.norm_f(x_BLD + self.down(F.gelu(self.up(x_BLD))))


class BERT4RecNetwork(SequenceNetwork):
    """Item, mask, position and type embeddings, the blocks, the last layer. `forward` gives a vector per position."""

    tables: tuple[str, ...] = ("item", "hidden", "position", "event_type", "norm_x")  # their sum is normed in float32
    by_position: ClassVar[tuple[str, ...]] = ("position",)

    def __init__(self, shape: BERT4RecShape):
        super().__init__(shape.dropout)
        self.shape, d = shape, shape.width
        self.item = nn.Embedding(shape.n_items + 1, d, padding_idx=0)
        self.hidden = nn.Embedding(1, d)  # the mask
        self.position = nn.Embedding(shape.max_length, d)
        self.event_type = nn.Embedding(shape.n_types + 1, d) if shape.n_types else None
        self.reads = ("type",) if shape.n_types else ()
        self.norm_x = nn.LayerNorm(d, EPSILON)
        self.blocks: Any = nn.ModuleList(BERTBlock(shape) for _ in range(shape.blocks))
        self.out, self.norm = nn.Linear(d, d), nn.LayerNorm(d, EPSILON)
        draw_weights(self)

    @property
    def mask(self) -> int:
        """The number after the last item."""
        return int(self.shape.n_items) + 1

    def embed(self, inputs: Inputs) -> Tensor:
        """What enters the blocks, in float32, and behind it which positions are real: (P, D + 1)."""
        x_PD = self.drop(self._embedded(inputs.item_P, inputs.position_P, inputs.type_P))
        return torch.cat([x_PD, (inputs.item_P > 0)[:, None].to(x_PD.dtype)], 1)

    def _embedded(self, item: Tensor, position: Tensor, kind: Tensor | None) -> Tensor:
        asked = item == self.mask
        x = torch.where(asked[..., None], self.hidden.weight[0], self.item(item.masked_fill(asked, 0)))
        x = x + self.position(position)
        if self.event_type is not None and kind is not None:
            x = x + self.event_type(kind)
        out: Tensor = self.norm_x(x)
        return out

    def forward(
        self,
        x_PD: Tensor,
        groups: Groups,
        fused: bool = False,
        last: Tensor | None = None,
        asked: Tensor | None = None,
    ) -> Tensor:
        """Embedded positions -> vectors (P, D); with `last` (B,) only at those flat positions: (B, D).

        With `asked` (N,), rising, at those: (N, D). Most positions have nothing to say: of them the last block needs
        keys and values alone.
        """
        real_P = x_PD[:, -1] > 0
        x_PD = x_PD[:, :-1].contiguous()
        for block in self.blocks[: None if last is None and asked is None else -1]:
            q_PD, k_PD, v_PD = block.before(x_PD)
            x_PD = block.after(x_PD, full_attention(q_PD, k_PD, v_PD, real_P, groups, block.heads, fused))
        block = self.blocks[-1]
        if last is not None:
            x_BD = x_PD[last]
            kv, q_BD = block.kv, linear(x_BD, block.q)
            x_PD = block.after(x_BD, last_attention(q_BD, x_PD, kv.weight, kv.bias, groups, last, block.heads))
        elif asked is not None:
            return self._hidden(x_PD, real_P, groups, fused, asked)
        return self._head(x_PD)

    def _hidden(self, x_PD: Tensor, real_P: Tensor, groups: Groups, fused: bool, asked: Tensor) -> Tensor:
        """The last block and what follows, at `asked` alone: (N, D); filled up to `ROWS`, so that shapes come again."""
        block, n = self.blocks[-1], len(asked)
        extra = -n % ROWS
        x_ND = x_PD.index_select(0, F.pad(asked, (0, extra)))
        if fused:
            q_PD, k_PD, v_PD = block.before(x_PD)
            a_PD = full_attention(q_PD, k_PD, v_PD, real_P, groups, block.heads, fused)
            a_ND = a_PD.index_select(0, asked)
        else:
            q_ND, (k_PD, v_PD) = linear(x_ND, block.q)[:n], halves(block.kv, x_PD)
            a_ND = asked_attention(q_ND, k_PD, v_PD, real_P, asked, groups, block.heads)
        return self._head(block.after(x_ND, F.pad(a_ND, (0, 0, 0, extra))))[:n]

    def _head(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(F.gelu(linear(x, self.out)))
        return out

    def compile_parts(self, graphs: bool = False) -> None:
        """Compile what stands between the attentions, while training.

        The last block ends with as many positions as are hidden, another number in each batch: a CUDA graph of it would
        be recorded each time and never replayed.
        """
        compile_blocks(self.blocks[:-1], graphs)
        compile_blocks(self.blocks[-1:], False)

    def undo_compile(self) -> None:
        """Back to eager."""
        undo_blocks(self.blocks)

    def plain(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """The same from left-padded histories (B, L), behind which a mask is put, with one explicit mask of attention:
        for export, and as the reference. (B, D).

        Float32, no dropout; a history of padding only gives a vector without meaning.
        """
        item_BL = F.pad(item_BL, (0, 1), value=self.mask)
        type_BL = None if type_BL is None else F.pad(type_BL, (0, 1))
        length = item_BL.shape[1]
        position_L = length - 1 - torch.arange(length, device=item_BL.device)  # see nn/networks/sasrec.py
        x_BLD = self._embedded(item_BL, position_L, type_BL)
        hidden_B11L = torch.where(item_BL > 0, 0.0, PADDED)[:, None, None]
        for block in self.blocks:
            x_BLD = block.plain(x_BLD, hidden_B11L)
        return self._head(x_BLD[:, -1])

    def activation_bytes(self, value: int, fused: bool) -> int:
        """Of each block norms, q, k, v, attention, masks of dropout and the feed-forward layer, and the scores."""
        shape = self.shape
        scores = 0 if fused else 2 * shape.heads * shape.max_length * value
        return int(shape.blocks * (24 * shape.width * value + scores) + 10 * 4 * shape.width)
