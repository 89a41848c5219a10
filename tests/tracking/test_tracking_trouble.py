"""A tracker that hangs, refuses, lacks a package or has moved costs seconds and a true line, never a run."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from shopkeeper import tracking
from shopkeeper.errors import UserError, without_secrets
from shopkeeper.pipeline.told import Train, but, settings
from shopkeeper.pipeline.train import train_model
from shopkeeper.tracking import calls
from shopkeeper.tracking import store as stores
from shopkeeper.tracking.settings import Tracking

mlflow = pytest.importorskip("mlflow")
ROOT = Path(__file__).parents[2]


def store(place: Path, **changed: Any) -> Tracking:
    here = {"uri": f"sqlite:///{place / 'mlflow.db'}", "artifacts": place / "artifacts", "experiment": "demo_shop"}
    return Tracking("mlflow", **(here | changed))


def config(place: Path, *words: str) -> Train:
    few = ["dataset.simulate.customers=100", "evaluation.resamples=20", "progress=false", "model=popularity"]
    paths = [f"paths.{k}={place / k}" for k in ("prepared", "outputs")]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return settings(compose("train", [*few, *paths, *words]), Train)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with an MLflow file and one run, whose artifact lies below it."""
    place = tmp_path_factory.mktemp("project")
    (place / "page.txt").write_text("page")
    with tracking.start(store(place), "first", {"seed": 1}) as run:
        run.file(place / "page.txt")
    return place


