"""Dropout that draws one random byte per value: on CPU a fraction of the cost of `F.dropout`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def dropout(x: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """Set values to 0 with probability `p` and scale up the rest. On CPU `p` is rounded to 1/256 (the scale agrees).

    `generator` (CPU): draws of one's own, for threads that work at once; None: PyTorch's default one.
    """
    if p <= 0.0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, p, training=True)
    with torch.no_grad():
        drop = max(round(p * 256), 1)
        bits = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=generator)
        keep = (bits.view(torch.uint8)[: x.numel()] >= drop).view(x.shape)
        scale = keep.to(x.dtype).mul_(256 / (256 - drop))
    return x * scale


class Dropping(nn.Module):
    """A module with dropout while it trains, drawn from `generator` (None: PyTorch's own)."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def drop(self, x: Tensor) -> Tensor:
        """Dropout, or nothing."""
        return dropout(x, self.p, self.generator) if self.training else x
