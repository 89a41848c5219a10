"""Several models at once: the one that ranks validation best answers, and is all that is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.checks import FIT, check_recommender
from shopkeeper.bundles.answer import verify
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import values_of
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.combined.auto import Auto
from shopkeeper.recommenders.counting.personal_frequency import PersonalFrequency
from tiny import DAY, tiny_prepared

BASE = "shopkeeper.recommenders"
POPULARITY = {"name": "popularity", "target": f"{BASE}.popularity.Popularity"}
OWN = {"name": "personal_frequency", "target": f"{BASE}.personal_frequency.PersonalFrequency"}
CANDIDATES = {"popularity": POPULARITY, "own": OWN, "left_out": None}


def loyal(path: Path, filter_seen: bool = False) -> Any:
    """Everybody takes the same item again and again, each another one."""
    histories = [[u + 1] * 6 for u in range(8)]
    times = [[DAY * (10 * n + u) for n in range(6)] for u in range(8)]
    return tiny_prepared(path, histories, times)


def test_auto_keeps_the_promises_of_every_recommender(tmp_path: Path) -> None:
    check_recommender(lambda: Auto(CANDIDATES), tmp_path, replace(FIT, chosen="own"))  # type: ignore[arg-type]


def test_it_takes_what_validation_ranks_best_and_answers_as_that_model_does(tmp_path: Path) -> None:
    prepared, split = loyal(tmp_path / "shop")
    model = Auto(CANDIDATES)  # type: ignore[arg-type]
    learned = model.fit(prepared, split, Fit())
    assert model.chosen == learned.chosen == "own"
    requests, _ = split.part("validation")
    for name, settings in (("popularity", POPULARITY), ("own", OWN)):
        alone = Auto({name: settings})
        alone.fit(prepared, split, Fit())
        of_table = values_of(evaluate_requests(alone, split, "validation", k=(10,)), "ndcg@10").mean()
        assert model.found[name] == pytest.approx(of_table)
    plain = PersonalFrequency()
    plain.fit(prepared, split, Fit())
    np.testing.assert_array_equal(model.score(requests), plain.score(requests))
    assert model.about.reads == plain.about.reads
    path = export_bundle(
        model, prepared, split, MadeFrom(model="auto", task="next_item"), tmp_path / "bundle", golden=9
    )
    assert verify(path, repeat=0).ok
    model.save(tmp_path / "saved")
    again = Auto(CANDIDATES)  # type: ignore[arg-type]
    again.load(tmp_path / "saved")
    assert (again.chosen, again.found) == (model.chosen, model.found)
    np.testing.assert_array_equal(again.score(requests), model.score(requests))


def test_where_seen_items_may_not_come_back_the_choice_knows_it(tmp_path: Path) -> None:
    histories = [[u + 1, u + 1, 1 + (u + 1) % 8, 1 + (u + 2) % 8, 1 + (u + 3) % 8] for u in range(8)]
    prepared, split = tiny_prepared(tmp_path, histories, [[DAY * n for n in range(5)]] * 8)
    model = Auto(CANDIDATES)  # type: ignore[arg-type]
    model.fit(prepared, split, Fit(filter_seen=True))
    table = evaluate_requests(model, split, "validation", k=(10,), filter_seen=True)
    assert max(model.found.values()) == pytest.approx(values_of(table, "ndcg@10").mean())


def test_trained_anew_it_is_the_model_that_validation_chose(tmp_path: Path) -> None:
    prepared, split = loyal(tmp_path)
    model = Auto(CANDIDATES)  # type: ignore[arg-type]
    learned = model.fit(prepared, split, Fit(chosen="popularity"))
    assert (model.chosen, learned.chosen) == ("popularity", "popularity")
    assert learned.left_open == {"candidate": "popularity"}
    open_one = Auto({"own": {**OWN, "half_life_days": "auto"}})
    learned = open_one.fit(prepared, split, Fit())
    assert learned.left_open == {"candidate": "own", "half_life_days": open_one.model.settings["half_life_days"]}


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({}, "auto: there is no candidate model"),
        ({"a": None}, "auto: there is no candidate model"),
        ({"a": 3}, "mend model.candidates.a"),
        ({"a": {"name": "x"}}, "mend model.candidates.a: model=x lacks `target`"),
        ({"a": {"name": "b", "target": "shopkeeper.customers.base_rate.BaseRate"}}, "'a' answers with probabilities"),
    ],
)
def test_a_slip_among_the_candidates_is_one_line(candidates: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Auto(candidates)
