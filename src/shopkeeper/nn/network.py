"""What a sequence network is to the rest of the project: the one thing that training, answering and export know of it.

A network is a subclass of `SequenceNetwork` made from its shape, a frozen dataclass with at least `n_items`, `width`
(of the vectors) and `max_length`; a field `n_types` says that it can tell event types apart, and is 0 where the data
have only one to read.

Shapes: P positions of a batch in flat order (see attention.py), D width, B sequences, L their length, V items + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from shopkeeper.nn.attention import Groups
from shopkeeper.nn.content import ContentShape, HybridItems
from shopkeeper.nn.dropout import Dropping
from shopkeeper.nn.heads import Heads
from shopkeeper.nn.own import OwnShape, OwnTerm

# What a batch may carry beyond item and position, and the column of the log that it comes from. Only what a network
# `reads` is made.
COLUMNS = {
    "type": "event_type",
    "age": "timestamp",
    "since": "timestamp",
    "until": "timestamp",
    "price": "price",
    "channel": "channel",
    "amount": "price",  # of steps that are baskets: their events come with sums and numbers of lines in these columns
    "lines": "quantity",
}


@dataclass(frozen=True)
class Inputs:
    """The columns of a batch: item and position always, the others where the network reads them."""

    item_P: Tensor  # int64, 0 = padding
    position_P: Tensor  # int64, 0 = newest
    type_P: Tensor | None = None  # int64 event codes, 0 = padding
    age_P: Tensor | None = None  # float32 days before the newest event of the sequence
    since_P: Tensor | None = None  # float32 days since the event before; 0 of the oldest that is read
    until_P: Tensor | None = None  # float32 days to the next event; of the newest, to the instant of what is asked
    price_P: Tensor | None = None  # float32 per unit, 0 where unknown
    amount_P: Tensor | None = None  # float32, what the lines of a basket come to; 0 where no price is known
    lines_P: Tensor | None = None  # float32, how many lines a basket has
    channel_P: Tensor | None = None  # int64 codes of the data's channels, 0 = padding or unknown
    features_PF: Tensor | None = None  # float32 of customers, NaN where undefined: of networks that read no events


class SequenceNetwork(Dropping):
    """Makes a vector of each position from what stands at it and before it; scores are products with `item`.

    A network gives `item`, `embed`, `forward`, `plain` and `activation_bytes`, and declares its tables. Its random
    numbers all come through `drop`: then the cores of a batch can be at work at once, and a resumed run stays the same.
    """

    tables: tuple[str, ...] = ("item",)  # embeddings, looked up in float32 whatever the precision
    by_position: ClassVar[tuple[str, ...]] = ()  # those whose rows count from the newest event; a warm start cuts them

    # Whether a vector depends on where its sequence ends, as by positions and ages, which count from the newest event,
    # and by `until`. Then a customer's history at several instants is several sequences; where not, it is one.
    looks_ahead: ClassVar[bool] = True

    reads: tuple[str, ...] = ()  # which of `COLUMNS` a batch must carry
    shape: Any
    item: nn.Embedding | HybridItems  # (V, D), row 0 is padding; what enters and what is ranked
    heads: Heads  # where customers are asked about: an objective gives them to the network

    def __init__(self, p: float):
        super().__init__(p)
        self.own: OwnTerm | None = None  # what the customer's own history adds to the scores

    @property
    def mask(self) -> int:
        """The number that stands in an item's place where one is asked for; 0: the newest event is asked what follows.

        With a mask it stands behind each history, as the newest position, and takes one of `max_length`.
        """
        return 0

    @property
    def reach(self) -> int:
        """How many of the newest events of a history are read."""
        return int(self.shape.max_length) - (self.mask > 0)

    def add(self, own: OwnTerm) -> None:
        """Score with this term from now on; it stays in float32 whatever the precision, as the tables do."""
        self.own, self.tables = own, (*type(self).tables, "own")

    @torch.no_grad()
    def begin(self, start_VR: Tensor) -> None:
        """Let items begin with these numbers (R <= D), on average as large as what was drawn for them.

        Items that have 0 alone, and numbers beyond R, keep what was drawn.
        """
        assert isinstance(self.item, nn.Embedding)
        told_V = (start_VR != 0).any(1)
        told_V[0] = False
        if told_V.any():
            drawn_VD = self.item.weight[1:]
            scale = drawn_VD.square().mean().sqrt() / start_VR[told_V].square().mean().sqrt()
            self.item.weight[told_V, : start_VR.shape[1]] = scale * start_VR[told_V]

    def know(self, content: ContentShape) -> None:
        """Make item vectors of ids and content from now on."""
        assert isinstance(self.item, nn.Embedding)
        self.item = HybridItems(self.item, content)

    def fold(self) -> None:
        """Make item vectors what they are by now: plain numbers, an item each."""
        if isinstance(self.item, HybridItems):
            with torch.no_grad():
                self.item = nn.Embedding.from_pretrained(self.item.eval().weight.clone(), padding_idx=0)

    @property
    def beside(self) -> dict[str, Any]:
        """The shapes of what was added to the network, in plain values: a new one gets it by `put_beside`."""
        return {
            "own": None if self.own is None else asdict(self.own.shape),
            "content": asdict(self.item.shape) if isinstance(self.item, HybridItems) else None,
        }

    def put_beside(self, said: Mapping[str, Any]) -> None:
        """Add what stands beside another network of the same shape."""
        if said["own"] is not None:
            self.add(OwnTerm(OwnShape(**said["own"])))
        if said["content"] is not None:
            self.know(ContentShape(**said["content"]))

    def embed(self, inputs: Inputs) -> Tensor:
        """What enters the network, in float32: (P, D)."""
        raise NotImplementedError

    def forward(self, x_PD: Tensor, groups: Groups, fused: bool = False, last: Tensor | None = None) -> Tensor:
        """Embedded positions -> vectors (P, D); with `last` (B,) only at those flat positions: (B, D).

        `groups` are the rectangles (b sequences of L positions) that the P positions consist of, one after another.
        Each sequence begins at column 0; what follows it is padding, whose vectors nobody reads, and which no vector
        may depend on. `fused`: PyTorch's fused kernels are the faster ones here.
        """
        raise NotImplementedError

    def plain(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """The same by the textbook, from left-padded histories: for export, and as the reference. (B, D).

        `others_BL`: what else the network reads of `age`, `since`, `until` (float32 days), `price` (float32 per unit),
        `amount` and `lines` (float32, of baskets) and `channel` (int64 codes); 0 where padded or unknown.
        Float32, no dropout; a history of padding only gives a vector without meaning.
        """
        raise NotImplementedError

    def exported(self, item_BL: Tensor, type_BL: Tensor | None = None, **others_BL: Tensor) -> Tensor:
        """`plain`, as `torch.onnx.export` sees it: where a loop over positions stands in that, an operator of ONNX."""
        return self.plain(item_BL, type_BL, **others_BL)

    def in_table(self, parameter: str) -> bool:
        """Whether the parameter of this name is one of `tables`, in float32 whatever the precision."""
        return parameter.startswith(tuple(f"{table}." for table in self.tables))

    def activation_bytes(self, value: int, fused: bool) -> int:
        """What training keeps of a position for the backward pass, in bytes; `value`: bytes of one number."""
        raise NotImplementedError

    def draw_from(self, generator: torch.Generator) -> None:
        """Let every dropout (CPU) draw from this generator, so that twins of a network can be at work at once."""
        for module in self.modules():
            if isinstance(module, Dropping):
                module.generator = generator

    def compile_parts(self, graphs: bool = False) -> None:
        """Compile what gains from it, while training; nothing, unless a network says otherwise."""

    def undo_compile(self) -> None:
        """Back to eager."""
