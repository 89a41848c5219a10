"""Weights averaged while a network trains: what is validated, kept and answered with in place of the last step's.

`ema`: after each step w' = d w' + (1 - d) w, with d no more than (1 + t) / (10 + t) after t steps, so that the random
start is soon forgotten (B. Polyak & A. Juditsky, SIAM J. Control Optim. 1992). `last`: the mean of the weights at the
ends of the last n epochs (P. Izmailov et al., "Averaging Weights Leads to Wider Optima", UAI 2018). `best`: of up to n
epochs that validation found the best so far; each epoch is validated as it is, then their mean is, and what is kept is
the best of all these (M. Wortsman et al., "Model soups", ICML 2022). Where nothing is validated, as in a training anew
(`evaluation.refit`), `best` is of the epochs that are named, those that validation chose before, or else it is `last`.
Sums are float32.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """Of the parameters of a network. It has a state, which a checkpoint holds."""

    def __init__(self, network: nn.Module, way: str, decay: float, epochs: int, of: Collection[int] = ()):
        self.network, self.way, self.decay, self.epochs = network, way, decay, epochs
        self.of = of  # last: of these epochs, from 1; none: of all
        self.steps = 0
        self.mean: dict[str, Tensor] = {}  # ema
        self.ends: list[dict[str, Tensor]] = []  # on the CPU; last: the newest at the end, best: the best one first
        self.values: list[float] = []  # best: what validation said of each
        self.numbers: list[int] = []  # best: which epoch each is

    def step(self) -> None:
        """After a step of the optimizer."""
        if self.way != "ema":
            return
        self.steps += 1
        now = dict(self.network.named_parameters())
        if not self.mean:
            self.mean = {name: p.detach().clone() for name, p in now.items()}
            return
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, p in now.items():
            self.mean[name] = self.mean[name].to(p.device).lerp_(p.detach(), share)

    def epoch(self, number: int) -> None:
        """After an epoch, counted from 1."""
        if self.way == "last" and (not self.of or number in self.of):
            self.ends.append(self._now())
            del self.ends[: -self.epochs]

    def validated(self, number: int, value: float, lower_is_better: bool) -> bool:
        """After an epoch was validated as it is: whether there is another mean now. Of equal ones the earlier counts.

        Only `best` has one: of others this is no.
        """
        place = sum(v <= value if lower_is_better else v >= value for v in self.values)
        if self.way != "best" or place == self.epochs:
            return False
        self.ends.insert(place, self._now())
        self.values.insert(place, value)
        self.numbers.insert(place, number)
        del self.ends[self.epochs :], self.values[self.epochs :], self.numbers[self.epochs :]
        return len(self.ends) > 1

    def _now(self) -> dict[str, Tensor]:
        return {k: p.detach().to("cpu", copy=True) for k, p in self.network.named_parameters()}

    def weights(self) -> dict[str, Tensor]:
        """The averages, where there are any yet."""
        if self.way == "ema" or not self.ends:
            return self.mean
        return {k: torch.stack([end[k] for end in self.ends]).mean(0) for k in self.ends[0]}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network with the averages for its weights, and afterwards as it was."""
        parameters, averages = dict(self.network.named_parameters()), self.weights()
        kept = {name: parameters[name].detach().clone() for name in averages}
        try:
            _put(parameters, averages)
            yield
        finally:
            _put(parameters, kept)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        told = {"steps": self.steps, "mean": self.mean, "ends": self.ends}
        return told | {"values": self.values, "numbers": self.numbers}

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.steps, self.mean, self.ends = state["steps"], dict(state["mean"]), list(state["ends"])
        self.values, self.numbers = list(state.get("values", [])), list(state.get("numbers", []))  # older ones had none


@torch.no_grad()
def _put(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
