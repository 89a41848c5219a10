"""`export run=best`: of each task the model that leads on validation, never on test, of those that can be handed on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hydra.core.hydra_config import HydraConfig

from house import House, read
from shopkeeper.bundles.answer import Bundle, verify
from shopkeeper.errors import UserError
from shopkeeper.evaluation.settings import Evaluation
from shopkeeper.evaluation.table import KEY
from shopkeeper.pipeline import export as verb
from shopkeeper.pipeline.comparing import choose
from shopkeeper.pipeline.comparing.choose import ranked
from shopkeeper.pipeline.export import check_calibration
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.runs import RunFolder

SMALL = ("dataset.simulate.customers=300", "evaluation.resamples=100")


def run(name: str, validation: float | None, test: float, direction: str = "maximize") -> RunFolder:
    task = {"name": "t", "headline": "m", "direction": direction}
    metrics: dict[str, Any] = {"model": name, "seed": 1, "task": "t", "test": {"m": {"value": test}}}
    if validation is not None:
        metrics["validation"] = {"m": {"value": validation}}
    return RunFolder(Path(name), {"task": task}, metrics, {})


def test_models_stand_in_the_order_of_validation_whatever_test_says(caplog: pytest.LogCaptureFixture) -> None:
    runs = {"a": run("a", 0.2, 0.9), "b": run("b", 0.4, 0.1), "c": run("c", None, 1.0), "d": run("d", 0.3, 0.5)}
    assert ranked(runs) == ["b", "d", "a"]
    assert "c has no m on validation, so it cannot lead" in caplog.text
    lower = {name: run(name, r.metrics.get("validation", {}).get("m", {}).get("value"), 0, "minimize")
             for name, r in runs.items()}  # fmt: skip
    assert ranked(lower) == ["a", "d", "b"]


class Ranked(RunFolder):
    """A run of a task that is judged by AUROC, which is no mean over rows."""

    @classmethod
    def of(cls, name: str, auroc: float, score: np.ndarray) -> Ranked:
        task = {"name": "t", "headline": "auroc", "direction": "maximize"}
        found = cls(
            Path(name), {"task": task}, {"model": name, "task": "t", "validation": {"auroc": {"value": auroc}}}, {}
        )
        vars(found)["score"] = score
        return found

    def table(self, part: str = "test") -> pa.Table:
        score = vars(self)["score"]
        label = np.arange(len(score)) % 2.0
        number = np.arange(len(label))
        columns = {"request": number, "user": number + 1, "user_id": [f"u{n:03}" for n in number], "label": label,
                   "probability": pa.array(np.nan_to_num(score), mask=np.isnan(score))}  # fmt: skip
        return pa.table(columns).replace_schema_metadata({KEY: json.dumps({"target_hash": "same"})})


def test_the_leader_of_a_task_whose_headline_is_no_mean_over_rows_is_chosen_and_compared(monkeypatch) -> None:
    monkeypatch.setattr(choose, "_left_out", lambda name, run: False)
    rng = np.random.default_rng(0)
    good, poor = np.arange(200) % 2 + rng.random(200) * 1.2, rng.random(200)
    found = choose.leader([Ranked.of("poor", 0.5, poor), Ranked.of("good", 0.9, good)], Evaluation(resamples=200))
    assert found is not None
    assert (found.run.path.name, found.facts["next"], found.facts["certain"]) == ("good", "poor", True)
    assert "good is better than poor by" in found.said
    nobody = [np.where(np.arange(200) < 100, np.nan, good), np.where(np.arange(200) < 100, poor, np.nan)]
    found = choose.leader([Ranked.of("a", 0.9, nobody[0]), Ranked.of("b", 0.5, nobody[1])], Evaluation(resamples=200))
    assert found is not None
    assert (found.facts["p_adjusted"], found.facts["certain"]) == (None, False)
    assert "nothing can be said of a and b on AUROC: 0 users have a value of both" in found.said


def of_churn(low: float, high: float, task: str = "churn") -> RunFolder:
    ece = {"value": (low + high) / 2, "low": low, "high": high, "n": 500}
    return RunFolder(Path("runs/of-churn"), {"task": {"name": task}}, {"task": task, "test": {"ece": ece}}, {})


def test_probabilities_that_are_surely_further_off_than_the_gate_are_not_exported():
    with pytest.raises(UserError, match=r"0\.150 apart in the mean \(ECE on test, 0\.120 to 0\.180\), surely more than "
                                        r"calibration_gate=0\.1; export another model, "):  # fmt: skip
        check_calibration(of_churn(0.12, 0.18), 0.1)
    check_calibration(of_churn(0.08, 0.18), 0.1)  # may be chance
    check_calibration(of_churn(0.12, 0.18), None)
    check_calibration(of_churn(0.12, 0.18, "still_customer"), 0.1)  # judged by orders, which it is not about


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A small simulated shop and five runs where the stages put theirs."""
    house = House(tmp_path_factory.mktemp("choose"))
    with pytest.MonkeyPatch.context() as here:
        here.chdir(house.place)
        prepare_data(house.config("prepare", *SMALL[:1], "prepared_folder=data"))
        for model, task in {"popularity": "next_item", "recency": "next_item", "oracle_observable": "next_item",
                            "base_rate": "churn", "logistic": "churn"}.items():  # fmt: skip
            words = (*SMALL, f"model={model}", f"task={task}", "prepared_folder=data")
            house.train(f"runs/demo_shop/{task}/temporal/{model}", *words)
    return house


