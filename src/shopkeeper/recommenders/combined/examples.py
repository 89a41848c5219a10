"""What a ranker learns from: candidates of requests with what is known of them, and which of them were then taken.

Shapes: B requests, P pairs of a request and a candidate, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.threads import blocks

REQUESTS_AT_ONCE = 256
PairsOf = Callable[[Requests], tuple[np.ndarray, np.ndarray, np.ndarray]]  # owner (P,), item (P,), features (P, F)
Examples = tuple[np.ndarray, np.ndarray, np.ndarray]  # features float32 (P, F), labels int8 (P,), pairs of a request


def shares(counts: Sequence[int], most: int) -> list[int]:
    """How many of several heaps may be kept so that there are `most` in all: of each the same share.

    >>> shares([30, 10], 20)
    [15, 5]
    """
    total = sum(counts)
    return list(counts) if total <= most else [max(1, count * most // total) for count in counts]


def drawn(requests: Requests, targets: Targets, count: int, seed: int) -> tuple[Requests, Targets]:
    """So many of the requests, drawn at random, in their order; all, where there are no more."""
    if len(requests) <= count:
        return requests, targets
    chosen = np.sort(np.random.default_rng(seed).choice(len(requests), count, replace=False))
    return requests.take(chosen), targets.take(chosen)


def examples(
    pairs_of: PairsOf, requests: Requests, targets: Targets, filter_seen: bool, width: int, n_features: int
) -> Examples:
    """Of requests that have a hit among their candidates; what may not be recommended is no candidate,
    and on the page of a category nothing else is.

    `width`: columns, one more than there are items.
    """

    def block(first: int) -> Examples:
        part, wanted = requests[first : first + REQUESTS_AT_ONCE], targets[first : first + REQUESTS_AT_ONCE]
        owner, item, features = pairs_of(part)
        key = owner * width + item
        label = np.isin(key, wanted.request * width + wanted.item)
        if (hidden := part.hidden(filter_seen)) is not None:
            seen = np.repeat(np.arange(len(part)), np.diff(hidden[0])) * width + hidden[1]
            open_to = ~np.isin(key, seen)
            owner, key, features, label = owner[open_to], key[open_to], features[open_to], label[open_to]
        if (page := part.candidates) is not None:
            listed = np.isin(key, np.repeat(np.arange(len(part)), np.diff(page[0])) * width + page[1])
            owner, features, label = owner[listed], features[listed], label[listed]
        hits = np.bincount(owner[label], minlength=len(part)) > 0
        kept = hits[owner]
        return features[kept], label[kept].astype(np.int8), np.bincount(owner[kept], minlength=len(part))[hits]

    found = blocks(block, range(0, len(requests), REQUESTS_AT_ONCE))
    if not found:
        return np.zeros((0, n_features), np.float32), np.zeros(0, np.int8), np.zeros(0, np.int64)
    features, labels, counts = zip(*found, strict=True)
    return np.concatenate(features), np.concatenate(labels), np.concatenate(counts)
