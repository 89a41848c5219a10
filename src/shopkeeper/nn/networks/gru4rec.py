"""GRU4Rec: a recurrent network over the items of a history (Hidasi et al., ICLR 2016, arXiv:1511.06939).

Items are embedded, one or more GRU layers read the history from its old end, and the vector after the last event is
compared with the item embeddings. As in the official code since 2018 (Hidasi & Karatzoglou, CIKM 2018,
arXiv:1706.03847) one embedding serves input and output ("constrained"), so that width and hidden size are one number,
and dropout acts on the embeddings and on what a layer gives. Deviations: whole histories are learned at once instead of
session-parallel steps, and items have no output bias, so that scores are inner products.

Shapes: P positions of a batch in flat order (see attention.py), D width, B sequences, b those of a rectangle, L its
length, V items + 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shopkeeper.errors import check, number, whole
from shopkeeper.nn.attention import Groups
from shopkeeper.nn.dropout import dropout
from shopkeeper.nn.network import Inputs, SequenceNetwork
from shopkeeper.nn.recurrent import recurrent


@dataclass(frozen=True)
class GRU4RecShape:
    """Sizes of the network. `n_types` > 0 adds an embedding of the event type (view, purchase, …) to each item."""

    n_items: int
    width: int = 64
    layers: int = 1
    max_length: int = 200
    dropout: float = 0.2  # of what a layer gives
    dropout_embed: float = 0.2
    n_types: int = 0

    def __post_init__(self) -> None:
        rules = {name: whole(1) for name in ("width", "layers", "max_length")}
        rules |= {name: number(below=1) for name in ("dropout", "dropout_embed")}
        check(vars(self), rules, "model.")


class GRU4RecNetwork(SequenceNetwork):
    """Item and type embeddings and the layers."""

    tables: tuple[str, ...] = ("item", "event_type")

    def __init__(self, shape: GRU4RecShape):
        super().__init__(shape.dropout)
        self.shape, d = shape, shape.width
        self.item = nn.Embedding(shape.n_items + 1, d, padding_idx=0)
        self.event_type = nn.Embedding(shape.n_types + 1, d) if shape.n_types else None
        self.reads = ("type",) if shape.n_types else ()
        self.layers: Any = nn.ModuleList(nn.GRU(d, d, batch_first=True) for _ in range(shape.layers))
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=1 / math.sqrt(d))
            elif isinstance(module, nn.GRU):
                for name, parameter in module.named_parameters():
                    (nn.init.zeros_ if "bias" in name else nn.init.xavier_uniform_)(parameter)
        with torch.no_grad():
            self.item.weight[0] = 0

    def embed(self, inputs: Inputs) -> Tensor:
        """What enters the layers, in float32: (P, D)."""
        others = {name: getattr(inputs, f"{name}_P") for name in self.reads if name != "type"}
        x_PD = self._embedded(inputs.item_P, inputs.type_P, **others)
        return dropout(x_PD, self.shape.dropout_embed, self.generator) if self.training else x_PD

    def _embedded(self, item: Tensor, kind: Tensor | None, **others: Tensor) -> Tensor:
        x: Tensor = self.item(item)
        return x if self.event_type is None or kind is None else x + self.event_type(kind)

    def forward(self, x_PD: Tensor, groups: Groups, fused: bool = False, last: Tensor | None = None) -> Tensor:
        """Embedded positions -> vectors (P, D); with `last` (B,) only at those flat positions: (B, D).

        Padding stands behind a sequence, where no state that is read comes from.
        """
        for layer in self.layers:
            x_PD = self.drop(recurrent(x_PD, groups, layer))
        return x_PD if last is None else x_PD[last]

    def exported(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """By `exported_states`."""
        x_LBD, last_B = self.exported_states(item_BL, type_BL, **others_BL)
        return x_LBD[last_B - 1, torch.arange(item_BL.shape[0])]

    def exported_states(
        self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor
    ) -> tuple[Tensor, Tensor]:
        """ONNX's GRU, which reads a history from its first column: so the padding goes to the right.

        The states (L, B, D), and how many of them are real: (B,).
        """
        d, length = self.shape.width, item_BL.shape[1]
        n_B = (item_BL > 0).sum(1)
        at_BL = (torch.arange(length) + (length - n_B)[:, None]).clamp(max=length - 1)  # what follows n_B is not read
        types = None if type_BL is None else torch.gather(type_BL, 1, at_BL)
        others = {name: torch.gather(values_BL, 1, at_BL) for name, values_BL in others_BL.items()}
        x_LBD = self._embedded(torch.gather(item_BL, 1, at_BL), types, **others).transpose(0, 1)
        last_B = n_B.clamp(min=1)
        for layer in self.layers:
            w, r, b, c = (getattr(layer, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            given = (x_LBD, _as_onnx(w), _as_onnx(r), torch.cat([_as_onnx(b), _as_onnx(c)], 1), last_B.to(torch.int32))
            settings: dict[str, Any] = {"hidden_size": d, "linear_before_reset": 1}  # as PyTorch defines it
            shape = (length, 1, item_BL.shape[0], d)
            x_LBD = torch.onnx.ops.symbolic("GRU", given, settings, dtype=torch.float32, shape=shape)[:, 0]
        return x_LBD, last_B

    def activation_bytes(self, value: int, fused: bool) -> int:
        """Of each layer: three gates before and after, the state, its products, dropout's mask; and the embeddings."""
        return int(self.shape.width * (self.shape.layers * 14 * value + 8 * 4))

    def plain(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """By `plain_states`: (B, D)."""
        return self.plain_states(item_BL, type_BL, **others_BL)[:, -1]

    def plain_states(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """The gates by hand, event by event, from left-padded histories: padding leaves the state at 0. (B, L, D).

        r, z = sigmoid(W x + U h); n = tanh(W x + r * (U h)); h = (1 - z) * n + z * h.
        """
        x_BLD = self._embedded(item_BL, type_BL, **others_BL)
        real_BL1 = (item_BL > 0)[..., None]
        for layer in self.layers:
            h_BD, out = torch.zeros_like(x_BLD[:, 0]), []
            for t in range(item_BL.shape[1]):
                rx, zx, nx = nn.functional.linear(x_BLD[:, t], layer.weight_ih_l0, layer.bias_ih_l0).chunk(3, 1)
                rh, zh, nh = nn.functional.linear(h_BD, layer.weight_hh_l0, layer.bias_hh_l0).chunk(3, 1)
                z_BD = torch.sigmoid(zx + zh)
                n_BD = torch.tanh(nx + torch.sigmoid(rx + rh) * nh)
                h_BD = torch.where(real_BL1[:, t], (1 - z_BD) * n_BD + z_BD * h_BD, h_BD)
                out.append(h_BD)
            x_BLD = torch.stack(out, 1)
        return x_BLD


def _as_onnx(weights: Tensor) -> Tensor:
    """PyTorch's gates r, z, n (3 D, …) in ONNX's order z, r, h, with its axis of directions: (1, 3 D, …)."""
    r, z, n = weights.chunk(3)
    return torch.cat([z, r, n])[None]
