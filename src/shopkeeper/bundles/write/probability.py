"""The graph of an exported customer model that is a network: histories in, what each head says before calibration out.

Shapes: B customers, L positions, V = n_items + 1.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from shopkeeper.bundles.write.onnx_file import Graph, Takes
from shopkeeper.programs.base import Program


class ProbabilityGraph(Graph):
    """`forward(history_BL, event_type_BL, since_last_B, *others_BL) -> probability_B [, further_BH] [, hazard_BK]`.

    Of pairs `-> probabilities_BC` alone, of each category or item, calibrated.

    `history_BL`: internal ids int64, oldest first, padded with 0 on the left, `n_items` + 1 for an item that nobody
    knows; `event_type_BL`: their codes; `since_last_B`: days float32 from the last event to the instant; `others_BL`:
    the program's `inputs`.
    """

    takes: ClassVar[Takes] = {
        "history": (torch.int64, "BL"),
        "event_type": (torch.int64, "BL"),
        "since_last": (torch.float32, "B"),
    }
    number_V: Tensor

    def __init__(self, program: Program, n_items: int):
        super().__init__()
        assert program.known is not None
        self.model, self.inputs = program.module, program.inputs
        heads = list(program.further)
        self.further = [1 + heads.index(name) for name in sorted(heads)]  # a manifest has them in that order
        self.waits = program.shift is not None
        self.of_pairs = program.of_pairs
        self.gives = (
            ("probabilities",)
            if self.of_pairs
            else ("probability", *(["further"] if self.further else []), *(["hazard"] if self.waits else []))
        )
        number = torch.full((n_items + 2,), len(program.known))  # what the network takes for an item that it knows not
        known = torch.from_numpy(program.known[: n_items + 1]).nonzero()[:, 0]
        number[known], number[0] = known, 0
        self.register_buffer("number_V", number)

    def forward(
        self, history_BL: Tensor, event_type_BL: Tensor, since_last_B: Tensor, *others_BL: Tensor
    ) -> tuple[Tensor, ...]:
        """What the first head expects, what the further ones do, and of a wait the logits of its hazards."""
        if self.of_pairs:
            return (self.model(self.number_V[history_BL], event_type_BL, since_last_B, *others_BL),)
        mean_BH, *hazard = self.model(self.number_V[history_BL], event_type_BL, since_last_B, *others_BL)
        return (mean_BH[:, 0], *([mean_BH[:, self.further]] if self.further else []), *hazard)
