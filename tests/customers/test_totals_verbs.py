"""Orders, spend and propensity through the verbs: trained, compared and reported beside churn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from house import House
from shopkeeper.errors import UserError
from shopkeeper.pipeline.forms import customers as form
from shopkeeper.pipeline.runs import RunFolder

SMALL = ("dataset=rhythm", "split=temporal")
FEW = ("model.min_positives=1",)
PLACE = "runs/rhythm/{}/temporal/{}"


def rows() -> list[tuple[str, str, str, str]]:
    """80 customers over 200 days: each has a rhythm and a purse of his own, and every third stops half way."""
    rng, found = np.random.default_rng(4), []
    for customer in range(80):
        gap, purse, last = rng.uniform(4, 30), rng.uniform(1, 20), 100 if customer % 3 == 0 else 199
        for day in np.cumsum(rng.exponential(gap, 60)):
            if day < last:
                date = np.datetime64("2023-01-01") + int(day)
                price = f"{purse * rng.uniform(0.5, 1.5):.2f}"
                found.append((f"c{customer}", f"s{rng.integers(9)}", f"{date} 12:00:00", price))
    return sorted(found, key=lambda row: row[2])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("totals"))
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60})
    return house


@pytest.fixture(autouse=True)
def there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house.place)


def trained(house: House, task: str, model: str, *words: str) -> RunFolder:
    few = () if model == "last_period" else FEW
    return house.train(PLACE.format(task, model), f"task={task}", f"model={model}", *SMALL, *few, *words)


def test_totals_are_trained_with_the_windows_of_churn_compared_and_reported(house: House):
    runs = {
        (task, model): trained(house, task, model, *(("model.max_trees=20",) if model == "lightgbm" else ()))
        for task in ("orders", "spend")
        for model in ("base_rate", "last_period", "lightgbm")
    }
    runs["propensity", "base_rate"] = trained(house, "propensity", "base_rate")
    asked = {task: runs[task, "base_rate"].table("test") for task in ("propensity", "orders", "spend")}
    assert len({tuple(table["user"].to_pylist()) for table in asked.values()}) == 1  # the same customers
    bought, ordered, spent = (
        asked[t][c].to_numpy() for t, c in (("propensity", "label"), ("orders", "actual"), ("spend", "actual"))
    )
    assert ((ordered > 0) == (bought == 1)).all()
    assert ((spent > 0) == (bought == 1)).all()
    house.evaluate(*SMALL, "report.resamples=20")
    report = Path("reports/rhythm/temporal")
    board = json.loads((report / "leaderboard.json").read_text())
    assert set(board["spend"]) == set(board["orders"]) == {"base_rate", "last_period", "lightgbm"}
    assert {"poisson_deviance", "absolute_error", "rmse", "bias", "normalised_gini"} <= set(board["spend"]["lightgbm"])
    assert "poisson_deviance" in board["orders"]["lightgbm"]
    found = json.loads((report / "comparisons.json").read_text())["spend"]
    assert {one["metric"]: one["family"] for one in found} == {
        "poisson_deviance": 3, "rmse": 9, "absolute_bias": 9, "normalised_gini": 9,
    }  # fmt: skip
    page = (report / "report.html").read_text(encoding="utf-8")
    for words in (
        "How much will they spend?",
        "How often will they order?",
        "Who will buy?",
        f"all {len(bought)} customers",
    ):
        assert words in page, words
    assert "MAE" in (report / "leaderboard.txt").read_text() + page


def test_a_model_of_probabilities_is_refused_where_amounts_are_asked_for(house: House):
    with pytest.raises(UserError, match="model=logistic answers with probabilities, and task=spend asks for amounts"):
        trained(house, "spend", "logistic")
    with pytest.raises(UserError, match="model=last_period is for task=spend, orders, not task=churn"):
        trained(house, "churn", "last_period")


def test_with_refit_test_is_asked_of_a_model_that_learnt_from_every_cutoff_observed_before_it(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    told, honest = [], form.model_of

    def watched(cfg):
        model = honest(cfg)
        fit = model.fit

        def seen(train, calibration, of_fit):
            told.append((np.unique(train.cutoff), calibration))
            return fit(train, calibration, of_fit)

        model.fit = seen
        return model

    monkeypatch.setattr(form, "model_of", watched)
    words = ("evaluation.refit=true", "task.windows.step_days=5", "audit=full")
    run = trained(house, "spend", "base_rate", *words)
    day = 86_400_000_000
    (before, _), (all_of_them, spent) = told[0], told[len(told) // 2]
    test = int(run.table("test")["instant"].cast("int64").to_numpy()[0])
    assert spent is None
    assert before.max() == test - 40 * day  # its window ends where validation is asked
    assert all_of_them.max() == test - 20 * day
    assert set(before) < set(all_of_them)
    assert set(np.diff(all_of_them)) == {5 * day}
    assert run.manifest["refit"] is True


def test_a_network_is_trained_anew_on_all_cutoffs_before_test_where_that_is_asked(house: House):
    small = ("model.width=8", "model.epochs=2", "model.batch_size=16", "trainer.accelerator=cpu")
    run = trained(house, "orders", "gru", "evaluation.refit=true", "task.windows.step_days=10", *small)
    assert run.metrics["refit"] is True
    assert run.metrics["test"]["absolute_error"]["n"] > 10
    assert not list(Path("outputs/checkpoints").glob("gru-*/checkpoint"))
