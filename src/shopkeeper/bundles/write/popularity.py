"""Popularity as a graph: the same scores for every history."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shopkeeper.bundles.write.ranking import Scorer
from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.recommenders.popularity import Popularity


def scorer(model: Popularity, prepared: Prepared, split: Split) -> Scorer:
    """The fitted scores, once per request."""
    return Scorer(_Constant(torch.from_numpy(model.scores_V)))


class _Constant(nn.Module):
    scores_V: Tensor

    def __init__(self, scores_V: Tensor):
        super().__init__()
        self.register_buffer("scores_V", scores_V)

    def forward(self, history_BL: Tensor, event_type_BL: Tensor) -> Tensor:
        return self.scores_V.expand(history_BL.shape[0], -1)  # (B, V)
