"""LRURec as a recommender: linear recurrent units over the last `max_length` events (`nn/networks/lrurec.py`)."""

from __future__ import annotations

from shopkeeper.nn.networks.lrurec import LRURecNetwork, LRURecShape
from shopkeeper.recommenders.networks.sequence import SequenceRecommender


class LRURec(SequenceRecommender):
    """Settings: those of `LRURecShape` (width, blocks, max_length, dropout), `inputs`, and `Recipe`."""

    format, network_class, shape_class = "shopkeeper.lrurec/1", LRURecNetwork, LRURecShape
