"""A bundle is a model that MLflow serves; who becomes champion what both answered decides; it can be taken back."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from servers.ports import free_port
from shopkeeper.bundles.answer import Bundle
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.seal import seal
from shopkeeper.cli.promote import promote_model
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline.export import tracking_of
from shopkeeper.pipeline.handed import promote as module
from shopkeeper.pipeline.handed.promote import Found, Gates, _beside_baseline, promote, roll_back
from shopkeeper.pipeline.handed.register import nameless
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.tracking.registry import CHALLENGER, CHAMPION, Registry, Version, log_bundle
from shopkeeper.tracking.settings import Tracking
from tiny import tiny_prepared

mlflow = pytest.importorskip("mlflow")
FACTS = {"dataset": "d", "split": "s", "protocol": "strict", "part": "test", "task": "next_item", "filter_seen": False,
         "target_hash": "ab" * 32, "n_catalogue": 9, "ties": "expected", "seed": 1}  # fmt: skip
JUDGED = {"baseline": "popularity", "metric": "ndcg@10", "difference": 0.1, "low": 0.05, "high": 0.2, "better": True,
          "method": "randomisation", "statement": "recency is better than popularity"}  # fmt: skip
EXAMPLE = {"history": ["i1"], "k": 2}
QUICK = Gates(latency=1000, size=1000, resamples=200)
N = 1500


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("bundles")
    histories = [np.random.default_rng(u).integers(1, 13, 8).tolist() for u in range(20)]
    prepared, split = tiny_prepared(place / "tiny", histories, n_items=12)
    made = {}
    for name, model in {"recency": Recency(), "popularity": Popularity()}.items():
        model.fit(prepared, split, Fit())
        metrics = {"test": {"ece": {"value": 0.02}}}
        run = MadeFrom(model=name, task="next_item", judged=JUDGED, metrics=metrics)
        made[name] = export_bundle(model, prepared, split, run, place / name, golden=5)
    return made


def rows(values: np.ndarray, place: Path, **facts: Any) -> Path:
    """The table of a model that did so well on each of N requests, half of them of one kind."""
    columns = {
        "request": np.arange(N), "user": np.arange(1, N + 1, dtype=np.int32), "ndcg@10": values,
        "slice:channel": ["web" if n < N // 2 else "shop" for n in range(N)],
    }  # fmt: skip
    table = pa.table(columns).replace_schema_metadata({"shopkeeper": json.dumps(FACTS | facts)})
    place.mkdir(exist_ok=True)
    pq.write_table(table, place / "rows.parquet")
    return place / "rows.parquet"


BASE = np.random.default_rng(0).random(N)


class Store:
    """A registry in a folder, and challengers put into it."""

    def __init__(self, place: Path):
        self.place = place
        self.tracking = Tracking("mlflow", f"sqlite:///{place / 'mlflow.db'}", place / "artifacts", "shop")

    def challenge(self, bundle: Path, values: np.ndarray, **facts: Any) -> Version:
        table = rows(values, self.place / "rows", **facts)
        return Registry(self.tracking).add(bundle, table, "shop", None, {"headline": "ndcg@10", "model": "x"}, EXAMPLE)

    def champion(self) -> str | None:
        found = Registry(self.tracking).find("shop", CHAMPION)
        return None if found is None else found.number


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without anything in it: MLflow takes long to make one."""
    place = tmp_path_factory.mktemp("fresh")
    Registry(Store(place).tracking)
    return place


@pytest.fixture
def store(fresh: Path, tmp_path: Path) -> Store:
    shutil.copytree(fresh, tmp_path / "store")
    return Store(tmp_path / "store")


def test_a_command_that_opens_the_registry_first_of_all_finds_mlflow_whole(store: Store):
    told = f"Tracking('mlflow', {store.tracking.uri!r}, Path({str(store.tracking.artifacts)!r}), 'shop')"
    code = (
        "from pathlib import Path; from shopkeeper.tracking.registry import Registry; "
        "from shopkeeper.tracking.settings import Tracking; "
        f"Registry({told}); import mlflow.pyfunc"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]


def refused(found: list[Any]) -> list[str]:
    return [one.gate for one in found if not one.holds]


