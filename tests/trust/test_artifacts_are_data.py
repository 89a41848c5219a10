"""An artifact is data: what it names is never imported, and no file outside it is opened on its word."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.cli.main import main
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import summarise
from shopkeeper.files import member, sha256_file
from shopkeeper.hashing import sealed
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.models.targets import MOVED, PACKAGE, refuse_foreign, today
from shopkeeper.pipeline import context
from shopkeeper.pipeline.comparing.baselines import missing_baselines
from shopkeeper.pipeline.runs import RunFolder, open_run, write_run
from shopkeeper.pipeline.told import Evaluate, Train, but, settings
from tiny import cycle_histories, days, tiny_prepared

POPULARITY = "shopkeeper.recommenders.counting.popularity.Popularity"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root, histories = tmp_path_factory.mktemp("targets"), cycle_histories(20, 6, 5)
    prepared, split = tiny_prepared(root / "tiny", histories, days(histories, 19_000))
    settings = {"name": "popularity", "task": "next_item", "target": POPULARITY, "half_life_days": None}
    model = make(settings)
    model.fit(prepared, split, Fit(progress=False))
    table = evaluate_requests(model, split, "test", metadata={"model": "popularity", "seed": 1})
    about = {"dataset": "tiny", "split": "leave_one_out", "protocol": split.protocol, "task": "next_item"}
    metrics = {**about, "model": "popularity", "seed": 1, "filter_seen": False, "target_hash": split.target_hash()}
    config = {"model": settings, "task": {"name": "next_item", "headline": "ndcg@10"}, "seed": 1}
    facts = {"prepared": str(prepared.path), "dataset_fingerprint": prepared.fingerprint, "split": split.name}
    return write_run(root / "run", config, model, metrics | {"test": summarise(table)}, {"test": table}, facts)


def changed(run: RunFolder, out: Path, file: str = "config.yaml", files: Any = None, **model: Any) -> Path:
    """A copy of the run whose config.yaml describes another model and whose hashes fit."""
    shutil.copytree(run.path, out)
    if model:
        (out / file).write_text(yaml.safe_dump({**run.config, "model": {**run.config["model"], **model}}))
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"] |= {file: sha256_file(out / file)} | (files or {})
    (out / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return out


@pytest.mark.parametrize(
    "target",
    [
        "warnings.warn", "os.system", "spy_of_this_test.Model", "shopkeeper.files.write_text", "subprocess.Popen",
        "shopkeeper.recommenders.counting.popularity.np.save",
        "shopkeeper.recommenders.counting.popularity.item_popularity",
        "shopkeeper.recommenders.nowhere.Model", "shopkeeper.recommenders...conf.Model", "", None, ["os", "system"],
    ],
)  # fmt: skip
def test_a_target_that_only_an_artifact_names_is_refused_before_anything_is_imported(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any
) -> None:
    (tmp_path / "spy_of_this_test.py").write_text("class Model:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    foreign = changed(run, tmp_path / "run", target=target, message="called from an artifact")
    known = set(sys.modules)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"config\.yaml"):
            open_run(foreign)
    assert "spy_of_this_test" not in set(sys.modules) - known


@pytest.mark.parametrize("target", ["subprocess.getoutput", "spy_of_this_test.Model", ["os", "system"]])
def test_a_target_of_a_model_within_a_model_is_refused_as_well(run: RunFolder, tmp_path: Path, target: Any) -> None:
    """`two_stage` is made of candidate models, each with a target of its own."""
    own = {name: {"name": name, "target": POPULARITY} for name in ("a", "b")}
    two_stage = "shopkeeper.recommenders.combined.two_stage.TwoStage"
    open_run(changed(run, tmp_path / "good", target=two_stage, candidates=own))
    for place, candidates in (("one", own | {"b": {"target": target, "cmd": "true"}}), ("list", [{"target": target}])):
        foreign = changed(run, tmp_path / place, target=two_stage, candidates=candidates)
        with pytest.raises(UserError, match=r"config\.yaml: model\.candidates\S+ "):
            open_run(foreign)


def test_a_baseline_that_a_stages_config_names_is_refused_as_well(run: RunFolder, tmp_path: Path) -> None:
    foreign = {"name": "popular", "target": "subprocess.getoutput", "cmd": f"touch {tmp_path / 'called'}"}
    told = {"dataset": {"name": "shop"}, "split": {"name": "temporal"}}
    cfg = settings({**told, "report": {"baselines": {"popularity": foreign}}}, Evaluate)
    with pytest.raises(UserError, match=r"report\.baselines: model\.target .subprocess\.getoutput"):
        missing_baselines(cfg, [run], tmp_path / "room")
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("said", ["../elsewhere", "data/../../x", "", 7, None, ["data"], "da\0ta"])
def test_a_run_does_not_lead_to_data_outside_of_the_working_folder(run: RunFolder, said: Any) -> None:
    manifest = {**run.manifest, "prepared": said}
    with pytest.raises(UserError, match=r"names .* as its prepared dataset, which is refused"):
        context.prepared_of(manifest)


def test_in_another_working_folder_a_run_says_where_its_data_are_looked_for(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no data/prepared below .* run this command there"):
        context.prepared_of({**run.manifest, "prepared": "data/prepared/shop"})


@pytest.mark.parametrize("said", [{"files": ["config.yaml"]}, {"files": 3}, {"format_version": "1"}])
def test_a_manifest_of_another_shape_is_one_line(run: RunFolder, tmp_path: Path, said: dict[str, Any]) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run/manifest.json").write_text(json.dumps({**run.manifest, **said}))
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        open_run(tmp_path / "run")


def test_a_run_opens_no_data_but_those_with_its_own_fingerprint(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shopkeeper.data.prepared.Prepared.open", lambda path: pytest.fail(f"{path} was opened"))
    with pytest.raises(UserError, match="fingerprints differ"):
        context.prepared_of({**run.manifest, "dataset_fingerprint": "0" * 64})


@pytest.mark.parametrize("name", ["base.Recommender", "popularity.Mapping", "popularity.Fit", "base.Fit"])
def test_a_name_inside_the_package_that_is_no_model_is_refused(run: RunFolder, tmp_path: Path, name: str) -> None:
    foreign = changed(run, tmp_path / "run", target=f"shopkeeper.recommenders.{name}")
    with pytest.raises(UserError, match="is no model"):
        open_run(foreign).model()


@pytest.mark.parametrize("verb", ["compare", "plan-test"])
def test_commands_that_open_runs_refuse_a_foreign_target(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    foreign = str(changed(run, tmp_path / "run", target="warnings.warn"))
    words = [verb, foreign, str(run.path)] if verb == "compare" else [verb, foreign, "--effect", "1", "--per-day", "1"]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 1
    assert "a file does not choose what is run" in capsys.readouterr().err


def test_settings_that_the_models_constructor_does_not_take_are_one_line(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no setting model\.path"):
        open_run(changed(run, tmp_path / "run", path="/etc/hostname")).model()


OWN_MODEL = """
from shopkeeper.recommenders.counting.popularity import Popularity
class Mine(Popularity):
    pass
