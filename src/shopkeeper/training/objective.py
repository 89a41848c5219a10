"""What a network is trained for: what is shown, the loss, what validation measures. The loop knows no more than this.

An objective is a class of its own file with these members, made from plain values; `next_item.NextItem` is one.
Sequences are numbered 0..len(length_U)-1: a batch is a random sample of them.

Shapes: U sequences, P positions of a batch, D width, B requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from shopkeeper.data.prepared import Split
from shopkeeper.metrics.parallel import Cores
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.training.batching.batches import Batch
from shopkeeper.training.config import Plan, Recipe
from shopkeeper.training.validation import Encode


class Objective(Protocol):
    """The contract. `open` is called first, then `ready`, then the rest, by every process of a training."""

    length_U: np.ndarray  # int64: positions of each sequence; a step's loss is a sum that is divided by them
    n_classes: int  # logits of a position
    negatives: int  # how many of them are drawn instead; 0: all count
    bytes: int  # size of what is held in memory

    @property
    def headline(self) -> str | None:
        """The figure that chooses the epoch, higher is better; None: nothing is validated."""

    def asked(self) -> dict[str, Any]:
        """Plain values that make another objective of this class: for other processes, and for telling runs apart."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays among its arguments."""

    def open(self, split: Split, network: SequenceNetwork, recipe: Recipe, folder: Path | None) -> None:
        """Read what is to be learned; into files in `folder`, where memory is not to hold it."""

    def ready(self, split: Split, network: SequenceNetwork, plan: Plan, device: torch.device, limit: int) -> None:
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
