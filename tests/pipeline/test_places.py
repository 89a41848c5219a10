"""Runs lie in one place under names that say their settings, and are found by path, by model or in short."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.cli.runs import print_runs
from shopkeeper.errors import UserError
from shopkeeper.hashing import sealed
from shopkeeper.pipeline import context
from shopkeeper.pipeline.places import find, latest, listed, meant, run_folder, to_compare
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import Train, but, settings

KNN = ("model=item_knn",)


def told(*words: str) -> Train:
    return settings(composed("train", list(words)), Train)


def test_a_folders_name_says_the_settings_and_not_where_or_how_they_were_worked_on() -> None:
    first = run_folder(told(*KNN))
    assert first.parent == Path("runs/demo_shop/next_item/temporal")
    assert first.name.startswith("item_knn-")
    assert len(first.name) == len("item_knn-01234567")
    for same in ("progress=false", "tracking=none", "trainer.memory_gib=3", "trainer.resume=false", "audit=full",
                 "engine=polars", "paths.prepared=elsewhere", "trainer.checkpoint_epochs=5"):  # fmt: skip
        assert run_folder(told(*KNN, same)) == first, same
    for other in ("seed=2", "model.neighbours=7", "evaluation.k=[5,10]", "trainer.max_epochs=3", "split.k_core=2",
                  "timeline.ties=shuffled", "dataset.filter_seen=true"):  # fmt: skip
        assert run_folder(told(*KNN, other)) != first, other
    assert run_folder(told(*KNN, "split=leave_one_out")).parts[-2] == "leave_one_out"
    assert run_folder(told(*KNN, "name=mine")) == first.with_name("mine")
    for wrong in ("..", "a/b", "", ".hidden"):
        with pytest.raises(UserError, match=r"names no folder below paths\.runs"):
            run_folder(but(told(*KNN), name=wrong))


def test_a_run_that_knew_somebody_is_replaced_by_the_one_without_them() -> None:
    first = run_folder(told(*KNN))
    assert run_folder(told(*KNN, "+dataset.erasure={file: erased.csv, column: user_id}")) == first
    assert run_folder(told(*KNN, "+dataset.consent={file: consent.csv, purpose: email}")) != first


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes what is listed of a run: its manifest, settings and figures."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, model: str, hour: int, seed: int = 1, task: str = "next_item", split: str = "temporal",
             dataset: str = "shop", width: int = 1, value: float = 0.5, asked: str = "all") -> Path:  # fmt: skip
        folder = Path("runs") / dataset / task / split / name
        folder.mkdir(parents=True)
        about: dict[str, Any] = {"dataset": dataset, "split": split, "task": task, "model": model, "seed": seed,
                                 "target_hash": asked}  # fmt: skip
        figures = {"ndcg@10": {"value": value, "low": value - 0.1, "high": value + 0.1}}
        (folder / "metrics.json").write_text(json.dumps({**about, "validation": figures, "test": figures}))
        of_task = {"name": task, "headline": "ndcg@10", "direction": "maximize"}
        config = {"model": {"name": model, "width": width}, "seed": seed, "task": of_task, "paths": {"runs": name}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        when = f"2026-01-01T{hour:02d}:00:00Z"
        (folder / "manifest.json").write_text(json.dumps(sealed({"kind": "run", "trained_at": when, "files": {}})))
        return folder

    return make


def test_of_each_model_the_last_settings_are_compared_with_all_their_seeds(made: Callable[..., Path]) -> None:
    made("a-1", "a", 9, seed=3, width=2)  # the latest but for the last settings
    last = [made("a-2", "a", 3, seed=1), made("a-3", "a", 4, seed=2), made("b-1", "b", 1)]
    last.insert(0, made("a-4", "a", 10, seed=3))
    made("a-5", "a", 2, seed=1)  # the same seed, earlier
    made("a-6", "a", 8, split="leave_one_out")
    made("c-1", "c", 7, dataset="other")
    assert {run.path for run in to_compare(Path("runs"), {})} == set(last)
    assert [run.path.name for run in to_compare(Path("runs"), {"split": "leave_one_out"})] == ["a-6"]
    assert [run.path.name for run in to_compare(Path("runs"), {"dataset": "other"})] == ["c-1"]
    made("a-7", "a", 11, dataset="other")
    assert [run.path.name for run in to_compare(Path("runs"), {})] == ["a-7", "c-1"]  # where the last one is


def test_runs_that_were_asked_otherwise_than_the_last_are_left_out_and_named(
    made: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    made("a-1", "a", 1, asked="first")
    made("b-1", "b", 2, asked="first")
    churn = made("d-1", "d", 3, task="churn", asked="who leaves")
    new = made("a-2", "a", 4, asked="all")
    assert {run.path for run in to_compare(Path("runs"), {})} == {new, churn}
    assert "next_item: left out, as it was asked other questions than a-2, which was trained last: b-1;" in caplog.text
    assert "a-1" not in caplog.text  # its model is there
    caplog.clear()
    back = made("b-2", "b", 5, asked="all")
    assert {run.path for run in to_compare(Path("runs"), {})} == {new, back, churn}
    assert not caplog.text


def test_a_run_is_found_by_path_by_model_and_by_what_its_name_begins_with(made: Callable[..., Path]) -> None:
    root = Path("runs")
    old, new = made("sasrec-0aa0aa00", "sasrec", 1), made("sasrec-0bb0bb00", "sasrec", 2)
    stage = made("sasrec", "sasrec", 0)
    churn = made("logistic-0cc0cc00", "logistic", 3, task="churn")
    assert find("sasrec", root) == new
    assert find(str(stage), root) == stage
    assert find("sasrec-0a", root) == old
    assert find("churn/logistic", root) == find("logistic", root) == find("shop/logistic-0cc0cc00", root) == churn
    assert latest(root, {}) == churn
    assert latest(root, {"model": "sasrec"}) == new
    assert latest(root, {}, lambda run: run.task != "churn") == new
    with pytest.raises(UserError, match=r"sasrec-0 may be shop/next_item/temporal/sasrec-0aa0aa00, .*0bb0bb00; say"):
        find("sasrec-0", root)
    made("sasrec-0dd0dd00", "sasrec", 5, split="sessions")
    with pytest.raises(UserError, match=r"sasrec may be shop/next_item/temporal/sasrec, .*; say more of the name, or "
                                        "split=temporal beside it$"):  # fmt: skip
        find("sasrec", root)
    assert find("sasrec", root, {"split": "temporal"}) == new
    with pytest.raises(UserError, match=r"no run of that name of task=churn below runs"):
        find("sasrec", root, {"task": "churn"})
    assert find("temporal/sasrec", root) == new
    with pytest.raises(UserError, match=r"no run folder sasrek and no run of that name below runs.*Did you mean 'sas"):
        find("sasrek", root)
    with pytest.raises(UserError, match=r"no finished run of model=gru below runs; `\S+ ?\S* model=gru` makes one"):
        latest(root, {"model": "gru"})
    here = (
        r"below runs that this verb reads \(those of churn, next_item are none\); `.* dataset=shop model=…` makes one"
    )
    with pytest.raises(UserError, match=here):  # not that there is none
        latest(root, {"dataset": "shop"}, lambda run: False)


def test_what_is_typed_beside_a_name_says_which_run_is_meant(
    made: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path("runs")
    orders, spend = (made(f"two_part-{task}", "two_part", 1, task=task) for task in ("orders", "spend"))
    config = {"task": {"name": "orders"}, "model": {"name": "sasrec"}}
    typed = ["run"]
    monkeypatch.setattr(context, "by_hand", lambda: True)
    monkeypatch.setattr(context, "typed", lambda: typed)
    with pytest.raises(UserError, match=r"two_part may be .*; say more of the name, or task=orders beside it$"):
        meant("two_part", root, config)
    typed.append("task")
    assert meant("two_part", root, config) == orders
    assert meant("two_part", root, {"task": {"name": "spend"}}) == spend
    monkeypatch.setattr(context, "by_hand", lambda: False)  # a call from Python has settings that nobody typed
    with pytest.raises(UserError, match="two_part may be"):
        meant("two_part", root, config)


def test_runs_are_listed_the_best_first_and_the_damaged_are_named(
    made: Callable[..., Path], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    made("a-1", "a", 1, value=0.3)
    made("a-2", "a", 2, value=0.2, width=2)
    made("b-1", "b", 1, value=0.9)
    print_runs([])
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0] == "runs/shop/next_item/temporal: ndcg@10, higher is better"
    assert [line.split()[0] for line in lines[3:]] == ["b-1", "a-1", "a-2"]
    assert "(older)" in lines[4]
    assert "0.300 (0.200–0.400)" in lines[4]
    assert max(map(len, lines)) <= 80
    print_runs(["a-2"], as_json=True)
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["path"], one["model"], one["validation"]["value"]) == ("runs/shop/next_item/temporal/a-2", "a", 0.2)
    with pytest.raises(UserError, match=r"there is no finished run of c below runs\. Valid: a, b, next_item, shop"):
        print_runs(["c"])
    Path("runs/shop/next_item/temporal/b-1/metrics.json").write_text("{}")
    assert [run.model for run in listed(Path("runs"))] == ["a", "a"]
    assert "b-1/metrics.json names no dataset" in caplog.text
    with pytest.raises(UserError, match="b-1"):
        to_compare(Path("runs"), {})
