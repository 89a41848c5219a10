"""Causal self-attention over sequences of many lengths that share one flat array of positions.

The sequences of a batch are sorted by length and laid into rectangles (b sequences × L positions, one rectangle per
bucket of lengths) that follow each other in memory. Everything but attention works on the flat (P, D) array; attention
looks at each rectangle through a view. Sequences begin at column 0, so that the causal mask alone keeps real positions
from seeing the padding behind them.

Shapes: P positions of all rectangles (padding included), D width, H heads, b sequences of a rectangle, L its length.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor

SCORE_BYTES = (
    5 << 18
)  # attention scores held at a time, for each thread: a little more than a core's second level cache
Groups = tuple[tuple[int, int], ...]  # (b, L) of each rectangle, in order


def causal_attention(q_PD: Tensor, k_PD: Tensor, v_PD: Tensor, groups: Groups, heads: int, fused: bool) -> Tensor:
    """Each position looks at itself and at what came before it in its own sequence: (P, D).

    `fused` takes PyTorch's kernel (best on CUDA); otherwise the textbook computation with bf16 matrix products, which
    is 2.5 times as fast as the CPU's fused kernel forwards and backwards (measured at L=200, D=64, bf16).
    """
    if not fused:
        groups = _pieces(groups, heads * q_PD.element_size(), q_PD.device.type)
    sizes = [b * length for b, length in groups]
    attend = _fused if fused else _plain
    parts = zip(q_PD.split(sizes), k_PD.split(sizes), v_PD.split(sizes), groups, strict=True)
    return torch.cat([attend(q, k, v, b, length, heads) for q, k, v, (b, length) in parts])


def last_attention(
    q_BD: Tensor, x_PD: Tensor, weight_ED: Tensor, bias_E: Tensor, groups: Groups, last_P: Tensor, heads: int
) -> Tensor:
    """Attention of the last position of each sequence only: (B, D). `last_P` (B,): flat positions of the queries.

    `weight_ED`, `bias_E` (E = 2D) would make keys and values of `x_PD`, but these are never made: with K = W x + b the
    score q·(W x + b) is (Wᵀq)·x and a number that is the same for all positions, which softmax forgets; and a mean of
    W x + b with weights that add up to 1 is W (mean of x) + b. So D multiplications per position replace 2 D².
    """
    (wk_HdD, wv_HdD), bv_D = (w.view(heads, -1, w.shape[1]) for w in weight_ED.chunk(2)), bias_E.chunk(2)[1]
    q_HBd = q_BD.view(len(q_BD), heads, -1).transpose(0, 1) / math.sqrt(q_BD.shape[1] / heads)
    q_BHD = (q_HBd @ wk_HdD).transpose(0, 1)
    sizes, means, row, base = [b * length for b, length in groups], [], 0, 0
    for x, (b, length) in zip(x_PD.split(sizes), groups, strict=True):
        x_bLD = x.view(b, length, -1)
        column_b = last_P[row : row + b] - base - torch.arange(b, device=last_P.device) * length
        behind_bL = torch.arange(length, device=last_P.device) > column_b[:, None]
        score_bHL = (q_BHD[row : row + b] @ x_bLD.transpose(1, 2)).masked_fill(behind_bL[:, None], -torch.inf)
        means.append(torch.softmax(score_bHL, -1) @ x_bLD)
        row, base = row + b, base + b * length
    out_HBd = torch.cat(means).transpose(0, 1) @ wv_HdD.transpose(1, 2)
    return out_HBd.transpose(0, 1).reshape(len(q_BD), -1) + bv_D


def _pieces(groups: Groups, bytes_per_score: int, device: str) -> Groups:
    """The rectangles cut into so few sequences that a piece's scores stay in the cores' own caches (CPU)."""
    if device != "cpu":
        return groups
    budget = SCORE_BYTES * torch.get_num_threads()
    pieces: list[tuple[int, int]] = []
    for b, length in groups:
        step = max(budget // (length * length * bytes_per_score), 1)
        pieces += [(min(step, b - first), length) for first in range(0, b, step)]
    return tuple(pieces)


def _plain(q: Tensor, k: Tensor, v: Tensor, b: int, length: int, heads: int) -> Tensor:
    d = q.shape[-1] // heads
    q_nLd, k_nLd, v_nLd = (_heads(x, b, length, heads).reshape(b * heads, length, d) for x in (q, k, v))
    mask_nLL = _future(length, q.dtype, q.device).expand(b * heads, length, length)
    score_nLL = torch.baddbmm(mask_nLL, q_nLd, k_nLd.transpose(1, 2), alpha=1 / math.sqrt(d))
    out_nLd = torch.softmax(score_nLL, -1) @ v_nLd
    return out_nLd.view(b, heads, length, d).transpose(1, 2).reshape(b * length, heads * d)


def _fused(q: Tensor, k: Tensor, v: Tensor, b: int, length: int, heads: int) -> Tensor:
    q_bHLd, k_bHLd, v_bHLd = (_heads(x, b, length, heads) for x in (q, k, v))
    out_bHLd = F.scaled_dot_product_attention(q_bHLd, k_bHLd, v_bHLd, is_causal=True)
    return out_bHLd.transpose(1, 2).reshape(b * length, -1)


def _heads(x: Tensor, b: int, length: int, heads: int) -> Tensor:
    return x.view(b, length, heads, -1).transpose(1, 2)  # (b, H, L, d)


@lru_cache(maxsize=64)
def _future(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """-inf above the diagonal: (1, L, L)."""
    return torch.full((1, length, length), -torch.inf, device=device).triu(1).to(dtype)
