"""A number of days as a vector, by its logarithm: x = log2(1 + hours) is an hour at 1, a day at 4.6, a year at 13.1.

Also the amount and the lines of a basket, as log2(1 + amount) and log2(1 + lines).

Shapes: any leading ones, K knots, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KNOTS = 18  # the last one stands for 15 years, for an amount of 131,071, and for more
HOURS = 24
PARTS = 3  # numbers of bfloat16 that a float32 is the sum of


class Logarithm(nn.Module):
    """Numbers (...) float32, 0 and more -> vectors (..., D): an embedding of log2(1 + number), mixed between knots.

    The knots lie at 0, 1, 2, ...
    """

    knots: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(KNOTS, width) * width**-0.5)
        self.register_buffer("knots", torch.arange(KNOTS, dtype=torch.float32), persistent=False)

    def forward(self, number: Tensor) -> Tensor:
        """The weights of the two knots next to it, mixed by how near they are."""
        x = torch.log2(1 + number.float()).clamp(max=KNOTS - 1)
        near = (1 - (x[..., None] - self.knots).abs()).clamp(min=0)  # (..., K), adds up to 1
        out: Tensor = near.to(self.weight.dtype) @ self.weight
        return out


class Days(Logarithm):
    """Days (...) float32, 0 and more -> vectors (..., D)."""

    def forward(self, days: Tensor) -> Tensor:
        """By the logarithm of their hours."""
        return super().forward(HOURS * days.float())


class Baskets(nn.Module):
    """What baskets come to and how many lines they have, (...) float32 each -> vectors (..., D)."""

    def __init__(self, width: int):
        super().__init__()
        self.amount, self.lines = Logarithm(width), Logarithm(width)

    def forward(self, amount: Tensor, lines: Tensor) -> Tensor:
        """The sum of both."""
        found: Tensor = self.amount(amount) + self.lines(lines)
        return found


def in_parts(value_P: Tensor) -> Tensor:
    """Float32 as sums of numbers that bfloat16 has, so that nothing is lost where a network is rounded: (P, 3)."""
    parts, rest_P = [], value_P
    for _ in range(PARTS):
        parts.append(rest_P.to(torch.bfloat16).to(value_P.dtype))
        rest_P = rest_P - parts[-1]
    return torch.stack(parts, 1)