def test_of_each_task_the_leader_is_exported_and_it_is_said_why(
    shop: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(shop.place)
    with caplog.at_level(logging.INFO):
        shop.export("run=best", "golden=10", *SMALL[1:])
    for task, models in {"next_item": ("popularity", "recency"), "churn": ("base_rate", "logistic")}.items():
        metric = {"next_item": "ndcg@10", "churn": "log_loss"}[task]
        folder = Path("runs/demo_shop") / task / "temporal"
        value = {m: read(folder / m / "metrics.json")["validation"][metric]["value"] for m in models}
        best, second = sorted(models, key=lambda m: value[m] if task == "churn" else -value[m])
        bundle = Bundle.load(Path("exports/demo_shop-best") / task)
        chosen = bundle.manifest["chosen"]
        assert bundle.manifest["model"] == best
        assert verify(bundle.path, repeat=0).ok
        assert (chosen["part"], chosen["of"], chosen["next"]) == ("validation", 2, second)
        assert chosen["value"] == value[best]
        assert chosen["next_value"] == value[second]
        said = next(
            r.message for r in caplog.records if r.message.startswith(f"{task}: {best} is exported: of 2 models")
        )
        assert chosen["statement"] in said
        assert ("within the noise" in said) == (chosen["statement"].startswith("cannot tell"))
    assert "oracle_observable is no candidate: Oracle models are not exported" in caplog.text


def test_the_verb_has_a_gate_for_probabilities(shop: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.place)
    asked: list[tuple[str, float | None]] = []
    monkeypatch.setattr(verb, "check_calibration", lambda run, gate: asked.append((run.task, gate)))
    shop.export("run=best", "golden=5", "calibration_gate=0.02", *SMALL[1:])
    shop.export("run=runs/demo_shop/churn/temporal/logistic", "golden=5", "calibration_gate=null")
    assert set(asked) == {("churn", 0.02), ("next_item", 0.02), ("churn", None)}
    with pytest.raises(UserError, match="calibration_gate is -1; it must be a number above 0, or null"):
        shop.export("run=best", "calibration_gate=-1")


def test_who_is_held_back_stops_nobody_else_and_the_command_ends_with_why(
    shop: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop.place)

    def gate(run: RunFolder, _: float | None) -> None:
        if run.task == "churn":
            raise UserError("what it promises and what came are apart")

    monkeypatch.setattr(verb, "check_calibration", gate)
    words = ("run=best", "golden=5", "name=held", *SMALL[1:])
    with pytest.raises(UserError, match=r"^1 of 2 tasks are exported, not these: churn: what it promises and what came "
                                        r"are apart$"):  # fmt: skip
        shop.export(*words)
    assert {path.name for path in Path("exports/held").iterdir()} == {"next_item"}
    monkeypatch.undo()
    monkeypatch.chdir(shop.place)
    shop.export(*words)
    monkeypatch.setattr(verb, "check_calibration", gate)
    with pytest.raises(UserError, match=r"are apart; exports/held/churn is the bundle of before$"):
        shop.export(*words)
    with pytest.raises(UserError, match=r"^what it promises"):
        shop.export(*words, "runs=[runs/demo_shop/churn/temporal/logistic]")

    def gone(manifest: dict[str, Any], _: Path) -> None:
        if manifest.get("windows"):
            raise UserError("its data are gone")

    monkeypatch.undo()
    monkeypatch.chdir(shop.place)
    monkeypatch.setattr(verb.context, "say_if_raw_changed", gone)
    with pytest.raises(UserError, match=r"^1 of 2 tasks are exported, not these: churn: its data are gone; "):
        shop.export(*words)


def test_the_next_leader_takes_its_place_and_a_bundle_of_another_task_stays(
    shop: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop.place)
    shop.export("run=best", "golden=5", *SMALL[1:])
    first = Bundle.load("exports/demo_shop-best/next_item").manifest["model"]
    (shop.place / "runs/demo_shop/next_item/temporal" / first).rename(shop.place / "aside")
    shop.export("run=best", "golden=5", *SMALL[1:])
    now = Bundle.load("exports/demo_shop-best/next_item").manifest
    assert now["model"] != first
    assert now["chosen"] == {"part": "validation", "metric": "ndcg@10", "value": now["chosen"]["value"], "of": 1}
    (shop.place / "aside").rename(shop.place / "runs/demo_shop/next_item/temporal" / first)
    with pytest.raises(UserError, match=f"model={now['model']}, not logistic"):
        shop.export("run=runs/demo_shop/churn/temporal/logistic", "name=demo_shop-best/next_item")


def test_a_task_that_is_named_is_exported_alone_and_a_model_that_does_not_lead_is_said(
    shop: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(shop.place)
    words = ["run=best", "golden=5", "name=named"]

    def export(*more: str) -> set[str]:
        told = SimpleNamespace(overrides=SimpleNamespace(task=[*words, *more]),
                               runtime=SimpleNamespace(config_sources=[]))  # fmt: skip
        monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
        monkeypatch.setattr(HydraConfig, "get", lambda: told)
        shop.export(*words, *more, *SMALL[1:])
        return {path.name for path in Path("exports/named").iterdir()}

    assert export("task=churn", "model=oracle_observable") == {"churn"}
    assert "model=oracle_observable is left aside: " in caplog.text
    assert "task=churn is left aside" not in caplog.text
    assert export("task=next_item") == {"churn", "next_item"}
    with pytest.raises(UserError, match=r"no finished run of task=churn split=leave_one_out below runs can be"):
        export("task=churn", "split=leave_one_out")


def test_without_a_run_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"no finished run of dataset=demo_shop split=temporal below runs can be exported; train one"
    ):
        House(tmp_path).export("run=best")
