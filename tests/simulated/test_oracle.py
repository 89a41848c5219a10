"""The oracles on the frozen shop: calibrated, unbeatable by perturbing them, and honest about what they cannot do."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from shopkeeper.customers.base import Cohort, NeedsDataset
from shopkeeper.customers.oracle import ChurnOracle
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.base import Recommender
from shopkeeper.recommenders.oracle import Oracle
from shopkeeper.schema import EVENT_CODE
from shopkeeper.simulated.presets import transition_matrix, world_of
from simulated.shop import DAY, Shop, order_requests, shop
from tiny import tiny_prepared

PURCHASE = EVENT_CODE["purchase"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return shop(tmp_path_factory.mktemp("demo"), preset="demo_shop", seed=11, customers=1600)


@pytest.fixture(scope="module")
def asked(demo: Shop) -> tuple[Oracle, Requests, np.ndarray, np.ndarray]:
    """Oracle, requests at every order of the last year, scores, and which items were in the order."""
    oracle = Oracle()
    oracle.fit(demo.prepared, None, Fit())  # type: ignore[arg-type]
    requests, lines = order_requests(demo, 182)
    scores = np.concatenate([oracle.score(requests[b : b + 1024]) for b in range(0, len(requests), 1024)])
    truth = np.zeros(scores.shape, bool)
    for b, items in enumerate(lines):
        truth[b, items] = True
    return oracle, requests, scores.astype(np.float64), truth


def log_score(p: np.ndarray, truth: np.ndarray) -> float:
    """Bernoulli log-likelihood of which items were in which order."""
    p = np.clip(p[:, 1:], 1e-9, 1 - 1e-9)
    return float(np.sum(np.where(truth[:, 1:], np.log(p), np.log1p(-p))))


def test_predicted_probabilities_are_the_frequencies_that_follow(asked: tuple) -> None:
    _, requests, p, truth = asked
    assert len(requests) > 4000
    p, truth = p[:, 1:].ravel(), truth[:, 1:].ravel()
    edges = np.quantile(p, [0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.9995, 1.0])
    for low, high in itertools.pairwise(edges):
        here = (p > low) & (p <= high)
        z = (truth[here].sum() - p[here].sum()) / np.sqrt(np.sum(p[here] * (1 - p[here])))
        assert abs(z) < 3.5, f"items given {low:.5f} to {high:.5f}: {z:.1f} standard errors off"


def test_nothing_that_is_changed_about_the_oracle_makes_it_better(asked: tuple, demo: Shop) -> None:
    _, requests, p, truth = asked
    best = log_score(p, truth)
    total = p.sum(axis=1, keepdims=True)
    popular = truth.mean(axis=0, keepdims=True)  # even the popularity of the future does not help
    perturbed = {
        "more": p * 1.1,
        "less": p * 0.9,
        "sharper": p**1.1 / (p**1.1).sum(axis=1, keepdims=True) * total,
        "flatter": p**0.9 / (p**0.9).sum(axis=1, keepdims=True) * total,
        "mixed with popularity": 0.95 * p + 0.05 * popular,
    }
    oracle = asked[0]
    blind = Requests(requests.events, requests.start, requests.end, requests.instant + 45 * DAY, requests.user)
    perturbed["at another instant"] = np.concatenate(
        [oracle.score(blind[b : b + 1024]) for b in range(0, len(blind), 1024)]
    )
    short = Requests(
        requests.events, np.maximum(requests.start, requests.end - 8), requests.end, requests.instant, requests.user
    )
    perturbed["last eight events"] = np.concatenate(
        [oracle.score(short[b : b + 1024]) for b in range(0, len(short), 1024)]
    )
    for name, other in perturbed.items():
        assert log_score(other, truth) < best, name


def test_latent_knowledge_helps_but_little(asked: tuple, demo: Shop) -> None:
    _, requests, p, truth = asked
    latent = Oracle(latent=True)
    latent.fit(demo.prepared, None, Fit())  # type: ignore[arg-type]
    told = np.concatenate([latent.score(requests[b : b + 1024]) for b in range(0, len(requests), 1024)])
    assert log_score(told, truth) > log_score(p, truth)


def test_answers_do_not_depend_on_who_else_is_asked(asked: tuple) -> None:
    oracle, requests, p, _ = asked
    for b in (0, 17, 4000):
        np.testing.assert_allclose(oracle.score(requests[b : b + 1])[0], p[b], rtol=1e-5, atol=1e-9)


def test_strangers_are_answered_with_and_without_an_instant(asked: tuple, demo: Shop) -> None:
    oracle, _, _, _ = asked
    at = demo.first_day + 400 * DAY
    lists = [[], [5], [5, 9, 9]]
    times = [[], [at], [at, at + 60_000_000, at + 120_000_000]]
    for instant in (None, [at + 300_000_000] * 3):
        requests = Requests.from_histories(lists, timestamps=times, instant=instant)
        scores = oracle.score(requests)
        assert np.isfinite(scores).all()
        assert (scores.sum(axis=1) > 1).all()
        assert not np.allclose(scores[0], scores[2])
    with pytest.raises(UserError, match="time stamps"):
        oracle.score(Requests.from_histories([[1]]))


def test_impossible_histories_still_get_an_answer(asked: tuple, demo: Shop) -> None:
    """Two orders in one day cannot happen in this shop; a person who types such a history must not get NaN."""
    oracle, _, _, _ = asked
    at = demo.first_day + 400 * DAY
    requests = Requests.from_histories(
        [[3, 4, 3, 4]], event_types=[[PURCHASE, 1, PURCHASE, PURCHASE]], timestamps=[[at, at + 1, at + 2, at + 10**9]]
    )
    assert np.isfinite(oracle.score(requests)).all()


def test_what_is_saved_answers_alike(asked: tuple, tmp_path: Path) -> None:
    oracle, requests, p, _ = asked
    assert isinstance(oracle, Recommender)
    oracle.save(tmp_path)
    other = Oracle()
    other.load(tmp_path)
    np.testing.assert_allclose(other.score(requests[:50]), p[:50], rtol=1e-6)
    with pytest.raises(UserError, match="oracle_observable"):
        Oracle(latent=True).load(tmp_path)


def test_datasets_without_a_truth_are_refused(tmp_path: Path, demo: Shop) -> None:
    prepared, split = tiny_prepared(tmp_path / "tiny", [[1, 2, 3]])
    with pytest.raises(UserError, match="not simulated"):
        Oracle().fit(prepared, split, Fit())
    with pytest.raises(UserError, match="not simulated"):
        ChurnOracle().bind(prepared)
    prepared.manifest["simulation"] = {**demo.truth, "parameters_hash": "0" * 64}
    with pytest.raises(UserError, match="other parameters"):
        Oracle().fit(prepared, split, Fit())


def cohort(s: Shop, day: int, horizon: int, active: int = 90) -> Cohort:
    """Customers with a purchase in the `active` days before a day, and whether none followed."""
    e, user, offsets = s.prepared.events, s.prepared.event_user, s.prepared.offsets
    cut = s.first_day + day * DAY
    bought = e.event_type == PURCHASE
    near = np.bincount(user[bought & (e.timestamp < cut) & (e.timestamp >= cut - active * DAY)], minlength=len(offsets))
    after = np.bincount(
        user[bought & (e.timestamp >= cut) & (e.timestamp < cut + horizon * DAY)], minlength=len(offsets)
    )
    who = np.flatnonzero(near)
    past = np.bincount(user[e.timestamp < cut], minlength=len(offsets))
    n = len(who)
    return Cohort(
        who.astype(np.int32), np.full(n, cut), np.zeros((n, 0)), (), e, offsets[who - 1],
        offsets[who - 1] + past[who], np.full(n, cut + horizon * DAY), (after[who] == 0).astype(float), float(horizon),
    )  # fmt: skip


def test_churn_probabilities_are_the_frequencies_that_follow(demo: Shop) -> None:
    oracle = ChurnOracle()
    oracle.bind(demo.prepared)
    p, y = [], []
    for day in (200, 270, 340, 410, 480):
        c = cohort(demo, day, 60)
        p.append(oracle.predict(c).probability)
        y.append(c.label)
    p, y = np.concatenate(p), np.concatenate(y)
    assert 0.25 < y.mean() < 0.5
    for rows in np.array_split(np.argsort(p, kind="stable"), 8):
        z = (y[rows].sum() - p[rows].sum()) / np.sqrt(np.sum(p[rows] * (1 - p[rows])))
        assert abs(z) < 3.5
    loss = lambda q: -np.mean(np.where(y == 1, np.log(q), np.log1p(-q)))
    logit = np.log(p / (1 - p))
    for other in (logit * 1.2, logit * 0.8, logit + 0.2, logit - 0.2):
        assert loss(p) < loss(1 / (1 + np.exp(-other)))


def test_latent_churn_knowledge_helps(demo: Shop, tmp_path: Path) -> None:
    c = cohort(demo, 400, 60)
    losses = []
    for latent in (False, True):
        oracle = ChurnOracle(latent)
        oracle.bind(demo.prepared)
        oracle.save(tmp_path / str(latent))
        again = ChurnOracle(latent)
        again.load(tmp_path / str(latent))
        p, y = again.predict(c).probability, c.label
        np.testing.assert_array_equal(p, oracle.predict(c).probability)
        losses.append(-np.mean(np.where(y == 1, np.log(p), np.log1p(-p))))
        z = (y.sum() - p.sum()) / np.sqrt(np.sum(p * (1 - p)))
        assert abs(z) < 3.5
    assert losses[1] < losses[0] - 0.03


def test_churn_oracle_says_what_it_needs(demo: Shop, tmp_path: Path) -> None:
    c = cohort(demo, 400, 60)
    with pytest.raises(UserError, match="bind"):
        ChurnOracle().predict(c)
    oracle = ChurnOracle()
    oracle.bind(demo.prepared)
    shifted = Cohort(**{**vars(c), "cutoff": c.cutoff + 1})
    with pytest.raises(UserError, match="midnight"):
        oracle.predict(shifted)
    nobody = Cohort(**{**vars(c), "end": c.start})
    assert set(oracle.predict(nobody).blank_reason) == {"no history before the cutoff"}
    oracle.save(tmp_path)
    other = ChurnOracle()
    other.load(tmp_path)
    np.testing.assert_array_equal(other.predict(c).probability, oracle.predict(c).probability)


def test_the_pipeline_can_tell_that_the_churn_oracle_needs_its_dataset() -> None:
    assert isinstance(ChurnOracle(), NeedsDataset)


@pytest.mark.parametrize(("preset", "customers"), [("markov", 800), ("seasonal", 1000), ("btyd", 3000)])
def test_the_oracles_of_the_other_shops_are_calibrated_too(preset: str, customers: int, tmp_path: Path) -> None:
    s = shop(tmp_path, preset=preset, customers=customers, seed=2)
    oracle, churn = Oracle(), ChurnOracle()
    oracle.fit(s.prepared, None, Fit())  # type: ignore[arg-type]
    churn.bind(s.prepared)
    requests, lines = order_requests(s, 400)
    p = oracle.score(requests).astype(np.float64)
    truth = np.zeros(p.shape, bool)
    for b, items in enumerate(lines):
        truth[b, items] = True
    p, truth = p[:, 1:].ravel(), truth[:, 1:].ravel()
    for low, high in itertools.pairwise(np.quantile(p, [0, 0.9, 0.97, 0.99, 1.0])):
        here = (p > low) & (p <= high)
        assert abs(truth[here].sum() - p[here].sum()) < 3.5 * np.sqrt(np.sum(p[here] * (1 - p[here])))
    popularity = truth.reshape(len(lines), -1).mean(axis=0)
    assert log_score(p.reshape(len(lines), -1), truth.reshape(len(lines), -1)) > log_score(
        np.tile(popularity, (len(lines), 1)), truth.reshape(len(lines), -1)
    )
    c = cohort(s, 450, 60)
    q, y = churn.predict(c).probability, c.label
    assert y is not None
    for rows in np.array_split(np.argsort(q, kind="stable"), 4):
        assert abs(y[rows].sum() - q[rows].sum()) < 3.5 * np.sqrt(np.sum(q[rows] * (1 - q[rows])))


def test_the_markov_shop_is_first_order(tmp_path: Path) -> None:
    """Whatever came before the last purchase changes nothing; the last purchase decides."""
    s = shop(tmp_path, preset="markov", customers=50, seed=2)
    oracle = Oracle()
    oracle.fit(s.prepared, None, Fit())  # type: ignore[arg-type]
    days = [[s.first_day + d * DAY for d in (100, 110, 130)]] * 3
    lists = [[1, 2, 3], [7, 8, 3], [1, 2, 4]]
    requests = Requests.from_histories(lists, [[PURCHASE] * 3] * 3, days, instant=[s.first_day + 140 * DAY] * 3)
    scores = oracle.score(requests)
    np.testing.assert_array_equal(scores[0], scores[1])
    assert np.abs(scores[0] - scores[2]).max() > 0.1
    world = world_of("markov")
    assert oracle.link is not None
    known = transition_matrix(world)[np.ix_(oracle.link.item, oracle.link.item)]
    np.testing.assert_allclose(scores[0][1:], known[3, 1:], rtol=1e-6)
