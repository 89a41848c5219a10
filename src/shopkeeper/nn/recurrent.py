"""A GRU layer over the rectangles of a batch, all of them at once: on the CPU, forwards and back.

Each step works on whatever sequences are that long, the longest first, as in PyTorch's packed sequences; so a batch
costs as many steps as its longest rectangle has places, not as many as all of them together. What needs no state before
it (the products of the inputs, the gradients of the weights, the derivatives of the gates) is done once for all
positions. PyTorch's own layer is the reference (`tests/nn/test_gru4rec_network.py`), and what a GPU runs: cuDNN's.

    r, z = sigmoid(W x + b + U h + c); n = tanh(W x + b + r * (U h + c)); h = n + z * (h - n)

Shapes: P positions in flat order (see attention.py), S the same by step, D width, E = 3 D gates (r, z, n), n sequences
of a step.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor, nn

from shopkeeper.nn.attention import Groups

Steps = tuple[tuple[int, int], ...]  # where each step begins in the order by step, and how many sequences it has


def recurrent(x_PD: Tensor, groups: Groups, layer: nn.GRU) -> Tensor:
    """The states of a layer: (P, D). Padding stands behind a sequence, where no state that is read comes from."""
    if x_PD.device.type == "cpu":
        weights = (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0)
        states_PD: Tensor = _GRU.apply(x_PD, *weights, groups)
        return states_PD
    parts = zip(x_PD.split([b * length for b, length in groups]), groups, strict=True)
    return torch.cat([layer(x.view(b, length, -1))[0].reshape(b * length, -1) for x, (b, length) in parts])


@lru_cache(maxsize=16)
def by_step(groups: Groups) -> tuple[Tensor, Tensor, Steps]:
    """The flat position of each place in the order by step, int64 (S,); each position's place in it (P,); the steps."""
    longest = sorted(range(len(groups)), key=lambda i: -groups[i][1])
    bases = np.cumsum([0] + [b * length for b, length in groups])
    first = np.concatenate([bases[i] + np.arange(groups[i][0]) * groups[i][1] for i in longest])  # of each sequence
    length = np.concatenate([np.full(groups[i][0], groups[i][1]) for i in longest])
    counts = [int((length > t).sum()) for t in range(int(length[0]))]
    flat_S = np.concatenate([first[:n] + t for t, n in enumerate(counts)])
    place_P = np.empty_like(flat_S)
    place_P[flat_S] = np.arange(len(flat_S))
    begins = np.cumsum([0, *counts[:-1]]).tolist()
    return torch.from_numpy(flat_S), torch.from_numpy(place_P), tuple(zip(begins, counts, strict=True))


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_PD: Tensor, w_ED: Tensor, u_ED: Tensor, b_E: Tensor, c_E: Tensor, groups: Groups) -> Tensor:
        d = x_PD.shape[1]
        flat_S, place_P, steps = by_step(groups)
        x_SD = x_PD[flat_S]
        gate_SE, state_SE = F.linear(x_SD, w_ED, b_E), x_PD.new_empty(len(x_PD), 3 * d)  # W x + b; U h + c
        h_SD, u_DE = torch.empty_like(x_SD), u_ED.T
        before_nD = x_PD.new_zeros(steps[0][1], d)
        for at, n in steps:
            gate_nE, state_nE, h_nD = gate_SE[at : at + n], state_SE[at : at + n], h_SD[at : at + n]
            before_nD = before_nD[:n]
            torch.addmm(c_E, before_nD, u_DE, out=state_nE)
            both_nE = gate_nE[:, : 2 * d].add_(state_nE[:, : 2 * d]).sigmoid_()
            new_nD = gate_nE[:, 2 * d :].addcmul_(both_nE[:, :d], state_nE[:, 2 * d :]).tanh_()
            torch.lerp(new_nD, before_nD, both_nE[:, d:], out=h_nD)
            before_nD = h_nD
        ctx.steps, ctx.flat_S, ctx.place_P = steps, flat_S, place_P
        ctx.save_for_backward(x_SD, w_ED, u_ED, gate_SE, state_SE[:, 2 * d :], h_SD)
        return h_SD[place_P]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, None]:
        x_SD, w_ED, u_ED, gate_SE, state_SD, h_SD = ctx.saved_tensors
        d, steps, n_first = x_SD.shape[1], ctx.steps, ctx.steps[0][1]
        r_SD, z_SD, new_SD = gate_SE.split(d, 1)
        before_SD = torch.zeros_like(h_SD)
        before_SD[n_first:] = h_SD[ctx.place_P[ctx.flat_S[n_first:] - 1]]
        # What a change of a state does to what was added up for each gate; of n, to U h + c and to W x + b.
        of_new_SD = (1 - z_SD) * (1 - new_SD * new_SD)
        change_SE = torch.cat([
            of_new_SD * state_SD * r_SD * (1 - r_SD), (before_SD - new_SD) * z_SD * (1 - z_SD), of_new_SD * r_SD,
        ], 1)  # fmt: skip
        dh_SD = grads[0][ctx.flat_S]
        for (at, n), (at_before, _) in zip(steps[:0:-1], steps[-2::-1], strict=True):
            dh_nD, before_nD = dh_SD[at : at + n], dh_SD[at_before : at_before + n]
            change_nE = (change_SE[at : at + n].view(n, 3, d).mul_(dh_nD[:, None])).view(n, -1)
            before_nD.addcmul_(dh_nD, z_SD[at : at + n]).addmm_(change_nE, u_ED)
        change_SE[:n_first].view(n_first, 3, d).mul_(dh_SD[:n_first, None])
        du_ED, dc_E = change_SE.T @ before_SD, change_SE.sum(0)
        change_SE[:, 2 * d :] = of_new_SD * dh_SD
        dx_PD = (change_SE @ w_ED)[ctx.place_P]
        return dx_PD, change_SE.T @ x_SD, du_ED, change_SE.sum(0), dc_E, None
