"""LRURec: linear recurrent units over the items of a history (Yue et al., WSDM 2024, arXiv:2310.02367).

Each block keeps 2 D complex numbers, which decay and turn at a pace of their own, h_t = lambda h_{t-1} + gamma (B x_t
+ b), and gives Re(C h_t) + c. Nothing but a product stands between one state and the next: a history costs its length
and not the square of it, and all of its states can be had in log2 L rounds (the unit: Orvieto et al., "Resurrecting
Recurrent Neural Networks for Long Sequences", ICML 2023, arXiv:2303.06349).
|lambda| = exp(-exp(nu)) < 1 whatever is learned. A feed-forward layer follows, each with its residual and norm.
Positions are told apart by what decays, so there is no embedding of them. Deviation: items have no output bias, so that
scores are inner products.

Complex numbers lie as pairs of real ones, side by side: B and C are then layers of real numbers, and the minus of
Re(C h) is in what is learned for C.

Shapes: P positions of a batch in flat order (see attention.py), D width, N = 2 D states, B sequences, b those of a
rectangle, L its length, V items + 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor, nn

from shopkeeper.errors import check, number, whole
from shopkeeper.nn.attention import Groups
from shopkeeper.nn.dropout import Dropping
from shopkeeper.nn.linear import affine, linear
from shopkeeper.nn.network import Inputs, SequenceNetwork
from shopkeeper.nn.weights import draw_weights

SEQUENCES = 16  # whose products of states and gradients are held at once on a CPU; elsewhere each call costs more
SLOWEST, FASTEST = 0.99, 0.8  # |lambda| at the start lies between them, evenly over the ring


@dataclass(frozen=True)
class LRURecShape:
    """Sizes of the network. `n_types` > 0 adds an embedding of the event type (view, purchase, …) to each item."""

    n_items: int
    width: int = 64
    blocks: int = 2
    max_length: int = 200
    dropout: float = 0.2
    n_types: int = 0

    def __post_init__(self) -> None:
        rules = {name: whole(1) for name in ("width", "blocks", "max_length")}
        check(vars(self), rules | {"dropout": number(below=1)}, "model.")


class Decay(nn.Module):
    """How fast states decay and turn, and how much of what is new enters them. Never rounded: errors would add up."""

    def __init__(self, n: int):
        super().__init__()
        size_N = torch.rand(n) * (SLOWEST**2 - FASTEST**2) + FASTEST**2  # |lambda|^2
        self.nu = nn.Parameter(torch.log(-0.5 * torch.log(size_N)))
        self.theta = nn.Parameter(torch.log(2 * math.pi * torch.rand(n).clamp(min=1e-6)))
        self.gamma = nn.Parameter(0.5 * torch.log(1 - size_N))

    def parts(self) -> tuple[Tensor, Tensor]:
        """Lambda, its real and its imaginary part: (N,) each."""
        size_N, angle_N = torch.exp(-torch.exp(self.nu)), torch.exp(self.theta)
        return size_N * torch.cos(angle_N), size_N * torch.sin(angle_N)


class LRUBlock(Dropping):
    """x = norm(x + Re(C h) + c); norm(x + W gelu(W x))."""

    def __init__(self, shape: LRURecShape):
        super().__init__(shape.dropout)
        d = shape.width
        self.enter, self.out = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)  # rows, columns: a state's real, then imaginary
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.norm_h, self.norm_f = nn.LayerNorm(d, 1e-6), nn.LayerNorm(d, 1e-6)

    def forward(self, x_PD: Tensor, groups: Groups, decay: Decay, last: Tensor | None) -> Tensor:
        """(P, D), or with `last` at those positions alone: (B, D)."""
        scale_E = torch.exp(decay.gamma).repeat_interleave(2)
        weight_ED, bias_E = self.enter.weight * scale_E[:, None], self.enter.bias * scale_E
        # (what enters has no name: four times as wide as x, in float32, it goes as soon as the states are there)
        h_PE: Tensor = _States.apply(
            affine(x_PD, weight_ED.to(x_PD.dtype), bias_E.to(x_PD.dtype)).float(), torch.complex(*decay.parts()), groups
        )
        if last is not None:
            x_PD, h_PE = x_PD[last], h_PE[last]
        return self.after(x_PD, linear(h_PE.to(x_PD.dtype), self.out))

    def after(self, x: Tensor, y: Tensor) -> Tensor:
        """Residuals, norms and the feed-forward layer."""
        x = self.norm_h(x + self.drop(y))
        return self.norm_f(x + self.drop(linear(self.drop(F.gelu(linear(x, self.up))), self.down)))

    def plain(self, x_BLD: Tensor, real_BL: Tensor, decay: Decay) -> Tensor:
        """The recurrence by the textbook, event by event, from left-padded histories: padding leaves states at 0."""
        w_ED, w_DE = self.enter.weight, self.out.weight
        b_ND, bias_N = (
            torch.complex(w_ED[0::2], w_ED[1::2]),
            torch.complex(self.enter.bias[0::2], self.enter.bias[1::2]),
        )
        c_DN = torch.complex(w_DE[:, 0::2], -w_DE[:, 1::2])
        h_BN, out = torch.zeros(len(x_BLD), len(b_ND), dtype=torch.complex64), []
        each_N = torch.complex(*decay.parts())
        for t in range(x_BLD.shape[1]):
            new_BN = torch.exp(decay.gamma) * (x_BLD[:, t].to(torch.complex64) @ b_ND.T + bias_N)
            h_BN = torch.where(real_BL[:, t, None], each_N * h_BN + new_BN, h_BN)
            out.append((h_BN @ c_DN.T).real + self.out.bias)
        return self.after(x_BLD, torch.stack(out, 1))

    def exported(self, x_BLD: Tensor, real_BL: Tensor, decay: Decay, longest: int) -> Tensor:
        """The same in real numbers, in rounds."""
        u_BLE = self.enter(x_BLD) * torch.exp(decay.gamma).repeat_interleave(2) * real_BL[..., None]
        h_BLN = in_rounds(u_BLE[..., 0::2], u_BLE[..., 1::2], *decay.parts(), longest)
        return self.after(x_BLD, self.out(torch.stack(h_BLN, -1).flatten(2)))


class LRURecNetwork(SequenceNetwork):
    """Item and type embeddings with their norm, and the blocks."""

    tables: tuple[str, ...] = ("item", "event_type", "norm", "decays")

    def __init__(self, shape: LRURecShape):
        super().__init__(shape.dropout)
        self.shape, d = shape, shape.width
        self.item = nn.Embedding(shape.n_items + 1, d, padding_idx=0)
        self.event_type = nn.Embedding(shape.n_types + 1, d) if shape.n_types else None
        self.reads = ("type",) if shape.n_types else ()
        self.norm = nn.LayerNorm(d, 1e-6)
        self.blocks: Any = nn.ModuleList(LRUBlock(shape) for _ in range(shape.blocks))
        self.decays: Any = nn.ModuleList(Decay(2 * d) for _ in range(shape.blocks))
        draw_weights(self)

    def embed(self, inputs: Inputs) -> Tensor:
        """What enters the blocks, in float32: (P, D)."""
        return self.drop(self._embedded(inputs.item_P, inputs.type_P))

    def _embedded(self, item: Tensor, kind: Tensor | None) -> Tensor:
        x: Tensor = self.item(item)
        x = x if self.event_type is None or kind is None else x + self.event_type(kind)
        normed: Tensor = self.norm(x)
        return normed

    def forward(self, x_PD: Tensor, groups: Groups, fused: bool = False, last: Tensor | None = None) -> Tensor:
        """Embedded positions -> vectors (P, D); with `last` (B,) only at those flat positions: (B, D).

        Padding stands behind a sequence, where no state that is read comes from.
        """
        for i, (block, decay) in enumerate(zip(self.blocks, self.decays, strict=True), 1):
            x_PD = block(x_PD, groups, decay, last if i == len(self.blocks) else None)
        return x_PD

    def plain(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """By the recurrence itself, from left-padded histories: (B, D)."""
        x_BLD = self._embedded(item_BL, type_BL)
        for block, decay in zip(self.blocks, self.decays, strict=True):
            x_BLD = block.plain(x_BLD, item_BL > 0, decay)
        return x_BLD[:, -1]

    def exported(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """Without complex numbers, which ONNX has not, and without a loop over positions: (B, D)."""
        x_BLD = self._embedded(item_BL, type_BL)
        for block, decay in zip(self.blocks, self.decays, strict=True):
            x_BLD = block.exported(x_BLD, item_BL > 0, decay, self.shape.max_length)
        return x_BLD[:, -1]

    def activation_bytes(self, value: int, fused: bool) -> int:
        """Of each block the states (in float32), the feed-forward layer and its dropout, norms; the embeddings; and of
        one block the states' gradients, which lie beside all that."""
        return int(self.shape.width * (self.shape.blocks * (16 + 23 * value) + 8 * 4 + 2 * 16 + 8 * value))


