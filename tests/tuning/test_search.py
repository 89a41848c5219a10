"""A search on validation: what counts, what is pruned, what fails, and that it goes on where it was."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from searches import config, stub, trials
from shopkeeper import tracking
from shopkeeper.errors import UserError
from shopkeeper.pipeline import context, tune
from shopkeeper.pipeline.told import Train, but
from shopkeeper.tuning import space

Patch = pytest.MonkeyPatch


def settings(folder: Path) -> list[tuple[Any, ...]]:
    return [tuple(t["params"].values()) for t in trials(folder)]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_that_goes_on_draws_what_it_would_have_drawn_without_the_break(
    tmp_path: Path, monkeypatch: Patch, sampler: str
):
    seen = stub(monkeypatch, lambda cfg, log: -abs(cfg.model.parameters["neighbours"] - 5))
    words = [f"tuning={sampler}", "tuning.startup_trials=3"]
    for n in (3, 7, 7):
        tune.tune_model(config(tmp_path / "broken", *words, f"tuning.trials={n}"))
    assert len(seen) == 7
    tune.tune_model(config(tmp_path / "whole", *words, "tuning.trials=7"))
    assert settings(tmp_path / "broken") == settings(tmp_path / "whole")
    assert len(set(settings(tmp_path / "whole"))) == 7


@pytest.mark.parametrize(
    "edit",
    ["update trial_values set value = value + 1 where trial_id = 2",
     "update trial_params set param_value = param_value + 1 where trial_id = 2 and param_name = 'neighbours'"],
)  # fmt: skip
def test_a_trial_that_was_edited_in_the_database_is_one_line_when_the_search_goes_on(
    tmp_path: Path, monkeypatch: Patch, edit: str
):
    stub(monkeypatch, lambda cfg, log: cfg.model.parameters["neighbours"] / 3)
    for n in (2, 3):
        tune.tune_model(config(tmp_path, "tuning=random", f"tuning.trials={n}"))
    assert "seal" not in trials(tmp_path)[0]
    with closing(sqlite3.connect(next(tmp_path.glob("*/study.db")))) as db, db:
        assert db.execute(edit).rowcount == 1
    with pytest.raises(UserError, match=r"trial 1 of the study .* was changed after it finished \(its seal differs\)"):
        tune.tune_model(config(tmp_path, "tuning=random", "tuning.trials=4"))


def test_other_data_or_settings_begin_another_search_and_the_old_one_is_found_again(
    tmp_path: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
):
    seen = stub(monkeypatch, lambda cfg, log: 1.0)
    for words in (
        ["tuning.trials=2"],
        ["tuning.trials=2", "model.half_life_events=7", "tuning.space.neighbours.high=90"],
    ):
        seen.clear()
        with caplog.at_level("INFO"):
            tune.tune_model(config(tmp_path, *words, "~tuning.space.half_life_events"))
        assert len(seen) == 2
    assert "model.half_life_events was auto, now 7" in caplog.text
    assert all(t["params"]["neighbours"] <= 90 for t in trials(tmp_path))
    monkeypatch.setattr(tune, "data_of", lambda cfg: {"fingerprint": "a new day"})
    tune.tune_model(config(tmp_path, "tuning.trials=2", "~tuning.space.half_life_events"))
    assert len(seen) == 4
    stub(monkeypatch, lambda cfg, log: pytest.fail("the first search is done"))
    tune.tune_model(config(tmp_path, "tuning.trials=2", "~tuning.space.half_life_events"))


@pytest.mark.parametrize(
    "word",
    ["trainer.max_epochs=3", "model.shrinkage=3", "tuning.seeds=[2]", "timeline.ties=shuffled", "evaluation.k=[20]",
     "init_from=outputs/yesterday"],
)  # fmt: skip
def test_what_a_value_depends_on_is_part_of_the_search(tmp_path: Path, monkeypatch: Patch, word: str):
    seen = stub(monkeypatch, lambda cfg, log: 1.0)
    for words in ([], [word], []):
        tune.tune_model(config(tmp_path, "tuning.trials=1", "~tuning.space.shrinkage", *words))
    assert len(seen) == 2


def test_a_failing_trial_is_kept_with_its_error_and_the_search_goes_on(tmp_path: Path, monkeypatch: Patch):
    def value(cfg: Train, log: Any) -> float:
        if cfg.model.parameters["neighbours"] < 100:
            raise UserError("no neighbours")
        return 1.0

    stub(monkeypatch, value)
    tune.tune_model(config(tmp_path, "tuning=random", "tuning.trials=10"))
    states = {t["state"] for t in trials(tmp_path)}
    assert states == {"fail", "complete"}
    assert all("no neighbours" in t["error"] for t in trials(tmp_path) if t["state"] == "fail")
    assert not any("error" in t for t in trials(tmp_path) if t["state"] == "complete")


def test_a_tracker_that_refuses_is_the_error_that_is_kept(tmp_path: Path, monkeypatch: Patch):
    stub(monkeypatch, lambda cfg, log: 1.0)
    real, refusing = tracking.start, iter([False, True, True])

    def start(*args: Any) -> Any:
        if next(refusing, False):
            raise UserError("cannot reach MLflow")
        return real(*args)

    monkeypatch.setattr(tracking, "start", start)
    tune.tune_model(config(tmp_path, "tuning.trials=4"))
    assert ["MLflow" in t.get("error", "") for t in trials(tmp_path)] == [True, True, False, False]


def test_when_nothing_works_the_search_ends_early_says_why_and_costs_no_budget(tmp_path: Path, monkeypatch: Patch):
    def value(cfg: Train, log: Any) -> float:
        raise UserError(f"{cfg.model.parameters['neighbours']} GiB are not there")

    seen = stub(monkeypatch, value)
    with pytest.raises(UserError, match=r"no trial .* has finished .*GiB are not there"):
        tune.tune_model(config(tmp_path, "tuning.trials=30"))
    assert len(seen) == 5
    with pytest.raises(UserError, match="GiB are not there"):
        tune.tune_model(config(tmp_path, "tuning.trials=3"))
    assert len(seen) == 8
    seen = stub(monkeypatch, lambda cfg, log: 1.0)  # the memory has come
    tune.tune_model(config(tmp_path, "tuning.trials=10"))
    assert len([t for t in trials(tmp_path) if t["state"] == "complete"]) == len(seen) == 2


def test_data_that_are_not_there_are_said_before_the_first_trial(tmp_path: Path, monkeypatch: Patch):
    monkeypatch.setattr(tune, "validate_model", lambda *a: pytest.fail("a trial was begun"))
    places = [f"paths.{k}={tmp_path / k}" for k in ("raw", "prepared")]
    with pytest.raises(UserError, match=r"ml-100k"):
        tune.tune_model(config(tmp_path / "studies", "dataset=ml_100k", *places))
    assert not (tmp_path / "studies").exists()


def test_an_interrupted_trial_is_tried_again_first_and_costs_no_budget(tmp_path: Path, monkeypatch: Patch):
    def value(cfg: Train, log: Any) -> float:
        if len(seen) == 3:
            raise KeyboardInterrupt
        return 1.0

    seen = stub(monkeypatch, value)
    with pytest.raises(KeyboardInterrupt):
        tune.tune_model(config(tmp_path, "tuning.trials=5"))
    tune.tune_model(config(tmp_path, "tuning.trials=5"))
    assert [t["state"] for t in trials(tmp_path)] == [
        "complete",
        "complete",
        "fail",
        "complete",
        "complete",
        "complete",
    ]
    assert trials(tmp_path)[2]["error"] == "interrupted"
    assert settings(tmp_path)[3] == settings(tmp_path)[2]
    # Its checkpoint is found again, and no other trial's.
    names = [cfg.trial for cfg in seen]
    assert names[3] == names[2]
    assert len(set(names)) == 5


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("when", ["at its first setting", "at its second", "in training"])
def test_after_an_interruption_a_search_draws_what_it_would_have_drawn(
    tmp_path: Path, monkeypatch: Patch, sampler: str, when: str
):
    def value(cfg: Train, log: Any) -> float:
        if when == "in training" and len(seen) == 4:
            raise KeyboardInterrupt
        return -abs(cfg.model.parameters["neighbours"] - 5)

    drawn, nth = [], {"at its first setting": 11, "at its second": 12, "in training": 0}[when]
    original = space._suggest

    def draw(*words: Any) -> Any:
        drawn.append(words[1])
        if len(drawn) == nth:
            raise KeyboardInterrupt
        return original(*words)

    seen = stub(monkeypatch, value)
    monkeypatch.setattr(space, "_suggest", draw)
    words = [f"tuning={sampler}", "tuning.startup_trials=3", "tuning.trials=7"]
    with pytest.raises(KeyboardInterrupt):
        tune.tune_model(config(tmp_path / "broken", *words))
    assert len(set(drawn)) == 5  # all settings of item_knn's space
    tune.tune_model(config(tmp_path / "broken", *words))
    done = [tuple(t["params"].values()) for t in trials(tmp_path / "broken") if t["state"] == "complete"]
    tune.tune_model(config(tmp_path / "whole", *words))
    assert done == settings(tmp_path / "whole")


def test_a_trial_is_the_mean_over_its_seeds(tmp_path: Path, monkeypatch: Patch):
    stub(monkeypatch, lambda cfg, log: cfg.seed)
    tune.tune_model(config(tmp_path, "tuning.trials=1", "tuning.seeds=[1,2,6]"))
    assert trials(tmp_path)[0]["value"] == 3.0
    assert trials(tmp_path)[0]["seeds"] == {"1": 1.0, "2": 2.0, "6": 6.0}


def test_on_a_terminal_a_bar_shows_the_trials_and_the_best(tmp_path: Path, monkeypatch: Patch, capfd):
    stub(monkeypatch, lambda cfg, log: cfg.model.parameters["neighbours"])
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


def test_a_hopeless_trial_is_pruned_on_validation(tmp_path: Path, monkeypatch: Patch):
    def value(cfg: Train, log: Any) -> float:
        good = cfg.model.parameters["neighbours"] > 70
        for epoch in range(10):
            log({"ndcg@10": 0.1 + 0.01 * epoch if good else 0.01}, epoch)
        return 0.2 if good else 0.01

    stub(monkeypatch, value)
    tune.tune_model(config(tmp_path, "tuning.trials=20", "tuning.startup_trials=4"))
    assert "pruned" in {t["state"] for t in trials(tmp_path)}


@pytest.mark.parametrize(("limit", "pruned"), [(3, False), (4, True)])
def test_a_trial_is_not_pruned_when_all_its_epochs_are_done(tmp_path: Path, monkeypatch, limit: int, pruned: bool):
    falling = iter(range(100, 0, -1))

    def value(cfg: Train, log: Any) -> float:  # each trial ends worse than all before it
        end = next(falling) / 1000
        log({"ndcg@10": end}, 3)
        return end

    stub(monkeypatch, value)
    words = ["tuning.trials=8", "tuning.startup_trials=4", "tuning.pruner=median", f"trainer.max_epochs={limit}"]
    tune.tune_model(config(tmp_path, *words))
    assert ("pruned" in {t["state"] for t in trials(tmp_path)}) is pruned


def test_a_trial_that_takes_too_long_fails_alone_whether_its_model_has_epochs_or_not(
    tmp_path: Path, monkeypatch: Patch
):
    def value(cfg: Train, log: Any) -> float:
        if cfg.model.parameters["neighbours"] < 100:
            try:
                time.sleep(20)
            except OSError:  # a failing disk or server is borne by some of what a trial calls
                pytest.fail("the time limit was taken for something else")
        return 0.1

    stub(monkeypatch, value)
    tune.tune_model(config(tmp_path, "tuning=random", "tuning.trials=8", f"tuning.trial_hours={0.5 / 3600}"))
    slow = [t["params"]["neighbours"] < 100 for t in trials(tmp_path)]
    assert [t["state"] == "fail" for t in trials(tmp_path)] == slow
    assert any(slow)
    assert all("trial_hours" in t["error"] for t in trials(tmp_path) if t["state"] == "fail")


def test_hours_alone_can_end_a_search(tmp_path: Path, monkeypatch: Patch):
    stub(monkeypatch, lambda cfg, log: time.sleep(0.2) or 1.0)
    tune.tune_model(config(tmp_path, "tuning.trials=null", f"tuning.hours={1 / 3600}"))
    done = len(trials(tmp_path))
    assert 1 <= done < 6
    tune.tune_model(config(tmp_path, "tuning.trials=null", f"tuning.hours={0.1 / 3600}"))
    assert len(trials(tmp_path)) > done


def test_a_database_that_dies_is_told_in_one_line(tmp_path: Path, monkeypatch: Patch):
    database = tmp_path / "demo_shop-temporal-item_knn" / "study.db"

    def value(cfg: Train, log: Any) -> float:
        database.write_bytes(b"no database" * 1000)
        return 1.0

    stub(monkeypatch, value)
    with pytest.raises(UserError, match=r"database stopped answering .* run the same command again"):
        tune.tune_model(config(tmp_path, "tuning.trials=3"))


def test_a_database_password_stays_out_of_the_tracker(tmp_path: Path):
    cfg = config(tmp_path, "tuning.storage=postgresql://shop:s3cret@db/studies")
    assert "s3cret" in str(cfg)
    assert "s3cret" not in str(context.tracked(cfg))


def test_each_trial_is_a_child_run_with_its_curve_and_pruned_ones_have_not_failed(tmp_path: Path, monkeypatch: Patch):
    mlflow = pytest.importorskip("mlflow")

    def value(cfg: Train, log: Any) -> float:
        number = len(seen)
        if number == 2:
            raise UserError("no")
        for epoch in (1, 2, 3, 4):
            log({"loss": 1 / epoch, "ndcg@10": 1 / number}, epoch)
        return 1 / number

    seen = stub(monkeypatch, value)
    store = ["tracking=mlflow", f"tracking.uri=sqlite:///{tmp_path / 'm.db'}", f"tracking.artifacts={tmp_path / 'a'}"]
    words = ["tuning.trials=6", "tuning.startup_trials=2"]
    tune.tune_model(config(tmp_path / "studies", *words, *store))
    experiments = [e.experiment_id for e in mlflow.search_experiments()]
    runs = mlflow.MlflowClient().search_runs(experiments)
    [parent] = [r for r in runs if r.info.run_name.startswith("tune-")]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    found = {r.data.tags["state"]: r.info.status for r in children}
    assert len(children) == 6
    assert found == {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["validation_ndcg_at_10"] == 1.0
    first = next(r for r in children if r.info.run_name == "trial-0")
    curve = mlflow.MlflowClient().get_metric_history(first.info.run_id, "training/loss")
    assert [m.value for m in curve] == [1, 1 / 2, 1 / 3, 1 / 4]


def test_trials_of_one_search_do_not_share_a_checkpoint_folder(tmp_path: Path):
    from shopkeeper.pipeline.forms.checkpoints import checkpoint_folder

    cfg, facts = config(tmp_path), {"dataset_fingerprint": "x", "split": "temporal"}
    places = {checkpoint_folder(but(cfg, trial=name), facts) for name in ("a/0", "a/1", "b/0")}
    assert len(places | {checkpoint_folder(cfg, facts)}) == 4


def test_a_stage_keeps_the_studies_database_out_of_its_config(tmp_path: Path, monkeypatch: Patch):
    from searches import ROOT
    from shopkeeper.pipeline.stages.compose import compose_stages

    monkeypatch.setenv("SHOPKEEPER_STUDIES", "postgresql://shop:s3cret@db/studies")
    monkeypatch.chdir(ROOT)
    written = compose_stages(tmp_path / "composed")
    text = next(p for p in written if p.name == "tune-sasrec.yaml").read_text()
    assert "s3cret" not in text
    assert "oc.env:SHOPKEEPER_STUDIES" in text


def test_a_setting_of_the_loss_is_searched_under_either_name():
    """`model.loss` is `${loss}`: what is chosen for one is what the other is."""
    cfg = {"model": {"name": "m", "loss": {"name": "softmax", "smoothing": 0.0}}}
    cfg["loss"] = dict(cfg["model"]["loss"])
    for key in ("loss.smoothing", "model.loss.smoothing"):
        changed = space.with_settings(cfg, {key: 0.25})
        assert changed["model"]["loss"] == changed["loss"] == {"name": "softmax", "smoothing": 0.25}
    own = cfg | {"loss": {"name": "bce"}}  # a model with a loss of its own keeps it
    assert space.with_settings(own, {"model.loss.smoothing": 0.25})["model"]["loss"]["smoothing"] == 0.25
    assert space.with_settings(own, {"model.loss.smoothing": 0.25})["loss"] == {"name": "bce"}
