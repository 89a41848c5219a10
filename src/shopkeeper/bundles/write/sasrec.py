"""SASRec as a graph: the network's plain form on left-padded histories, and the product with the item embeddings."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from shopkeeper.bundles.write.ranking import Scorer
from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.recommenders.sasrec import SASRec
from shopkeeper.schema import EVENT_TYPES


def scorer(model: SASRec, prepared: Prepared, split: Split) -> Scorer:
    """The network in float32, with what the recommender does around it: known items, event types, window, fallback."""
    assert model.network is not None, "train or load the model before exporting it"
    network = copy.deepcopy(model.network).float().cpu().eval()
    types = None if model.types is None else tuple(EVENT_TYPES[code - 1] for code in model.types)
    return Scorer(
        _LastVector(network),
        fallback=model.fallback_V,
        max_length=network.shape.max_length,
        event_types=types,
        known=model.known_V,
    )


class _LastVector(nn.Module):
    def __init__(self, network: SequenceNetwork):
        super().__init__()
        self.network = network

    def forward(self, history_BL: Tensor, event_type_BL: Tensor) -> Tensor:
        last_BD = self.network.plain(history_BL, event_type_BL if self.network.shape.n_types else None)
        scores_BV: Tensor = last_BD @ self.network.item.weight.T
        assert scores_BV.dtype == torch.float32
        return scores_BV