class _States(torch.autograd.Function):
    """h_t = lambda h_{t-1} + u_t in each rectangle, from 0 before the first; flat, as pairs of real numbers: (P, E)."""

    @staticmethod
    def forward(ctx: Any, u_PE: Tensor, each_N: Tensor, groups: Groups) -> Tensor:
        h_PE = torch.empty_like(u_PE)
        for u_bLN, h_bLN in zip(_complex(u_PE, groups), _complex(h_PE, groups), strict=True):
            _states(u_bLN, each_N, h_bLN, False)
        ctx.groups = groups
        ctx.save_for_backward(h_PE, each_N)
        return h_PE

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """The same recurrence from the end back, with lambda's conjugate."""
        h_PE, each_N = ctx.saved_tensors
        du_PE, back_N, deach_N = torch.empty_like(h_PE), each_N.conj().resolve_conj(), torch.zeros_like(each_N)
        rectangles = (_complex(x, ctx.groups) for x in (grads[0].contiguous(), h_PE, du_PE))
        for dh_bLN, h_bLN, du_bLN in zip(*rectangles, strict=True):
            _states(dh_bLN, back_N, du_bLN, True)
            b = SEQUENCES if h_PE.device.type == "cpu" else len(h_bLN)
            for h, du in zip(h_bLN.split(b), du_bLN.split(b), strict=True):
                deach_N += (h[:, :-1].conj() * du[:, 1:]).sum((0, 1))
        return du_PE, deach_N, None


