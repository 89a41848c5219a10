"""Two towers as a recommender: a customer's and an item's, with content from which new items are known."""

from __future__ import annotations

from shopkeeper.nn.networks.two_tower import TwoTowerNetwork, TwoTowerShape
from shopkeeper.recommenders.networks.sequence import SequenceRecommender


class TwoTower(SequenceRecommender):
    """Settings: those of `TwoTowerShape` (width, hidden, max_length, dropout), `inputs`, `content`, and `Recipe`."""

    format, network_class, shape_class = "shopkeeper.two_tower/1", TwoTowerNetwork, TwoTowerShape
