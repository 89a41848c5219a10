"""Every operation that PyTorch keeps to itself and that this project uses: here and in no other file.

Each is measured to be much faster than the public way to the same result, and is tested beside it
(docs/decisions/0003-private-operations.md). When torch is upgraded, this is the file to look at.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# oneDNN multiplies float32 on AMD in half the time of torch's default (MKL), which does not use all of AVX-512 there.
ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
REORDERS = ONEDNN and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
# Whole numbers of 8 bits, several to each instruction where the processor has one for them; elsewhere a plain loop.
BYTES = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
BYTES = BYTES and hasattr(torch, "_int_mm")


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.T + bias`, float32 on the CPU and without a gradient; only where `ONEDNN`."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def reordered(weight: Tensor, rows: int) -> Tensor:
    """A weight in the order in which `onednn_linear` reads it, for so many rows at a time; only where `REORDERS`."""
    out: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return out


def product_of_bytes(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b` of whole numbers, int8 to int32, without rounding; only where `BYTES`."""
    if len(a) == b.shape[1] == 1:  # torch 2.13 leaves such a single cell as the memory was
        return a.int() @ b.int()
    out: Tensor = torch._int_mm(a, b)
    return out


def softmax_backward(grad: Tensor, probability: Tensor) -> Tensor:
    """The gradient of what went into a softmax over the last axis, in one pass over memory."""
    return torch._softmax_backward_data(grad, probability, -1, probability.dtype)


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy many small tensors in one call, rounding where the target's type is narrower."""
    torch._foreach_copy_(list(targets), list(sources))
