"""The weights of an earlier training in a new network: items are found again by their external ids."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.nn.content import TOLD
from shopkeeper.nn.network import SequenceNetwork

OF_ITEMS = ("item.weight", "item.id.weight", "own.again.weight")  # a row for each item
OF_DATA = ("own.usual_V", "own.demand_SV", *(f"item.{name}" for name in TOLD))  # what the new data say
FREE = ("n_items", "n_types", "max_length", "dropout", "masked")  # of a shape: how names begin that may differ
TOKENS, KEYS = "item.tokens.weight", "item.key_U"  # a row for each token, and which they are


def keys_of(prepared: Prepared) -> np.ndarray:
    """The first 8 bytes of the SHA-256 of each external item id: int64 (n_items,)."""
    ids = prepared.items["item_id"].to_pylist()
    digests = b"".join(hashlib.sha256(str(x).encode()).digest()[:8] for x in ids)
    return np.frombuffer(digests, np.int64).copy()


def check_shapes(network: SequenceNetwork, old: SequenceNetwork, run: Path) -> None:
    """A `UserError` where two networks differ in a size that their weights share; what the data say may differ."""
    mine, theirs = asdict(network.shape), asdict(old.shape)
    for name in (name for name in mine if name in theirs and not name.startswith(FREE)):
        if mine[name] != theirs[name]:
            raise UserError(
                f"init_from={run} was trained with {name}={theirs[name]}, this model has {mine[name]}; "
                f"set model.{name}={theirs[name]} or train from scratch"
            )


def take_over(network: SequenceNetwork, keys: np.ndarray, old: SequenceNetwork, old_keys: np.ndarray) -> int:
    """Put the weights of `old` into `network`; gives how many items both have.

    New items and tokens, and what `old` lacks, keep their start; what `network` lacks stays behind. `keys`: see
    `keys_of`.
    """
    state, given = network.state_dict(), old.state_dict()
    common, here, there = np.intersect1d(keys, old_keys, return_indices=True)
    by_position = {f"{name}.weight" for name in network.by_position}
    for name in (given.keys() & state.keys()) - by_position - {*OF_ITEMS, *OF_DATA, TOKENS}:
        state[name] = given[name]
    for name in by_position:  # positions count from the newest event
        newest = min(len(state[name]), len(given[name]))
        state[name][:newest] = given[name][:newest]
    for name in given.keys() & {*OF_ITEMS}:
        state[name][here + 1] = given[name][there + 1]
    if TOKENS in given:
        _, mine, its = np.intersect1d(state[KEYS].numpy(), given[KEYS].numpy(), return_indices=True)
        state[TOKENS][mine] = given[TOKENS][its]
    network.load_state_dict(state)
    return len(common)
