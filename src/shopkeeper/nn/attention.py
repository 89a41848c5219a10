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


def last_attention(q_BD: Tensor, k_PD: Tensor, v_PD: Tensor, groups: Groups, last_P: Tensor, heads: int) -> Tensor:
    """Attention of the last position of each sequence only: (B, D). `last_P` (B,): flat positions of the queries."""
    sizes, outs, row, base = [b * length for b, length in groups], [], 0, 0
    for k, v, (b, length) in zip(k_PD.split(sizes), v_PD.split(sizes), groups, strict=True):
        q_bH1d = q_BD[row : row + b].view(b, heads, 1, -1)
        k_bHLd, v_bHLd = _heads(k, b, length, heads), _heads(v, b, length, heads)
        column_b = last_P[row : row + b] - base - torch.arange(b, device=last_P.device) * length
        behind_bL = torch.arange(length, device=last_P.device) > column_b[:, None]
        score_bH1L = (q_bH1d @ k_bHLd.transpose(-1, -2)) / math.sqrt(q_bH1d.shape[-1])
        score_bH1L = score_bH1L.masked_fill(behind_bL[:, None, None, :], -torch.inf)
        outs.append((torch.softmax(score_bH1L, -1) @ v_bHLd).reshape(b, -1))
        row, base = row + b, base + b * length
    return torch.cat(outs)


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
