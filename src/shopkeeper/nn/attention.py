"""Self-attention, causal or both ways, over sequences of many lengths that share one flat array of positions.

The sequences of a batch are sorted by length and laid into rectangles (b sequences × L positions, one rectangle per
bucket of lengths) that follow each other in memory. Everything but attention works on the flat (P, D) array; attention
looks at each rectangle through a view. Sequences begin at column 0, so that the causal mask alone keeps real positions
from seeing the padding behind them; who looks both ways says which positions are real.

Shapes: P positions of all rectangles (padding included), D width, H heads, b sequences of a rectangle, L its length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor, nn

from shopkeeper.errors import UserError
from shopkeeper.private_torch import softmax_backward

SCORE_BYTES = 5 << 18  # attention scores of a piece, for each thread: a little more than a core's second level cache
BETWEEN = ("before", "after")  # the methods of a block that do the rest
Groups = tuple[tuple[int, int], ...]  # (b, L) of each rectangle, in order


def check_heads(width: int, heads: int) -> None:
    """Refuse a width that the heads do not share evenly."""
    if width % heads:
        raise UserError(f"model.width={width} is not divisible by model.heads={heads}; choose a multiple of the heads")


def causal_attention(q_PD: Tensor, k_PD: Tensor, v_PD: Tensor, groups: Groups, heads: int, fused: bool) -> Tensor:
    """Each position looks at itself and at what came before it in its own sequence: (P, D).

    `fused` takes PyTorch's kernel (best on CUDA); otherwise the textbook computation with bf16 matrix products, which
    is 2.5 times as fast as the CPU's fused kernel forwards and backwards (measured at L=200, D=64, bf16).
    """
    return _attention(q_PD, k_PD, v_PD, groups, heads, fused, None)


def full_attention(
    q_PD: Tensor, k_PD: Tensor, v_PD: Tensor, real_P: Tensor, groups: Groups, heads: int, fused: bool
) -> Tensor:
    """Each position looks at all real ones of its own sequence, before it and after it: (P, D). `real_P`: bool."""
    return _attention(q_PD, k_PD, v_PD, groups, heads, fused, real_P)


def _attention(
    q_PD: Tensor, k_PD: Tensor, v_PD: Tensor, groups: Groups, heads: int, fused: bool, real_P: Tensor | None
) -> Tensor:
    """`real_P`: what may be looked at, both ways; None: causal."""
    if not fused:
        out: Tensor = _Plain.apply(
            q_PD, k_PD, v_PD, _pieces(groups, heads * q_PD.element_size(), q_PD.device.type), heads, real_P
        )
        return out
    sizes = [b * length for b, length in groups]
    real = [None] * len(groups) if real_P is None else real_P.split(sizes)
    parts = zip(q_PD.split(sizes), k_PD.split(sizes), v_PD.split(sizes), groups, real, strict=True)
    return torch.cat([_fused(q, k, v, b, length, heads, r) if length > 1 else v for q, k, v, (b, length), r in parts])


def last_attention(
    q_BD: Tensor, x_PD: Tensor, weight_ED: Tensor, bias_E: Tensor, groups: Groups, last_P: Tensor, heads: int
) -> Tensor:
    """Attention of the last position of each sequence only, which sees all of it either way: (B, D).

    `last_P` (B,): flat positions of the queries.

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
        if row == len(q_BD):
            break  # what fills up the positions
        column_b = last_P[row : row + b] - base - torch.arange(b, device=last_P.device) * length
        behind_bL = torch.arange(length, device=last_P.device) > column_b[:, None]
        score_bHL = (q_BHD[row : row + b] @ x_bLD.transpose(1, 2)).masked_fill(behind_bL[:, None], -torch.inf)
        means.append(torch.softmax(score_bHL, -1) @ x_bLD)
        row, base = row + b, base + b * length
    out_HBd = torch.cat(means).transpose(0, 1) @ wv_HdD.transpose(1, 2)
    return out_HBd.transpose(0, 1).reshape(len(q_BD), -1) + bv_D


