"""Hidden items as an objective ("Cloze"): which items stand where the network sees a mask, from what is around them.

The rest is as of `next_item`: the same losses over the catalogue or drawn negatives, the same validation. Only what is
hidden goes through the output layer.
"""

from __future__ import annotations

from pathlib import Path

from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.training.batching.cloze import ClozeView
from shopkeeper.training.config import Recipe
from shopkeeper.training.objectives.next_item import NextItem


class Cloze(NextItem):
    """An `Objective` for networks with a `mask`; their shapes say what share is hidden (`masked`, `masked_last`)."""

    def open(self, network: SequenceNetwork, recipe: Recipe, folder: Path | None) -> None:
        """Read the training rows."""
        assert network.mask, "only a network with a mask says what is hidden"
        self.learn_from(
            ClozeView.build(self._split, self.target_events, self.inputs, network, folder), network, recipe.loss
        )
