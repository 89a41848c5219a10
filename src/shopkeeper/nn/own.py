r"""What the customer's own history does to a network's logits of the items that stand in it, and demand to all.

    logit(q, i) = h_q \cdot e_i + a \cdot d_i(q)      for an item that the history does not hold
    logit(q, i) = own(q, i) + b \cdot h_q \cdot e_i + a \cdot d_i(q)          for one that it does (b = 0 of `copy`)

d is the log of the recent demand for the item (target events, halved every so many days) as it was known at the time;
the kernel also reads that of shorter and longer memory, so that it knows what rises and what is over.
`own` is one of

- `kernel`: a small network of two hidden layers over what is known of the pair (event type, age, lag, count, the
  customer's and the item's usual gap: `data/own.py`), and a number for each item, how gladly it is taken again;
- `frequency`: the same over the counts alone, without a clock;
- `copy`: (h_q + M h_q + m) · e_i, another projection of the network's vector, as in Softmax-CPR (H.-S. Chang,
  N. Agarwal, A. McCallum, "To Copy, or not to Copy; That is a Critical Issue of the Output Softmax Layer in Neural
  Sequential Recommenders", WSDM 2024), from where also is that the two kinds of items are scored apart. Were h · e kept
  for own items, too, the network would remember what training customers took, and promote it when it is own. So it
  learns nothing from b's term, which only says how far what it knows of the others is to be believed here, too.

Shapes: Q queries, R pairs of a query and an own item, F features, D width, V = n_items + 1, S half-lives of demand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from shopkeeper.schema import EVENT_TYPES

HISTORIES = ("none", "kernel", "frequency", "copy")
HALF_LIVES = (30.0, 7.0, 90.0)  # days, of demand: the first is that of d
HIDDEN = 64
START = 2.0  # what log(1 + times taken) is multiplied by at first
LOUD = 5.0  # what the hidden layers give is multiplied by this: so much faster than the network does the term learn


@dataclass(frozen=True)
class OwnShape:
    """Which term it is, and its sizes."""

    n_items: int
    width: int
    history: str  # one of HISTORIES but `none`
    n_features: int  # that are read of a pair
    taken: int = 0  # which of them is the log of how often the customer took it


class OwnTerm(nn.Module):
    """The parameters, all in float32. At the start own items stand by how often they were taken, and all by demand."""

    usual_V: Tensor
    demand_SV: Tensor

    def __init__(self, shape: OwnShape):
        super().__init__()
        self.shape = shape
        self.pace = 1.0  # of the learning rate, what the network beside this term gets
        self.trust = nn.Parameter(torch.ones(1))  # a
        self.register_buffer("usual_V", torch.ones(shape.n_items + 1))  # days between two purchases of an item
        self.register_buffer("demand_SV", torch.zeros(len(HALF_LIVES), shape.n_items + 1))  # at the end of training
        self.hidden: nn.Linear | None = None
        self.near: nn.Parameter | None = None  # b; the products themselves are there where all items are scored
        self.copy: nn.Linear | None = None
        if shape.history != "copy":
            self.hidden = nn.Linear(shape.n_features, HIDDEN)
            self.kind = nn.Embedding(len(EVENT_TYPES) + 1, HIDDEN)
            self.out = nn.Linear(HIDDEN, 1)
            self.second = nn.Linear(HIDDEN, HIDDEN)  # added to the first: what holds only where several things do
            self.direct = nn.Parameter(torch.zeros(shape.n_features))  # past the hidden layers
            self.near = nn.Parameter(torch.zeros(1))
            self.again = nn.Embedding(shape.n_items + 1, 1)
            for zero in (self.kind.weight, self.out.weight, self.out.bias, self.again.weight):
                nn.init.zeros_(zero)
            with torch.no_grad():
                self.direct[shape.taken] = START / LOUD
        else:
            self.copy = nn.Linear(shape.width, shape.width)
            nn.init.zeros_(self.copy.weight)
            nn.init.zeros_(self.copy.bias)

    def arrays(self) -> dict[str, np.ndarray]:
        """What `programs.own` computes the same from."""
        named = {"trust": self.trust, "usual": self.usual_V, "demand": self.demand_SV}
        if self.hidden is not None:
            assert self.near is not None
            named |= {"weight": self.hidden.weight, "kind": self.kind.weight, "out": LOUD * self.out.weight[0]}
            named |= {"direct": LOUD * self.direct, "near": self.near}
            named |= {"second": self.second.weight, "second_bias": self.second.bias}
            named |= {"bias": self.hidden.bias, "again": LOUD * (self.again.weight[:, 0] + self.out.bias)}
        return {name: values.detach().float().numpy(force=True).copy() for name, values in named.items()}

    def forward(self, told_RF: Tensor, item_R: Tensor, query_R: Tensor, h_QD: Tensor, item_VD: Tensor) -> Tensor:
        """The logit of each pair, but for demand and what `near` takes of the products: float32 (R,).

        `told_RF`: the features, and beside them which type the newest event is of, a column for each.
        """
        if self.copy is not None:
            h_QD = h_QD.float() + self.copy(h_QD.float())
            own_RD = torch.nn.functional.embedding(item_R, item_VD).float()
            return (h_QD.index_select(0, query_R) * own_RD).sum(1)
        assert self.hidden is not None
        linear = nn.functional.linear  # modules' calls cost a single request more
        weight_HF = torch.cat([self.hidden.weight, self.kind.weight.T], 1)
        z_RH = torch.relu(linear(told_RF, weight_HF, self.hidden.bias))
        z_RH = z_RH + torch.relu(linear(z_RH, self.second.weight, self.second.bias))
        again_R = self.again.weight[:, 0].index_select(0, item_R)  # a tenth of the time of an embedding's gradient
        direct_R = told_RF[:, : len(self.direct)] @ self.direct
        value: Tensor = linear(z_RH, self.out.weight, self.out.bias)[:, 0] + again_R + direct_R
        return LOUD * value
