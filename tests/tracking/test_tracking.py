"""What a person finds in MLflow after training, and that without it, or with it out of order, training works."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
import yaml
from hydra import compose, initialize_config_dir

from servers.ports import free_port
from shopkeeper import tracking
from shopkeeper.bundles.answer import Bundle
from shopkeeper.errors import UserError
from shopkeeper.pipeline.comparing.addresses import addresses
from shopkeeper.pipeline.evaluate import evaluate_runs
from shopkeeper.pipeline.export import export
from shopkeeper.pipeline.places import listed
from shopkeeper.pipeline.runs import RunFolder, open_run
from shopkeeper.pipeline.told import VERBS, settings
from shopkeeper.pipeline.train import train_model
from shopkeeper.tracking import start
from shopkeeper.tracking.headings import over_seeds, parent_of
from shopkeeper.tracking.settings import Tracking

mlflow = pytest.importorskip("mlflow")
ROOT = Path(__file__).parents[2]
MODELS = {
    "popularity": ("next_item", ()),
    "sasrec": ("next_item", ("trainer.max_epochs=3", "model.width=16", "model.max_length=10")),
    "logistic": ("churn", ()),
}


def config(place: Path, verb: str, *words: str) -> Any:
    paths = [f"paths.{k}={place / k}" for k in ("prepared", "runs", "reports", "outputs")]
    store = [f"tracking.uri=sqlite:///{place / 'mlflow.db'}", f"tracking.artifacts={place / 'artifacts'}"]
    few = ["dataset.simulate.customers=300", "evaluation.resamples=50", "progress=false", "trainer=cpu"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return settings(compose(verb, [*paths, *store, *few, *words]), VERBS[verb])


def opened(root: Path) -> list[RunFolder]:
    return [open_run(run.path) for run in listed(root)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Three models trained and compared with tracking on: the place, and MLflow's runs by model."""
    place = tmp_path_factory.mktemp("tracked")
    for name, (task, words) in MODELS.items():
        train_model(config(place, "train", f"model={name}", f"task={task}", *words), place / "models" / task / name)
    evaluate_runs(config(place, "evaluate"), opened(place / "models"), place / "report")
    mlflow.set_tracking_uri(f"sqlite:///{place / 'mlflow.db'}")
    found = {task: mlflow.get_experiment_by_name(f"demo_shop-{task}") for task in ("next_item", "churn")}
    runs = mlflow.MlflowClient().search_runs([experiment.experiment_id for experiment in found.values()])
    return place, {run.data.tags["model"]: run for run in runs}


def artifacts(run: Any, folder: str | None = None) -> set[str]:
    return {a.path for a in mlflow.MlflowClient().list_artifacts(run.info.run_id, folder)}


def test_there_is_one_finished_run_per_trained_model(store: tuple[Path, dict[str, Any]]):
    place, runs = store
    assert set(runs) == set(MODELS)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for folder in opened(place / "models"):
        assert folder.manifest["mlflow_run"] == runs[folder.metrics["model"]].info.run_id


def test_tasks_lie_apart_the_leader_on_validation_is_tagged_and_an_address_opens_the_comparison(
    store: tuple[Path, dict[str, Any]],
):
    place, runs = store
    of = {name: run.info.experiment_id for name, run in runs.items()}
    assert of["popularity"] == of["sasrec"] != of["logistic"]
    value = {name: runs[name].data.metrics["validation/ndcg_at_10"] for name in ("popularity", "sasrec")}
    best = max(value, key=lambda name: value[name])
    assert [name for name in value if runs[name].data.tags["best_on_validation"] == "true"] == [best]
    assert runs["logistic"].data.tags["best_on_validation"] == "true"
    manifest = json.loads((place / "report/manifest.json").read_text())
    found = addresses(manifest, "https://mlflow.example.org/")
    assert set(found) == {"next_item", "churn"}
    page, _, asked = found["next_item"].partition("?")
    assert page == "https://mlflow.example.org/#/compare-runs"
    told = {key: json.loads(value) for key, (value,) in parse_qs(asked).items()}
    assert set(told["runs"]) == {runs[name].info.run_id for name in value}
    assert told["experiments"] == [of["sasrec"]]
    assert addresses(manifest)["churn"].startswith("http://127.0.0.1:5000/#/compare-runs?runs=")
    deleted = {runs[name].info.run_id for name in ("logistic", "popularity")}
    (left,) = addresses(manifest, gone=deleted).values()
    assert runs["sasrec"].info.run_id in left
    assert runs["popularity"].info.run_id not in left


