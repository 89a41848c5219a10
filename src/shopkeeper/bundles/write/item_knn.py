"""Item-kNN as a graph: the neighbour lists of the items in a history are gathered and added up per neighbour.

Shapes: B requests, L positions, N longest neighbour list, V = n_items + 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from shopkeeper.bundles.write.ranking import Scorer
from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.recommenders.item_knn import ItemKNN


def scorer(model: ItemKNN, prepared: Prepared, split: Split) -> Scorer:
    """Neighbour lists, weights of event types, decay by position, fallback.

    One that weighs events by their age in days travels as arrays (`write.arrays`).
    """
    return Scorer(_Neighbours(model))


class _Neighbours(nn.Module):
    neighbour_VN: Tensor
    similarity_VN: Tensor
    weight_of_type: Tensor
    fallback_V: Tensor

    def __init__(self, model: ItemKNN):
        super().__init__()
        lists = model.similarity_VV
        lengths = np.diff(lists.indptr)
        width = max(1, int(lengths.max(initial=0)))
        # Ragged lists -> a rectangle; what is empty points at column 0 (padding) with similarity 0.
        row = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(lists.indices)) - np.repeat(lists.indptr[:-1], lengths)
        neighbour_VN = np.zeros((len(lengths), width), np.int32)
        similarity_VN = np.zeros((len(lengths), width), np.float32)
        neighbour_VN[row, place] = lists.indices
        similarity_VN[row, place] = lists.data
        self.half_life = model.half_life_events
        self.register_buffer("neighbour_VN", torch.from_numpy(neighbour_VN))
        self.register_buffer("similarity_VN", torch.from_numpy(similarity_VN))
        self.register_buffer("weight_of_type", torch.from_numpy(model.weight_of_type.astype(np.float32)))
        self.register_buffer("fallback_V", torch.from_numpy(model.fallback_V))

    def forward(self, history_BL: Tensor, event_type_BL: Tensor) -> Tensor:
        B, L = history_BL.shape
        weight_BL = self.weight_of_type[event_type_BL]
        if self.half_life is not None:
            age_L = L - 1 - torch.arange(L, dtype=torch.float32)
            weight_BL = weight_BL * torch.exp2(-age_L / self.half_life)
        to_BLN = self.neighbour_VN[history_BL].to(torch.int64)
        value_BLN = self.similarity_VN[history_BL] * weight_BL[:, :, None]
        nothing_BV = torch.zeros(B, self.fallback_V.shape[0])
        reached_BV = nothing_BV.scatter_add(1, to_BLN.reshape(B, -1), value_BLN.reshape(B, -1))
        return torch.where(reached_BV > 0, reached_BV, self.fallback_V)
