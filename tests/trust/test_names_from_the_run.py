"""Outputs are named by the run that they are made of, and nothing of another dataset or model is replaced for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig

from house import House, read, small_shop
from shopkeeper.errors import UserError
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.train import train, train_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Two shops, a run of popularity on each, and one of item_knn on the first."""
    house = House(tmp_path_factory.mktemp("house"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(house.place)
        house.dataset("small", small_shop())
        house.dataset("other", small_shop()[1:])
        house.train("small-run", "dataset=small", "model=popularity")
        house.train("knn-run", "dataset=small", "model=item_knn", "seed=2")
        house.train("other-run", "dataset=other", "model=popularity")
    return house


@pytest.fixture
def house(trained: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> House:
    """The same with reports and exports of each test's own."""
    monkeypatch.chdir(trained.place)
    monkeypatch.setattr("house.ALWAYS", (*_always(), f"paths.reports={tmp_path / 'reports'}",
                                         f"paths.exports={tmp_path / 'exports'}"))  # fmt: skip
    return trained


def _always() -> tuple[str, ...]:
    from house import ALWAYS

    return ALWAYS


def below(folder: Path, depth: str = "*") -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.glob(depth))


def test_a_bundle_is_named_by_the_dataset_and_the_model_of_its_run(house: House, tmp_path: Path):
    house.export("run=small-run")
    house.export("run=other-run")
    assert below(tmp_path / "exports") == ["other-popularity", "small-popularity"]
    manifest = read(tmp_path / "exports/small-popularity/manifest.json")
    assert (manifest["data"]["dataset"], manifest["model"]) == ("small", "popularity")
    house.export("run=small-run")  # of the same dataset and model: replaced


def test_a_report_lies_where_the_dataset_and_the_split_of_its_runs_say(house: House, tmp_path: Path):
    house.evaluate("runs=[small-run]")
    assert below(tmp_path / "reports", "*/*") == ["small/temporal"]
    assert read(tmp_path / "reports/small/temporal/manifest.json")["dataset"] == "small"


@pytest.mark.parametrize("run", ["other-run", "knn-run"])
def test_a_bundle_of_another_dataset_or_model_is_replaced_when_that_is_said_and_not_before(
    run: str, house: House, tmp_path: Path
):
    house.export("run=small-run", "name=best")
    before = read(tmp_path / "exports/best/manifest.json")
    with pytest.raises(UserError, match=r"best holds a bundle of .*, not .*; say overwrite=true to replace it, or set"):
        house.export(f"run={run}", "name=best")
    assert read(tmp_path / "exports/best/manifest.json") == before
    house.export(f"run={run}", "name=best", "overwrite=true")
    assert read(tmp_path / "exports/best/manifest.json") != before


def test_a_report_of_another_dataset_or_that_would_lose_a_model_is_replaced_when_that_is_said_and_not_before(
    house: House, tmp_path: Path
):
    out = f"out={tmp_path / 'page'}"
    house.evaluate("runs=[small-run]", out)
    with pytest.raises(UserError, match="page holds a report of dataset=small, not other; say overwrite=true"):
        house.evaluate("runs=[other-run]", out)
    with pytest.raises(UserError, match="page holds a report of popularity, which would not be in this one"):
        house.evaluate("runs=[knn-run]", out)  # popularity is added for the table, but it is not the run that was asked
    assert read(tmp_path / "page/manifest.json")["runs"][0]["model"] == "popularity"
    house.evaluate("runs=[small-run,knn-run]", out)  # nothing is lost
    house.evaluate("runs=[other-run]", out, "overwrite=true")
    assert read(tmp_path / "page/manifest.json")["dataset"] == "other"


@pytest.mark.parametrize("name", ["''", ".", "..", "../small", "/abs", "a/../../b", "-", "a//b", "a/"])
def test_a_name_that_is_no_folder_below_the_exports_is_refused(name: str, house: House, tmp_path: Path):
    (tmp_path / "exports/other").mkdir(parents=True)
    (tmp_path / "exports/other/keep.txt").write_text("mine")
    with pytest.raises(UserError, match=r"names no folder below paths\.exports; give a plain name"):
        house.export("run=small-run", f"name={name}")
    assert below(tmp_path / "exports", "**/*") == ["other", "other/keep.txt"]


def test_runs_of_several_datasets_are_not_one_report(house: House, tmp_path: Path):
    with pytest.raises(UserError, match="small-run is of dataset=small, other-run of dataset=other; evaluate them one"):
        house.evaluate("runs=[small-run,other-run]")
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dataset=other"], ["dataset=other is left aside: RUNS says small"]),
        (["model=sasrec", "split=leave_one_out"],
         ["model=sasrec is left aside: RUNS says popularity, item_knn",
          "split=leave_one_out is left aside: RUNS says temporal"]),
        (["seed=3", "evaluation.k=[5]"],
         ["seed=3 is left aside: RUNS says 1, 2", "evaluation.k=[5] is left aside: RUNS says [10]"]),
        (["features=rich"], ["features=rich is left aside: RUNS says usual"]),
        (["dataset=small", "seed=2", "model=item_knn", "features=usual", "report.seed=4"], []),
    ],
)  # fmt: skip
def test_a_word_on_the_command_line_that_no_run_agrees_with_is_said(
    words: list[str], said: list[str], house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    told = SimpleNamespace(
        runtime=SimpleNamespace(config_sources=[]), overrides=SimpleNamespace(task=[*words, "runs=[small-run,knn-run]"])
    )
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: told)
    house.evaluate(*words, "runs=[small-run,knn-run]", "report.shuffle=false")
    warnings = [r.getMessage() for r in caplog.records if "left aside" in r.getMessage()]
    assert warnings == [line.replace("RUNS", "small-run, knn-run") for line in said]


