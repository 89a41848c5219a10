"""Pointwise attention in rectangles against sums by hand, one pair of events after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_gru4rec_network import LENGTHS

from shopkeeper.nn.network import Inputs
from shopkeeper.nn.networks.hstu import KNOTS, HSTUNetwork, HSTUShape
from shopkeeper.training.batching.layout import Layout


def network(time: bool, n_types: int = 0) -> HSTUNetwork:
    torch.manual_seed(0)
    made = HSTUNetwork(HSTUShape(20, 8, 2, 2, 10, 0.5, time, n_types)).eval()
    for parameter in made.parameters():  # biases begin at 0, where one that is lost would not show
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def histories() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Items, types and days to the next event, padded on the left; some events share their instant."""
    item_BL, type_BL = torch.randint(1, 21, (6, 10)), torch.randint(1, 4, (6, 10))
    until_BL = 10 ** torch.empty(6, 10).uniform_(-5, 3) * (torch.rand(6, 10) > 0.2)
    for row, n in enumerate(LENGTHS):
        for values_BL in (item_BL, type_BL, until_BL):
            values_BL[row, : 10 - n] = 0
    return item_BL, type_BL, until_BL


def packed(net: HSTUNetwork, item_BL: torch.Tensor, type_BL: torch.Tensor, until_BL: torch.Tensor, behind: int = 0):
    """Through the rectangles; `behind`: the item that stands where padding is."""
    layout = Layout.of(LENGTHS, (2, 4, 10), torch.device("cpu"), pad=64)

    def flat(value_BL: torch.Tensor, fill: float = 0) -> torch.Tensor:
        value_N = torch.cat([row[-n:] for row, n in zip(value_BL, LENGTHS, strict=True)])
        return torch.full((layout.n_slots,), fill, dtype=value_N.dtype).index_copy_(0, layout.slot_N, value_N)

    position_BL = (9 - torch.arange(10)).expand(6, 10)
    inputs = Inputs(flat(item_BL, behind), flat(position_BL), flat(type_BL), until_P=flat(until_BL, behind))
    return layout, lambda dtype=torch.float32, last=None: net(net.embed(inputs).to(dtype), layout.groups, False, last)


def by_hand(net: HSTUNetwork, item_L: np.ndarray, type_L: np.ndarray, until_L: np.ndarray) -> np.ndarray:
    """The last vector of one history without padding, in NumPy and float64."""
    value = {k: v.detach().double().numpy() for k, v in net.state_dict().items()}

    def silu(x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(-x))

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
        return x * value[f"{name}.weight"] + value[f"{name}.bias"]

    n, d = len(item_L), net.shape.width // net.shape.heads
    x = [
        value["item.weight"][item_L[i]] * math.sqrt(net.shape.width)
        + value["position.weight"][n - 1 - i]
        + value["event_type.weight"][type_L[i]]
        for i in range(n)
    ]
    for b in range(net.shape.blocks):
        of = f"blocks.{b}."
        u, v, q, k = zip(
            *(
                np.split(silu(value[of + "uvqk.weight"] @ norm(e, of + "norm_x") + value[of + "uvqk.bias"]), 4)
                for e in x
            ),
            strict=True,
        )
        out = []
        for i in range(n):
            a = np.zeros(net.shape.width)
            for j in range(i + 1):
                bias = value["distance.weight"][i - j, b]
                if net.gap is not None:
                    seconds = until_L[j : i + 1].sum() * 86_400
                    bias += np.interp(np.log(max(seconds, 1)) / 0.301, np.arange(KNOTS), value["gap.weight"][:, b])
                for h in range(net.shape.heads):
                    at = slice(h * d, (h + 1) * d)
                    a[at] += silu(q[i][at] @ k[j][at] + bias) * v[j][at] / (i + 1)
            out.append(x[i] + value[of + "out.weight"] @ (u[i] * norm(a, of + "norm_a")) + value[of + "out.bias"])
        x = out
    return norm(x[-1], "norm")


@pytest.mark.parametrize("time", [False, True])
def test_rectangles_and_the_plain_form_give_what_sums_by_hand_give(time: bool):
    net, (item_BL, type_BL, until_BL) = network(time, n_types=3), histories()
    with torch.no_grad():
        layout, run = packed(net, item_BL, type_BL, until_BL)
        plain_BD = net.plain(item_BL, type_BL, until=until_BL) if time else net.plain(item_BL, type_BL)
        torch.testing.assert_close(run()[layout.last_B], plain_BD, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(run(last=layout.last_B), plain_BD, rtol=1e-4, atol=1e-5)
        for row, n in enumerate(LENGTHS):
            one = (values_BL[row, -n:].double().numpy() for values_BL in (item_BL, type_BL, until_BL))
            item_L, type_L, until_L = one
            want_D = by_hand(net, item_L.astype(int), type_L.astype(int), until_L)
            np.testing.assert_allclose(plain_BD[row].numpy(), want_D, rtol=1e-3, atol=1e-4)


def test_times_lose_nothing_where_the_network_is_rounded_to_half_the_bits():
    net, (item_BL, _, _) = network(time=True), histories()
    until_BL = torch.where(item_BL > 0, torch.full((6, 10), 365.25 + 1 / 86_400), 0.0)
    seen: list[torch.Tensor] = []
    original = net._bias
    net._bias = lambda length, until: seen.append(until) or original(length, until)  # type: ignore[method-assign]
    rounded = network(time=True).to(torch.bfloat16)
    rounded._bias = net._bias  # type: ignore[method-assign]
    layout = Layout.of(LENGTHS, (2, 4, 10), torch.device("cpu"), pad=64)
    flat_P = torch.zeros(layout.n_slots).index_copy_(0, layout.slot_N, until_BL[until_BL > 0])
    zero_P = torch.zeros(layout.n_slots, dtype=torch.int64)
    with torch.no_grad():
        x_PD = net.embed(Inputs(zero_P, zero_P, until_P=flat_P)).to(torch.bfloat16)
        rounded(x_PD, layout.groups)
    assert torch.equal(torch.cat([u.flatten() for u in seen]).float(), flat_P)


@pytest.mark.parametrize("time", [False, True])
def test_neither_what_comes_after_it_nor_padding_changes_a_vector(time: bool):
    net, (item_BL, type_BL, until_BL) = network(time), histories()
    layout, run = packed(net, item_BL, type_BL, until_BL)
    before = run()
    _, run = packed(net, item_BL, type_BL, until_BL, behind=5)
    torch.testing.assert_close(run()[layout.slot_N], before[layout.slot_N])
    item_BL[5, -1], until_BL[5, -1] = item_BL[5, -1] % 20 + 1, until_BL[5, -1] + 3
    _, run = packed(net, item_BL, type_BL, until_BL)
    changed = (run() - before).abs().sum(1) > 0
    assert changed.nonzero()[:, 0].tolist() == [int(layout.last_B[5])]
