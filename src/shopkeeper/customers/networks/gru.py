"""A recurrent network over what a customer did, and how long after each other (`nn/networks/gru.py`)."""

from __future__ import annotations

from shopkeeper.customers.networks.sequence import SequenceCustomerModel
from shopkeeper.nn.networks.gru import GRUNetwork, GRUShape


class GRU(SequenceCustomerModel):
    """Settings: those of `GRUShape` (width, layers, max_length, dropout, dropout_embed), of the base, `Recipe`."""

    format, network_class, shape_class = "shopkeeper.gru/1", GRUNetwork, GRUShape
