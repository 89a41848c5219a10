"""A recurrent network over what happened and how long after the event before it: item, type and gap of each event.

GRU4Rec's layers (`gru4rec.py`) with an embedding of the gap, and where steps are baskets, of what they come to. It
looks back alone: nothing that enters counts from the newest event of a sequence, so one pass over a customer's history
serves every instant that is asked about.

Shapes: as in `gru4rec.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from shopkeeper.nn.days import Baskets, Days
from shopkeeper.nn.networks.gru4rec import GRU4RecNetwork, GRU4RecShape


@dataclass(frozen=True)
class GRUShape(GRU4RecShape):
    """As of GRU4Rec. `baskets`: each step is a basket."""

    baskets: bool = False


class GRUNetwork(GRU4RecNetwork):
    """GRU4Rec that is told the days since the event before."""

    tables: tuple[str, ...] = (*GRU4RecNetwork.tables, "gap", "basket")
    looks_ahead: ClassVar[bool] = False

    def __init__(self, shape: GRUShape):
        super().__init__(shape)
        self.gap = Days(shape.width)
        self.basket = Baskets(shape.width) if shape.baskets else None
        self.reads = (*self.reads, "since", *(("amount", "lines") if shape.baskets else ()))

    def _embedded(self, item: Tensor, kind: Tensor | None, **others: Tensor) -> Tensor:
        x: Tensor = super()._embedded(item, kind) + self.gap(others["since"])
        return x if self.basket is None else x + self.basket(others["amount"], others["lines"])
