"""Buy it again: what is due comes up, and what nobody takes twice does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recommenders.checks import asked, check_recommender, fitted, shipped
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.features.baskets import Baskets
from shopkeeper.recommenders.counting.buy_it_again import BuyItAgain, Purchases, Visits
from tiny import DAY, tiny_prepared

COFFEE, WASHER, BREAD, MILK, NEVER = 1, 2, 3, 4, 5


def test_buy_it_again_keeps_the_promises_of_every_recommender(tmp_path):
    check_recommender(shipped("buy_it_again"), tmp_path / "shipped")
    check_recommender(lambda: BuyItAgain(when="next_visit", half_life_days=None), tmp_path)


def kitchen(path: Path, visits: bool = True) -> tuple[Prepared, Split]:
    """Twelve households: coffee each 30 days, one washer ever, and, with `visits`, bread or milk every fifth day."""
    items, times = [], []
    for u in range(12):
        events = [(u + 30 * n, COFFEE) for n in range(6)] + [(u + 7, WASHER)]
        events += [(u + d, (BREAD, MILK)[(d + u) % 2]) for d in range(1, 170, 5)] if visits else [(u + 171, BREAD)]
        events = sorted(events) + [(u + 400, NEVER), (u + 401, NEVER)]  # the two that leave_one_out takes away
        items.append([item for _, item in events])
        times.append([day * DAY for day, _ in events])
    return tiny_prepared(path, items, times, catalogue=range(1, 5))


@pytest.mark.parametrize("visits", [True, False])
def test_an_item_bought_every_30_days_comes_up_when_due_and_not_the_day_after(tmp_path, visits):
    model = fitted(BuyItAgain, *kitchen(tmp_path, visits))
    scores = model.score(asked([(0, COFFEE), (30, COFFEE), (60, COFFEE)], 61, 75, 90))
    place = (scores[:, 1:] > scores[:, [COFFEE]]).sum(axis=1)
    assert place.tolist()[2] == 0  # due
    assert min(place.tolist()[:2]) > 0  # the day after, and half way
    assert scores[2, COFFEE] > 0.5 > 0.1 > scores[0, COFFEE]


def test_an_item_that_all_bought_once_does_not_come_back(tmp_path):
    prepared, split = kitchen(tmp_path)
    scores = fitted(BuyItAgain, prepared, split).score(asked([(0, WASHER)], 1, 30, 90, 365))
    assert (scores[:, 1:5].argmin(axis=1) + 1 == WASHER).all()
    # Of who has none it is asked as of everything else.
    stranger = fitted(BuyItAgain, prepared, split).score(asked([(0, BREAD)], 30))
    assert stranger[0, WASHER] > scores[:, WASHER].max()


def test_a_customers_own_rhythm_wins_over_the_items_the_better_it_is_known(tmp_path):
    model = fitted(BuyItAgain, *kitchen(tmp_path))
    once, often = [(0, COFFEE)], [(10 * n, COFFEE) for n in range(12)]
    expected = []
    for history in (once, often):
        gaps = np.diff([day for day, _ in history])
        n, total = np.array([len(gaps)]), np.array([np.log(gaps).sum()])
        expected.append(float(np.exp(model._mean_log_gap(np.array([COFFEE]), n, total))[0]))
    assert expected[0] == pytest.approx(30, rel=0.35)
    assert expected[1] == pytest.approx(10, rel=0.1)


def test_without_the_moment_of_asking_the_next_visit_is_asked_about(tmp_path):
    prepared, split = kitchen(tmp_path)
    history = [(0, COFFEE), (30, COFFEE), (60, COFFEE)]
    model = fitted(lambda: BuyItAgain(when="next_visit"), prepared, split)
    assert not model.about.reads_instant
    answers = model.score(asked(history, 61, 90, 200))
    np.testing.assert_array_equal(answers, answers[[1, 1, 1]])
    reads = fitted(BuyItAgain, prepared, split)
    assert reads.about.reads_instant
    np.testing.assert_array_equal(answers[0], reads.score(asked(history, 90))[0])  # his gap is 30 days


def test_every_purchase_is_followed_until_the_next_one(tmp_path):
    """What is counted for c(n, x), against a loop over customers, items and baskets."""
    rng = np.random.default_rng(3)
    histories = [rng.integers(1, 5, n).tolist() for n in (0, 1, 9, 30)]
    days = [np.sort(rng.integers(0, 40, len(h))).tolist() for h in histories]
    requests = Requests.from_histories(
        histories, [[5] * len(h) for h in histories], [[d * DAY for d in t] for t in days]
    )
    baskets = Baskets.of(requests, [5], 5)
    visits = Visits.of(baskets)
    bought = Purchases.of(baskets, visits, 5)
    purchase, log_days, held = bought.later_visits(visits)
    found = sorted(
        zip(bought.owner[purchase].tolist(), bought.item[purchase].tolist(), bought.times[purchase].tolist(),
            np.exp(log_days).round(3).tolist(), held.tolist(), strict=True)
    )  # fmt: skip
    expected = []
    for u, (history, at) in enumerate(zip(histories, days, strict=True)):
        for item in set(history):
            took = sorted({d for d, i in zip(at, history, strict=True) if i == item})
            for n, day in enumerate(took, 1):
                end = took[n] if n < len(took) else 10**9
                expected += [(u, item, n, float(v - day), v == end) for v in sorted(set(at)) if day < v <= end]
    assert found == sorted(expected)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"when": "requests"}, "Did you mean 'request'"), ({"prior": 0}, "prior=0"), ({"half_life_days": -1}, "days=-1")],
)
def test_settings_without_sense_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        BuyItAgain(**settings)
