"""The split of a config and its audit, and what is said about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.features.customer.declared import Features
from shopkeeper.pipeline import context
from shopkeeper.pipeline.preparing.data import prepare_data, warn_once
from shopkeeper.pipeline.told import Data
from shopkeeper.timeline import iso
from shopkeeper.timeline.observation import head_line, tail_line
from shopkeeper.timeline.spec import TIMED

log = logging.getLogger(__name__)
LOPSIDED = 10  # times more requests in one part than in the other are worth a word
WORTH_A_WORD = 0.05  # share of requests without a history because of ties, or of targets that are hidden
ASKED = 2000  # requests, to see whether targets are hidden


def prepare_to_train(config: Data) -> tuple[Prepared, Split]:
    """The dataset as a recommender may know it at the training cutoff of its split, and that split."""
    prepared = prepare_data(config)
    if context.known_per_cutoff(config):
        prepared = prepare_data(config, training_cutoff(config, prepared))
    return prepared, prepare_split(config, prepared)


def training_cutoff(config: Data, prepared: Prepared) -> int:
    """When training data ends, µs: the validation cutoff, or the end of the log where the split is not by time."""
    _check_times(config, prepared)
    if prepared.events.timestamp is None:
        raise UserError(
            f"dataset={prepared.name} has only an order, so its keys cannot be joined as of a cutoff; "
            f"set dataset.identity.as_of to a date"
        )
    spec = context.split_spec(config)
    if spec.timed and spec.shares:
        raise UserError(
            f"split={spec.name}: where a share of the events ends depends on how customers' keys are joined, and these "
            f"are joined as of that cutoff; set split.validation_days and split.test_days, or the cutoffs, and the "
            f"shares to null"
        )
    return prepared.cutoffs(spec).validation if spec.timed else prepared.span[1] + 1


def prepare_split(config: Data, prepared: Prepared) -> Split:
    """Write (or find) the split of a config and audit it."""
    from shopkeeper.splits.write import write_split

    _check_times(config, prepared)
    path = write_split(prepared, context.split_spec(config), real_users(config, prepared))
    split = Split.open(prepared, path)
    _say_windows(config, prepared, split)
    _say_ties(prepared, split)
    if config.dataset.filter_seen:
        _say_hidden(prepared.name, split)
    if config.audit == "full":
        from shopkeeper.splits.audit import audit_by_perturbation

        log.info(
            "audit=full: %s",
            audit_by_perturbation(prepared, split, features_at_training_cutoff(split, config.features)),
        )
    return split


def say_ends(config: Data, prepared: Prepared, customers: bool, end: int | None = None) -> None:
    """Warn where a few events far from all others decide where windows lie, unless their `end` is set (µs)."""
    tail, head = (prepared.observation.get(key) for key in ("tail", "head"))
    if tail and end is None:
        warn_once(tail_line(prepared.name, tail, prepared.zone))
    if head and customers and not context.customer_spec(config).observed_from:
        warn_once(head_line(prepared.name, head, prepared.zone))


def _say_windows(config: Data, prepared: Prepared, split: Split) -> None:
    """Where windows end that do not end with the last event, and parts of very different size."""
    spec = context.split_spec(config)
    if not spec.timed:
        return
    say_ends(config, prepared, customers=False, end=spec.end)
    cutoffs, n = prepared.cutoffs(spec), split.timeline["n_requests"]
    if cutoffs.end == prepared.observation.get("sliver"):
        log.info("%s: the last day is not whole, windows end at its midnight, %s", prepared.name, iso(cutoffs.end))
    if LOPSIDED * min(n.values()) < max(n.values()):
        warn_once(
            f"split={spec.name}: {n['test']:,} requests for test from {iso(cutoffs.test)} on, {n['validation']:,} for "
            f"validation from {iso(cutoffs.validation)} on; if that is not meant, set split.test_days, "
            f"split.validation_days or split.end"
        )


def _say_ties(prepared: Prepared, split: Split) -> None:
    """Requests that no model can answer, because their whole history shares the target's instant."""
    share = max((split.timeline.get("emptied_by_ties_share") or {}).values(), default=0.0)
    if share >= WORTH_A_WORD:
        warn_once(
            f"split={split.name}: {share:.0%} of the requests have an empty history, because all that came before "
            f"shares its instant with the target; give the times of {prepared.name} a time of day "
            f"(columns.timestamp: [date, time]), or take split=leave_one_out, which goes by the order of the file"
        )


def _say_hidden(name: str, split: Split) -> None:
    """Warn of targets that `filter_seen` leaves out of every list, by some of the test requests."""
    requests, targets = split.part("test")
    some = np.unique(np.linspace(0, max(len(requests) - 1, 0), min(ASKED, len(requests))).astype(np.int64))
    wanted, hidden = targets.take(some), requests.take(some).hidden(True)
    assert hidden is not None
    width = split.prepared.n_items + 1
    key, seen = (
        np.repeat(np.arange(len(some)), np.diff(offsets)) * width + item
        for offsets, item in ((wanted.offsets, wanted.item), hidden)
    )
    share = float(np.isin(key, seen).mean()) if len(key) else 0.0
    if share >= WORTH_A_WORD:
        warn_once(
            f"filter_seen: true leaves what a history holds out of every list, and {share:.0%} of what is asked for in "
            f"dataset={name} stands there: no model can be right about it; where people look before they buy, or buy "
            f"again, set filter_seen: false"
        )


def _check_times(config: Data, prepared: Prepared) -> None:
    if config.split.of_kind in TIMED and prepared.events.timestamp is None:
        raise UserError(
            f"split={config.split.name} needs time stamps and dataset={prepared.name} has only an order; "
            f"use split=leave_one_out or split=held_out_users"
        )


def real_users(config: Data, prepared: Prepared) -> Callable[[], pa.Array] | None:
    """What gives the external ids behind a dataset's pseudonyms, from the raw log: the target hash is over these."""
    changes = prepared.manifest.get("changes") or {}
    if "pseudonyms" not in changes:
        return None

    def read() -> pa.Array:
        from shopkeeper.people.real_users import real_user_ids

        return real_user_ids(prepared, config.paths.raw)

    return read


def features_at_training_cutoff(split: Split, declared: Features) -> dict[str, Callable[[Prepared], np.ndarray]]:
    """What the full audit perturbs the future of, besides rows and catalogue: the customers' features at the cutoff.

    `declared`: which ones. Vectors of items are a finished run's, which its own audit looks at.
    """
    cutoffs = split.timeline.get("cutoffs") or {}
    own = replace(declared, item_vectors=None)
    if "validation" not in cutoffs or (declared.item_vectors and not own.groups):
        return {}
    from shopkeeper.customers.build_cohort import build_cohort

    cutoff = int(cutoffs["validation"]["us"])

    def features(prepared: Prepared) -> np.ndarray:
        options: dict[str, Any] = {"horizon_days": 1, "active_days": None, "labels": False, "declared": own}
        return build_cohort(prepared, cutoff, **options).features

    return {"customer features": features}
