"""A task of one's own: one file and one YAML outside of this package, and every verb serves it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from house import House
from shopkeeper.bundles.answer.verify import verify
from shopkeeper.cli.compare import print_comparison
from shopkeeper.errors import UserError
from shopkeeper.pipeline import context
from shopkeeper.pipeline.audience import audience
from shopkeeper.pipeline.places import latest
from shopkeeper.pipeline.recommend import _recommends
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.score import _of_customers, score
from shopkeeper.pipeline.tune import tune_model
from shopkeeper.serving import Bundle
from shopkeeper.tasks.find import find_task

TASK_FILE = '''"""Who comes back soon? Label 1: a purchase in the window."""

import numpy as np

from shopkeeper.tasks.base import Bands, Truth, customer_task


def comes_back(bought: np.ndarray) -> np.ndarray:
    return (bought > 0).astype(np.float64)


TASK = customer_task("comeback", Truth(comes_back), "Who comes back soon?",
                     slices={"lately": Bands("days_since_order", (10,), ("under ten days", "ten days and more"))})
'''
TASK_YAML = """name: comeback
target: my_comeback.TASK
direction: minimize
headline: log_loss
windows: {horizon_days: 20, active_days: 60, gap_days: null, min_history_days: null, n_train: 1,
  observed_until: null, observed_from: null, test: null, calibration: null}