def _pieces(groups: Groups, bytes_per_score: int, device: str) -> Groups:
    """The rectangles cut into so few sequences that a piece's scores stay in the cores' own caches (CPU).

    Into 2^k or 3 * 2^k of them: for each new number oneDNN makes seven kernels first, a millisecond each.
    """
    if device != "cpu":
        return groups
    budget = SCORE_BYTES * torch.get_num_threads()
    pieces: list[tuple[int, int]] = []
    for b, length in groups:
        room = max(budget // (length * length * bytes_per_score), 1)
        while b and length > 1:
            n = min(b, room)
            power = 1 << n.bit_length() - 1
            n = 3 * power // 2 if n >= 3 * power // 2 and power > 1 else power
            pieces.append((n, length))
            b -= n
        if b:
            pieces.append((b, 1))
    return tuple(pieces)


class _Plain(torch.autograd.Function):
    """The textbook computation, piece by piece, each written where it belongs; n = b * H sequences and heads."""

    @staticmethod
    def forward(
        ctx: Any, q_PD: Tensor, k_PD: Tensor, v_PD: Tensor, pieces: Groups, heads: int, real_P: Tensor | None
    ) -> Tensor:
        scale = 1 / math.sqrt(q_PD.shape[1] // heads)
        q, k, v = (_apart(x_PD, pieces, heads) for x_PD in (q_PD, k_PD, v_PD))
        out, kept = torch.empty_like(v), []
        masks = _padding(real_P, pieces, heads, q.dtype) if real_P is not None else None
        for i, (at, n, length) in enumerate(_places(pieces, heads)):
            if length == 1:
                out[at] = v[at]
                continue
            q_nLd, k_nLd, v_nLd = (x[at].view(n, length, -1) for x in (q, k, v))
            mask = _future(length, q.dtype, q.device) if masks is None else masks[i]
            if mask is None:
                p_nLL = q.new_empty(n, length, length)
                torch.baddbmm(p_nLL, q_nLd, k_nLd.transpose(1, 2), beta=0, alpha=scale, out=p_nLL)
            else:
                p_nLL = torch.baddbmm(mask.expand(n, length, length), q_nLd, k_nLd.transpose(1, 2), alpha=scale)
            torch.softmax(p_nLL, -1, out=p_nLL)
            _product(p_nLL, v_nLd, 1.0, out[at])
            kept.append(p_nLL)
        ctx.pieces, ctx.heads, ctx.scale = pieces, heads, scale
        ctx.save_for_backward(q, k, v, *kept)
        return _together(out, pieces, heads)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        q, k, v, *kept = ctx.saved_tensors
        do = _apart(grads[0], ctx.pieces, ctx.heads)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        probabilities = iter(kept)
        for at, n, length in _places(ctx.pieces, ctx.heads):
            if length == 1:
                dv[at], dq[at], dk[at] = do[at], 0, 0
                continue
            p_nLL = next(probabilities)
            q_nLd, k_nLd, v_nLd, do_nLd = (x[at].view(n, length, -1) for x in (q, k, v, do))
            _product(p_nLL.transpose(1, 2), do_nLd, 1.0, dv[at])
            dp_nLL = do_nLd @ v_nLd.transpose(1, 2)
            ds_nLL = softmax_backward(dp_nLL, p_nLL)
            _product(ds_nLL, k_nLd, ctx.scale, dq[at])
            _product(ds_nLL.transpose(1, 2), q_nLd, ctx.scale, dk[at])
        dq_PD, dk_PD, dv_PD = (_together(x, ctx.pieces, ctx.heads) for x in (dq, dk, dv))
        return dq_PD, dk_PD, dv_PD, None, None, None


def _places(pieces: Groups, heads: int) -> Iterator[tuple[slice, int, int]]:
    """Where each piece lies in an array whose heads are apart, how many sequences and heads it has, their length."""
    start = 0
    for b, length in pieces:
        yield slice(start, start + b * heads * length), b * heads, length
        start += b * heads * length


def _apart(x_PD: Tensor, pieces: Groups, heads: int) -> Tensor:
    """(P, D) -> (P H, d): of each sequence all positions of the first head, then of the next."""
    if heads == 1:
        return x_PD.contiguous()
    out = x_PD.new_empty(len(x_PD) * heads, x_PD.shape[1] // heads)
    for here, there, shape in _rectangles(pieces, heads):
        b, length = shape
        out[there].view(b, heads, length, -1).copy_(x_PD[here].view(b, length, heads, -1).transpose(1, 2))
    return out


def _together(x: Tensor, pieces: Groups, heads: int) -> Tensor:
    """(P H, d) -> (P, D), as it was before `_apart`."""
    if heads == 1:
        return x
    out_PD = x.new_empty(len(x) // heads, x.shape[1] * heads)
    for here, there, shape in _rectangles(pieces, heads):
        b, length = shape
        out_PD[here].view(b, length, heads, -1).copy_(x[there].view(b, heads, length, -1).transpose(1, 2))
    return out_PD


def _rectangles(pieces: Groups, heads: int) -> Iterator[tuple[slice, slice, tuple[int, int]]]:
    """Pieces of one length that follow each other as one: where in (P, D), where in (P H, d), how large."""
    start = 0
    for length, same in groupby(pieces, key=itemgetter(1)):
        b = sum(n for n, _ in same)
        end = start + b * length
        yield slice(start, end), slice(start * heads, end * heads), (b, length)
        start = end


def _product(a_nLL: Tensor, x_nLd: Tensor, scale: float, out: Tensor) -> None:
    """Write `scale` a @ x into `out`."""
    out_nLd = out.view(x_nLd.shape)
    torch.baddbmm(out_nLd, a_nLL, x_nLd, beta=0, alpha=scale, out=out_nLd)


def _fused(q: Tensor, k: Tensor, v: Tensor, b: int, length: int, heads: int, real: Tensor | None) -> Tensor:
    q_bHLd, k_bHLd, v_bHLd = (_heads(x, b, length, heads) for x in (q, k, v))
    mask = None if real is None else real.view(b, 1, 1, length)
    with _without_cudnn():
        out_bHLd = F.scaled_dot_product_attention(q_bHLd, k_bHLd, v_bHLd, mask, is_causal=mask is None)
    return out_bHLd.transpose(1, 2).reshape(b * length, -1)


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """PyTorch's other attention kernels: cuDNN's, its first choice on Hopper, is planned anew for each (b, L), which
    takes longer than the rest of the batch, and b is another one in nearly every batch."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def _heads(x: Tensor, b: int, length: int, heads: int) -> Tensor:
    return x.view(b, length, heads, -1).transpose(1, 2)  # (b, H, L, d)


@lru_cache(maxsize=64)
def _future(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """-inf above the diagonal: (1, L, L)."""
    return torch.full((1, length, length), -torch.inf, device=device).triu(1).to(dtype)


def _padding(real_P: Tensor, pieces: Groups, heads: int, dtype: torch.dtype) -> list[Tensor | None]:
    """-inf where there is nothing to look at, of each piece (n, 1, L); None where all positions are real."""
    hidden_P = torch.zeros(len(real_P), dtype=dtype, device=real_P.device).masked_fill_(~real_P, -torch.inf)
    sizes = [b * length for b, length in pieces]
    if real_P.device.type == "cpu":
        whole = [bool(part.all()) for part in real_P.split(sizes)]
    else:
        whole = [False] * len(sizes)  # the host does not wait for the device
    return [
        None if all_real else hidden.view(b, 1, length).repeat_interleave(heads, 0)
        for all_real, hidden, (b, length) in zip(whole, hidden_P.split(sizes), pieces, strict=True)
    ]


def compile_blocks(blocks: Iterable[Any], graphs: bool) -> None:
    """For any number of positions. `graphs`: replayed as CUDA graphs, one for each number, of which there be few."""
    mode = "reduce-overhead" if graphs else None
    for block in blocks:
        for name in BETWEEN:
            setattr(block, name, _in_training(block, getattr(block, name), mode))


def undo_blocks(blocks: Iterable[Any]) -> None:
    """Back to eager."""
    for block in blocks:
        for name in BETWEEN:
            vars(block).pop(name, None)


def _in_training(block: nn.Module, eager: Any, mode: str | None) -> Any:
    compiled = torch.compile(eager, dynamic=True, mode=mode)

    def part(*args: Any) -> Any:
        return (compiled if block.training else eager)(*args)

    return part