def test_who_led_and_was_trained_anew_since_leads_no_longer(tmp_path: Path):
    """One run of a dataset, task and split has the tag, whatever earlier reports said."""

    def led() -> list[str]:
        evaluate_runs(config(tmp_path, "evaluate", "overwrite=true"), opened(tmp_path / "models"), tmp_path / "report")
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
        client = mlflow.MlflowClient()
        runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
        found = [run.data.tags for run in runs if run.data.tags.get("best_on_validation") == "true"]
        return [tags["run_folder"].rpartition("/")[2] for tags in found]

    for name in ("popularity", "recency"):
        train_model(config(tmp_path, "train", f"model={name}"), tmp_path / "models" / name)
    (best,) = led()
    shutil.rmtree(tmp_path / "models" / best)
    train_model(config(tmp_path, "train", f"model={best}"), tmp_path / "models" / f"{best}-anew")
    assert led() == [f"{best}-anew"]
    shutil.rmtree(tmp_path / "models" / f"{best}-anew")  # and what is in no report any more
    (other,) = {"popularity", "recency"} - {best}
    assert led() == [other]


def test_the_runs_of_a_sweep_lie_below_one_heading(store: tuple[Path, dict[str, Any]], tmp_path: Path):
    there = config(store[0], "train", "tracking.experiment=swept").tracking
    for name in ("a", "b"):
        above = parent_of(there, "sweep-1", tmp_path / "mlflow.json")
        with start(there, name, {}, above):
            pass
    number = mlflow.get_experiment_by_name("swept").experiment_id
    found = {run.info.run_name: run for run in mlflow.MlflowClient().search_runs([number])}
    assert set(found) == {"sweep-1", "a", "b"}
    assert {found[name].data.tags["mlflow.parentRunId"] for name in "ab"} == {found["sweep-1"].info.run_id}
    assert found["sweep-1"].info.status == "FINISHED"
    assert parent_of(Tracking("none"), "x", tmp_path / "none.json") is None


def test_the_seeds_of_a_model_lie_below_a_heading_of_their_own_which_has_their_mean(
    store: tuple[Path, dict[str, Any]], tmp_path: Path
):
    place = store[0]
    words = [f"tracking.uri=sqlite:///{place / 'mlflow.db'}", f"tracking.artifacts={place / 'artifacts'}",
             "tracking.experiment=seeded", "dataset.simulate.customers=300", "evaluation.resamples=20",
             f"paths.prepared={place / 'prepared'}", "progress=false"]  # fmt: skip
    command = [sys.executable, "-m", "shopkeeper", "train", "-m", "model=popularity,recency", "seed=1,2", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    number = mlflow.get_experiment_by_name("seeded").experiment_id
    found = {run.info.run_name: run for run in mlflow.MlflowClient().search_runs([number])}
    above = {name: run.data.tags.get("mlflow.parentRunId") for name, run in found.items()}
    (sweep,) = [name for name in found if name.startswith("sweep-")]
    headings = {name: run.info.run_id for name, run in found.items() if name.endswith(", seeds")}
    assert set(headings) == {"model=popularity, seeds", "model=recency, seeds"}
    assert {above[name] for name in headings} == {found[sweep].info.run_id}
    for model in ("popularity", "recency"):
        runs = [found[f"{model}-next_item-{seed}"] for seed in (1, 2)]
        assert {above[run.info.run_name] for run in runs} == {headings[f"model={model}, seeds"]}
        kept = found[f"model={model}, seeds"].data.metrics
        values = [run.data.metrics["test_ndcg_at_10"] for run in runs]
        assert kept["test_ndcg_at_10_mean"] == pytest.approx(sum(values) / 2)
        assert kept["seeds"] == 2


def test_the_spread_over_seeds_is_the_standard_deviation_between_them(
    store: tuple[Path, dict[str, Any]], tmp_path: Path
):
    there, note = config(store[0], "train", "tracking.experiment=spread").tracking, tmp_path / "mlflow.json"
    heading = parent_of(there, "sweep-1", note)
    assert heading is not None
    for seed, value in ((1, 0.25), (2, 0.5), (3, 0.75), (3, 0.75)):  # one that is trained again counts once
        over_seeds(there, heading, note, seed, {"test_ndcg@10": value})
    kept = mlflow.MlflowClient().get_run(heading.run_id).data.metrics
    assert kept == {"seeds": 3, "test_ndcg_at_10_mean": 0.5, "test_ndcg_at_10_spread": 0.25}


def test_a_run_holds_the_composed_config_and_short_parameters(store: tuple[Path, dict[str, Any]], tmp_path: Path):
    place, runs = store
    run = runs["sasrec"]
    assert run.data.params["model.width"] == "16"
    assert run.data.params["seed"] == "1"
    assert "None" not in run.data.params.values()
    assert not [k for k in run.data.params if k.startswith(("paths.", "tracking.", "dataset.licence"))]
    file = mlflow.MlflowClient().download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))
    found = yaml.safe_load(Path(file).read_text())
    assert found == yaml.safe_load((place / "models/next_item/sasrec/config.yaml").read_text())
    assert {"dataset", "split", "task", "model", "trainer", "evaluation", "seed"} <= set(found)


