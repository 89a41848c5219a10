"""Two stages: what is learnt before a window's cutoff, features as by hand, the order that the trees find."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import get_ident
from time import sleep

import numpy as np
import pytest

from recommenders.checks import check_recommender, fitted, shoppers, stranger
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.features.pairs import CUSTOMER, ITEM, OWN, ItemFacts, pair_features
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import plain
from shopkeeper.recommenders.combined import two_stage
from shopkeeper.recommenders.combined.two_stage import TwoStage
from shopkeeper.recommenders.windows import earlier_windows
from shopkeeper.schema import EVENT_CODE, event_codes
from tiny import DAY, days, tiny_prepared

PURCHASE = event_codes(["purchase"])
BASE = "shopkeeper.recommenders"
CANDIDATES = {
    "personal_frequency": {"target": f"{BASE}.personal_frequency.PersonalFrequency"},
    "popularity": {"target": f"{BASE}.popularity.Popularity"},
}
small = partial(TwoStage, CANDIDATES, per_model=5, windows=2, window_days=2, trees=5, patience=None, min_data_in_leaf=1)


def test_two_stages_keep_the_promises_of_every_recommender(tmp_path: Path):
    check_recommender(small, tmp_path)


def habits(path: Path, n_customers: int = 60, n_days: int = 40):
    """Everybody takes item 1 or 2 (his own) every second day, and something else of 3..12 in between."""
    rng = np.random.default_rng(0)
    histories = [[1 + c % 2 if d % 2 else int(rng.integers(3, 13)) for d in range(n_days)] for c in range(n_customers)]
    return tiny_prepared(path, histories, days(histories), n_items=12)


def test_trees_find_whose_turn_it_is_which_no_candidate_model_knows(tmp_path: Path):
    prepared, split = habits(tmp_path / "habits")
    model = fitted(partial(small, window_days=1, windows=6, trees=100, min_data_in_leaf=5), prepared, split)
    assert model.booster is not None
    # After the own item comes something else, after something else the own one: by count alone it is always first.
    taken = [1 if d % 2 else 3 + d // 2 % 10 for d in range(36)]
    scores = model.score(stranger([taken[:35], taken]))
    assert scores[0, 1:].argmax() + 1 == 1
    assert scores[1, 1:].argmax() + 1 != 1


def test_however_many_threads_answer_the_trees_and_scores_are_the_same_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    prepared, split = habits(tmp_path / "habits")
    monkeypatch.setattr(two_stage, "REQUESTS_AT_ONCE", 7)
    answered, pairs = set(), TwoStage._pairs

    def watched(self, requests):
        answered.add(get_ident())
        sleep(0.001)  # so that one thread does not do all of it
        return pairs(self, requests)

    monkeypatch.setattr(TwoStage, "_pairs", watched)
    settings = {"per_model": 5, "windows": 2, "window_days": 2, "trees": 20, "patience": 5, "min_data_in_leaf": 1}
    own = composed("train", ["model=two_stage"])["model"]["candidates"]
    found = {}
    for threads in (1, 4):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        answered.clear()
        model = fitted(partial(TwoStage, plain(own), **settings), prepared, split)
        requests, _ = split.part("test")
        scores = model.score(requests)
        assert len(requests) > 4 * 7
        assert len(answered) > threads / 2
        assert threads > 1 or answered == {get_ident()}
        found[threads] = (model.booster.model_to_string(), scores.tobytes())
    assert found[1] == found[4]


def test_a_candidate_model_that_cannot_carry_the_catalogue_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    prepared, split = habits(tmp_path / "habits")
    ease = {"ease": {"target": f"{BASE}.ease.EASE", "max_items": 5}}
    settings = {"windows": 2, "window_days": 2, "trees": 5, "patience": None, "min_data_in_leaf": 1}
    made = [partial(TwoStage, c, per_model=5, **settings) for c in (CANDIDATES | ease, CANDIDATES)]
    with_it, without = (fitted(one, prepared, split) for one in made)
    assert "goes on without its candidate 'ease'" in caplog.text
    requests, _ = split.part("test")
    np.testing.assert_array_equal(with_it.score(requests), without.score(requests))
    with_it.save(tmp_path / "run")
    opened = made[0]()
    opened.load(tmp_path / "run")
    np.testing.assert_array_equal(opened.score(requests), without.score(requests))
    shutil.rmtree(tmp_path / "run" / "candidates" / "popularity")
    with pytest.raises(UserError, match="lacks the candidate model 'popularity'"):
        made[0]().load(tmp_path / "run")
    with pytest.raises(UserError, match="need a dense inverse"):
        fitted(partial(TwoStage, ease, per_model=5, **settings), prepared, split)


def test_opened_with_its_candidates_in_another_order_it_answers_the_same(tmp_path: Path):
    prepared, split = habits(tmp_path / "habits")
    requests, _ = split.part("test")
    settings = {"per_model": 5, "windows": 2, "window_days": 2, "trees": 20, "patience": None, "min_data_in_leaf": 1}
    model = fitted(partial(TwoStage, CANDIDATES, **settings), prepared, split)
    model.save(tmp_path / "run")
    opened = TwoStage(dict(reversed(CANDIDATES.items())), **settings)
    opened.load(tmp_path / "run")
    np.testing.assert_array_equal(opened.score(requests), model.score(requests))


def test_a_window_hands_out_nothing_from_its_cutoff_on_but_the_histories_of_its_questions(tmp_path: Path):
    prepared, split = habits(tmp_path / "habits")
    time = prepared.events.timestamp
    windows = earlier_windows(split, PURCHASE, days=3, count=2)
    end = time[split.training_rows()[1]].max() + 1
    assert len(windows) == 2
    for number, window in enumerate(windows, start=1):
        cutoff = end - number * 3 * DAY
        learnt = window.split.training_rows()[1]
        assert time[learnt].max() < cutoff
        targets = time[window.targets.row]
        assert targets.min() >= cutoff
        assert targets.max() < cutoff + 3 * DAY
        assert (time[window.requests.end - 1] < window.requests.instant).all()
        np.testing.assert_array_equal(targets, window.requests.instant[window.targets.request])
        assert len(window.requests) == 60 * 3  # everybody takes something every day


def test_lines_of_one_order_are_the_targets_of_one_question(tmp_path: Path):
    bought = [[1, 2, 3, 4, 5, 6]]
    prepared, split = tiny_prepared(tmp_path, bought, days(bought))  # the last two are held out
    orders = np.array([1, 1, 2, 2, 3, 4], np.int32)
    events = replace(prepared.events, order=orders)
    split = replace(split, prepared=replace(prepared, events=events))
    (window,) = earlier_windows(split, PURCHASE, days=2, count=1)
    assert window.targets.item.tolist() == [3, 4]
    assert window.targets.offsets.tolist() == [0, 2]
    assert window.requests.end.tolist() == [2]


def test_without_time_the_window_is_the_last_step_of_the_training_rows(tmp_path: Path):
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 3, 4, 5], [3, 1, 2, 2, 1]])  # two of each are held out
    (window,) = earlier_windows(split, PURCHASE, days=3, count=2)
    assert window.targets.item.tolist() == [3, 2]
    assert window.requests.end.tolist() == [2, 7]
    assert prepared.events.item[window.split.training_rows()[1]].tolist() == [1, 2, 3, 1]


def test_features_of_a_pair_are_as_counted_by_hand(tmp_path: Path):
    prepared, split = shoppers(tmp_path)
    facts = ItemFacts.of(split, PURCHASE)
    view, purchase = EVENT_CODE["view"], EVENT_CODE["purchase"]
    requests = Requests.from_histories(
        [[3, 3, 4, 3]], [[purchase, view, purchase, purchase]], [[0, DAY, 6 * DAY, 10 * DAY]], [12 * DAY]
    )
    values = pair_features(requests, np.array([0, 0, 0]), np.array([3, 4, 5]), facts, PURCHASE)
    names = [*OWN, *CUSTOMER, *ITEM]
    three, four, five = (dict(zip(names, row, strict=True)) for row in values.tolist())
    own = {"own_count": 2, "own_days": 2, "own_gap": 10, "own_baskets_ago": 0, "other_count": 1, "other_days": 11}
    assert {name: three[name] for name in own} == own
    assert three["own_due"] == pytest.approx(0.2)
    assert (three["any_place"], four["any_place"]) == (0, 1)
    assert (four["own_count"], four["own_days"]) == (1, 6)
    assert np.isnan(four["own_gap"])
    assert five["own_count"] == 0
    assert np.isnan(five["own_days"])
    customer = {"baskets": 3, "lines": 3, "order_days": 2, "tenure_days": 12, "events": 4}
    assert {name: three[name] for name in customer} == customer
    counts = np.bincount(prepared.events.item[split.training_rows()[1]], minlength=8)
    np.testing.assert_array_equal(facts.table_VF[1:, ITEM.index("demand")], counts[1:])


def test_what_was_seen_since_the_last_order_has_columns_of_its_own(tmp_path: Path):
    facts = ItemFacts.of(shoppers(tmp_path)[1], PURCHASE)
    view, cart, purchase = (EVENT_CODE[name] for name in ("view", "add_to_cart", "purchase"))
    requests = Requests.from_histories(
        [[3, 4, 5, 5, 3, 6], [4]], [[view, purchase, view, cart, view, cart], [view]],
        [[0, DAY, 2 * DAY, 2 * DAY, 3 * DAY, 4 * DAY], [DAY]], [5 * DAY, 3 * DAY],
    )  # fmt: skip
    owner, item = np.array([0, 0, 0, 0, 1]), np.array([3, 4, 5, 6, 4])
    values = pair_features(requests, owner, item, facts, PURCHASE)
    column = dict(zip([*OWN, *CUSTOMER, *ITEM], values.T, strict=True))
    assert column["since_count"].tolist() == [1, 0, 2, 1, 1]
    np.testing.assert_array_equal(column["since_place"], [1, np.nan, 2, 0, 0])
    np.testing.assert_array_equal(column["cart_place"], [np.nan, np.nan, 1, 0, np.nan])
    assert column["event_days"].tolist() == [1, 1, 1, 1, 2]
    assert np.isnan(column["visit_place"]).all()  # the log has no sessions
    session = np.array([1, 2, 2, 2, 3, 3, 4], np.int32)
    timed = replace(requests, events=replace(requests.events, session=session))
    column = dict(zip([*OWN, *CUSTOMER, *ITEM], pair_features(timed, owner, item, facts, PURCHASE).T, strict=True))
    np.testing.assert_array_equal(column["visit_place"], [1, np.nan, np.nan, 0, 0])
    ends = len(session)  # behind the log's last row stands a history without any
    with_none = replace(timed, start=np.append(timed.start, ends), end=np.append(timed.end, ends),
                        instant=np.append(timed.instant, 5 * DAY))  # fmt: skip
    more = pair_features(with_none, np.append(owner, 2), np.append(item, 3), facts, PURCHASE)
    visit = more[:, [*OWN, *CUSTOMER, *ITEM].index("visit_place")]
    np.testing.assert_array_equal(visit, [1, np.nan, np.nan, 0, 0, np.nan])


def test_with_too_little_to_learn_from_the_first_candidate_model_answers_alone(tmp_path: Path):
    prepared, split = shoppers(tmp_path)
    model = fitted(partial(small, windows=1, window_days=1), prepared, split)
    assert model.booster is None
    alone = fitted(lambda: make(CANDIDATES["personal_frequency"]), prepared, split)
    asked = stranger([[3], [7, 6], []])
    np.testing.assert_array_equal(model.score(asked), alone.score(asked))
    model.save(tmp_path / "run")
    opened = TwoStage(dict(reversed(CANDIDATES.items())))
    opened.load(tmp_path / "run")
    np.testing.assert_array_equal(opened.score(asked), alone.score(asked))


def test_the_shipped_candidates_are_the_models_own_settings_and_train(tmp_path: Path):
    settings = plain(
        composed("train", ["model=two_stage", "model.trees=5", "model.patience=null", "model.window_days=2"])
    )["model"]
    assert settings["candidates"]["item_knn"]["neighbours"] == 50
    prepared, split = habits(tmp_path / "habits")
    model = make(settings)
    model.fit(prepared, split, Fit(seed=1, progress=False))
    assert model.booster is not None
    assert np.isfinite(model.score(stranger([[1, 2], []]))).all()


def test_settings_without_sense_are_refused():
    with pytest.raises(UserError, match="no candidate model"):
        TwoStage({})
    with pytest.raises(UserError, match="per_model is 0"):
        TwoStage(CANDIDATES, per_model=0)
