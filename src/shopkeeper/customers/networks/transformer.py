"""A causal Transformer over what a customer did, and how long after each other (`nn/networks/transformer.py`)."""

from __future__ import annotations

from shopkeeper.customers.networks.encoder import Encoder
from shopkeeper.customers.networks.sequence import SequenceCustomerModel
from shopkeeper.nn.networks.sasrec import SASRecNetwork, SASRecShape
from shopkeeper.nn.networks.transformer import TransformerNetwork, TransformerShape


class Transformer(SequenceCustomerModel):
    """Settings: those of `TransformerShape` (as of SASRec), of the base, and `Recipe`."""

    format, network_class, shape_class = "shopkeeper.transformer/1", TransformerNetwork, TransformerShape
    encoder = Encoder(
        "shopkeeper.recommenders.networks.sasrec.SASRec", "shopkeeper.sasrec/1", SASRecNetwork, SASRecShape
    )
