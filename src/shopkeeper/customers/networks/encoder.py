"""A network about customers that begins with what a recommender's network has learned of the same events.

Both read a history, and where their blocks are the same the weights of one are a start for the other. Items are found
again by their external ids; those that the recommender did not know are one. What it has and the other has not
(positions, terms of its own history) stays behind; heads, and what is new, begin at random.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_file
from shopkeeper.nn.content import ContentShape
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.training.sequence_model import WEIGHTS, read_weights
from shopkeeper.training.taken_over import check_shapes, keys_of, take_over

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoder:
    """A recommender's network that one may start from."""

    target: str  # the recommender, as runs name it
    format: str  # of its weights
    network_class: type[SequenceNetwork]
    shape_class: type[Any]


@dataclass(frozen=True)
class Start:
    """A trained encoder, opened."""

    run: Path
    network: SequenceNetwork
    keys: np.ndarray  # int64 (its items,), see `keys_of`
    known: np.ndarray  # bool (its items + 1,): those that it has learned

    @classmethod
    def of(cls, encoder: Encoder, run: Path) -> Start:
        """From a run's folder; a `UserError` where it holds no weights of this encoder."""
        try:
            spec, tensors = read_weights(run, encoder.format)
        except UserError as e:
            raise UserError(f"init_from={run} cannot be started from: {e}") from None
        network = encoder.network_class(encoder.shape_class(**spec["shape"]))
        if spec.get("content", "none") != "none":
            network.know(ContentShape(**spec["content_shape"]))
        own = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
        network.load_state_dict({k: v for k, v in own.items() if not k.startswith("own.")})
        network.fold()
        return cls(run, network, tensors["item_keys"].numpy(), tensors["known"].numpy())

    @property
    def hash(self) -> str:
        """Of the weights, for a checkpoint to agree with."""
        return sha256_file(self.run / WEIGHTS)[:16]

    def knows(self, prepared: Prepared) -> np.ndarray:
        """Which items of a dataset it has learned: bool (n_items + 1,)."""
        told = np.append(False, np.isin(keys_of(prepared), self.keys[self.known[1:]]))
        return np.asarray(told)

    def give(self, network: SequenceNetwork, prepared: Prepared, known_V: np.ndarray) -> None:
        """Put its weights into a network whose items have the dataset's numbers; a `UserError` where shapes differ."""
        check_shapes(network, self.network, self.run)
        common = take_over(network, keys_of(prepared)[: len(known_V) - 1], self.network, self.keys)
        log.info("start from %s: %d of %d items were known there", self.run, common, prepared.n_items)