"""
SMALL = ("model.min_positives=1", "dataset=rhythm", "split=temporal")


def rows() -> list[tuple[str, str, str, str]]:
    """60 customers over 200 days: each has a rhythm of his own, and every third stops half way."""
    rng, found = np.random.default_rng(3), []
    for customer in range(60):
        gap, last = rng.uniform(5, 40), 100 if customer % 3 == 0 else 199
        for day in np.cumsum(rng.exponential(gap, 60)):
            if day < last:
                date = np.datetime64("2023-01-01") + int(day)
                found.append((f"c{customer}", f"s{rng.integers(9)}", f"{date} 12:00:00", "2.5"))
    return sorted(found, key=lambda row: row[2])


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_comeback.py").write_text(TASK_FILE)
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/comeback.yaml").write_text(TASK_YAML)
    house = House(tmp_path)
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60, "n_train": 1})
    return house


def test_a_task_outside_of_the_package_is_trained_evaluated_and_compared_beside_churn(
    house: House, capsys: pytest.CaptureFixture[str]
):
    place = "runs/rhythm/{}/temporal/{}"
    runs = {
        (task, model): house.train(place.format(task, model), f"model={model}", f"task={task}", *SMALL)
        for task, model in (("churn", "base_rate"), ("comeback", "base_rate"), ("comeback", "logistic"))
    }
    here = {name: run.table("test") for name, run in runs.items()}
    churned, bought = (here[task, "base_rate"]["label"].to_numpy() for task in ("churn", "comeback"))
    assert ["slice:lately" in here[task, "base_rate"].column_names for task in ("churn", "comeback")] == [False, True]
    assert 0 < churned.sum() < len(churned)
    np.testing.assert_array_equal(bought, 1 - churned)  # the same customers and windows, the other question
    house.evaluate("dataset=rhythm", "split=temporal", "report.resamples=20")
    report = Path("reports/rhythm/temporal")
    assert {"customers.parquet", "comeback.parquet"} <= {path.name for path in report.iterdir()}
    assert set(json.loads((report / "leaderboard.json").read_text())["comeback"]) == {"base_rate", "logistic"}
    found = json.loads((report / "comparisons.json").read_text())["comeback"]
    assert all({one["a"], one["b"]} == {"base_rate", "logistic"} for one in found)
    assert {one["metric"]: one["family"] for one in found} == {
        "log_loss": 1, "auroc": 3, "average_precision": 3, "ece": 3,
    }  # fmt: skip
    print_comparison(
        [run.path for (task, _), run in runs.items() if task == "comeback"], "auroc", "test",
        smallest_effect=0.003, confidence=0.95, test="randomisation",
    )  # fmt: skip
    assert "AUROC" in capsys.readouterr().out
    page = (report / "report.html").read_text(encoding="utf-8")
    for words in (
        "The same on other metrics (3)",
        "Who comes back soon?",
        "Comeback models side by side",
        "Who is about to leave?",
        "ten days and more",
    ):
        assert words in page


def test_scores_of_it_in_a_file_are_what_an_audience_asks_for(house: House):
    """A file of scores says itself whether they are of who comes or who leaves: no task is looked for."""
    words = ("model=logistic", *SMALL)
    house.train("runs/comes", "task=comeback", *words)
    house.train("runs/leaves", "task=churn", *words)
    for name in ("comes", "leaves"):
        score(house._composed("score", (f"run=runs/{name}", f"to={name}.parquet")))
        told = ("audience=about_to_buy", f"scores={name}.parquet", "~audience.blocks.for_you", f"out=of/{name}")
        audience(house._composed("audience", (*SMALL[1:], *told, "audience.needs_consent=false")))
    said = {row["user_id"]: row["probability"] for row in pq.read_table("comes.parquet").to_pylist()}
    found = pq.read_table("of/comes/audience.parquet").to_pylist()
    assert len(found) > 5
    assert all(row["probability"] == said[row["user_id"]] for row in found)
    left = {row["user_id"]: row["probability"] for row in pq.read_table("leaves.parquet").to_pylist()}
    assert all(
        r["probability"] == 1 - left[r["user_id"]] for r in pq.read_table("of/leaves/audience.parquet").to_pylist()
    )
    table = pq.read_table("comes.parquet")
    about = json.loads(table.schema.metadata[b"shopkeeper"])
    for change, message in (
        ({"fingerprint": "another"}, "holds scores of other data than"),
        ({"answers": None}, r"older\.parquet does not say what its scores are; run `shopkeeper score` again"),
    ):
        other = {k: v for k, v in {**about, **change}.items() if v is not None}
        pq.write_table(table.replace_schema_metadata({"shopkeeper": json.dumps(other)}), "older.parquet")
        told = ("audience=about_to_buy", "scores=older.parquet", "~audience.blocks.for_you", "out=of/older")
        with pytest.raises(UserError, match=message):
            audience(house._composed("audience", (*SMALL[1:], *told, "audience.needs_consent=false")))


def test_it_is_tuned_exported_and_answers_from_a_bundle(house: House):
    words = ("model=logistic", "task=comeback", *SMALL)
    study = tune_model(house.config("tune", *words, "tuning=random", "tuning.trials=2"))
    assert yaml.safe_load((study / "best.yaml").read_text(encoding="utf-8"))["model"]["inverse_penalty"] > 0
    run = house.train("models/logistic", *words)
    house.export("run=models/logistic", "name=mine", "golden=5", "dataset=rhythm", "split=temporal")
    assert verify("exports/mine").ok
    often = [[f"s{n % 9}", "purchase", f"2023-07-{n:02d}T12:00:00Z"] for n in range(1, 19)]
    one, none = Bundle.load("exports/mine").answer([often, []], as_of="2023-07-19")
    assert 0 < one.probability < 1
    assert none.probability is None
    assert none.reason
    assert run.metrics["task"] == "comeback"


def test_the_run_trained_last_is_found_among_those_of_ones_own_task_and_of_tasks_that_nobody_names(
    house: House, caplog: pytest.LogCaptureFixture
):
    churn, own = (listed_run(house, task) for task in ("churn", "comeback"))
    assert latest(Path("runs"), {}, _of_customers) == own
    (house.place / "conf/task/comeback.yaml").unlink()
    assert latest(Path("runs"), {}, _of_customers) == churn
    assert f"left aside: {own}: task.target 'my_comeback.TASK' is not named" in caplog.text
    with pytest.raises(UserError, match="there is no finished run below runs"):
        latest(Path("runs"), {}, _recommends)


def listed_run(house: House, task: str) -> Path:
    return house.train(f"runs/rhythm/{task}/temporal/base_rate", "model=base_rate", f"task={task}", *SMALL).path


def test_a_model_says_which_tasks_it_serves(house: House):
    both = ("model=base_rate", "model.tasks=[churn,comeback]", *SMALL)
    for task in ("churn", "comeback"):
        context.check_task(house.config("train", *both, f"task={task}"))
    with pytest.raises(UserError, match="model=base_rate is for task=churn, not task=comeback"):
        context.check_task(house.config("train", "model=base_rate", "model.tasks=[churn]", *SMALL, "task=comeback"))
    with pytest.raises(UserError, match="model=base_rate is for tasks about customers, not task=next_item"):
        context.check_task(house.config("train", "model=base_rate", *SMALL, "task=next_item"))
    with pytest.raises(UserError, match=r"not task=comeback; leave task out, or choose .*: base_rate, .*logistic"):
        context.check_task(house.config("train", "model=popularity", "dataset=rhythm", "task=comeback"))


def test_an_artifact_names_no_task_that_is_imported(house: House):
    run = house.train("run", "model=base_rate", "task=comeback", *SMALL)
    assert open_run("run").about.words.question == "Who comes back soon?"
    (house.place / "conf/task/comeback.yaml").unlink()
    with pytest.raises(UserError, match="a file does not choose what is run"):
        open_run("run").about  # noqa: B018
    with pytest.raises(UserError, match=r"there is no task=churm\. Did you mean 'churn'\?"):
        find_task({"name": "churm"})
    assert run.task == "comeback"


def test_runs_of_two_tasks_and_one_run_twice_are_not_compared_and_it_is_said_why(house: House):
    options = {"smallest_effect": 0.003, "confidence": 0.95, "test": "randomisation"}
    runs = [house.train(f"runs/{task}", "model=base_rate", f"task={task}", *SMALL) for task in ("churn", "comeback")]
    with pytest.raises(UserError, match="cannot be compared: task is 'churn' and 'comeback'"):
        print_comparison([run.path for run in runs], "log_loss", "test", **options)
    with pytest.raises(UserError, match="runs/churn is named twice; name two different runs"):
        print_comparison([runs[0].path, Path("runs/../runs/churn")], None, "test", **options)
