"""Self-attention, causal or both ways, over sequences of many lengths that share one flat array of positions.

The sequences of a batch are sorted by length and laid into rectangles (b sequences × L positions, one rectangle per
bucket of lengths) that follow each other in memory. Everything but attention works on the flat (P, D) array; attention
looks at each rectangle through a view. Sequences begin at column 0, so that the causal mask alone keeps real positions
from seeing the padding behind them; who looks both ways says which positions are real.

Shapes: P positions of all rectangles (padding included), D width, H heads, b sequences of a rectangle, L its length, N
positions that ask alone, q of a sequence at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor, nn

from shopkeeper.errors import UserError
from shopkeeper.private_torch import softmax_backward

SCORE_BYTES = 5 << 18  # attention scores of a piece, for each thread: a little more than a core's second level cache
BETWEEN = ("before", "after")  # the methods of a block that do the rest
Groups = tuple[tuple[int, int], ...]  # (b, L) of each rectangle, in order
Pieces = tuple[tuple[int, int, int], ...]  # (b, q, L): b sequences, in each of which q positions look at L


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


def asked_attention(
    q_ND: Tensor, k_PD: Tensor, v_PD: Tensor, real_P: Tensor, asked_N: Tensor, groups: Groups, heads: int
) -> Tensor:
    """What `full_attention` gives at the flat positions `asked_N` (rising) alone, without the rest of it: (N, D)."""
    slot_N, most = _asked_rectangles(asked_N, groups)
    n_slots = sum(b * q for (b, _), q in zip(groups, most, strict=True))
    q_QD = q_ND.new_zeros(n_slots, q_ND.shape[1]).index_copy(0, slot_N, q_ND)
    pieces = _pieces(groups, heads * q_ND.element_size(), q_ND.device.type, most)
    out_QD: Tensor = _Plain.apply(q_QD, k_PD, v_PD, pieces, heads, real_P)
    return out_QD.index_select(0, slot_N)


def _asked_rectangles(asked_N: Tensor, groups: Groups) -> tuple[Tensor, list[int]]:
    """What is asked, in rectangles of its own: the place of each of `asked_N` there, int64 (N,), and q of each.

    They are few numbers, since oneDNN makes a kernel for each new one.
    """
    size, length = np.asarray(groups).T
    end, asked_n = np.cumsum(size * length), asked_N.cpu().numpy()
    group_n = np.searchsorted(end, asked_n, "right")
    in_group_n = (asked_n - (end - size * length)[group_n]) // length[group_n]
    first_row = np.cumsum(size) - size
    row_n = first_row[group_n] + in_group_n
    count = np.bincount(row_n, minlength=size.sum())
    before = np.cumsum(count) - count
    most = np.minimum([even(int(n)) for n in np.maximum.reduceat(count, first_row)], length)
    start = np.cumsum(size * most) - size * most
    slot_n = start[group_n] + in_group_n * most[group_n] + np.arange(len(asked_n)) - before[row_n]
    return torch.from_numpy(slot_n).to(asked_N.device), most.tolist()


def even(n: int) -> int:
    """The next number from `n` up that is 0, 2^k or 3 * 2^k."""
    power = 1 << (n - 1).bit_length() if n else 0
    return 3 * power // 4 if n <= 3 * power // 4 else power


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


def _pieces(groups: Groups, bytes_per_score: int, device: str, asked: Sequence[int] | None = None) -> Pieces:
    """The rectangles cut into so few sequences that a piece's scores stay in the cores' own caches (CPU).

    Into 2^k or 3 * 2^k of them: for each new number oneDNN makes seven kernels first, a millisecond each. `asked`: how
    many positions of a sequence ask, of each rectangle; None: all.
    """
    budget = SCORE_BYTES * torch.get_num_threads() if device == "cpu" else 1 << 62
    pieces: list[tuple[int, int, int]] = []
    for i, (b, length) in enumerate(groups):
        q = length if asked is None else asked[i]
        room = max(budget // (max(q, 1) * length * bytes_per_score), 1)
        while b and length > 1 and device == "cpu":
            n = min(b, room)
            power = 1 << n.bit_length() - 1
            n = 3 * power // 2 if n >= 3 * power // 2 and power > 1 else power
            pieces.append((n, q, length))
            b -= n
        if b:
            pieces.append((b, q, length))
    return tuple(pieces)


class _Plain(torch.autograd.Function):
    """The textbook computation, piece by piece, each written where it belongs; n = b * H sequences and heads."""

    @staticmethod
    def forward(
        ctx: Any, q_QD: Tensor, k_PD: Tensor, v_PD: Tensor, pieces: Pieces, heads: int, real_P: Tensor | None
    ) -> Tensor:
        scale = 1 / math.sqrt(q_QD.shape[1] // heads)
        ask, look = _rows(pieces)
        q, k, v = _apart(q_QD, ask, heads), _apart(k_PD, look, heads), _apart(v_PD, look, heads)
        out, kept = torch.empty_like(q), []
        masks = _padding(real_P, look, heads, q.dtype) if real_P is not None else None
        for i, (here, there, shape) in enumerate(_places(pieces, heads)):
            if shape[1] == 0:
                continue
            if shape[2] == 1:
                out[here] = v[there]
                continue
            n, asked, length = shape
            q_nQd = q[here].view(n, asked, -1)
            k_nLd, v_nLd = (x[there].view(n, length, -1) for x in (k, v))
            mask = _future(length, q.dtype, q.device) if masks is None else masks[i]
            if mask is None:
                p_nQL = q.new_empty(shape)
                torch.baddbmm(p_nQL, q_nQd, k_nLd.transpose(1, 2), beta=0, alpha=scale, out=p_nQL)
            else:
                p_nQL = torch.baddbmm(mask.expand(shape), q_nQd, k_nLd.transpose(1, 2), alpha=scale)
            torch.softmax(p_nQL, -1, out=p_nQL)
            _product(p_nQL, v_nLd, 1.0, out[here])
            kept.append(p_nQL)
        ctx.pieces, ctx.heads, ctx.scale = pieces, heads, scale
        ctx.save_for_backward(q, k, v, *kept)
        return _together(out, ask, heads)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        q, k, v, *kept = ctx.saved_tensors
        ask, look = _rows(ctx.pieces)
        do = _apart(grads[0], ask, ctx.heads)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        probabilities = iter(kept)
        for here, there, (n, asked, length) in _places(ctx.pieces, ctx.heads):
            if asked == 0 or length == 1:
                dv[there], dq[here], dk[there] = do[here] if asked else 0, 0, 0
                continue
            p_nQL = next(probabilities)
            q_nQd, do_nQd = (x[here].view(n, asked, -1) for x in (q, do))
            k_nLd, v_nLd = (x[there].view(n, length, -1) for x in (k, v))
            _product(p_nQL.transpose(1, 2), do_nQd, 1.0, dv[there])
            dp_nQL = do_nQd @ v_nLd.transpose(1, 2)
            ds_nQL = softmax_backward(dp_nQL, p_nQL)
            _product(ds_nQL, k_nLd, ctx.scale, dq[here])
            _product(ds_nQL.transpose(1, 2), q_nQd, ctx.scale, dk[there])
        dq_QD = _together(dq, ask, ctx.heads)
        dk_PD, dv_PD = (_together(x, look, ctx.heads) for x in (dk, dv))
        return dq_QD, dk_PD, dv_PD, None, None, None


def _rows(pieces: Pieces) -> tuple[Groups, Groups]:
    """Of the pieces those that ask, and those that are looked at: (b, q) and (b, L)."""
    return tuple((b, q) for b, q, _ in pieces), tuple((b, length) for b, _, length in pieces)


def _places(pieces: Pieces, heads: int) -> Iterator[tuple[slice, slice, tuple[int, int, int]]]:
    """Where each piece lies in an array whose heads are apart, of what asks and of what is looked at, and (n, q, L)."""
    start = first = 0
    for b, q, length in pieces:
        n = b * heads
        yield slice(start, start + n * q), slice(first, first + n * length), (n, q, length)
        start, first = start + n * q, first + n * length


def _apart(x_PD: Tensor, rows: Groups, heads: int) -> Tensor:
    """(P, D) -> (P H, d): of each sequence all positions of the first head, then of the next."""
    if heads == 1:
        return x_PD.contiguous()
    d = x_PD.shape[1] // heads
    out = x_PD.new_empty(len(x_PD) * heads, d)
    for here, there, (b, length) in _rectangles(rows, heads):
        out[there].view(b, heads, length, d).copy_(x_PD[here].view(b, length, heads, d).transpose(1, 2))
    return out


def _together(x: Tensor, rows: Groups, heads: int) -> Tensor:
    """(P H, d) -> (P, D), as it was before `_apart`."""
    if heads == 1:
        return x
    d = x.shape[1]
    out_PD = x.new_empty(len(x) // heads, d * heads)
    for here, there, (b, length) in _rectangles(rows, heads):
        out_PD[here].view(b, length, heads, d).copy_(x[there].view(b, heads, length, d).transpose(1, 2))
    return out_PD


def _rectangles(rows: Groups, heads: int) -> Iterator[tuple[slice, slice, tuple[int, int]]]:
    """Pieces of one length that follow each other as one: where in (P, D), where in (P H, d), how large."""
    start = 0
    for length, same in groupby(rows, key=itemgetter(1)):
        b = sum(n for n, _ in same)
        end = start + b * length
        yield slice(start, end), slice(start * heads, end * heads), (b, length)
        start = end


def _product(a_nQL: Tensor, x_nLd: Tensor, scale: float, out: Tensor) -> None:
    """Write `scale` a @ x into `out`."""
    out_nQd = out.view(len(x_nLd), -1, x_nLd.shape[2])
    torch.baddbmm(out_nQd, a_nQL, x_nLd, beta=0, alpha=scale, out=out_nQd)


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
