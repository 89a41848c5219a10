"""While a model trains: DVC shows its figures epoch by epoch, and MLflow what the machine does where that is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.files import remove_ours
from shopkeeper.tracking import start
from shopkeeper.tracking.live import Live
from shopkeeper.tracking.settings import Tracking

ROOT = Path(__file__).parents[2]
RUN = Path("shop/next_item/temporal/sasrec")


def dvc(place: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project whose `dvc.yaml` looks for live figures where this repository's does."""
    monkeypatch.chdir(tmp_path)
    dvc(tmp_path, "init", "--no-scm", "-q")
    told = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    live: dict[str, list[Any]] = {
        "metrics": [one for one in told["metrics"] if "live" in one],
        "plots": [one for one in told["plots"] if any("live" in name for name in one)],
    }
    assert all(live.values())
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(live))
    (tmp_path / ".gitignore").write_text("/outputs/\n")
    return tmp_path


def test_dvc_shows_a_training_that_is_under_way_and_nothing_of_it_when_it_has_ended(project: Path):
    live = Live(Path("outputs"), RUN)
    for epoch, value in ((1, 0.25), (2, 0.5)):
        live.tell({"ndcg@10": value, "loss": 3.0 - epoch, "seconds": 2.0}, epoch)
    shown = json.loads(dvc(project, "metrics", "show", "--json"))[""]["data"]
    assert {Path(file): found["data"] for file, found in shown.items()} == {
        Path("outputs/live/metrics") / RUN.with_suffix(".json"): {
            "epoch": 2,
            "ndcg@10": 0.5,
            "loss": 1.0,
            "seconds": 2.0,
        }
    }
    plots = json.loads(dvc(project, "plots", "show", "--json"))["data"]
    assert {Path(name).name for name in plots} == {"ndcg@10.tsv", "loss.tsv"}
    (curve,) = [one for name, one in plots.items() if name.endswith("ndcg@10.tsv")]
    points = json.loads(json.dumps(curve[0]))["content"] if "content" in curve[0] else curve[0]
    assert "0.25" in json.dumps(points)
    other = Live(Path("outputs"), RUN.with_name("hstu"))
    other.tell({"loss": 1.0}, 1)
    live.end()
    assert [path.name for path in Path("outputs/live/metrics").rglob("*.json")] == ["hstu.json"]
    other.end()
    assert not Path("outputs/live").exists()


def test_what_a_killed_training_left_is_removed_by_clean(project: Path):
    Live(Path("outputs"), RUN).tell({"loss": 1.0}, 1)
    Path("outputs/notes.txt").write_text("mine")
    _, stay = remove_ours(Path("outputs"))
    assert stay == [Path("outputs/notes.txt")]
    assert [path.name for path in Path("outputs").iterdir()] == ["notes.txt"]


def test_without_a_dvc_project_and_on_a_disk_that_refuses_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.chdir(tmp_path)
    Live(Path("outputs"), RUN).tell({"loss": 1.0}, 1)
    Live(Path("outputs"), RUN).end()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "outputs").write_text("a file")
    for epoch in (1, 2):
        Live(Path("outputs"), RUN).tell({"loss": 1.0}, epoch)
    assert "no live figures for DVC" in caplog.text


def test_a_training_goes_on_when_another_that_ends_takes_the_folder_that_both_write_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    ends = [Path("outputs/live")] * 3  # each time between the making of a folder and the writing into it

    def write(path: Path, value: Any) -> None:
        if path.suffix == ".json" and path.name != "live.json" and ends:
            shutil.rmtree(ends.pop())
            raise FileNotFoundError(2, "No such file or directory", str(path))
        path.write_text(json.dumps(value))

    monkeypatch.setattr("shopkeeper.tracking.live.write_json", write)
    live = Live(Path("outputs"), RUN)
    live.tell({"loss": 2.0}, 1)
    live.tell({"loss": 1.0}, 2)
    assert (Path("outputs/live/curves") / RUN / "loss.tsv").read_text() == "epoch\tloss\n1\t2.0\n2\t1.0\n"
    assert json.loads((Path("outputs/live/metrics") / RUN.with_suffix(".json")).read_text())["epoch"] == 2
    assert (ends, caplog.text) == ([], "")

    def gone(folder: Path) -> Any:
        raise FileNotFoundError(2, "No such file or directory", str(folder))

    monkeypatch.setattr(Path, "iterdir", gone)
    live.end()
    assert not live.metrics.exists()


def test_the_machine_is_sampled_where_that_is_asked_and_not_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1")  # seconds; its own is 10
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1")
    names = {}
    for asked in (True, False):
        told = Tracking("mlflow", f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "kept", system_metrics=asked)
        with start(told, "busy", {}) as run:
            client, end = mlflow.MlflowClient(), time.monotonic() + 60
            while asked and not _sampled(client, run.run_id) and time.monotonic() < end:
                time.sleep(0.2)
        names[asked] = _sampled(mlflow.MlflowClient(), run.run_id)
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= names[True]
    assert names[False] == set()


def _sampled(client: Any, run_id: Any) -> set[str]:
    return {name for name in client.get_run(run_id).data.metrics if name.startswith("system/")}
