"""`model=auto`: a study per candidate within one budget, shipped settings first, and the one to hand over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from searches import config, stub
from shopkeeper.errors import UserError
from shopkeeper.pipeline import tune
from shopkeeper.tuning.space import holds

SHIPPED = {"item_knn": 0.4, "personal_frequency": 0.2, "popularity": 0.3}


def configs(folder: Path, *words: str) -> list[Any]:
    return [config(folder, f"model={model}", "tuning=random", "tuning.trials=3", *words) for model in SHIPPED]


def test_every_model_begins_with_its_shipped_settings_and_the_best_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    first: dict[str, dict[str, Any]] = {}

    def value(cfg: Any, log: Any) -> float:
        name = cfg.model.name
        if name not in first:
            first[name] = dict(cfg.model.plain)
            return SHIPPED[name]
        return 0.1

    stub(monkeypatch, value)
    told = configs(tmp_path)
    folder = tune.tune_all(told[0], told)
    for each in told:
        assert first[each.model.name] == dict(each.model.plain)
    board = json.loads((folder / "board.json").read_text())
    assert [(row["model"], row["value"], row["trials"]) for row in board["models"]] == [
        ("item_knn", 0.4, 3), ("popularity", 0.3, 3), ("personal_frequency", 0.2, 3),
    ]  # fmt: skip
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert {"override /model": "item_knn"} in best["defaults"]
    assert "item_knn" in capsys.readouterr().out


def test_a_model_that_never_works_is_left_out_and_all_that_never_work_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def value(cfg: Any, log: Any) -> float:
        if cfg.model.name != "popularity":
            raise RuntimeError("out of luck")
        return 0.3

    stub(monkeypatch, value)
    told = configs(tmp_path / "one")
    board = json.loads((tune.tune_all(told[0], told) / "board.json").read_text())["models"]
    assert [row["model"] for row in board] == ["popularity"]
    assert "item_knn is left out: no trial" in caplog.text
    told = configs(tmp_path / "none")[:2]
    with pytest.raises(UserError, match="no trial of any model has finished"):
        tune.tune_all(told[0], told)


def test_hours_are_shared_and_what_one_model_leaves_the_others_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now, given = [0.0], []

    def search(cfg: Any, added: Path | None = None) -> Path:
        given.append(cfg.tuning.hours)
        now[0] += 1800  # half an hour each
        folder = cfg.paths.studies / cfg.model.name
        folder.mkdir(parents=True)
        (folder / "trials.json").write_text(json.dumps([{"state": "complete", "value": 0.1}]))
        (folder / "best.yaml").write_text("{}")
        return folder

    monkeypatch.setattr(tune, "tune_model", search)
    monkeypatch.setattr(tune.time, "monotonic", lambda: now[0])
    told = configs(tmp_path, "tuning.hours=3")
    tune.tune_all(told[0], told)
    assert given == [1.0, 1.25, 2.0]  # 3 / 3, 2.5 / 2, 2


def test_what_an_earlier_search_found_does_not_stay_beside_what_this_one_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stub(monkeypatch, lambda cfg, log: SHIPPED[cfg.model.name])
    told = configs(tmp_path)
    assert (tune.tune_all(told[0], told) / "best.yaml").is_file()
    monkeypatch.setattr(tune, "_is_file", lambda *_: False)  # a model that no file of configuration describes
    folder = tune.tune_all(told[0], told)
    assert (folder / "board.json").is_file()
    assert not list(folder.parent.glob("*/best.yaml"))


def test_the_candidates_are_those_of_the_model_auto(tmp_path: Path):
    told = config(tmp_path, "model=auto", "model.candidates.two_stage=null")
    assert told.model.target == tune.AUTO
    assert tune.candidates(told)[:2] == ["personal_frequency", "recency"]
    assert "two_stage" not in tune.candidates(told)


@pytest.mark.parametrize(
    ("spec", "inside", "outside"),
    [
        ({"type": "categorical", "choices": [None, 3]}, [None, 3], [4]),
        ({"type": "int", "low": 1, "high": 9, "step": 4}, [1, 5, 9], [2, 0, 13, 5.5, True, None]),
        ({"type": "float", "low": 0.5, "high": 2, "log": True}, [0.5, 1, 2.0], [0.4, None, "1"]),
    ],
)
def test_a_space_holds_what_it_reaches_to(spec: dict[str, Any], inside: list[Any], outside: list[Any]):
    assert [holds(spec, value) for value in inside] == [True] * len(inside)
    assert [holds(spec, value) for value in outside] == [False] * len(outside)
