"""What a network is trained for: what is shown, the loss, what validation measures. The loop knows no more than this.

An objective is a class of its own file in `objectives/` with these members, made from plain values, arrays and the
place of what it learns from. Sequences are numbered 0..len(length_U)-1: a batch is a random sample of them.

Shapes: U sequences, P positions of a batch, D width, B requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from shopkeeper.metrics.parallel import Cores
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.training.batching.batches import Batch
from shopkeeper.training.config import Plan, Recipe
from shopkeeper.training.validation import Encode


class Objective(Protocol):
    """The contract. `open` is called first, then `ready`, then the rest, by every process of a training."""

    length_U: np.ndarray  # int64: positions of each sequence
    labels_U: np.ndarray  # what is to be said of each sequence, on average; a step's loss is divided by their sum
    lower_is_better: bool  # of the headline
    n_classes: int  # logits of a position
    negatives: int  # how many of them are drawn instead; 0: all count
    bytes: int  # size of what is held in memory

    @property
    def rows(self) -> int:
        """Of the log, which `open` reads into memory."""

    @property
    def headline(self) -> str | None:
        """The figure that chooses the epoch; None: nothing is validated."""

    def identity(self) -> dict[str, Any]:
        """What is learned, and from what, in plain values: a checkpoint of another identity is not gone on from."""

    def told(self) -> dict[str, Any]:
        """Plain values of which, with `arrays`, `made_again` makes the same objective in another process."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that go with them."""

    @classmethod
    def made_again(cls, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Objective:
        """From `told` and `arrays`."""

    def furnish(self, network: SequenceNetwork) -> None:
        """Give a new network what it needs beside its body, such as heads."""

    def open(self, network: SequenceNetwork, recipe: Recipe, folder: Path | None) -> None:
        """Read what is to be learned; into files in `folder`, where memory is not to hold it."""

    def ready(self, network: SequenceNetwork, plan: Plan, device: torch.device, limit: int) -> None:
        """Go to the device, and make ready to validate on at most `limit` requests (0: on none)."""

    def show(self, users: np.ndarray, plan: Plan, seed: int, epoch: int, device: torch.device) -> Batch:
        """The batch of these sequences: what the network sees of them. A function of the arguments alone."""

    def loss(self, x_PD: Tensor, batch: Batch, network: SequenceNetwork, plan: Plan, scale: float, seed: int) -> Tensor:
        """Summed loss of a batch, times `scale`; `seed` is the same for all parts of a step, on every process."""

    def measure(
        self, encode: Encode, network: SequenceNetwork, cores: Cores, rank: int, world: int
    ) -> Mapping[str, float]:
        """Figures on the validation requests; with `world` > 1 each rank does a share and all get the whole."""

    def fewer(self) -> None:
        """Measure with fewer requests at a time from now on: memory has run out."""
