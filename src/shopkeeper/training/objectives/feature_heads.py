"""Heads for customer tasks over features: each row (customer, instant) is a sequence of one position.

Loss and figures are those of `customer_heads.py`; what is shown of a row is its features alone, and that nothing has
happened since is told by one of them.

Shapes: n rows, F features, H heads, J rows of a batch, P positions of a batch, padding included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shopkeeper.metrics.parallel import Cores
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.training.batching.batches import move
from shopkeeper.training.batching.layout import Layout
from shopkeeper.training.config import Plan, Recipe
from shopkeeper.training.objectives.customer_heads import Asked, CustomerHeads
from shopkeeper.training.validation import Encode, gather


class FeatureHeads(CustomerHeads):
    """An `Objective`: summed negative log-likelihood of every task whose label is known.

    `features`: float32 (n, F); `label`: float32 (n, H); `heads`, `held_out` and `kinds` as of `CustomerHeads`.
    """

    def __init__(
        self,
        heads: Sequence[str],
        features: np.ndarray,
        label: np.ndarray,
        held_out: np.ndarray,
        kinds: Sequence[str] | None = None,
    ):
        self.kinds = ("probabilities",) * len(heads) if kinds is None else tuple(kinds)
        self.heads, self.held_out = tuple(heads), held_out
        self.features, self.label = features, label
        self.n_classes = len(self.heads)
        self.bytes = sum(a.nbytes for a in self.arrays().values())
        self.batch_size = 4096
        self.judged_rows = np.zeros(0, np.int64)

    def arrays(self) -> dict[str, np.ndarray]:
        """The rows."""
        return {"features": self.features, "label": self.label, "held_out": self.held_out}

    @classmethod
    def made_again(cls, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> FeatureHeads:
        """As `told` and `arrays` say."""
        return cls(told["heads"], arrays["features"], arrays["label"], arrays["held_out"], told.get("kinds"))

    def open(self, network: SequenceNetwork, recipe: Recipe, folder: Path | None) -> None:
        """The rows that are learned from."""
        known_nH = ~np.isnan(self.label)
        self.row_U = np.flatnonzero(known_nH.any(axis=1) & ~self.held_out)
        self.length_U = np.ones(len(self.row_U), np.int64)
        self.labels_U = known_nH[self.row_U].sum(axis=1).astype(np.int64)

    def ready(self, network: SequenceNetwork, plan: Plan, device: torch.device, limit: int) -> None:
        """The rows that are held out, or a fixed sample of them."""
        self.device, self.edges = device, plan.edges
        rows = np.flatnonzero(self.held_out)
        if len(rows) > limit:
            rows = np.sort(rows[np.random.default_rng(0).permutation(len(rows))[:limit]])
        self.judged_rows = rows

    @property
    def headline(self) -> str | None:
        """Loss on customers who are held out, mean over tasks."""
        return self.named if len(self.judged_rows) else None

    def show(self, users: np.ndarray, plan: Plan, seed: int, epoch: int, device: torch.device) -> Asked:
        """These rows."""
        return rows_of(self.features, self.label, self.row_U[users], plan.edges, device)

    def measure(
        self, encode: Encode, network: SequenceNetwork, cores: Cores, rank: int, world: int
    ) -> Mapping[str, float]:
        """Loss over the rows that are held out; with several tasks also of each."""
        n = len(self.judged_rows)
        mine = self.judged_rows[n * rank // world : n * (rank + 1) // world]
        lost: list[Tensor] = []
        with torch.inference_mode():
            for first in range(0, len(mine), self.batch_size):
                batch = rows_of(
                    self.features, self.label, mine[first : first + self.batch_size], self.edges, self.device
                )
                out_JW = network.heads(encode(0, batch).float(), batch.since_J).double()
                lost.append(network.heads.loss(out_JW, batch.label_JH.double()).cpu())
        lost_nH = gather(torch.cat(lost).numpy() if lost else np.zeros((0, len(self.heads))), world)
        of_task = [math.fsum(x[~np.isnan(x)]) / max((~np.isnan(x)).sum(), 1) for x in lost_nH.T]
        figures = {self.named: math.fsum(of_task) / len(of_task)}
        if len(self.heads) > 1:
            figures |= {f"{self.named}_{name}": value for name, value in zip(self.heads, of_task, strict=True)}
        return figures


def rows_of(
    features_nF: np.ndarray, label_nH: np.ndarray, rows: np.ndarray, edges: Sequence[int], device: torch.device
) -> Asked:
    """Some rows as a batch; what its shape is filled up with has undefined features and no label."""
    n = len(rows)
    layout = Layout.of(np.ones(n, np.int64), edges, torch.device("cpu"))
    features_PF = torch.full((layout.n_slots, features_nF.shape[1]), torch.nan)
    features_PF[layout.slot_N] = torch.from_numpy(features_nF[rows])
    none_P = torch.zeros(layout.n_slots, dtype=torch.int64)
    batch = Asked(
        none_P,
        none_P,
        label_N=none_P[:0],
        layout=layout,
        slot_J=layout.slot_N.to(device),
        since_J=torch.zeros(n, device=device),
        label_JH=torch.from_numpy(label_nH[rows]).to(device),
        features_PF=features_PF.to(device),
    )
    moved = move(batch, device)
    assert isinstance(moved, Asked)
    return moved
