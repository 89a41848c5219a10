"""A recurrent network over what happened and how long after the event before it: item, type and gap of each event.

GRU4Rec's layers (`gru4rec.py`) with an embedding of the gap. It looks back alone: nothing that enters counts from the
newest event of a sequence, so one pass over a customer's history serves every instant that is asked about.

Shapes: as in `gru4rec.py`.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from shopkeeper.nn.days import Days
from shopkeeper.nn.networks.gru4rec import GRU4RecNetwork, GRU4RecShape


class GRUNetwork(GRU4RecNetwork):
    """GRU4Rec that is told the days since the event before."""

    tables: tuple[str, ...] = (*GRU4RecNetwork.tables, "gap")
    looks_ahead: ClassVar[bool] = False

    def __init__(self, shape: GRU4RecShape):
        super().__init__(shape)
        self.gap = Days(shape.width)
        self.reads = (*self.reads, "since")

    def _embedded(self, item: Tensor, kind: Tensor | None, **others: Tensor) -> Tensor:
        x: Tensor = super()._embedded(item, kind) + self.gap(others["since"])
        return x