def test_a_run_says_which_data_and_which_commit(store: tuple[Path, dict[str, Any]]):
    place, runs = store
    manifest = json.loads(next((place / "prepared").glob("*/manifest.json")).read_text())
    for run in runs.values():
        assert run.data.tags["dataset_fingerprint"] == manifest["fingerprint"]
        used = run.inputs.dataset_inputs[0].dataset
        assert used.name == "demo_shop"
        assert manifest["fingerprint"].startswith(used.digest)
        commit = run.data.tags["commit"].removesuffix("-dirty")
        if (ROOT / ".git").exists():
            kind = subprocess.run(["git", "cat-file", "-t", commit], capture_output=True, text=True, cwd=ROOT)
            assert kind.stdout.strip() == "commit"


def test_a_run_has_every_metric_with_its_interval_and_no_at_sign(store: tuple[Path, dict[str, Any]]):
    place, runs = store
    for folder in opened(place / "models"):
        logged = runs[folder.metrics["model"]].data.metrics
        for part in ("validation", "test"):
            for name, entry in folder.metrics[part].items():
                name = name.replace("@", "_at_")
                value = logged[f"test_{name}" if part == "test" else f"validation/{name}"]
                assert value == pytest.approx(entry["value"], nan_ok=True)
                if entry.get("low") is not None:
                    low, high = (logged[f"intervals/{part}_{name}_{bound}"] for bound in ("low", "high"))
                    assert low - 1e-9 <= value <= high + 1e-9
    assert "test_ndcg_at_10" in runs["popularity"].data.metrics
    assert "test_log_loss" in runs["logistic"].data.metrics


def test_the_learning_curve_has_a_step_per_epoch(store: tuple[Path, dict[str, Any]]):
    _, runs = store
    history = mlflow.MlflowClient().get_metric_history(runs["sasrec"].info.run_id, "training/ndcg_at_10")
    assert len({m.step for m in history}) == len(history) == 3


def test_a_run_has_the_report_and_its_figures(store: tuple[Path, dict[str, Any]], tmp_path: Path):
    place, runs = store
    table = place / "report/slices.csv"
    drawn = {row["model"] for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())}  # the best ones
    for name, run in runs.items():
        assert {"config.yaml", "metrics.json"} <= artifacts(run)
        assert artifacts(run, "report") == {"report/report.html"}
        figures = {"intervals", "comparison"}
        figures |= {"sasrec": {"learning_curve"}, "logistic": {"reliability", "slices"}}.get(name, set())
        figures |= {"slices"} if name in drawn else set()
        assert artifacts(run, "figures") == {f"figures/{f}.svg" for f in figures}
    svg = mlflow.MlflowClient().download_artifacts(runs["logistic"].info.run_id, "figures/slices.svg", str(tmp_path))
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    report = mlflow.MlflowClient().download_artifacts(runs["logistic"].info.run_id, "report/report.html", str(tmp_path))
    assert Path(report).read_bytes() == (place / "report/report.html").read_bytes()


