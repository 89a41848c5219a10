"""Two stages where there is little to learn from, or very much: who then answers, and from what is learnt."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.checks import fitted, shoppers
from recommenders.test_two_stage import BASE, CANDIDATES, PURCHASE, habits
from shopkeeper.bundles.answer import verify
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.recommenders.combined.auto import Auto
from shopkeeper.recommenders.combined.two_stage import TwoStage
from shopkeeper.recommenders.combined.validated import mean_ndcg
from shopkeeper.recommenders.windows import earlier_windows
from tiny import DAY, days, tiny_prepared

SMALL: dict[str, Any] = {"per_model": 5, "windows": 2, "window_days": 2, "trees": 5, "min_data_in_leaf": 1}
REVERSED = dict(reversed(CANDIDATES.items()))  # popularity first
BLUNT = SMALL | {"min_data_in_leaf": 10**6, "patience": 5}  # no tree has a branch: everything is alike to it


def loyal(path: Path, customers: int = 60) -> tuple[Prepared, Split]:
    """Everybody takes the same item again and again, each one of ten."""
    histories = [[1 + u % 10] * 30 for u in range(customers)]
    return tiny_prepared(path, histories, days(histories), n_items=10)


def test_no_setting_of_a_shipped_candidate_is_left_open() -> None:
    told = composed("train", ["model=two_stage"])["model"]["candidates"]
    asked = {name for name, settings in told.items() if "auto" in map(str, settings.values())}
    assert asked == set()  # each would be asked again for every window that the trees learn from


def test_a_candidate_that_ranks_validation_better_than_the_trees_answers_alone(tmp_path: Path) -> None:
    prepared, split = loyal(tmp_path / "loyal")
    model = TwoStage(REVERSED, **BLUNT)
    learned = model.fit(prepared, split, Fit(seed=1, progress=False))
    alone = fitted(lambda: make(CANDIDATES["personal_frequency"]), prepared, split)
    others = fitted(lambda: make(CANDIDATES["popularity"]), prepared, split)
    fit = Fit(seed=1)
    assert mean_ndcg(alone, split, fit) > mean_ndcg(others, split, fit)
    assert (model.alone, model.booster, learned.chosen) == ("personal_frequency", None, "personal_frequency")
    requests, _ = split.part("test")
    np.testing.assert_array_equal(model.score(requests), alone.score(requests))
    model.save(tmp_path / "run")
    opened = TwoStage(REVERSED, **BLUNT)
    opened.load(tmp_path / "run")
    np.testing.assert_array_equal(opened.score(requests), alone.score(requests))
    told = MadeFrom(model="two_stage", task="next_item")
    assert verify(export_bundle(model, prepared, split, told, tmp_path / "bundle", golden=9), repeat=0).ok
    again = fitted(partial(TwoStage, CANDIDATES, **SMALL), prepared, split, Fit(seed=1, chosen="popularity"))
    np.testing.assert_array_equal(again.score(requests), others.score(requests))


def test_where_the_trees_rank_validation_better_they_answer(tmp_path: Path) -> None:
    prepared, split = habits(tmp_path / "habits")
    told = SMALL | {"window_days": 1, "windows": 6, "trees": 100, "min_data_in_leaf": 5, "patience": 30}
    model = TwoStage(CANDIDATES, **told)
    learned = model.fit(prepared, split, Fit(seed=1, progress=False))
    assert learned.chosen == model.alone == ""
    fit = Fit(seed=1)
    assert mean_ndcg(model, split, fit) > max(mean_ndcg(one, split, fit) for one in model.models.values())
    blind = fitted(partial(TwoStage, REVERSED, **(BLUNT | {"patience": None})), prepared, split)
    assert blind.booster is not None  # validation chooses nothing


def test_with_too_little_to_learn_from_validation_chooses_who_answers(tmp_path: Path) -> None:
    prepared, split = loyal(tmp_path, customers=9)
    model = fitted(partial(TwoStage, REVERSED, **(SMALL | {"windows": 1, "patience": 5})), prepared, split)
    assert (model.booster, model.alone) == (None, "personal_frequency")
    model = fitted(partial(TwoStage, REVERSED, **(SMALL | {"windows": 1, "patience": None})), prepared, split)
    assert (model.booster, model.alone) == (None, "popularity")  # the first: nothing may be asked of validation


def test_auto_remembers_what_its_choice_has_chosen(tmp_path: Path) -> None:
    prepared, split = loyal(tmp_path / "loyal")
    two_stage = {"target": f"{BASE}.combined.two_stage.TwoStage", "candidates": REVERSED, **BLUNT}
    model = Auto({"two_stage": two_stage})
    learned = model.fit(prepared, split, Fit(seed=1, progress=False))
    assert learned.chosen == "two_stage/personal_frequency"
    again = fitted(partial(Auto, {"two_stage": two_stage}), prepared, split, Fit(seed=1, chosen=learned.chosen))
    assert again.model.alone == "personal_frequency"


def test_auto_goes_on_without_a_model_that_cannot_carry_the_catalogue(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared, split = shoppers(tmp_path)
    ease = {"target": f"{BASE}.ease.EASE", "max_items": 3}
    model = fitted(partial(Auto, {"ease": ease, "popularity": CANDIDATES["popularity"]}), prepared, split)
    assert model.chosen == "popularity"
    assert "goes on without its candidate 'ease'" in caplog.text
    with pytest.raises(UserError, match="need a dense inverse"):
        fitted(partial(Auto, {"ease": ease, "more": ease}), prepared, split)


def test_a_choice_of_validation_that_cannot_carry_the_later_catalogue_is_refused_and_not_left_out(
    tmp_path: Path,
) -> None:
    prepared, split = shoppers(tmp_path)
    candidates = {"ease": {"target": f"{BASE}.ease.EASE", "max_items": 3}, "popularity": CANDIDATES["popularity"]}
    with pytest.raises(UserError, match="need a dense inverse"):
        fitted(partial(TwoStage, candidates, **SMALL), prepared, split, Fit(seed=1, chosen="ease"))
    model = fitted(partial(TwoStage, candidates, **SMALL), prepared, split, Fit(seed=1, chosen="popularity"))
    assert list(model.models) == ["popularity"]


def test_windows_of_a_short_log_are_a_third_of_it(tmp_path: Path) -> None:
    prepared, split = habits(tmp_path / "habits")  # 38 days of training
    time = prepared.events.timestamp
    assert time is not None
    end = int(time[split.training_rows()[1]].max()) + 1
    length = (end - int(time.min()) + 2) // 3
    windows = earlier_windows(split, PURCHASE, days=28, count=4)
    assert len(windows) == 2  # before the third there would be nothing
    for number, window in enumerate(windows, start=1):
        assert window.requests.instant is not None
        assert window.requests.instant.min() >= end - number * length
        assert window.requests.instant.max() < end - (number - 1) * length
    model = fitted(partial(TwoStage, CANDIDATES, **(SMALL | {"window_days": 28, "patience": None})), prepared, split)
    assert model.booster is not None


def test_no_more_requests_are_learnt_from_than_are_told_and_of_every_window_the_same_share(tmp_path: Path) -> None:
    prepared, split = habits(tmp_path / "habits")
    asked: list[np.ndarray] = []

    class Watched(TwoStage):
        def _rank(self, parts: Any, split: Any, fit: Any) -> Any:
            asked.append(np.array([len(counts) for _, _, counts in parts]))
            return super()._rank(parts, split, fit)

    settings = SMALL | {"windows": 3, "patience": None}
    for most in (10_000, 60):
        fitted(partial(Watched, CANDIDATES, **settings, max_requests=most), prepared, split)
    everything, few = asked
    assert everything.sum() > 300
    assert 30 < few.sum() <= 60
    assert few.max() <= 20


def test_where_carts_are_asked_the_ranker_learns_from_carts(tmp_path: Path) -> None:
    """What goes into a basket first is of the customer's own taste, what follows is said by it alone."""
    rng = np.random.default_rng(1)
    orders = [[(2 * int(k) + 1, 2 * int(k) + 2) for k in rng.integers(0, 6, 12)] for _ in range(60)]
    histories = [[item for order in one for item in order] for one in orders]
    times = [[(1 + 5 * n // 2 * 2 + u % 5) * DAY for n in range(12) for _ in range(2)] for u in range(60)]
    numbers = [[100 * u + n + 1 for n in range(12) for _ in range(2)] for u in range(60)]
    prepared, split = tiny_prepared(tmp_path, histories, times, columns={"order": numbers})
    spec = {**split.timeline.get("spec", {}), "target_events": ["purchase"], "asks": "cart"}
    split = replace(split, timeline={**split.timeline, "spec": spec, "cutoffs": {"validation": {"us": 50 * DAY}}})
    asked: list[tuple[Requests, Targets]] = []

    class Watched(TwoStage):
        def _examples(self, requests: Requests, targets: Targets, *rest: Any) -> Any:
            asked.append((requests, targets))
            return super()._examples(requests, targets, *rest)

    settings = SMALL | {"windows": 2, "window_days": 10, "patience": None, "trees": 20}
    fitted(partial(Watched, CANDIDATES, **settings), prepared, split)
    assert len(asked) == 2
    for requests, targets in asked:
        last = requests.events.item[requests.end - 1]
        np.testing.assert_array_equal(targets.item, last + 1)
        barred = requests.hidden(False)
        assert barred is not None
        np.testing.assert_array_equal(barred[1], last)


def test_targets_of_some_requests_are_theirs_with_all_lines() -> None:
    lines = (np.array([0, 1, 3, 4, 6]), np.array([10, 20, 21, 30, 40, 41]))
    targets = Targets(np.array([0, 2, 2, 4]), np.array([5, 6, 7, 8], np.int32), np.array([10, 20, 30, 40]), lines)
    some = targets.take(np.array([2, 0, 1]))
    assert some.offsets.tolist() == [0, 2, 4, 4]
    assert some.item.tolist() == [7, 8, 5, 6]
    assert some.row.tolist() == [30, 40, 10, 20]
    assert some.lines is not None
    assert [x.tolist() for x in some.lines] == [[0, 1, 3, 4, 6], [30, 40, 41, 10, 20, 21]]
    assert targets.take(np.array([], np.int64)).offsets.tolist() == [0]