def copy_of(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_call_that_hangs_is_left_behind_and_said_once_with_what_was_not_sent(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    hanging, calls = threading.Event(), []

    def hang(*words: Any, **named: Any) -> None:
        calls.append(words)
        hanging.wait()

    monkeypatch.setattr(tracking, "SECONDS", 0.2)
    try:
        with caplog.at_level(logging.WARNING), tracking.start(store(copy_of(made, tmp_path)), "run", {}) as run:
            monkeypatch.setattr(mlflow, "log_metrics", hang)
            for epoch in range(3, 6):
                run.metrics({"loss": 1.0}, epoch)
            run.file(made / "page.txt")
    finally:
        hanging.set()
    assert len(calls) == 1
    assert [r.getMessage() for r in caplog.records] == [
        "MLflow stopped answering (no answer within 0.2 s): metrics from step 3 on and what follows is not sent; "
        "the run goes on without it"
    ]


def test_a_missing_client_of_the_artifact_store_costs_the_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    mlflow.set_tracking_uri(store(tmp_path).uri)
    mlflow.create_experiment("demo_shop", artifact_location="s3://no-such-bucket/x")
    for name in ("boto3", "botocore", "aiobotocore"):
        monkeypatch.setitem(sys.modules, name, None)
    words = [f"tracking.{k}={v}" for k, v in vars(store(tmp_path)).items() if k != "name"]
    with caplog.at_level(logging.WARNING, "shopkeeper.tracking"):
        run = train_model(config(tmp_path, *words), tmp_path / "run")
    said = [r.getMessage() for r in caplog.records if r.name == "shopkeeper.tracking"]
    assert len(said) == 1, said
    assert "pip install boto" in said[0]
    assert "metrics.json and what follows of files was not sent" in said[0]
    assert (tmp_path / "run" / "manifest.json").is_file()
    told = mlflow.get_run(run.manifest["mlflow_run"])
    assert told.info.status == "FINISHED"
    assert "test_ndcg_at_10" in told.data.metrics


def test_a_deleted_experiment_is_called_deleted_with_both_ways_out(made: Path, tmp_path: Path):
    place = copy_of(made, tmp_path)
    mlflow.set_tracking_uri(store(place).uri)
    number = mlflow.get_experiment_by_name("demo_shop").experiment_id
    mlflow.delete_experiment(number)
    with pytest.raises(UserError) as e, tracking.start(store(place), "run", {}):
        pytest.fail("the run went on")
    assert "'demo_shop'" in str(e.value)
    assert "is deleted" in str(e.value)
    assert f"experiments restore --experiment-id {number}" in str(e.value)
    assert "tracking.experiment=" in str(e.value)
    assert "cannot reach" not in str(e.value)


def test_in_a_copied_project_artifacts_lie_in_the_copy_and_earlier_ones_are_found_there(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    before = sorted(made.rglob("*"))
    place = copy_of(made, tmp_path)
    with caplog.at_level(logging.INFO), tracking.start(store(place), "second", {}) as run:
        run.file(made / "page.txt")
    assert sorted(made.rglob("*")) == before
    found = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("demo_shop").experiment_id])
    assert {Path(r.info.artifact_uri.removeprefix("file://")).parents[2] for r in found} == {place / "artifacts"}
    assert len(list((place / "artifacts").rglob("page.txt"))) == 2
    assert caplog.text.count("this project was copied or moved (1 of 1 earlier runs came along)") == 1
    caplog.clear()
    with caplog.at_level(logging.INFO), tracking.start(store(place), "third", {}):
        pass
    assert "copied" not in caplog.text


def test_a_place_for_artifacts_that_a_person_chose_stays(tmp_path: Path):
    chosen = (tmp_path / "elsewhere").as_uri()
    mlflow.set_tracking_uri(store(tmp_path).uri)
    mlflow.create_experiment("demo_shop", artifact_location=chosen)
    with tracking.start(store(tmp_path), "run", {}):
        pass
    assert mlflow.get_experiment_by_name("demo_shop").artifact_location == chosen


@pytest.fixture
def server() -> Iterator[tuple[HTTPServer, dict[str, int]]]:
    """Something that answers HTTP with a status and a page."""
    status = {"code": 403}

    class Answer(BaseHTTPRequestHandler):
        page = b"<html>\nno\n</html>"

        def do_GET(self) -> None:
            self.send_response(status["code"])
            self.end_headers()
            self.wfile.write(self.page)

        do_POST = do_GET

        def log_message(self, *words: Any) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield http, status
    http.shutdown()


@pytest.mark.parametrize(
    ("code", "said"),
    [(401, "MLFLOW_TRACKING_USERNAME"), (403, "MLFLOW_TRACKING_PASSWORD"), (404, "no MLflow server"), (200, "html")],
)
def test_what_a_server_refuses_is_one_line_that_says_which_way_out(
    server: tuple[HTTPServer, dict[str, int]], code: int, said: str
):
    server[1]["code"] = code
    there = Tracking("mlflow", uri=f"http://me:not-a-secret@127.0.0.1:{server[0].server_port}")
    with pytest.raises(UserError) as e, tracking.start(there, "run", {}):
        pytest.fail("the run went on")
    assert said in str(e.value)
    assert "not-a-secret" not in str(e.value)
    assert "\n" not in str(e.value)


def test_a_report_is_whole_without_the_server_and_the_rest_of_the_pages_is_left_out(
    server: tuple[HTTPServer, dict[str, int]], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    pages = tracking.Pages(Tracking("mlflow", uri=f"http://127.0.0.1:{server[0].server_port}"))
    with caplog.at_level(logging.WARNING):
        for run in ("a", "b", "c"):
            pages.add(run, {"report": tmp_path / "report.html"}, {"place": "1 of 3"})
    assert pages.closed
    assert caplog.text.count("the report is whole") == 1


def test_a_run_that_somebody_deleted_costs_its_own_page_alone(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    place = copy_of(made, tmp_path)
    (place / "report.html").write_text("page")
    ids = []
    for _ in range(2):
        with tracking.start(store(place), "run", {}) as run:
            ids.append(run.run_id)
    mlflow.delete_run(ids[0])
    pages = tracking.Pages(store(place))
    with caplog.at_level(logging.WARNING):
        for run_id in (ids[0], "f" * 32, ids[1]):
            pages.add(run_id, {"report": place / "report.html"}, {"place": "1 of 3"})
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 2
    assert f"{ids[0]} is deleted" in said[0]
    assert "not found" in said[1]
    assert pages.gone == {ids[0], "f" * 32}
    assert mlflow.get_run(ids[1]).data.tags["place"] == "1 of 3"


def test_a_database_in_a_file_is_given_the_time_that_a_busy_machine_takes(tmp_path: Path):
    """Left while it is made, its tables would refuse every later command; a bundle would not be registered."""
    waited: list[float] = []
    assert stores.SECONDS_OF_A_DATABASE > calls.SECONDS

    class Watched(calls.Line):
        def call(self, function: Any, seconds: float = calls.SECONDS) -> None:
            waited.append(seconds)

    (tmp_path / "old.db").touch()
    for uri in (f"sqlite:///{tmp_path}/new.db", f"sqlite:///{tmp_path}/old.db", "http://127.0.0.1:1"):
        stores.connect(Tracking("mlflow", uri=uri, artifacts=tmp_path / "artifacts"), Watched())
    assert waited == [stores.SECONDS_OF_A_DATABASE, stores.SECONDS_OF_A_DATABASE, calls.SECONDS]


def test_below_a_run_whose_store_has_gone_away_nothing_is_told(made: Path, tmp_path: Path):
    place = copy_of(made, tmp_path)
    with tracking.start(store(place), "search", {}) as parent:
        parent.lost = True
        with tracking.start(store(place), "trial-0", {}, parent) as child:
            assert child.run_id is None
    with tracking.start(store(place), "search", {}) as parent:
        with tracking.start(store(place, uri=f"sqlite:///{made / 'page.txt'}/x.db"), "trial-0", {}, parent) as child:
            assert child.run_id is None
        assert parent.lost


@pytest.mark.parametrize(
    "secret",
    [
        "http://alice:SECRET@host:5000",
        "postgresql+psycopg2://alice:SE/CR@SECRET@host/db",
        "https://SECRET@host",
        "postgresql://host/db?user=alice&password=SECRET",
        "s3://bucket/x?aws_secret_access_key=SECRET;region=eu",
        "cannot open https://alice:SECRET@host/api: refused",
    ],
)
def test_what_an_address_carries_is_taken_out(secret: str):
    assert "SECRET" not in without_secrets(secret)
    assert "host" in without_secrets(secret) or "bucket" in without_secrets(secret)
    assert without_secrets({"a": [secret]}) == {"a": [without_secrets(secret)]}


def test_no_file_of_a_run_holds_the_password_of_an_address(tmp_path: Path):
    cfg = config(tmp_path, "tracking=none")
    there = {"name": "none", "uri": "http://alice:not-a-secret@127.0.0.1:5417"}
    cfg = but(cfg, tracking=there, tuning={"storage": "postgresql://alice:not-a-secret@db/studies"})
    train_model(cfg, tmp_path / "run")
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert [p.name for p in files if b"not-a-secret" in p.read_bytes()] == []
    assert "127.0.0.1:5417" in (tmp_path / "run" / "config.yaml").read_text()


def test_a_sweep_leaves_no_password_of_its_command_line(tmp_path: Path):
    words = ["-m", "model=popularity", "seed=1", "tracking.uri=http://alice:not-a-secret@127.0.0.1:1"]
    command = [sys.executable, str(ROOT / "train.py"), *words, f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "not-a-secret" not in done.stdout + done.stderr
    assert "127.0.0.1" in (tmp_path / "sweep" / "multirun.yaml").read_text()
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert [p.name for p in files if b"not-a-secret" in p.read_bytes()] == []


def test_no_line_that_mlflow_prints_of_a_run_holds_the_password(
    server: tuple[HTTPServer, dict[str, int]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """MLflow prints the address of a run when it ends."""
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "false")
    info = {
        "run_id": "r",
        "run_uuid": "r",
        "experiment_id": "1",
        "status": "RUNNING",
        "artifact_uri": "mlflow-artifacts:/",
    }
    said = {"experiment": {"experiment_id": "1", "name": "demo_shop", "lifecycle_stage": "active"},
            "run": {"info": {**info, "run_name": "seen", "lifecycle_stage": "active"}, "data": {}}}  # fmt: skip
    server[1]["code"], server[0].RequestHandlerClass.page = 200, json.dumps(said).encode()  # type: ignore[attr-defined]
    address = f"127.0.0.1:{server[0].server_port}"
    with tracking.start(Tracking("mlflow", f"http://{address}"), "run", {}):
        pass
    assert address in capfd.readouterr().out, "MLflow prints no address any more"
    with tracking.start(Tracking("mlflow", f"http://me:not-a-secret@{address}"), "run", {}) as run:
        assert run.run_id == "r"
    captured = capfd.readouterr()
    assert "not-a-secret" not in captured.out + captured.err


def test_a_command_that_is_ended_while_mlflow_makes_its_tables_leaves_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):

    monkeypatch.chdir(tmp_path)
    ours = Tracking("mlflow", uri="sqlite:///mlflow.db", artifacts=tmp_path / "art", experiment="x")
    (tmp_path / ".mlflow.db.new-999999999-journal").touch()  # of a process that was killed

    class Ended:
        def __init__(self, uri: str):
            self.aside = Path(uri.partition(":///")[2])

        def search_experiments(self, **_: object) -> None:
            self.aside.write_bytes(b"half")
            assert [path.name for path in tmp_path.iterdir()] == [self.aside.name]
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "MlflowClient", Ended)
        with pytest.raises(KeyboardInterrupt):
            stores._make_database(mlflow, stores._whole(ours.uri))
    assert list(tmp_path.iterdir()) == []
    with tracking.start(ours, "whole", {}) as run:
        assert run.run_id
    assert (tmp_path / "mlflow.db").is_file()
    assert not list(tmp_path.glob(".mlflow.db*"))


def test_a_database_that_another_version_left_half_made_is_said_with_the_way_out(tmp_path: Path):

    file = tmp_path / "mlflow.db"
    ours = Tracking("mlflow", uri=f"sqlite:///{file}", artifacts=tmp_path, experiment="x")
    wrong = OSError("(sqlite3.OperationalError) table issues already exists")
    assert "set tracking.uri" in str(stores.cannot(ours, wrong))  # there is no file to move
    file.touch()
    assert str(stores.cannot(ours, wrong)).startswith(f"MLflow's database {file} is half made or of another version")
    assert "move it away" in str(stores.cannot(ours, wrong))
