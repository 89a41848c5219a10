"""What a model may know of items: catalogue and k-core, from training rows alone where the protocol is strict."""

from __future__ import annotations

import numpy as np

from shopkeeper.data.listed import listed
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.splits.steps import training_mask
from shopkeeper.timeline import SplitSpec


def known_items(
    prepared: Prepared, train_end: np.ndarray, spec: SplitSpec
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The catalogue and what training has seen, nothing later.

    Under `strict` the k-core is computed here, on training rows alone: its items are the catalogue, users outside of
    it are not trained on; with `new_items` those that the item table lists by the cutoff are in the catalogue, too.
    Under `published` the whole log's items are the catalogue, and `prepare` made the k-core.

    Returns:
        train_end int64 (U,), catalogue int32 sorted, seen bool (n_items + 1,): item occurs in training rows.
    """
    offsets, item = prepared.offsets, prepared.events.item
    training = training_mask(offsets, train_end)
    if not training.any():
        raise UserError(f"split={spec.name}: no event is left for training; lower the sizes of validation and test")
    seen = np.zeros(prepared.n_items + 1, bool)
    if not spec.strict:
        seen[item[training]] = True
        return train_end, np.arange(1, prepared.n_items + 1, dtype=np.int32), seen
    items, users = item[training], prepared.event_user[training]
    if spec.k_core and spec.k_core > 1:
        items, users = k_core(items, users, spec.k_core)
        if len(items) == 0:
            raise UserError(f"split={spec.name}: the {spec.k_core}-core of the training events is empty; lower k_core")
        kept = np.zeros(prepared.n_users + 1, bool)
        kept[users] = True
        train_end = np.where(kept[1:], train_end, offsets[:-1])
    seen[items] = True
    offered = seen
    if spec.new_items:
        offered = seen | listed(prepared, prepared.cutoffs(spec).validation if spec.timed else None)
    return train_end, np.flatnonzero(offered).astype(np.int32), seen


def k_core(item: np.ndarray, user: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest set of events in which every item and every user has at least k events (Seidman 1983)."""
    while len(item):
        keep = (np.bincount(item)[item] >= k) & (np.bincount(user)[user] >= k)
        if keep.all():
            break
        item, user = item[keep], user[keep]
    return item, user
