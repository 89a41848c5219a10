"""The generator draws what the tables say: score tests, which see a component that is a few per cent off."""

from __future__ import annotations

import numpy as np
import pytest

from shopkeeper.simulated.choice import pointers
from shopkeeper.simulated.customers import RETURN, VIEW, Hidden, hidden_paths, live
from shopkeeper.simulated.filtering import Histories, Replay, filter_days, replay, visits
from shopkeeper.simulated.presets import world_of
from shopkeeper.simulated.world import COMPONENTS, World


@pytest.fixture(scope="module", params=["demo_shop", "seasonal"])
def lives(request: pytest.FixtureRequest) -> tuple[World, Hidden, Replay]:
    world, rng = world_of(request.param), np.random.default_rng(21)
    hidden = hidden_paths(world, 1500, rng)
    log = live(world, hidden, rng)
    kept = np.flatnonzero(log.event_type != RETURN)
    order = kept[np.argsort(log.customer[kept], kind="stable")]
    offsets = np.searchsorted(log.customer[order], np.arange(1501))
    columns = (log.item[order], log.event_type[order], log.timestamp[order], log.channel[order])
    return world, hidden, replay(world, Histories(offsets, *(c.astype(np.int64) for c in columns)))


@pytest.mark.parametrize("choice", ["view", "order"])
def test_no_component_is_chosen_more_or_less_often_than_its_weight(lives: tuple, choice: str) -> None:
    """The derivative of the log-likelihood by each weight has mean 0 at the true weights, and only there."""
    world, hidden, r = lives
    rows = np.flatnonzero(r.histories.event_type == VIEW if choice == "view" else r.order_start)
    weights = world.view_weights if choice == "view" else world.order_weights
    seen, item, kind = r.windows(rows, r.owner[rows], r.day[rows]), r.histories.item[rows], hidden.kind[r.owner[rows]]
    p = pointers(world, seen)
    back = [np.sum(s * (w == item[:, None]), axis=1) for s, w in
            ((p.views, seen.views), (p.carts, seen.carts), (p.due, seen.due_item))]  # fmt: skip
    inside = np.stack(
        [world.alike[seen.session, item], back[0], back[1], world.follow[seen.first_line, item], back[2]], 1
    )
    own = world.taste[kind, world.month_of(seen.day), item]
    chance = np.sum(weights[kind] * p.gate * inside, 1) + (1 - np.sum(weights[kind] * p.gate, 1)) * own
    score = p.gate * (inside - own[:, None]) / chance[:, None]
    open_ = weights.max(axis=0) > 0
    z = score.sum(axis=0)[open_] / np.sqrt(np.sum(score[:, open_] ** 2, axis=0))
    assert np.abs(z).max() < 3.5, dict(zip(np.array(COMPONENTS)[open_], z.round(1), strict=True))


def test_the_posterior_is_as_often_right_as_it_says(lives: tuple) -> None:
    world, hidden, r = lives
    for day in (150, 400):
        alpha = filter_days(world, visits(world, r), np.full(len(hidden.kind), day))
        known = np.flatnonzero(~np.isnan(alpha[:, 0, 0]))
        p = alpha[known].reshape(len(known), -1)
        truth = hidden.kind[known] * world.n_states + hidden.state[known, day]
        hit = np.eye(p.shape[1])[truth]
        z = np.sum(hit - p, axis=0) / np.sqrt(np.sum(p * (1 - p), axis=0) + 1e-9)
        assert np.abs(z).max() < 4.0
        surprise = -np.log(np.maximum(p, 1e-300))
        expected = np.sum(p * surprise, axis=1)
        spread = np.sum(p * surprise**2, axis=1) - expected**2
        error = surprise[np.arange(len(p)), truth] - expected
        assert abs(error.sum()) < 3.5 * np.sqrt(spread.sum()), "the filter is surer, or less sure, than it may be"
