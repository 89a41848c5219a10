"""The benchmark behind the leaderboard: what a cell holds, what a board says, and what is kept."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.pipeline.stages.compose import composed

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def beside_the_benchmarks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def figures(validation: float, test: float) -> dict[str, Any]:
    return {"validation": [validation], "ndcg@10": [test], "hit@10": [test], "low": 0.0, "high": 1.0, "n": 9}


def cell(model: str, shipped: float, tuned: float | None, **others: Any) -> dict[str, Any]:
    found = {"dataset": "ml_100k", "model": model, "trials": 20, "finished": 20, "why": "", "settings": {},
             "shipped": figures(shipped, 0.2)}  # fmt: skip
    found |= ({} if tuned is None else {"tuned": figures(tuned, 0.1)}) | others
    return found if found["trials"] else {k: v for k, v in found.items() if k != "settings"}


def test_a_board_is_in_the_order_of_validation_and_says_why_a_model_is_missing():
    from zoo import page

    cells = [cell("ease", 0.3, 0.4), cell("sasrec", 0.5, None), cell("vstan", 0.1, None, why="the data have no times")]
    lines = [line for line in page({"cells": cells}).splitlines() if line.startswith("| ")][1:]
    assert [line.split(" | ")[0] for line in lines] == ["| sasrec", "| ease", "| vstan"]
    assert "| 0.4000 | 0.1000 (0.0000 to 1.0000) |" in lines[1]  # what validation chose, though its test is lower
    assert lines[1].endswith("| 0.75 |")
    assert lines[0].endswith("| 1.00 |")  # no trial was better than what is shipped
    assert "the data have no times" in lines[2]


def test_defaults_are_judged_by_the_median_over_the_sets_that_were_searched():
    from zoo import rows_and_claims

    cells = [cell("ease", 0.3, 0.4), cell("ease", 0.39, 0.4, dataset="ml_1m"), cell("sasrec", 0.5, None, trials=0)]
    found = {c["what"].split(",")[0]: c for c in rows_and_claims(cells)[1]}
    assert found["ease"]["value"] == pytest.approx((0.75 + 0.975) / 2)
    assert not found["ease"]["holds"]
    assert found["sasrec"]["value"] is None  # nothing was searched: nothing is said of its defaults
    (alone,) = [c for c in rows_and_claims([cell("vstan", 0.3, None, finished=1)])[1] if c["what"].startswith("vstan")]
    assert alone["value"] is None  # the budget ended with the shipped settings, which are no rivals of themselves


def test_a_model_that_refuses_the_data_is_a_cell_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import zoo

    def refused(*words: str) -> None:
        raise subprocess.CalledProcessError(1, words, stderr="reading\nshopkeeper: it needs times\n")

    monkeypatch.setattr(zoo, "_run", refused)
    found = zoo.measured("ml_1m", "vstan", 20, 1.0, [1], tmp_path)
    assert found["why"] == "it needs times"
    assert zoo.share(found) is None


def test_a_cell_is_kept_unless_more_trials_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import zoo

    asked = []

    def measured(dataset: str, model: str, trials: int, *others: Any) -> dict[str, Any]:
        asked.append(trials)
        return cell(model, 0.3, 0.4, trials=trials, recipe=zoo.recipe(dataset, model))

    monkeypatch.setattr(zoo, "measured", measured)
    told = {"datasets": ["ml_100k"], "models": ["ease"], "hours": 1.0, "seeds": [1], "more": [], "folder": tmp_path,
            "note": None}  # fmt: skip
    for trials in (3, 3, 2, 5):
        zoo.main(argparse.Namespace(**told, trials=trials))
    assert asked == [3, 5]
    monkeypatch.setattr(zoo, "recipe", lambda dataset, model: "other settings are shipped by now")
    zoo.main(argparse.Namespace(**told | {"models": ["vstan"]}, trials=5))
    assert [c["model"] for c in json.loads((tmp_path / "zoo.json").read_text())["cells"]] == ["vstan"]
    zoo.main(argparse.Namespace(**told, trials=5))
    assert asked == [3, 5, 5, 5]
    assert [c["trials"] for c in json.loads((tmp_path / "zoo.json").read_text())["cells"]] == [5, 5]


@pytest.mark.parametrize("verb", ["train", "tune"])
def test_every_cell_composes(verb: str):
    from zoo import DATASETS, asked, words_of

    for dataset in DATASETS:
        for model in asked(dataset):
            train, tune = words_of(dataset, model)
            composed(verb, [*train, *(tune if verb == "tune" else [])])


def test_the_leaderboard_is_the_one_that_the_committed_result_makes():
    import zoo

    result = json.loads((ROOT / "benchmarks" / "results" / "zoo.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8") == zoo.page(result), (
        "run `python benchmarks/zoo.py --page`"
    )
