"""BERT4Rec as a recommender: says the hidden items of the last `max_length` events (`nn/networks/bert4rec.py`)."""

from __future__ import annotations

from shopkeeper.nn.networks.bert4rec import BERT4RecNetwork, BERT4RecShape
from shopkeeper.recommenders.networks.sequence import SequenceRecommender
from shopkeeper.training.objectives.cloze import Cloze


class BERT4Rec(SequenceRecommender):
    """Settings: those of `BERT4RecShape` (width, blocks, heads, max_length, dropout, masked, masked_last), `inputs`,
    `content`, and `Recipe`."""

    format, network_class, shape_class = "shopkeeper.bert4rec/1", BERT4RecNetwork, BERT4RecShape
    objective_class = Cloze