def test_a_logged_bundle_is_loaded_by_mlflow_and_answers_as_it_does_itself(store: Store, bundles: dict[str, Path]):
    version = store.challenge(bundles["recency"], BASE)
    found = Registry(store.tracking).find("shop", CHALLENGER)
    assert found is not None
    assert (found.number, found.tags["headline"]) == (version.number, "ndcg@10")
    assert found.text.startswith("# Model card: recency")
    loaded = mlflow.pyfunc.load_model("models:/shop@challenger")
    asked = [{"history": ["i3", "i2"], "k": 2, "id": "a"}, {"history": "i1"}]
    right, wrong = loaded.predict(asked)
    (alone,) = Bundle.load(bundles["recency"]).recommend([["i3", "i2"]], k=2)
    assert [(one["item_id"], one["score"]) for one in right["items"]] == alone
    assert right["id"] == "a"
    assert wrong["error"]["message"] == "history is 'i1'; write a list of events"
    assert loaded.metadata.signature is not None
    files = {p.suffix for p in (store.place / "artifacts").rglob("*") if p.is_file()}
    assert ".pkl" not in files


def test_a_bundle_is_logged_with_its_run_in_whatever_experiment_that_is(store: Store, bundles: dict[str, Path]):
    client = Registry(store.tracking).client
    other = client.create_experiment("another-churn", artifact_location=(store.place / "artifacts/other").as_uri())
    run = client.create_run(other).info.run_id
    told = (rows(BASE, store.place / "rows"), "another", run, {"headline": "ndcg@10", "model": "x"}, EXAMPLE)
    log_bundle(store.tracking, bundles["recency"], *told)
    (version,) = client.search_model_versions("name='another'")
    assert version.run_id == run
    assert [one.name for one in client.search_experiments() if one.name != "Default"] == ["another-churn", "shop"]


@pytest.mark.parametrize(("told", "task", "named"), [
    ("demo_shop-next_item", "next_item", "shop-churn"), ("demo_shop-task", None, "shop-churn"),
    ("mine", "next_item", "mine"),
])  # fmt: skip
def test_a_run_that_mlflow_does_not_know_belongs_to_its_own_datasets_experiment(
    told: str, task: str | None, named: str
):
    cfg: Any = SimpleNamespace(
        dataset=SimpleNamespace(name="demo_shop"), task=task and SimpleNamespace(name=task),
        tracking=Tracking("mlflow", experiment=told),
    )  # fmt: skip
    run: Any = SimpleNamespace(metrics={"dataset": "shop"}, task="churn")
    assert tracking_of(cfg, run) == Tracking("mlflow", experiment=named)


