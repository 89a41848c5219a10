"""Two towers: a customer's vector from the history, an item's from its id and what it is; products are the scores.

The user's tower reads means of the item vectors of a history, in which an event counts half as much as one `HALVES`
events later (or as much as any), through a small network; the item's is the table of item vectors, with `content` made
of what the shop says of an item (`nn/content.py`). After X. Yi et al., "Sampling-Bias-Corrected Neural Modeling for
Large Corpus Item Recommendations", RecSys 2019, from where also is the correction of drawn negatives (`nn/losses.py`).
Deviation: the towers share the item vectors, so that a new item is also read in histories.

Shapes: P positions of a batch in flat order (see attention.py), D width, B sequences, b those of a rectangle, L its
length, M means, V items + 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from shopkeeper.errors import check, number, whole
from shopkeeper.nn.attention import Groups
from shopkeeper.nn.network import Inputs, SequenceNetwork
from shopkeeper.nn.weights import draw_weights

HALVES = (1.0, 4.0, 16.0, math.inf)  # events after which one counts half


@dataclass(frozen=True)
class TwoTowerShape:
    """Sizes of the network. `n_types` > 0 adds an embedding of the event type (view, purchase, …) to each item."""

    n_items: int
    width: int = 64
    hidden: int = 128  # of the user's tower
    max_length: int = 50
    dropout: float = 0.2
    n_types: int = 0

    def __post_init__(self) -> None:
        rules = {name: whole(1) for name in ("width", "hidden", "max_length")}
        check(vars(self), rules | {"dropout": number(below=1)}, "model.")


class TwoTowerNetwork(SequenceNetwork):
    """Item and type embeddings, the means, the user's tower."""

    tables: tuple[str, ...] = ("item", "event_type")
    looks_ahead: ClassVar[bool] = False

    def __init__(self, shape: TwoTowerShape):
        super().__init__(shape.dropout)
        self.shape, d = shape, shape.width
        self.item = nn.Embedding(shape.n_items + 1, d, padding_idx=0)
        self.event_type = nn.Embedding(shape.n_types + 1, d) if shape.n_types else None
        self.reads = ("type",) if shape.n_types else ()
        self.hidden = nn.Linear(len(HALVES) * d, shape.hidden)
        self.out = nn.Linear(shape.hidden, d)
        draw_weights(self, std=0.1)  # less than what content is to say

    def embed(self, inputs: Inputs) -> Tensor:
        """What the means are of, in float32: (P, D)."""
        return self.drop(self._embedded(inputs.item_P, inputs.type_P))

    def _embedded(self, item: Tensor, kind: Tensor | None) -> Tensor:
        x: Tensor = self.item(item)
        return x if self.event_type is None or kind is None else x + self.event_type(kind)

    def _tower(self, means: Tensor) -> Tensor:
        """Means (…, M D) -> a customer's vector (…, D)."""
        out: Tensor = self.out(self.drop(torch.relu(self.hidden(means))))
        return out

    def forward(self, x_PD: Tensor, groups: Groups, fused: bool = False, last: Tensor | None = None) -> Tensor:
        """Embedded positions -> vectors (P, D); with `last` (B,) only at those flat positions: (B, D)."""
        parts = []
        for x, (b, length) in zip(x_PD.split([b * length for b, length in groups]), groups, strict=True):
            ago_LL = torch.arange(length, device=x.device)[:, None] - torch.arange(length, device=x.device)
            weight_MLL = torch.stack([2.0 ** (-ago_LL / half) for half in HALVES]).tril()
            weight_MLL = (weight_MLL / weight_MLL.sum(2, keepdim=True)).to(x.dtype)
            mean_bMLD = weight_MLL @ x.view(b, 1, length, -1)
            parts.append(mean_bMLD.transpose(1, 2).reshape(b * length, -1))
        mean_PE = torch.cat(parts)
        return self._tower(mean_PE if last is None else mean_PE[last])

    def plain(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """The same after the last event of left-padded histories: (B, D)."""
        x_BLD, length = self._embedded(item_BL, type_BL), item_BL.shape[1]
        ago_L = length - 1 - torch.arange(length, device=item_BL.device)
        weight_ML = torch.stack([2.0 ** (-ago_L / half) for half in HALVES])
        weight_BML = weight_ML * (item_BL > 0)[:, None]
        weight_BML = weight_BML / weight_BML.sum(2, keepdim=True).clamp_min(1e-9)
        return self._tower((weight_BML @ x_BLD).flatten(1))

    def activation_bytes(self, value: int, fused: bool) -> int:
        """Of the means, the hidden layer with its mask, and the embeddings."""
        return int(value * (2 * len(HALVES) * self.shape.width + 4 * self.shape.hidden) + 8 * 4 * self.shape.width)