def _complex(x_PE: Tensor, groups: Groups) -> Iterator[Tensor]:
    """The rectangles of a flat array, as complex numbers in the same memory: (b, L, N) each."""
    for part, (b, length) in zip(x_PE.split([b * length for b, length in groups]), groups, strict=True):
        yield torch.view_as_complex(part.view(b, length, -1, 2))


def _states(u_bLN: Tensor, each_N: Tensor, h_bLN: Tensor, back: bool) -> None:
    """Into `h_bLN`. On CPU step by step, all sequences at once: of 10 to 200 steps 2 to 12 times as fast as rounds."""
    length = u_bLN.shape[1]
    if u_bLN.device.type != "cpu":
        given = u_bLN.flip(1) if back else u_bLN
        found_bLN = torch.complex(*in_rounds(given.real, given.imag, each_N.real, each_N.imag, length))
        h_bLN.copy_(found_bLN.flip(1) if back else found_bLN)
        return
    order = range(length - 1, -1, -1) if back else range(length)
    before = None
    for t in order:
        if before is None:
            h_bLN[:, t] = u_bLN[:, t]
        else:
            torch.addcmul(u_bLN[:, t], each_N, before, out=h_bLN[:, t])
        before = h_bLN[:, t]


def in_rounds(
    real_BLN: Tensor, imag_BLN: Tensor, each_r_N: Tensor, each_i_N: Tensor, longest: int
) -> tuple[Tensor, Tensor]:
    """The states' real and imaginary parts in log2(`longest`) rounds, L <= `longest`.

    After each round a state holds what twice as many of the newest events leave in it: h_t + lambda^s h_{t-s}.
    """
    length, step, r_N, i_N = real_BLN.shape[1], 1, each_r_N, each_i_N
    while step < longest:
        r_BLN, i_BLN = (F.pad(x, (0, 0, step, 0))[:, :length] for x in (real_BLN, imag_BLN))
        real_BLN, imag_BLN = real_BLN + r_N * r_BLN - i_N * i_BLN, imag_BLN + r_N * i_BLN + i_N * r_BLN
        r_N, i_N, step = r_N * r_N - i_N * i_N, 2 * r_N * i_N, 2 * step
    return real_BLN, imag_BLN
