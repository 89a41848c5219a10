"""What weights are before anything is learned."""

from __future__ import annotations

import torch
from torch import nn


def draw_weights(network: nn.Module, std: float = 0.02) -> None:
    """Embeddings normal with this deviation, linear maps as of Glorot and Bengio, their biases 0; padding stays 0.

    Drawn in the order of `network.modules()`, from torch's own generator. The network's table of items is `item`.

    Source: X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural networks,
    AISTATS 2010.
    """
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    assert isinstance(network.item, nn.Embedding)
    with torch.no_grad():
        network.item.weight[0] = 0
