"""What a model may know of items: catalogue and k-core, from training rows alone where the protocol is strict."""

from __future__ import annotations

import numpy as np

from shopkeeper.data.listed import listed
from shopkeeper.data.offered import customers_wanted, told_apart
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.splits.steps import training_mask
from shopkeeper.timeline import SplitSpec


def known_items(
    prepared: Prepared, train_end: np.ndarray, spec: SplitSpec
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """The catalogue, what models know beside it, and what training has seen, nothing later.

    Under `strict` the k-core is computed here, on training rows alone: its items are the catalogue, users outside of
    it are not trained on; with `new_items` those that the item table lists by the cutoff are in the catalogue, too.
    Under `published` the whole log's items are the catalogue, and `prepare` made the k-core.

    Returns:
        train_end int64 (U,), catalogue int32 sorted, beside int32 sorted (queries where products are asked for, and the
        reverse; None where the log has none), seen bool (n_items + 1,): item occurs in training rows.
    """
    offsets, item = prepared.offsets, prepared.events.item
    training = training_mask(offsets, train_end)
    if not training.any():
        raise UserError(f"split={spec.name}: no event is left for training; lower the sizes of validation and test")
    seen = np.zeros(prepared.n_items + 1, bool)
    if not spec.strict:
        seen[item[training]] = True
        every = np.arange(prepared.n_items + 1) > 0
        return train_end, *_offered(prepared, spec, every, None), seen
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
    return train_end, *_offered(prepared, spec, offered, np.flatnonzero(training_mask(offsets, train_end))), seen


def _offered(
    prepared: Prepared, spec: SplitSpec, known: np.ndarray, training: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    catalogue, beside = told_apart(prepared, spec.target_events, known, training)
    if beside is not None and len(catalogue) == 0 and "search" in spec.target_events:
        raise UserError(
            f"split={spec.name}: no query of {prepared.name} was asked by {customers_wanted(prepared)} customers "
            f"before the cutoff, so there is none to suggest; lower queries.customers in the dataset's config"
        )
    return catalogue, beside


def k_core(item: np.ndarray, user: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest set of events in which every item and every user has at least k events (Seidman 1983)."""
    while len(item):
        keep = (np.bincount(item)[item] >= k) & (np.bincount(user)[user] >= k)
        if keep.all():
            break
        item, user = item[keep], user[keep]
    return item, user
