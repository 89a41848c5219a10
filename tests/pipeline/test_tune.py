"""A study survives what happens to long searches: kills, failing trials, several machines at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from shopkeeper.errors import UserError
from shopkeeper.pipeline import context, tune

ROOT = Path(__file__).parents[2]


def config(folder: Path, *words: str) -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("tune", ["model=item_knn", "tracking=none", f"paths.studies={folder}", *words])
    return context.plain(cfg)


def stub(monkeypatch: pytest.MonkeyPatch, value: Any) -> list[dict[str, Any]]:
    """Replace training by a function of the config; the configs that were asked for."""
    seen: list[dict[str, Any]] = []

    def validate(cfg: dict[str, Any], log: Any) -> float:
        seen.append(cfg)
        return float(value(cfg, log))

    monkeypatch.setattr(tune, "validate_model", validate)
    return seen


def trials(folder: Path) -> list[dict[str, Any]]:
    return json.loads(next(folder.glob("*/trials.json")).read_text())


def test_the_best_trial_becomes_an_experiment_that_train_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stub(monkeypatch, lambda cfg, log: -abs(cfg["model"]["shrinkage"] - 5))
    folder = tune.tune_model(config(tmp_path, "tuning=random", "tuning.trials=6"))
    best = max(trials(tmp_path), key=lambda t: t["value"])
    experiment = yaml.safe_load((folder / "best.yaml").read_text())
    assert experiment["model"]["shrinkage"] == best["params"]["shrinkage"]
    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf)
    (conf / "experiment/tuned").mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "best.yaml", conf / "experiment/tuned/mine.yaml")
    with initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("train", ["experiment=tuned/mine"])
    assert cfg.model.name == "item_knn"
    assert cfg.model.shrinkage == best["params"]["shrinkage"]
    assert {"history.png", "slice.png", "importance.png"} <= {p.name for p in folder.iterdir()}


def test_a_failing_trial_is_kept_with_its_error_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def value(cfg: dict[str, Any], log: Any) -> float:
        if cfg["model"]["neighbours"] < 100:
            raise UserError("no neighbours")
        return 1.0

    stub(monkeypatch, value)
    tune.tune_model(config(tmp_path, "tuning=random", "tuning.trials=10"))
    states = {t["state"] for t in trials(tmp_path)}
    assert states == {"fail", "complete"}
    assert all("no neighbours" in t["error"] for t in trials(tmp_path) if t["state"] == "fail")


def test_a_resumed_study_runs_only_what_is_left_of_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = stub(monkeypatch, lambda cfg, log: 1.0)
    tune.tune_model(config(tmp_path, "tuning.trials=3"))
    assert len(seen) == 3
    tune.tune_model(config(tmp_path, "tuning.trials=5"))
    assert len(seen) == 5
    tune.tune_model(config(tmp_path, "tuning.trials=5"))
    assert len(seen) == 5


def test_a_trial_is_the_mean_over_its_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stub(monkeypatch, lambda cfg, log: cfg["seed"])
    tune.tune_model(config(tmp_path, "tuning.trials=1", "tuning.seeds=[1,2,6]"))
    assert trials(tmp_path)[0]["value"] == 3.0
    assert trials(tmp_path)[0]["seeds"] == {"1": 1.0, "2": 2.0, "6": 6.0}


def test_on_a_terminal_a_bar_shows_the_trials_and_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    stub(monkeypatch, lambda cfg, log: cfg["model"]["shrinkage"])
    tune.tune_model(config(tmp_path, "tuning=random", "tuning.trials=1"))
    assert "trial" not in capfd.readouterr().err  # no terminal, no bar
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    tune.tune_model(config(tmp_path, "tuning=random", "tuning.trials=4"))
    shown = capfd.readouterr().err
    best = max(t["value"] for t in trials(tmp_path))
    for part in ("demo_shop-temporal-item_knn: 100%", "4/4", f"best ndcg@10={best:.5f}"):
        assert part in shown
    tune.tune_model(config(tmp_path, "tuning=random", "tuning.trials=4", "progress=false"))
    assert "4/4" not in capfd.readouterr().err


def test_a_hopeless_trial_is_pruned_on_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def value(cfg: dict[str, Any], log: Any) -> float:
        good = cfg["model"]["neighbours"] > 70
        for epoch in range(10):
            log({"ndcg@10": 0.1 + 0.01 * epoch if good else 0.01}, epoch)
        return 0.2 if good else 0.01

    stub(monkeypatch, value)
    tune.tune_model(config(tmp_path, "tuning.trials=20", "tuning.startup_trials=4"))
    assert "pruned" in {t["state"] for t in trials(tmp_path)}


@pytest.mark.parametrize(("limit", "pruned"), [(3, False), (4, True)])
def test_a_trial_is_not_pruned_when_all_its_epochs_are_done(tmp_path: Path, monkeypatch, limit: int, pruned: bool):
    falling = iter(range(100, 0, -1))

    def value(cfg: dict[str, Any], log: Any) -> float:  # each trial ends worse than all before it
        end = next(falling) / 1000
        log({"ndcg@10": end}, 3)
        return end

    stub(monkeypatch, value)
    words = ["tuning.trials=8", "tuning.startup_trials=4", "tuning.pruner=median", f"trainer.max_epochs={limit}"]
    tune.tune_model(config(tmp_path, *words))
    assert ("pruned" in {t["state"] for t in trials(tmp_path)}) is pruned


def test_a_trial_that_takes_too_long_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def value(cfg: dict[str, Any], log: Any) -> float:
        if cfg["model"]["neighbours"] < 100:
            time.sleep(0.05)
        log({"ndcg@10": 0.1}, 0)
        return 0.1

    stub(monkeypatch, value)
    tune.tune_model(config(tmp_path, "tuning=random", "tuning.trials=8", f"tuning.trial_hours={0.04 / 3600}"))
    failed = [t for t in trials(tmp_path) if t["state"] == "fail"]
    assert failed
    assert all("trial_hours" in t["error"] for t in failed)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["+tuning.space.neighbors={type: int, low: 1, high: 3}"], "Did you mean 'neighbours'"),
        (["tuning.space.neighbours.type=integer"], "Did you mean 'int'"),
        (["tuning.sampler=tpee"], "Did you mean 'tpe'"),
        (["tuning.storage=postgresql://u:secret@127.0.0.1:1/none"], "cannot open the study at 127.0.0.1:1/none"),
    ],
)
def test_a_senseless_search_is_refused_in_one_line(tmp_path: Path, words: list[str], expected: str):
    with pytest.raises(UserError, match=expected) as e:
        tune.tune_model(config(tmp_path, *words))
    assert "secret" not in str(e.value)


def test_one_command_gives_every_model_of_a_leaderboard_the_same_budget(tmp_path: Path):
    from test_bad_input import HEAD, ROWS, write_raw

    write_raw(tmp_path, HEAD + "".join(ROWS))
    places = [f"paths.{k}={tmp_path / k}" for k in ("raw", "prepared", "studies", "outputs")]
    words = ["dataset=online_retail", "tracking=none", "progress=false", "tuning=random", "tuning.trials=2",
             "tuning.models=[item_knn,popularity]"]  # fmt: skip
    done = subprocess.run([sys.executable, "tune.py", *words, *places], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {f.parent.name: json.loads(f.read_text()) for f in (tmp_path / "studies").glob("*/trials.json")}
    assert sorted(found) == ["online_retail-temporal-item_knn", "online_retail-temporal-popularity"]
    assert [len(t) for t in found.values()] == [2, 2]


def process(storage: str, folder: Path, n: int) -> subprocess.Popen[str]:
    """A search in a process of its own, training replaced by a nap."""
    code = f"""
