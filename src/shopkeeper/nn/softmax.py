"""Full softmax cross-entropy over a large catalogue without ever holding all logits.

The rows are taken in chunks. While a chunk's probabilities are in the cache, both gradients are computed from them, so
that the backward pass only scales what the forward pass left (as in Liger-Kernel's fused linear cross-entropy).

Shapes: N positions, D width, V classes (items), C rows of a chunk.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor

CHUNK_BYTES = {
    "cpu": 4 << 20,
    "cuda": 256 << 20,
}  # a chunk's logits: a core's share of the last level cache / plenty for a GPU
LEAST = 128  # rows of a chunk: with fewer, adding its gradient to that of 100,000 items takes as long as its products
USUAL, USUAL_BYTES = 512, 128 << 20  # rows for which that is a small part, where their logits take no more than this
ROWS = 32  # bf16 on CPU: rows are filled up to a multiple, since oneDNN makes a kernel for each new number of them


def softmax_cross_entropy(
    h_ND: Tensor,
    item_VD: Tensor,
    label_N: Tensor,
    *,
    scale: float = 1.0,
    first: int = 0,
    kernel: str = "chunked",
    chunk: int | None = None,
) -> Tensor:
    """`scale` times the sum over positions of -log softmax(h · itemᵀ)[label]: a scalar in float32.

    `h_ND` may be bf16: then the products are, while `item_VD` (float32 master weights) gets a float32 gradient.
    Rows of `item_VD` before `first` are no classes: class c is row first + c. (A slice would copy its gradient.)
    `kernel`: `chunked` (reference), `cut_cross_entropy` or `liger` (CUDA, where installed), `full` (for tests).
    """
    if kernel == "chunked":
        chunk = chunk or chunk_rows(len(item_VD), h_ND.element_size(), h_ND.device.type)
        loss: Tensor = _Chunked.apply(h_ND, item_VD, label_N, scale, first, chunk)
        return loss
    weight_VD = item_VD[first:].to(h_ND.dtype)
    if kernel == "cut_cross_entropy":
        from cut_cross_entropy import linear_cross_entropy

        loss = linear_cross_entropy(h_ND, weight_VD, label_N, reduction="sum")
    elif kernel == "liger":
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        loss = LigerFusedLinearCrossEntropyLoss(reduction="sum")(weight_VD, h_ND, label_N)
    else:
        assert kernel == "full", kernel
        loss = F.cross_entropy((h_ND @ weight_VD.T).float(), label_N, reduction="sum")
    return loss * scale


def chunk_rows(n_classes: int, bytes_per_value: int, device: str) -> int:
    """Rows of which the logits fill the budget of a chunk, a multiple of 32; at least `USUAL` up to some 130,000 items
    in bf16, then fewer, to spare memory, and at least `LEAST`."""
    cached, roomy = (
        size // (n_classes * bytes_per_value) // ROWS * ROWS
        for size in (CHUNK_BYTES.get(device, 64 << 20), USUAL_BYTES)
    )
    return max(cached, min(roomy, USUAL), LEAST)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h_ND: Tensor, item_VD: Tensor, label_N: Tensor, scale: float, first: int, chunk: int
    ) -> Tensor:
        dtype, needs = h_ND.dtype, any(ctx.needs_input_grad)
        weight_VD = item_VD[first:].to(dtype)
        n, v = len(h_ND), len(weight_VD)
        if extra := -n % ROWS if h_ND.device.type == "cpu" and dtype == torch.bfloat16 else 0:
            h_ND, label_N = F.pad(h_ND, (0, 0, 0, extra)), F.pad(label_N, (0, extra))
        chunk = min(chunk, n + extra)
        buffer = torch.empty(chunk, v, dtype=dtype, device=h_ND.device)
        row_C = torch.arange(chunk, device=h_ND.device) * v
        loss = torch.zeros((), dtype=torch.float32, device=h_ND.device)
        dh_ND = torch.empty_like(h_ND) if needs else None
        ditem_VD = torch.empty_like(item_VD) if needs else None
        if ditem_VD is not None:
            ditem_VD[: first if n else None] = 0
        for start in range(0, n + extra, chunk):
            h_CD, label_C1 = h_ND[start : start + chunk], label_N[start : start + chunk, None]
            p_CV = buffer[: len(h_CD)]
            torch.mm(h_CD, weight_VD.T, out=p_CV)
            if dtype == torch.float32:  # exact even where the label's probability is below the smallest number
                logit_C = p_CV.gather(1, label_C1)[:, 0]
                loss += (torch.logsumexp(p_CV, 1) - logit_C).sum()
                torch.softmax(p_CV, 1, out=p_CV)
                p_C1 = p_CV.gather(1, label_C1)
            else:  # one pass less; bf16 has the range of float32, and rounding errors of the logs cancel
                torch.softmax(p_CV, 1, out=p_CV)
                p_C1 = p_CV.gather(1, label_C1)
                loss -= p_C1[: n - start].float().clamp_min(1e-38).log().sum()
            if dh_ND is None or ditem_VD is None:
                continue
            # (scatter_ would copy the whole chunk twice on CPU)
            p_CV.view(-1)[label_C1[:, 0] + row_C[: len(h_CD)]] = p_C1[:, 0] - 1
            torch.mm(p_CV, weight_VD, out=dh_ND[start : start + chunk])
            part_VD = p_CV.T @ (h_CD * scale)  # the extra rows are 0
            if start == 0:
                ditem_VD[first:] = part_VD
            else:
                ditem_VD[first:] += part_VD
        if dh_ND is not None and ditem_VD is not None:
            ctx.save_for_backward(dh_ND[:n].mul_(scale), ditem_VD)
        return loss * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        dh_ND, ditem_VD = ctx.saved_tensors
        if grads[0].device.type != "cpu" or grads[0].item() != 1.0:  # a pass over the item embeddings saved
            dh_ND, ditem_VD = dh_ND * grads[0].to(dh_ND.dtype), ditem_VD * grads[0].to(ditem_VD.dtype)
        return dh_ND, ditem_VD, None, None, None, None