"""


def test_a_persons_own_model_is_opened_where_his_conf_or_command_names_it(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_of_this_test.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    own = changed(run, tmp_path / "run", target="mine_of_this_test.Mine")
    with pytest.raises(UserError, match=r"name it in conf/model/<name>\.yaml"):
        open_run(own)
    assert type(open_run(own, ["mine_of_this_test.Mine"]).model()).__name__ == "Mine"
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("name: mine\ntarget: mine_of_this_test.Mine\n")
    assert type(open_run(own).model()).__name__ == "Mine"


def test_every_model_that_is_shipped_may_be_named() -> None:
    from shopkeeper import configuration

    for name in configuration.names("model"):
        path = configuration.find("model", name)
        assert path is not None
        refuse_foreign(yaml.safe_load(path.read_text()), path)


def test_a_run_from_before_its_models_file_moved_is_opened_as_that_model(run: RunFolder, tmp_path: Path) -> None:
    old = changed(run, tmp_path / "run", target="shopkeeper.recommenders.popularity.Popularity")
    assert type(open_run(old).model()).__module__ == POPULARITY.rpartition(".")[0]
    assert {today(f"{file}X") for file in MOVED} == {f"{file}X" for file in MOVED.values()}
    assert all((PACKAGE.parent / (file.replace(".", "/")[:-1] + ".py")).is_file() for file in MOVED.values())


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "a\\b", "C:x", "", "link", "away/x"])
def test_a_manifest_cannot_name_a_file_outside_its_folder(run: RunFolder, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("x")
    out = changed(run, tmp_path / "run", files={name: sha256_file(tmp_path / "secret")})
    (out / "link").symlink_to(tmp_path / "secret")
    (out / "away").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="may lie outside"):
        open_run(out)


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert member(tmp_path, "b").read_text() == "x"


def test_a_run_whose_settings_are_not_hashed_is_refused(run: RunFolder, tmp_path: Path) -> None:
    out = changed(run, tmp_path / "run")
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["files"]["config.yaml"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"does not list config\.yaml"):
        open_run(out)


@pytest.mark.parametrize("split", ["../../elsewhere", "/tmp", "..", "a/b"])
def test_a_manifest_cannot_name_a_split_outside_its_dataset(run: RunFolder, split: str) -> None:
    from shopkeeper.pipeline import context

    with pytest.raises(UserError, match="is no name of a split"):
        context.split_of(context.prepared_of(run.manifest), {**run.manifest, "split": split})


def test_a_config_that_a_tool_wrote_does_not_choose_the_class_that_is_trained() -> None:
    """A search's best.yaml or a stage's file, composed into a command: refused like a run's config."""
    from shopkeeper.pipeline import context
    from shopkeeper.pipeline.stages.compose import composed

    config = settings(composed("train", ["model=popularity"]), Train)
    context.check_task(config)
    with pytest.raises(UserError, match="a file does not choose what is run"):
        context.check_task(but(config, model={**config.model.plain, "target": "warnings.warn"}))
