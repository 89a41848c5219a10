r"""Item vectors from an id and from what the item is, so that a new item has one before anybody has asked for it.

    e_i = m_i v_i + (1 - m_i) v + \sum_{t in tokens(i)} w_{it} u_t + W x_i

v_i is the item's own vector, v that of any item of which no more is known, u_t that of a token (a category, a brand, a
level of price, a word; 0 where training has seen none of its items), x_i an embedding that was made elsewhere. m_i is 0
of items that training has not seen and, while training, of each with probability `id_dropout`, else 1: so tokens learn
to say alone what the id would say with them (M. Volkovs, G. Yu & T. Poutanen, "DropoutNet: Addressing Cold Start in
Recommender Systems", NeurIPS 2017).

Shapes: V = n_items + 1, D width, U tokens, E entries, F numbers of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shopkeeper.nn.dropout import Dropping

CONTENT = ("key_U", "token_E", "offset_V", "weight_E", "number_VF")  # of `features.content`
TOLD = (*CONTENT, "trained_V")  # what the data say


@dataclass(frozen=True)
class ContentShape:
    """Sizes of the parts."""

    n_tokens: int
    n_entries: int
    n_numbers: int
    id_dropout: float = 0.0


class HybridItems(Dropping):
    """In the place of a network's item embedding: looked up by ids, with a `weight` (V, D). All in float32."""

    key_U: Tensor
    token_E: Tensor
    offset_V: Tensor
    weight_E: Tensor
    number_VF: Tensor
    trained_V: Tensor

    def __init__(self, item: nn.Embedding, shape: ContentShape):
        super().__init__(shape.id_dropout)
        self.shape, self.id = shape, item
        self.num_embeddings, width = item.num_embeddings, item.embedding_dim
        self.tokens = nn.Embedding(shape.n_tokens, width)
        self.numbers = nn.Linear(shape.n_numbers, width, bias=False) if shape.n_numbers else None
        self.unknown = nn.Parameter(torch.zeros(width))
        nn.init.zeros_(self.tokens.weight)
        if self.numbers is not None:
            nn.init.zeros_(self.numbers.weight)
        self.register_buffer("key_U", torch.zeros(shape.n_tokens, dtype=torch.int64))
        self.register_buffer("token_E", torch.zeros(shape.n_entries, dtype=torch.int64))
        self.register_buffer("offset_V", torch.zeros(item.num_embeddings, dtype=torch.int64))
        self.register_buffer("weight_E", torch.zeros(shape.n_entries))
        self.register_buffer("number_VF", torch.zeros(item.num_embeddings, shape.n_numbers))
        self.register_buffer("trained_V", torch.ones(item.num_embeddings, dtype=torch.bool))
        self._held: Tensor | None = None

    @torch.no_grad()
    def tell(self, content: Mapping[str, np.ndarray], trained_V: np.ndarray) -> None:
        """What the items are, and which of them training has seen: bool (V,)."""
        for name in CONTENT:
            getattr(self, name).copy_(torch.from_numpy(content[name]))
        self.trained_V.copy_(torch.from_numpy(trained_V))
        self.trained_V[0] = True  # padding has no vector but its own, 0

    def train(self, mode: bool = True) -> HybridItems:
        """Forget the vectors that were made of earlier weights."""
        self._held = None
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HybridItems:
        """Forget them, too, where the weights go to another device or type."""
        self._held = None
        return super()._apply(fn, recurse)

    @property
    def weight(self) -> Tensor:
        """The vectors of all items: (V, D)."""
        if self.training or torch.is_grad_enabled():
            return self._made()
        if self._held is None:
            with torch.inference_mode(False), torch.no_grad():
                self._held = self._made()
        return self._held

    def forward(self, item: Tensor) -> Tensor:
        """The vectors of these items."""
        return functional.embedding(item, self.weight, padding_idx=0)

    def _made(self) -> Tensor:
        known_V = self.trained_V
        if self.training and self.p:
            known_V = known_V & (self.drop(torch.ones_like(known_V, dtype=torch.float32)) > 0)
            known_V[0] = True
        vector_VD = torch.where(known_V[:, None], self.id.weight, self.unknown)
        if self.shape.n_entries:
            vector_VD = vector_VD + functional.embedding_bag(
                self.token_E, self.tokens.weight, self.offset_V, mode="sum", per_sample_weights=self.weight_E
            )
        return vector_VD if self.numbers is None else vector_VD + self.numbers(self.number_VF)
