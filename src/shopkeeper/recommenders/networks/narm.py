"""NARM as a recommender: a recurrent network over a session that looks back (`nn/networks/narm.py`)."""

from __future__ import annotations

from shopkeeper.nn.networks.narm import NARMNetwork, NARMShape
from shopkeeper.recommenders.networks.sequence import SequenceRecommender


class NARM(SequenceRecommender):
    """Settings: those of `NARMShape` (width, layers, max_length, dropout, dropout_embed), `inputs`, and `Recipe`."""

    format, network_class, shape_class = "shopkeeper.narm/1", NARMNetwork, NARMShape
