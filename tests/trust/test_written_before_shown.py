"""A run is finished whatever its cut-offs and though a figure is not defined; what is only shown cannot lose it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from house import House, Row, read, small_shop
from shopkeeper.errors import UserError
from shopkeeper.pipeline import show
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.tune import tune_model

SASREC = ("model=sasrec", "trainer.max_epochs=2", "model.width=8", "model.max_length=8", "model.blocks=1")


def every_week(weeks: int, customers: int, stays_away: tuple[int, ...] = (), from_week: int = 0) -> list[Row]:
    """Customers who buy once a week; some stay away from a week on."""
    return [
        (f"c{c}", f"s{(c + w) % 5}", f"2023-{1 + (7 * w) // 28:02d}-{1 + (7 * w) % 28:02d} 12:{c:02d}:00", "4.0")
        for w in range(weeks)
        for c in range(customers)
        if not (c in stays_away and w >= from_week)
    ]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    return House(tmp_path)


# Any cut-off --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", ["20", "1", "5,20"])
def test_the_first_cut_off_is_the_headline_whatever_it_is(k: str, house: House, tmp_path: Path):
    house.dataset("small", small_shop())
    headline = f"ndcg@{k.partition(',')[0]}"
    for model in ("popularity", "item_knn"):
        run = house.train(model, "dataset=small", f"model={model}", f"evaluation.k=[{k}]", "tracking=mlflow")
        assert run.config["task"]["headline"] == headline
        assert {f"ndcg@{cut}" for cut in k.split(",")} <= set(read(f"{model}/metrics.json")["test"])
        assert open_run(model).metrics["test"][headline]["value"] is not None
    house.evaluate("runs=[popularity,item_knn]", "tracking=mlflow")
    report = tmp_path / "reports/small/temporal"
    assert headline in read(report / "leaderboard.json")["next_item"]["popularity"]
    html = (report / "report.html").read_text(encoding="utf-8")
    places = {"20": "twenty", "1": "one", "5": "five"}[k.partition(",")[0]]
    assert f"its {places} suggestions hold something" in html
    assert f"competed for the {places} places" in html


def test_training_and_search_choose_by_the_first_cut_off(house: House):
    house.dataset("small", small_shop())
    run = house.train("run", "dataset=small", *SASREC, "evaluation.k=[3,10]", "tracking=mlflow")
    told = read(run.path / "training.json")
    assert told["best_ndcg@3"] == max(epoch["ndcg@3"] for epoch in told["history"])
    best = next(epoch for epoch in told["history"] if epoch["epoch"] == told["best_epoch"])
    assert run.metrics["validation"]["ndcg@3"]["value"] == pytest.approx(
        best["ndcg@3"], abs=0.02
    )  # bf16 while training
    words = ("dataset=small", "model=item_knn", "evaluation.k=[3]", "tuning.trials=1")
    folder = tune_model(house.config("tune", *words))
    found = yaml.safe_load((folder / "best.yaml").read_text())
    assert found["evaluation"] == {"k": [3]}
    assert "task" not in found
    (house.place / "conf/experiment").mkdir()
    (house.place / "conf/experiment/found.yaml").write_text((folder / "best.yaml").read_text())
    assert house.config("train", "experiment=found").task.headline == "ndcg@3"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evaluation.k=[]",), r"evaluation.k=\[\] must be a list of different whole numbers"),
        (("evaluation.k=[0]",), r"evaluation.k=\[0\] must be"),
        (("evaluation.k=[10,10]",), r"evaluation.k=\[10, 10\] must be"),
        (("evaluation.k=[2.5]",), r"evaluation.k=\[2.5\] must be"),
        (("evaluation.k=20",), r"evaluation.k=20 must be a list; write evaluation.k=\[20\]"),
        (("task.headline=ndcg@10", "evaluation.k=[20]"), r"task.headline=ndcg@10 is not among evaluation.k=\[20\]"),
        (("evaluation.ties=expcted",), r"evaluation.ties is 'expcted'.*Did you mean 'expected'"),
        (("evaluation.top_k=0",), "evaluation.top_k is 0; it must be a whole number of at least 1"),
        (("evaluation.resamples=x",), "evaluation.resamples is 'x'; it must be a whole number"),
        (("evaluation.confidence=95",), "evaluation.confidence is 95; it must be a number above 0 and below 1"),
        (("evaluation.smallest_effect=0",), "evaluation.smallest_effect is 0; it must be a number above 0"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_the_training(words: tuple[str, ...], said: str, house: House):
    house.dataset("small", small_shop())
    with pytest.raises(UserError, match=said):
        house.train("run", "dataset=small", "model=popularity", *words)
    assert not (house.place / "run").exists()
    assert not (house.place / "data").exists()


def test_runs_of_different_cut_offs_are_not_set_side_by_side(house: House):
    house.dataset("small", small_shop())
    for k in (3, 5):
        house.train(f"run{k}", "dataset=small", "model=popularity", f"evaluation.k=[{k}]")
    with pytest.raises(UserError, match=r"run5 has no ndcg@3, by which run3 is judged: .*evaluation.k=\[5\]"):
        house.evaluate("runs=[run3,run5]")


# Figures that are not defined ---------------------------------------------------------------------------------------


def test_prices_that_no_target_has_leave_a_dash_and_a_finished_run(house: House, capsys: pytest.CaptureFixture[str]):
    rows = small_shop()
    first = min(row[2] for row in rows)  # the log tells prices on its first day alone
    house.dataset("blank", [row if row[2] == first else (*row[:3], "") for row in rows])
    run = house.train("run", "dataset=blank", "model=popularity", "tracking=mlflow", "evaluation.k=[1]")
    for part in ("validation", "test"):
        assert read("run/metrics.json")[part]["price_ndcg@1"]["value"] is None
    line = next(x for x in show.metrics_table(run.metrics).splitlines() if x.startswith("price_ndcg@1"))
    assert line.split() == ["price_ndcg@1", "↑", "–", "–"]
    house.evaluate("runs=[run]", "tracking=mlflow")
    house.export("run=run")
    with pytest.raises(UserError, match="price_ndcg@1 on validation is not defined for any request"):
        show.find_metric(run.metrics, "validation", "price_ndcg@1")


CHURN: dict[str, Any] = {"churn": {"horizon_days": 14, "active_days": 28}}


@pytest.mark.parametrize(
    ("rows", "probabilities"),
    [
        (every_week(18, 6), False),  # nobody ever leaves: one class everywhere
        (every_week(18, 30, (0, 1), 6), False),  # two who leave: too few to learn from
        (every_week(26, 60, tuple(range(25)), 8), True),  # some leave, but nobody in the test window
    ],
)
def test_a_window_without_two_classes_leaves_nulls_dashes_and_finished_runs(
    rows: list[Row], probabilities: bool, house: House, capsys: pytest.CaptureFixture[str]
):
    house.dataset("loyal", rows, **CHURN)
    models = ("base_rate", "logistic", "lightgbm")
    for model in models:
        run = house.train(model, "dataset=loyal", f"model={model}", "tracking=mlflow")
        test = read(f"{model}/metrics.json")["test"]
        assert open_run(model).table().num_rows > 0
        assert test["auroc"]["value"] is None
        assert (test["log_loss"]["value"] is not None) == probabilities
        assert "–" in show.metrics_table(run.metrics)
    house.evaluate(f"runs=[{','.join(models)}]", "tracking=mlflow")
    said = capsys.readouterr().out
    assert "logistic" in said
    assert "–" in said
    html = Path("reports/loyal/temporal/report.html").read_text(encoding="utf-8")
    assert ("Nothing can be said: log loss is not defined for" in html) != probabilities
    assert ">nan" not in html.lower()
    read("reports/loyal/temporal/leaderboard.json")
    read("reports/loyal/temporal/comparisons.json")


def test_a_search_whose_headline_is_not_defined_says_so_in_one_line(house: House):
    house.dataset("loyal", every_week(18, 6), **CHURN)
    words = ("dataset=loyal", "model=lightgbm", "tuning.trials=1")
    with pytest.raises(UserError, match=r"no trial of study .* has finished .*log_loss on validation is not defined"):
        tune_model(house.config("tune", *words))


# What is only shown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    ["pipeline.pictures.figures.run_figures", "pipeline.show.note", "pipeline.show.colour", "tracking.Run.results"],
)
def test_a_display_that_fails_is_a_warning_and_the_run_is_there(
    broken: str, house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    house.dataset("small", small_shop())

    def fail(*_: object, **__: object) -> None:
        raise KeyError("value")

    monkeypatch.setattr(f"shopkeeper.{broken}", fail)
    with caplog.at_level(logging.WARNING):
        house.train("run", "dataset=small", "model=popularity", "tracking=mlflow")
    assert open_run("run").metrics["test"]["ndcg@10"]["n"] > 0
    said = [r.getMessage() for r in caplog.records if "could not be made" in r.getMessage()]
    assert len(said) == 1
    assert "KeyError: 'value'" in said[0]
    assert "\n" not in said[0]


def test_a_run_that_cannot_be_written_keeps_its_checkpoint_to_go_on_from(house: House, monkeypatch: pytest.MonkeyPatch):
    house.dataset("small", small_shop())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shopkeeper.recommenders.networks.sasrec.SASRec.save", full)
        with pytest.raises(UserError, match="cannot write run: No space left"):
            house.train("run", "dataset=small", *SASREC)
    assert list(house.place.glob("outputs/checkpoints/*/checkpoint/step-*/state.json"))
    assert not (house.place / "run/manifest.json").exists()
    house.train("run", "dataset=small", *SASREC)
    assert not list(house.place.glob("outputs/checkpoints/*/checkpoint"))
    assert list(house.place.glob("run/checkpoint/checkpoint/step-*/state.json"))
