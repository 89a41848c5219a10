r"""The best that any recommender can do on a simulated shop: exact probabilities given what the log shows.

For each item i and request (history x strictly before the instant t, an order being placed at t, its channel where
the request says so) the score is

    P(i is among the lines of that order | x, t, an order at t)
        = \sum_k P(k | x, t, order) \sum_j q_k(j | x, t) R_{ji}

with the hidden customer type k filtered exactly (`events.simulated.filtering`), q_k the distribution of the order's
first line and R_{ji} the probability that i lies in an order that begins with j (1 for i = j).

Why ranking by it is optimal: a sum over relevant items of a discount that falls with the rank (DCG@k, hits@k, and
Recall@k up to the number of lines) has as its expectation the sum of these probabilities times the discounts, which
is largest when they are sorted in decreasing order. NDCG's and Recall's denominators depend on how many lines the
order has; where that number tells items apart, another order may be better by a hair (single-line orders: none).

`oracle_latent` (`latent: true`) is told the hidden type as well. Nobody could know it: it is shown, never claimed.

Shapes: B requests, V = n_items + 1 columns (internal ids), W = world items + 1, K types, S states.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.simulated.choice import mixture
from shopkeeper.simulated.filtering import (
    BROWSED,
    Visits,
    filter_days,
    kind_evidence,
    order_kind,
    replay,
    visits,
)
from shopkeeper.simulated.link import Link, hidden_truth
from shopkeeper.simulated.world import World

_KEPT = ("preset", "hash", "item", "channel", "kind")


class Oracle:
    """Exact probabilities of a simulated shop. Nothing is learnt: `fit` only finds out which world it is."""

    def __init__(self, latent: bool = False) -> None:
        self.latent = latent
        self.name = "oracle_latent" if latent else "oracle_observable"
        self.about = About(
            reads=("event_type", "timestamp", "channel"),
            reads_instant=True,
            oracle="latent" if latent else "observable",
            not_exported="an oracle is no candidate, it knows the simulation's truth",
        )
        self.link: Link | None = None
        self.kind = np.zeros(1, np.int64)  # latent only: hidden type by internal user id, -1 = unknown

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Find the world of a simulated dataset; a `UserError` for any other dataset."""
        self._open(Link.of(prepared))
        if self.latent:
            self.kind, _ = hidden_truth(prepared)

    def score(self, requests: Requests) -> np.ndarray:
        """Probability of each item to be in the next order: float32 (B, V)."""
        if self.link is None:
            raise UserError(f"{self.name} is not fitted; train it or load its run folder first")
        at_world = self._inclusion(requests)
        return at_world[:, self.link.item].astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write `weights.npz`: which world, and the maps of its items and channels."""
        assert self.link is not None, "save comes after fit"
        save_arrays(folder, self.name, {**self.link.to_arrays(), "kind": self.kind})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        arrays = load_arrays(folder, self.name, _KEPT)
        self._open(Link.from_arrays(arrays, str(folder)))
        self.kind = arrays["kind"]

    def _open(self, link: Link) -> None:
        self.link, self.world = link, link.world()
        self._together = self.world.together

    def _inclusion(self, requests: Requests) -> np.ndarray:
        """Probability of each world item to be in the order: float64 (B, W)."""
        assert self.link is not None
        r = replay(self.world, self.link.histories(requests))
        B, v = len(requests), visits(self.world, r)
        today = order_days(self.world, v, requests.instant, B)
        channel = self.link.channels(requests.channel, B)
        posterior = order_posterior(self.world, v, today, channel).sum(axis=2)  # (B, K)
        if self.latent and requests.user is not None:
            known = np.where(
                requests.user < len(self.kind), self.kind[np.minimum(requests.user, len(self.kind) - 1)], -1
            )
            posterior = np.where(known[:, None] >= 0, known[:, None] == np.arange(self.world.n_types), posterior)
        seen = r.windows(r.histories.offsets[1:], np.arange(B), today)
        return mixture(self.world, seen, posterior, self.world.order_weights) @ self._together


def order_days(world: World, v: Visits, instant: np.ndarray | None, B: int) -> np.ndarray:
    """The day of the order asked about, int64 (B,): the instant's, without one the last visible day (no day: the last).

    A customer orders at most once a day: when that day has an order already, the next day is meant.
    """
    last = np.full(B, world.days - 1)
    last[v.owner] = v.day  # visits are in time order: the last one stays
    today = last if instant is None else world.day_of(instant)
    done = v.kind != BROWSED
    over = np.zeros(B, bool)
    over[v.owner[done & (v.day == today[v.owner])]] = True
    return today + over


def order_posterior(world: World, v: Visits, today: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """P(type, state | everything visible before the order, an order today by that channel): float (B, K, S)."""
    B = len(today)
    alpha = filter_days(world, v, today - 1)
    new = np.isnan(alpha[:, 0, 0])  # no visit before today: this is the first day
    alpha = np.einsum("bks,kst->bkt", alpha, world.transition)
    alpha[new] = world.prior[:, None] * world.initial
    now = np.flatnonzero(v.day == today[v.owner])
    items = np.zeros((B, world.n_types))
    items[v.owner[now]] = v.items[now]
    viewed = np.zeros(B, bool)
    viewed[v.owner[now]] = True
    kind = order_kind(viewed, channel)
    first, later = kind_evidence(world)
    evidence = (
        np.where(new[:, None, None], first[kind], later[kind]) * np.exp(items - items.max(1, keepdims=True))[:, :, None]
    )
    joint = alpha * evidence
    impossible = joint.sum(axis=(1, 2)) <= 0
    joint[impossible] = alpha[impossible]
    return joint / joint.sum(axis=(1, 2), keepdims=True)
