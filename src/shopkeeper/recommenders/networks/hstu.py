"""HSTU as a recommender: pointwise attention over the last `max_length` events (`nn/networks/hstu.py`)."""

from __future__ import annotations

from shopkeeper.nn.networks.hstu import HSTUNetwork, HSTUShape
from shopkeeper.recommenders.networks.sequence import SequenceRecommender


class HSTU(SequenceRecommender):
    """Settings: those of `HSTUShape` (width, blocks, heads, max_length, dropout, time), `inputs`, and `Recipe`."""

    format, network_class, shape_class = "shopkeeper.hstu/2", HSTUNetwork, HSTUShape
