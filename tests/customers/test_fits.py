"""A customer model's fit has what a recommender's has: a curve that is kept, trials that are pruned."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from house import House
from pipeline.test_own_task import rows
from shopkeeper.customers import blend
from shopkeeper.customers.blend import WITH, WITHOUT
from shopkeeper.customers.lightgbm import LightGBM
from shopkeeper.pipeline.forms.learn import learn
from shopkeeper.pipeline.tune import tune_model

SMALL = ("dataset=rhythm", "split=temporal", "model=lightgbm", "model.min_positives=1", "model.min_data_in_leaf=2",
         "model.max_trees=60")  # fmt: skip


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    house = House(tmp_path)
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60, "n_train": 1})
    return house


def test_the_curve_of_trees_goes_to_the_tracker_once_with_its_picture(house: House):
    from mlflow import MlflowClient

    store = f"sqlite:///{house.place / 'mlflow.db'}"
    run = house.train("run", *SMALL, "tracking=mlflow", f"tracking.uri={store}")
    client = MlflowClient(store)
    told = client.get_metric_history(run.manifest["mlflow_run"], "training/log_loss")
    # The model that test is judged by is fitted alike and then calibrated: its curve is the same, and not told again.
    assert [point.step for point in told] == list(range(10, 10 * len(told) + 1, 10))
    assert len(told) > 3
    files = {file.path for file in client.list_artifacts(run.manifest["mlflow_run"], "figures")}
    assert "figures/learning_curve.svg" in files


def test_a_trial_of_a_customer_model_that_falls_behind_is_pruned(house: House, monkeypatch: pytest.MonkeyPatch):
    fitted = LightGBM.fit

    def fit(self: LightGBM, train: Any, calibration: Any, fit: Any) -> Any:
        late = self.parameters["learning_rate"] < 0.01  # a slow one is far behind at every look

        def log(metrics: dict[str, float], step: int) -> None:
            fit.log({"log_loss": metrics["log_loss"] + 9 * late}, step)

        return fitted(self, train, calibration, type(fit)(seed=fit.seed, log=log))

    monkeypatch.setattr(LightGBM, "fit", fit)
    words = [*SMALL, "tuning=random", "tuning.pruner=median", "tuning.startup_trials=1", "tuning.trials=6",
             "~tuning.space", "+tuning.space={learning_rate: {type: categorical, choices: [0.03, 0.005]}}"]  # fmt: skip
    folder = tune_model(house.config("tune", *words))
    found = json.loads((folder / "trials.json").read_text())
    states = {(t["params"]["learning_rate"], t["state"]) for t in found[1:]}
    assert {t["params"]["learning_rate"] for t in found} == {0.03, 0.005}
    assert (0.03, "complete") in states
    assert (0.005, "pruned") in states
    assert all(len(t["epochs"]) == 1 for t in found if t["state"] == "pruned")


def test_checkpoints_of_another_task_other_windows_or_other_features_are_others(house: House):
    from shopkeeper.pipeline.forms.checkpoints import checkpoint_folder

    cfg = house.config("train", *SMALL)
    facts = {"dataset_fingerprint": "f", "split": "temporal"}
    of_customers = [
        {**facts, "task": task, "windows": {"test": day}, "features": features}
        for task in ("churn", "buys")
        for day in (1, 2)
        for features in ("usual", "rich")
    ]
    assert len({checkpoint_folder(cfg, each) for each in (facts, {**facts, "task": "next_item"}, *of_customers)}) == 9


@pytest.mark.parametrize("carry", [True, False])
def test_what_validation_chose_is_kept_for_test_also_where_validation_is_not_asked_for(
    house: House, monkeypatch: pytest.MonkeyPatch, carry: bool
):
    judged = []

    def borne_out(cohort: Any, *answers: Any) -> tuple[bool, float, float]:
        judged.append(int(cohort.cutoff.max()))
        return carry, 0.6, 0.5

    monkeypatch.setattr(blend, "borne_out", borne_out)
    others = ("lightgbm", "extra_trees", "hazard", "two_part", "bg_nbd", "pareto_nbd")
    words = ("dataset=rhythm", "split=temporal", "model=blend", "model.folds=2", "audit=full",
             "model.members.logistic.min_positives=1", *(f"model.members.{name}=null" for name in others))  # fmt: skip
    run = house.train("run", *words)
    kept = WITH if carry else WITHOUT
    figures = {"log_loss_with_season": 0.5, "log_loss_without_season": 0.6}
    assert run.metrics["auto"] == {"validation": {"candidate": kept, **figures}, "test": {"candidate": kept}}
    assert (run.model().year is not None) == carry
    with ExitStack() as held:
        alone = learn(house.config("train", *words), ("test",), lambda *_: None, held)
    assert alone.metrics["auto"] == {"test": {"candidate": kept}}
    assert alone.tables["test"]["probability"].equals(run.table("test")["probability"])
    assert len(judged) == 2  # an audit keeps to what was chosen, too
    assert len(set(judged)) == 1
