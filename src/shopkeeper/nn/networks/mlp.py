r"""A multi-layer perceptron over features of a customer, each of which enters as a piecewise linear encoding.

With edges $b_0 < \dots < b_T$, quantiles of a feature in training, a value x becomes T numbers,

$$e_t(x) = \mathrm{clip}\left(\frac{x - b_{t-1}}{b_t - b_{t-1}}, 0, 1\right) ,$$

and these a vector of the feature's own, by a linear layer and ReLU; undefined ones have a vector of their own. Y.
Gorishniy, I. Rubachev and A. Babenko, On embeddings for numerical features in tabular deep learning, NeurIPS 2022,
arXiv 2203.05556 (PLE, L and R). So steps of a feature are learned without trees, and its scale does not matter.

For the loop (`training/`) a row is a sequence of one position that looks nowhere.

Shapes: P positions (rows) of a batch, F features, T pieces, E numbers of a feature's vector, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from shopkeeper.errors import check, number, whole
from shopkeeper.nn.attention import Groups
from shopkeeper.nn.network import Inputs, SequenceNetwork

MOST = 1e9  # an edge that no value reaches


@dataclass(frozen=True)
class MLPShape:
    """Sizes of the network."""

    n_items: int  # features that are read; the loop's contract has this name for what the data say
    pieces: int = 16  # of a feature
    embedding: int = 8  # numbers of a feature's vector
    width: int = 64
    layers: int = 2
    dropout: float = 0.2  # of what a layer gives

    max_length: ClassVar[int] = 1

    def __post_init__(self) -> None:
        rules = {name: whole(1) for name in ("pieces", "embedding", "width", "layers")}
        check(vars(self), rules | {"dropout": number(below=1)}, "model.")


class Numbers(nn.Module):
    """Features (P, F), NaN where undefined -> vectors (P, F * E)."""

    low_FT: Tensor
    high_FT: Tensor

    def __init__(self, n_features: int, pieces: int, width: int):
        super().__init__()
        for name in ("low_FT", "high_FT"):
            self.register_buffer(name, torch.full((n_features, pieces), MOST))
        self.weight = nn.Parameter(torch.randn(n_features, pieces, width) / math.sqrt(pieces))
        self.bias = nn.Parameter(torch.zeros(n_features, width))
        self.undefined = nn.Parameter(torch.randn(n_features, width) / math.sqrt(width))

    @torch.no_grad()
    def know(self, features_nF: np.ndarray) -> None:
        """Take the edges from training features: quantiles, each value once; pieces that are left over stay empty."""
        T = self.low_FT.shape[1]
        for f, values in enumerate(features_nF.T):
            known = values[~np.isnan(values)]
            edge = np.unique(np.quantile(known, np.linspace(0, 1, T + 1)).astype(np.float32)) if len(known) else known
            for name, some in (("low_FT", edge[:-1]), ("high_FT", edge[1:])):
                of = getattr(self, name)
                of[f] = MOST if name == "low_FT" else 2 * MOST
                of[f, : len(some)] = torch.from_numpy(some.astype(np.float32))

    def forward(self, x_PF: Tensor) -> Tensor:
        """By the formula above."""
        missing_PF = x_PF.isnan()
        x_PF1 = x_PF.nan_to_num()[..., None]
        piece_PFT = ((x_PF1 - self.low_FT) / (self.high_FT - self.low_FT)).clamp(0, 1)
        value_PFE = (torch.einsum("pft,fte->pfe", piece_PFT, self.weight) + self.bias).relu()
        out: Tensor = torch.where(missing_PF[..., None], self.undefined, value_PFE).flatten(1)
        return out


class MLPNetwork(SequenceNetwork):
    """Vectors of features, and layers over all of them."""

    tables: tuple[str, ...] = ("item", "numbers")
    looks_ahead: ClassVar[bool] = False

    def __init__(self, shape: MLPShape):
        super().__init__(shape.dropout)
        self.shape = shape
        self.item = nn.Embedding(1, 1)  # there are none; the contract has them
        self.item.requires_grad_(False)
        self.numbers = Numbers(shape.n_items, shape.pieces, shape.embedding)
        sizes = [shape.n_items * shape.embedding, *[shape.width] * shape.layers]
        self.layers: Any = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def embed(self, inputs: Inputs) -> Tensor:
        """Vectors of the features, in float32: (P, F * E)."""
        assert inputs.features_PF is not None
        out: Tensor = self.numbers(inputs.features_PF)
        return out

    def forward(self, x_PD: Tensor, groups: Groups, fused: bool = False, last: Tensor | None = None) -> Tensor:
        """Layer by layer."""
        for layer in self.layers:
            x_PD = self.drop(layer(x_PD).relu())
        return x_PD if last is None else x_PD[last]

    def activation_bytes(self, value: int, fused: bool) -> int:
        """Pieces, vectors before and after ReLU, and of each layer its product, ReLU and mask."""
        s = self.shape
        return int(s.n_items * (s.pieces + 3 * s.embedding) * 4 + 3 * s.layers * s.width * value)