def test_the_first_champion_must_be_better_than_the_strongest_baseline(
    store: Store, bundles: dict[str, Path], tmp_path: Path
):
    copy = Path(shutil.copytree(bundles["recency"], tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    seal(copy, manifest | {"judged": None})
    store.challenge(copy, BASE)
    (comparison, golden) = promote(store.tracking, "shop", QUICK)
    assert (comparison.holds, golden.holds) == (False, True)
    assert "no report sets it beside a baseline (the strongest one itself stands beside none" in comparison.said
    assert comparison.said.endswith("; evaluate, then export again")
    seal(copy, manifest | {"judged": None, "kind": "customer", "task": "churn"})
    assert _beside_baseline(copy).way.startswith("`shopkeeper train model=base_rate task=churn`, evaluate, then")
    assert store.champion() is None
    challenger = store.challenge(bundles["recency"], BASE)
    assert refused(promote(store.tracking, "shop", QUICK)) == []
    assert store.champion() == challenger.number


def test_a_better_challenger_becomes_champion_says_why_and_can_be_taken_back(store: Store, bundles: dict[str, Path]):
    first = store.challenge(bundles["recency"], BASE)
    promote(store.tracking, "shop", QUICK)
    with pytest.raises(UserError, match="is the champion already; export another model"):
        promote(store.tracking, "shop", QUICK)
    with pytest.raises(UserError, match="has no previous champion to go back to"):
        roll_back(store.tracking, "shop")
    with pytest.raises(UserError, match=r"MLflow has no model 'shp'\. Did you mean 'shop'"):
        roll_back(store.tracking, "shp")
    second = store.challenge(bundles["popularity"], BASE + 0.02)
    found = promote(store.tracking, "shop", QUICK)
    assert [one.gate for one in found] == ["comparison", "slices", "calibration", "golden", "latency", "size"]
    assert refused(found) == []
    assert store.champion() == second.number
    told = Registry(store.tracking).find("shop", CHAMPION)
    assert told is not None
    assert (told.tags["promotion"], told.tags["promotion.against"]) == ("granted", f"version {first.number}")
    assert "challenger is better than champion by 0.02" in told.text
    assert told.text.count("## Promotion") == 1
    assert roll_back(store.tracking, "shop") == (second.number, first.number)
    assert store.champion() == first.number
    gone, back = (Registry(store.tracking).find("shop", alias) for alias in (CHALLENGER, CHAMPION))
    assert gone is not None
    assert back is not None
    assert gone.tags["promotion"] == f"rolled back to version {first.number}"
    assert gone.text.endswith(f"Rolled back: version {first.number} is the champion again.\n")
    assert back.text.endswith(f"The champion again, in place of version {second.number}, which was rolled back.\n")
    with pytest.raises(UserError, match="is the previous champion already"):
        roll_back(store.tracking, "shop")
    with pytest.raises(UserError, match="was rolled back to version 1; export another model, or delete its tag"):
        promote(store.tracking, "shop", QUICK)
    assert store.champion() == first.number


def test_each_gate_keeps_a_challenger_out_and_the_refusal_stands_in_its_tags(store: Store, bundles: dict[str, Path],
                                                                              tmp_path: Path):  # fmt: skip
    first = store.challenge(bundles["recency"], BASE)
    promote(store.tracking, "shop", QUICK)

    challenger = store.challenge(bundles["popularity"], BASE + np.random.default_rng(1).normal(0, 0.1, N))
    assert refused(promote(store.tracking, "shop", QUICK)) == ["comparison"]
    told = Registry(store.tracking).find("shop", CHALLENGER)
    assert told is not None
    assert (told.number, told.tags["promotion"]) == (challenger.number, "refused")
    assert "cannot tell" in told.tags["promotion.why"]
    assert "comparison: does not hold" in told.text

    worse_on_the_web = BASE + np.where(np.arange(N) < N // 2, -0.05, 0.3)
    store.challenge(bundles["popularity"], worse_on_the_web)
    found = promote(store.tracking, "shop", QUICK)
    assert refused(found) == ["slices"]
    assert "in channel = web (750 requests) challenger is worse than champion" in found[1].said

    better = store.challenge(bundles["popularity"], BASE + 0.02)
    assert refused(promote(store.tracking, "shop", replace(QUICK, latency=0.0))) == ["latency"]
    assert refused(promote(store.tracking, "shop", replace(QUICK, size=0.0))) == ["size"]
    assert refused(promote(store.tracking, "shop", replace(QUICK, calibration=-0.01))) == ["calibration"]
    assert store.champion() == first.number
    assert refused(promote(store.tracking, "shop", QUICK)) == []
    assert store.champion() == better.number

    copy = Path(shutil.copytree(bundles["recency"], tmp_path / "wrong"))
    golden = json.loads((copy / "golden.json").read_text())
    golden["requests"][0]["expected"]["items"][0]["score"] += 1
    (copy / "golden.json").write_text(json.dumps(golden))
    seal(copy, json.loads((copy / "manifest.json").read_text()))
    store.challenge(copy, BASE + 0.05)
    assert refused(promote(store.tracking, "shop", QUICK)) == ["golden"]

    store.challenge(bundles["popularity"], BASE + 0.05, target_hash="cd" * 32)
    with pytest.raises(UserError, match="cannot be compared: target_hash is"):
        promote(store.tracking, "shop", QUICK)
    assert store.champion() == better.number


def test_latency_is_that_of_the_slower_one_by_turns(bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    verify = importlib.import_module("shopkeeper.bundles.answer.verify")
    replay = verify.replay

    def slow(bundle: Bundle, request: Any) -> Any:
        if bundle.manifest["model"] == "popularity":
            sum(range(100_000))
        return replay(bundle, request)

    monkeypatch.setattr(verify, "replay", slow)
    assert not module._latency(bundles["popularity"], bundles["recency"], Gates()).holds
    assert module._latency(bundles["recency"], bundles["popularity"], Gates()).holds


def test_a_store_that_is_not_there_is_said_and_an_export_goes_on(bundles: dict[str, Path], tmp_path: Path,
                                                                  caplog: pytest.LogCaptureFixture):  # fmt: skip
    gone = Tracking("mlflow", "http://127.0.0.1:1", tmp_path, "shop")
    log_bundle(gone, bundles["recency"], rows(BASE, tmp_path), "shop", None, {}, EXAMPLE)
    assert "MLflow: the bundle was not registered (" in caplog.text
    with pytest.raises(UserError, match="cannot reach MLflow"):
        promote(gone, "shop")
    with pytest.raises(UserError, match="tracking=none keeps no registry"):
        promote(Tracking("none"), "shop")


def test_who_is_not_there_is_said(store: Store):
    with pytest.raises(UserError, match="MLflow has no challenger of 'shop'"):
        promote(store.tracking, "shop")


def test_a_name_that_nothing_is_registered_as_is_told_the_nearest(bundles: dict[str, Path], store: Store):
    store.challenge(bundles["recency"], BASE)
    with pytest.raises(UserError, match=r"no challenger of 'shpo'.*Did you mean 'shop'\?"):
        promote(store.tracking, "shpo")


def test_who_is_refused_is_told_by_which_gates_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    found = [Found("comparison", True, "better"), Found("latency", False, "9 ms", "train another, or allow more"),
             Found("size", False, "3 MB")]  # fmt: skip
    monkeypatch.setattr("shopkeeper.pipeline.handed.promote.promote", lambda *told: found)
    with pytest.raises(UserError, match=r"champion \(latency, size\); train another, or allow more$"):
        promote_model("shop", False, "sqlite://", {})
    assert "size         does not hold: 3 MB" in capsys.readouterr().out


@pytest.mark.parametrize("headline", ["ndcg@10", "auroc"])
def test_two_that_answered_no_row_in_common_are_not_compared_and_it_is_said(tmp_path: Path, headline: str):
    mine, value = np.arange(N) % 2 == 0, np.random.default_rng(0).random(N)
    places = []
    for name, answered in (("even", mine), ("odd", ~mine)):
        own = np.where(answered, value, np.nan)
        if headline == "ndcg@10":
            places.append(rows(own, tmp_path / name))
            continue
        columns = {"user_id": [str(n) for n in range(N)], "instant": [0] * N, "label": (value > 0.5) * 1.0,
                   "probability": pa.array(own, from_pandas=True)}  # fmt: skip
        facts = {"shopkeeper": json.dumps(FACTS | {"kind": "labels"})}
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(columns).replace_schema_metadata(facts), tmp_path / name / "rows.parquet")
        places.append(tmp_path / name / "rows.parquet")
    (found,) = module._compared(*places, headline, QUICK)
    assert (found.gate, found.holds) == ("comparison", False)
    assert found.said == f"no row of test has {headline} of both, so that nothing can be said of them"


def test_what_the_registry_keeps_of_the_rows_names_nobody_and_compares_alike():
    columns = {"request": [0, 1, 2], "user": pa.array([7, 9, 7], pa.int32()), "user_id": ["a", "b", "a"],
               "ndcg@10": [0.1, 0.2, 0.3], "targets": [[1], [2], [3]], "ranks": [[1.0]] * 3}  # fmt: skip
    table = pa.table(columns).replace_schema_metadata({"shopkeeper": json.dumps(FACTS)})
    kept = nameless(table)
    assert kept.column_names == ["request", "user", "ndcg@10"]
    first, second, third = kept["user"].to_pylist()
    assert first == third != second
    assert kept.schema.metadata == table.schema.metadata
    assert kept["ndcg@10"].equals(table["ndcg@10"])


@pytest.mark.slow
def test_mlflow_serves_a_registered_bundle(store: Store, bundles: dict[str, Path]):
    store.challenge(bundles["recency"], BASE)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/shop@challenger", "-p", str(port),
               "--env-manager", "local"]  # fmt: skip
    environment = os.environ | {"MLFLOW_TRACKING_URI": store.tracking.uri}
    server = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        asked = json.dumps({"inputs": [{"history": ["i3", "i2"], "k": 2}]}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", asked,
                                         {"Content-Type": "application/json"})  # fmt: skip
        end = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    (found,) = json.loads(answer.read())["predictions"]
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < end
                time.sleep(0.5)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
    assert [one["item_id"] for one in found["items"]] == ["i2", "i3"]
