"""NARM: a recurrent network over a session that also looks back at what it was about (Li et al., CIKM 2017).

GRU layers read the events; the last state, which is what is wanted now, weighs all states for a second vector, which is
what the session was for, v sigmoid(A1 h_t + A2 h_j); both together are the vector that items are compared with
("Neural Attentive Session-based Recommendation", arXiv:1711.04725). Deviations: whole histories are learned at once,
each event with a look back at what came before it, and the bilinear decoder is the layer before inner products.

Shapes: as in `gru4rec.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shopkeeper.nn.attention import Groups
from shopkeeper.nn.networks.gru4rec import GRU4RecNetwork, GRU4RecShape


@dataclass(frozen=True)
class NARMShape(GRU4RecShape):
    """Sizes of the network; sessions are short, and looking back costs the square of `max_length`."""

    max_length: int = 50


class NARMNetwork(GRU4RecNetwork):
    """The layers of GRU4Rec, and the look back."""

    def __init__(self, shape: NARMShape):
        super().__init__(shape)
        d = shape.width
        self.now, self.then = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.weigh, self.both = nn.Linear(d, 1, bias=False), nn.Linear(2 * d, d, bias=False)
        for layer in (self.now, self.then, self.weigh, self.both):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x_PD: Tensor, groups: Groups, fused: bool = False, last: Tensor | None = None) -> Tensor:
        """Embedded positions -> vectors (P, D); with `last` (B,) only at those flat positions: (B, D)."""
        h_PD, parts = super().forward(x_PD, groups, fused), []
        for h, (b, length) in zip(h_PD.split([b * length for b, length in groups]), groups, strict=True):
            h_bLD = h.view(b, length, -1)
            asked_bLLD = torch.sigmoid(self.now(h_bLD)[:, :, None] + self.then(h_bLD)[:, None])
            weight_bLL = self.weigh(asked_bLLD)[..., 0].tril()
            parts.append((weight_bLL @ h_bLD).reshape(b * length, -1))
        both_PE = torch.cat([h_PD, torch.cat(parts)], 1)
        out: Tensor = self.both(self.drop(both_PE if last is None else both_PE[last]))
        return out

    def _looked_back(self, h_BLD: Tensor, last_BD: Tensor, real_BL: Tensor) -> Tensor:
        weight_BL = self.weigh(torch.sigmoid(self.now(last_BD)[:, None] + self.then(h_BLD)))[..., 0] * real_BL
        out: Tensor = self.both(torch.cat([last_BD, (weight_BL[..., None] * h_BLD).sum(1)], 1))
        return out

    def exported(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """As `plain`, with ONNX's GRU."""
        h_LBD, n_B = self.exported_states(item_BL, type_BL, **others_BL)
        last_BD = h_LBD[n_B - 1, torch.arange(item_BL.shape[0])]
        real_BL = torch.arange(item_BL.shape[1]) < n_B[:, None]
        return self._looked_back(h_LBD.transpose(0, 1), last_BD, real_BL)

    def plain(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """The look back of the last state alone, over states by `plain_states`: (B, D)."""
        h_BLD = self.plain_states(item_BL, type_BL, **others_BL)
        return self._looked_back(h_BLD, h_BLD[:, -1], item_BL > 0)

    def activation_bytes(self, value: int, fused: bool) -> int:
        """Of the layers, and of looking back from each event at each."""
        return super().activation_bytes(value, fused) + 3 * self.shape.max_length * self.shape.width * value
