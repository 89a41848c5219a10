"""SASRec as a recommender: self-attention over the last `max_length` events (`nn/networks/sasrec.py`)."""

from __future__ import annotations

from shopkeeper.nn.networks.sasrec import SASRecNetwork, SASRecShape
from shopkeeper.recommenders.networks.sequence import SequenceRecommender


class SASRec(SequenceRecommender):
    """Settings: those of `SASRecShape` (width, blocks, heads, max_length, dropout, gated), `inputs`, and `Recipe`."""

    format, network_class, shape_class = "shopkeeper.sasrec/1", SASRecNetwork, SASRecShape
