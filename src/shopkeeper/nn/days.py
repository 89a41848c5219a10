"""A number of days as a vector: an embedding of its logarithm, interpolated between knots.

The knots lie at x = 0, 1, 2, ... of x = log2(1 + hours): an hour, three, seven, ... a day is at 4.6, a year at 13.1.

Shapes: any leading ones, K knots, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KNOTS = 18  # the last one stands for 15 years and more
HOURS = 24
PARTS = 3  # numbers of bfloat16 that a float32 is the sum of


class Days(nn.Module):
    """Days (...) float32, 0 and more -> vectors (..., D)."""

    knots: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(KNOTS, width) * width**-0.5)
        self.register_buffer("knots", torch.arange(KNOTS, dtype=torch.float32), persistent=False)

    def forward(self, days: Tensor) -> Tensor:
        """The weights of the two knots next to it, mixed by how near they are."""
        x = torch.log2(1 + HOURS * days.float()).clamp(max=KNOTS - 1)
        near = (1 - (x[..., None] - self.knots).abs()).clamp(min=0)  # (..., K), adds up to 1
        out: Tensor = near.to(self.weight.dtype) @ self.weight
        return out


def in_parts(value_P: Tensor) -> Tensor:
    """Float32 as sums of numbers that bfloat16 has, so that nothing is lost where a network is rounded: (P, 3)."""
    parts, rest_P = [], value_P
    for _ in range(PARTS):
        parts.append(rest_P.to(torch.bfloat16).to(value_P.dtype))
        rest_P = rest_P - parts[-1]
    return torch.stack(parts, 1)
