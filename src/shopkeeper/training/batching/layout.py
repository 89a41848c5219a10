"""How the sequences of a batch lie in memory: sorted by length, in rectangles, one per bucket of lengths.

So padding costs next to nothing. The shapes are such that come again, since oneDNN makes a kernel for each new one.

Shapes: B sequences of a batch, N their positions, P positions of all rectangles, padding included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shopkeeper.nn.attention import even

DEFAULT_EDGES = (
    4, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256, 320, 400, 512, 640, 800, 1024,
)  # fmt: skip
RECTANGLE = 96  # what one more rectangle costs, in positions (measured on CPU, width 64)


@dataclass(frozen=True)
class Layout:
    """How the positions of a batch lie in rectangles (b, L); everything on the device, the numbers on the host."""

    groups: tuple[tuple[int, int], ...]
    slot_N: Tensor  # flat position (of P) of each real event, sequence by sequence
    row_N: Tensor  # which sequence (of B, sorted) it belongs to
    column_N: Tensor  # its place in the sequence
    last_B: Tensor  # flat position of the last event of each sequence
    n_slots: int  # P

    @classmethod
    def of(cls, lengths_B: np.ndarray, edges: Sequence[int], device: torch.device, pad: int = 1) -> Layout:
        """For sequences sorted by length, shortest first (all at least 1). P is filled up to a multiple of `pad`."""
        # The rectangle of a bucket is about as long as its longest sequence, which may be shorter than the edge.
        bucket_B = np.searchsorted(np.asarray(edges), lengths_B, "left")
        end = np.flatnonzero(np.diff(bucket_B, append=len(edges))) + 1
        longest = np.minimum([regular(int(n)) for n in lengths_B[end - 1]], edges[-1])
        end = _even(end[_merged(end.tolist(), longest.tolist())])
        counts = np.diff(end, prepend=0)
        longest = np.minimum([regular(int(n)) for n in lengths_B[end - 1]], edges[-1])
        width_B = np.repeat(longest, counts)
        base_B = np.cumsum(width_B) - width_B
        n = int(lengths_B.sum())
        length, base = (torch.from_numpy(x.astype(np.int64)).to(device) for x in (lengths_B, base_B))
        row_N = torch.repeat_interleave(length, output_size=n)
        column_N = torch.arange(n, device=device) - (length.cumsum(0) - length)[row_N]
        groups = tuple((int(b), int(w)) for b, w in zip(counts, longest, strict=True))
        slots = int(width_B.sum())
        if extra := (regular(slots) - slots if pad == 1 else -slots % pad):  # as sequences of one position
            groups += ((extra, 1),)
        return cls(groups, base[row_N] + column_N, row_N, column_N, base + length - 1, slots + extra)


def regular(n: int) -> int:
    """`n` rounded up to one of 16 numbers per octave, by 3 % on average, so that shapes come again.

    For each new shape oneDNN makes a kernel first: a millisecond, which is more than the product itself takes.
    """
    step = max(1 << (n.bit_length() - 5), 1) if n > 16 else 1
    return -(-n // step) * step


def _merged(end: list[int], longest: list[int]) -> list[int]:
    """Which of the buckets (given by their ends in the sorted batch) to close a rectangle at.

    The cheapest partition by dynamic programming: a rectangle costs its positions plus `RECTANGLE`.
    """
    best, back = [0], [0]
    for j, (stop, width) in enumerate(zip(end, longest, strict=True)):
        options = [best[i] + RECTANGLE + (stop - (end[i - 1] if i else 0)) * width for i in range(j + 1)]
        best.append(min(options))
        back.append(options.index(best[-1]))
    chosen, j = [], len(end)
    while j:
        chosen.append(j - 1)
        j = back[j]
    return chosen[::-1]


def _even(end: np.ndarray) -> np.ndarray:
    """The ends of rectangles moved so that all but the first have 2^k or 3 * 2^k sequences, taken from the shorter ones
    before them: numbers that come again."""
    ends: list[int] = []
    stop = int(end[-1])
    for start in [*end[-2::-1].tolist(), 0]:
        if start < stop:
            ends.append(stop)
            stop = max(stop - even(stop - start), 0)
    return np.asarray(ends[::-1])