def test_the_top_of_a_run_says_the_result_in_words(store: tuple[Path, dict[str, Any]]):
    _, runs = store
    note = runs["popularity"].data.tags["mlflow.note.content"]
    assert note.startswith("**ndcg@10 0.")
    for word in ("requests of test", "split temporal", "protocol strict", "filter_seen false", "seed 1"):
        assert word in note
    board = json.loads((store[0] / "report" / "leaderboard.json").read_text())["next_item"]  # with added baselines
    assert runs["popularity"].data.tags["place"] in [f"{n + 1} of {len(board)}" for n in range(len(board))]


def test_tracking_none_writes_nothing_and_does_not_import_mlflow(tmp_path: Path):
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from hydra import compose, initialize_config_dir
from shopkeeper.pipeline.told import Train, settings
from shopkeeper.pipeline.train import train_model
place = Path({str(tmp_path)!r})
with initialize_config_dir({str(ROOT / "conf")!r}, version_base="1.3"):
    words = ["model=popularity", "dataset.simulate.customers=100", "tracking=none", "progress=false",
             "evaluation.resamples=20", *[f"paths.{{k}}={{place / k}}" for k in ("prepared", "outputs")]]
    config = settings(compose("train", words), Train)
run = train_model(config, place / "run")
assert run.manifest["mlflow_run"] is None
print([name for name in sys.modules if name.partition(".")[0] in ("mlflow", "matplotlib")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["prepared", "run"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:secret@127.0.0.1:{port}",
        "sqlite:///{file}/mlflow.db",
        "nonsense://me:secret@here",
    ],
)
def test_a_store_that_cannot_be_reached_is_one_line_before_anything_is_trained(uri: str, tmp_path: Path):
    (tmp_path / "file").touch()  # no folder: a database cannot be made in it
    there = Tracking("mlflow", uri.format(port=free_port(), file=tmp_path / "file"), tmp_path / "artifacts")
    expected = r"cannot reach MLflow at .*; set tracking\.uri, or tracking=none"
    with pytest.raises(UserError, match=expected) as e, tracking.start(there, "name", {}):
        pytest.fail("the run went on")
    assert "secret" not in str(e.value)
    assert "\n" not in str(e.value)


def test_a_store_that_stops_answering_does_not_end_the_training(
    store: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    there = config(store[0], "train", "tracking.experiment=other").tracking
    calls = []

    def gone(*words: Any, **named: Any) -> None:
        calls.append(words)
        raise mlflow.exceptions.MlflowException("the server has gone away")

    with caplog.at_level(logging.WARNING), tracking.start(there, "name", {"seed": 1}) as run:
        monkeypatch.setattr(mlflow, "log_metrics", gone)
        for epoch in range(5):
            run.metrics({"loss": 1.0}, epoch)
    assert len(calls) == 1
    assert caplog.text.count("the server has gone away") == 1


def test_a_failed_training_is_marked_as_failed(store: tuple[Path, dict[str, Any]]):
    there = config(store[0], "train", "tracking.experiment=other").tracking
    with pytest.raises(ZeroDivisionError), tracking.start(there, "name", {"seed": 1}) as run:
        raise ZeroDivisionError
    mlflow.set_tracking_uri(there.uri)
    assert mlflow.get_run(run.run_id).info.status == "FAILED"


def test_an_export_registers_the_bundle_with_the_run_that_it_is_of(store: tuple[Path, dict[str, Any]]):
    place, runs = store
    folder = place / "models/next_item/popularity"
    words = [f"run={folder}", f"paths.exports={place / 'exports'}", f"paths.reports={place / 'reports'}", "golden=5"]
    address = [f"tracking.uri=sqlite:///{place / 'mlflow.db'}", f"tracking.artifacts={place / 'artifacts'}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        export(compose("export", [*words, *address]))
    version = mlflow.MlflowClient().get_model_version_by_alias("demo_shop-next_item", "challenger")
    assert version.tags["model"] == "popularity"
    assert version.run_id == runs["popularity"].info.run_id
    (answer,) = mlflow.pyfunc.load_model("models:/demo_shop-next_item@challenger").predict([{"history": []}])
    assert [i["item_id"] for i in answer["items"]] == [
        i for i, _ in Bundle.load(place / "exports/demo_shop-popularity").recommend([[]])[0]
    ]
    kept = list((place / "artifacts").rglob("rows.parquet"))
    assert len(kept) == 1
    assert "user_id" not in pq.read_schema(kept[0]).names