# Refused before the work begins ---------------------------------------------------------------------------------------


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever takes time is a failure."""

    def work(*_: object, **__: object) -> None:
        pytest.fail("the work began")

    for name in ("train.learn", "train.tracking.start", "evaluate.form_of", "evaluate.section_of",
                 "export.context.prepared_of"):  # fmt: skip
        monkeypatch.setattr(f"shopkeeper.pipeline.{name}", work)
    monkeypatch.setattr("shopkeeper.arrange.prepare.prepare_dataset", work)


@pytest.mark.usefixtures("no_work")
def test_no_verb_begins_where_its_result_would_replace_what_a_person_has(house: House, tmp_path: Path):
    mine = tmp_path / "mine"
    (mine / "checkpoint").mkdir(parents=True)
    (mine / "checkpoint/keep.txt").write_text("mine")
    small = ("dataset=small", "model=popularity")
    for verb in (
        lambda: train_model(house.config("train", *small), mine),
        lambda: house.evaluate("runs=[small-run]", f"out={mine}"),
        lambda: house.export("run=small-run", f"paths.exports={tmp_path}", "name=mine"),
        lambda: prepare_data(house.config("prepare", *small, f"prepared_folder={mine}")),
        lambda: prepare_data(house.config("prepare", *small, f"prepared_folder={tmp_path}")),
        lambda: train_model(house.config("train", *small), Path("small-run/..")),
        lambda: train_model(house.config("train", *small), Path("data")),
    ):
        with pytest.raises(UserError, match=r"move it away|runs in, or lies above it"):
            verb()
    assert below(mine, "**/*") == ["checkpoint", "checkpoint/keep.txt"]


@pytest.mark.usefixtures("no_work")
def test_no_search_begins_in_a_folder_that_a_person_has(house: House, tmp_path: Path):
    from shopkeeper.pipeline.tune import tune_model

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/keep.txt").write_text("mine")
    words = ("dataset=small", "model=item_knn", "tuning.name=mine", f"paths.studies={tmp_path}")
    with pytest.raises(UserError, match=r"mine holds 'keep\.txt' and is no study"):
        tune_model(house.config("tune", *words))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("place", [".", "{here}"])
def test_the_folder_that_the_command_runs_in_is_refused_for_a_run_where_somebody_says_so(
    place: str, house: House, monkeypatch: pytest.MonkeyPatch
):
    from hydra.types import RunMode

    here, word = str(house.place), f"hydra.run.dir={place.format(here=house.place)}"
    told = SimpleNamespace(
        runtime=SimpleNamespace(output_dir=here, config_sources=[]), sweep=SimpleNamespace(dir="outputs/sweeps/x"),
        overrides=SimpleNamespace(task=[], hydra=[word]), mode=RunMode.RUN,
    )  # fmt: skip
    monkeypatch.setattr(HydraConfig, "get", lambda: told)
    config = house._composed("train", ("dataset=small", "model=popularity"))
    with pytest.raises(UserError, match="is the folder that this command runs in, or lies above it"):
        train(config)
