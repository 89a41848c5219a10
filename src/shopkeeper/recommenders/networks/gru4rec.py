"""GRU4Rec as a recommender: a recurrent network over the last `max_length` events (`nn/networks/gru4rec.py`)."""

from __future__ import annotations

from shopkeeper.nn.networks.gru4rec import GRU4RecNetwork, GRU4RecShape
from shopkeeper.recommenders.networks.sequence import SequenceRecommender


class GRU4Rec(SequenceRecommender):
    """Settings: those of `GRU4RecShape` (width, layers, max_length, dropout, dropout_embed), `inputs`, and `Recipe`."""

    format, network_class, shape_class = "shopkeeper.gru4rec/1", GRU4RecNetwork, GRU4RecShape