import sys, time, logging
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_tune
from shopkeeper.pipeline import tune
def nap(cfg, log):
    time.sleep(0.2)
    return cfg["model"]["shrinkage"]
tune.validate_model = nap
print("ready", flush=True)
words = ["tuning=random", "tuning.trials={n}", "tuning.storage={storage}", "tuning.heartbeat_seconds=1",
         "tuning.seed=null"]
tune.tune_model(test_tune.config(Path({str(folder)!r}), *words))
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(storage: str) -> list[Any]:
    import optuna

    study = optuna.load_study(study_name="demo_shop-temporal-item_knn", storage=storage)
    return [t for t in study.get_trials() if t.state.is_finished()]


def test_a_killed_search_goes_on_and_no_trial_is_lost(tmp_path: Path):
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    victim = process(storage, tmp_path / "a", 10)
    assert victim.stdout is not None
    assert victim.stdout.readline().strip() == "ready"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if len(finished(storage)) >= 3:
                break
        except Exception:
            time.sleep(0.1)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    before = len(finished(storage))
    assert 3 <= before < 10
    time.sleep(3.5)  # the heartbeat of the killed trial goes stale
    second = process(storage, tmp_path / "a", 10)
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors[-2000:]
    states = [t.state.name for t in finished(storage)]
    assert states.count("COMPLETE") >= 9
    assert len(states) >= 10
    lost = [t for t in trials(tmp_path / "a") if t["state"] == "fail"]
    assert len(lost) == states.count("FAIL")
    assert all("killed or lost" in t["error"] for t in lost)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own on a local socket port; its URL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        reason = "PostgreSQL is not installed (apt-get install postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    binaries = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="shopkeeper-pg-"))
    folder.chmod(0o777)
    user = "postgres" if os.getuid() == 0 else None  # the server refuses to run as root
    port = 20000 + os.getpid() % 20000

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True, cwd="/", timeout=120, user=user)

    run(str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "shop", "-A", "trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run(str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-o", options, "-w", "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql://shop@127.0.0.1:{port}/postgres"
    finally:
        run(str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def test_two_processes_share_one_study_in_postgresql(postgres: str, tmp_path: Path):
    pair = [process(postgres, tmp_path / name, 16) for name in "ab"]
    for one in pair:
        _, errors = one.communicate(timeout=180)
        assert one.returncode == 0, errors[-2000:]
    done = finished(postgres)
    assert 16 <= len(done) <= 17  # two trials may be under way when the budget is reached
    overlap = sum(a.datetime_start < b.datetime_complete and b.datetime_start < a.datetime_complete
                  for i, a in enumerate(done) for b in done[:i])  # fmt: skip
    assert overlap > 3, "the processes ran one after the other"
