"""A batch worked on by several cores at once: a share of its customers for each, the gradients added up.

Forward and backward of a small network are hundreds of short operations. Shared out one by one, the cores wait for
each other between them; with a share each, they meet once per step. Every core has a twin of the network, with
gradients and random numbers of its own. In bf16 the twins hold the rounded weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shopkeeper.metrics.parallel import Cores
from shopkeeper.private_torch import copy_all


def share_of(users: np.ndarray, length_U: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Part 0 to `parts` - 1 of a batch, all of like lengths: dealt out from the longest down, to and fro."""
    if parts == 1:
        return users
    place = np.arange(len(users)) % (2 * parts)
    by_length = users[np.argsort(-length_U[users], kind="stable")]
    return by_length[np.minimum(place, 2 * parts - 1 - place) == part]


class Shares:
    """Cores and the twins they run. The network keeps the float32 weights, which the optimizer changes."""

    def __init__(self, network: Any, n: int, dtype: torch.dtype):
        self.cores, self.network, self.dtype = Cores(n), network, dtype
        self._twins: list[Any] = []

    @property
    def twins(self) -> list[Any]:
        """Made when first used: then the network is on its device. One core in float32 needs none."""
        if not self._twins:
            alone = self.cores.n == 1 and self.dtype == torch.float32
            self._twins = [self.network] if alone else [_twin(self.network, self.dtype) for _ in range(self.cores.n)]
        return self._twins

    def begin(self, seeds: list[int]) -> None:
        """A step: the weights as they are now, no gradients, the random numbers of these seeds, one for each core."""
        self.refresh()
        torch.manual_seed(seeds[0])
        for twin, seed in zip(self.twins, seeds, strict=True):
            twin.train()
            twin.zero_grad(set_to_none=True)
            if len(self.twins) > 1:
                twin.draw_from(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the network's weights into the twins' (those that are not the network's own)."""
        for twin in self.twins:
            pairs = zip(twin.parameters(), self.network.parameters(), strict=True)
            rounded = [(mine, its) for mine, its in pairs if mine.dtype != its.dtype]
            if rounded:
                copy_all([mine for mine, _ in rounded], [its for _, its in rounded])

    def learn(self, loss: Callable[[np.ndarray, Any], Tensor], users: np.ndarray, length_U: np.ndarray) -> Tensor:
        """Add the gradients of `loss(customers, twin)` to the network's; gives the sum of the losses, without a graph.

        Each twin has a share of the customers. Their gradients are always added in the same order.
        """
        n = self.cores.n
        losses: list[Any] = [0.0] * n

        def task(core: int, i: int) -> None:
            mine = share_of(users, length_U, i, n)
            if len(mine):
                value = loss(mine, self.twins[i])
                value.backward()
                losses[i] = value.detach()

        self.cores.run(task, range(n))
        if self.twins[0] is not self.network:
            for p, *parts in zip(self.network.parameters(), *(t.parameters() for t in self.twins), strict=True):
                for part in parts:
                    if part.grad is not None:
                        p.grad = part.grad.to(p.dtype) if p.grad is None else p.grad.add_(part.grad)
                        part.grad = None
        total: Tensor = sum(losses)
        return total


def _twin(network: Any, dtype: torch.dtype) -> Any:
    twin = copy.deepcopy(network)
    for (name, mine), its in zip(twin.named_parameters(), network.parameters(), strict=True):
        mine.data = its.data if dtype == its.dtype or network.in_table(name) else its.data.to(dtype)
    return twin
