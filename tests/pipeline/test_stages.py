"""The whole pipeline through DVC on a tiny shop: what a change re-runs, and that nothing re-runs without one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shopkeeper.errors import UserError
from shopkeeper.pipeline.stages.compose import compose_stages

ROOT = Path(__file__).parents[2]
PLAN = {
    "dataset": "demo_shop",
    "split": "temporal",
    "seed": 1,
    "models": {"popularity": "next_item", "sasrec": "next_item", "logistic": "churn"},
    "training": {"sasrec": ["model.width=8", "model.blocks=1", "model.max_length=12"]},
    "export": "best",
    "tune": ["popularity"],
    "overrides": [
        "dataset.simulate.customers=300",
        "trainer.max_epochs=1",
        "tracking=none",
        "evaluation.resamples=200",
    ],
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository as git sees it, with a tiny plan, and one finished `dvc repro`."""
    folder = tmp_path_factory.mktemp("clone") / "shop"
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in names.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "conf/pipeline.yaml").write_text(yaml.safe_dump(PLAN))
    for command in (["git", "init", "-q"], ["git", "add", "-A"],
                    ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "t"]):  # fmt: skip
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    repro(folder)
    return folder


def dvc(folder: Path, *words: str) -> str:
    """Run a DVC command in the copy; what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(["dvc", *words], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def ran(printed: str) -> set[str]:
    """The names of the stages that ran, without the file that they stand in."""
    return {line.split("'")[1].rpartition(":")[2] for line in printed.splitlines() if line.startswith("Running stage")}


def repro(folder: Path) -> set[str]:
    """Run `dvc repro`; the names of the stages that ran, but for `inputs`, which looks for changes each time."""
    return ran(dvc(folder, "repro")) - {"inputs"}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_pipeline_leaves_every_promised_file(house: Path):
    for name in (
        "data/prepared/demo_shop/manifest.json",
        "runs/demo_shop/next_item/temporal/sasrec/metrics.json",
        "runs/demo_shop/churn/temporal/logistic/metrics.json",
        "reports/demo_shop/temporal/report.html",
        "reports/demo_shop/temporal/requests.parquet",
        "exports/demo_shop-best/next_item/manifest.json",
        "exports/demo_shop-best/churn/manifest.json",
    ):
        assert (house / name).is_file(), name
    assert [p.name for p in (house / "data/prepared").iterdir() if p.is_dir()] == ["demo_shop"]
    assert json.loads((house / "data/prepared/demo_shop/manifest.json").read_text())["n_users"] == 300
    metrics = json.loads((house / "runs/demo_shop/next_item/temporal/sasrec/metrics.json").read_text())
    assert set(metrics) >= {"dataset", "split", "protocol", "task", "model", "seed", "filter_seen", "target_hash"}
    entry = metrics["test"]["ndcg@10"]
    assert entry["low"] <= entry["value"] <= entry["high"]
    assert entry["n"] > 20


def test_no_artifact_names_the_machine(house: Path):
    for path in [*house.glob("runs/**/*.json"), *house.glob("exports/**/*.json"), *house.glob("runs/**/*.yaml")]:
        assert str(house) not in path.read_text(), path


def test_changes_rerun_what_they_affect_and_nothing_else(house: Path):
    assert repro(house) == set()

    edit(house / "conf/model/popularity.yaml", "# What sold best", "# A new comment. What sold best")
    assert repro(house) == {"compose"}

    edit(house / "conf/model/logistic.yaml", "inverse_penalty: 0.05", "inverse_penalty: 0.06")
    assert repro(house) == {"compose", "train@logistic", "evaluate", "export"}

    edit(house / "src/shopkeeper/customers/logistic.py", '"""', '"""Edited. ')  # which one model alone imports
    assert repro(house) == {"train@logistic", "evaluate", "export"}

    edit(house / "src/shopkeeper/pipeline/train.py", '"""', '"""Edited. ')  # which all training runs
    again = repro(house)
    assert {"train@popularity", "train@sasrec", "train@logistic"} <= again
    assert not {"compose", "prepare"} & again

    (house / "src/shopkeeper/recommenders/new_model.py").write_text('"""A model that nobody trains yet."""\n')
    assert repro(house) == set()


def test_a_new_audience_and_an_uplift_reach_the_page(house: Path):
    repro(house)
    page = house / "reports/demo_shop/temporal/report.html"
    assert "The second order" not in page.read_text(encoding="utf-8")
    words = ["audience.needs_consent=false", "~audience.blocks.goes_with_your_last_order", "at=2025-04-01"]
    words += ["audience=new_customer", "audience.title='The second order'", "dataset.simulate.customers=300"]
    environment = {**os.environ, "PYTHONPATH": str(house / "src")}
    command = [sys.executable, "audience.py", *words, "progress=false"]
    subprocess.run(command, cwd=house, check=True, capture_output=True, env=environment)
    assert repro(house) == {"evaluate"}
    text = page.read_text(encoding="utf-8")
    assert "The second order" in text
    assert "Which customers are there, and how do they move?" in text  # its own segments are there before the page is
    assert repro(house) == set()
    shutil.rmtree(house / "audiences")
    repro(house)  # DVC remembers the page from before
    assert "The second order" not in page.read_text(encoding="utf-8")


def test_dvc_shows_the_settings_of_the_models_that_the_pipeline_trains():
    stages, plan = (yaml.safe_load((ROOT / name).read_text()) for name in ("dvc.yaml", "conf/pipeline.yaml"))
    assert {Path(name).stem for name in stages["params"] if "/model/" in name} == set(plan["models"])


def test_metrics_plots_and_experiments_of_dvc_work(house: Path):
    shown = json.loads(dvc(house, "metrics", "show", "--json"))
    board = shown[""]["data"]["reports/demo_shop/temporal/leaderboard.json"]["data"]
    assert 0 < board["next_item"]["popularity"]["ndcg@10"] < 1
    assert 0 < board["churn"]["logistic"]["log_loss"] < 1
    dvc(house, "plots", "show", "--out", "plots")
    page = (house / "plots/index.html").read_text()
    for shown in ("sasrec", "Learning curves", "Reliability on test", "Headline metric by slice"):
        assert shown in page
    dvc(house, "checkout")  # where nobody has searched yet, too
    edit(house / "conf/model/popularity.yaml", "half_life_days: 30", "half_life_days: 31")
    changed = json.loads(dvc(house, "params", "diff", "--json"))
    assert changed["conf/model/popularity.yaml"] == {"half_life_days": {"old": 30, "new": 31, "diff": 1}}
    edit(house / "conf/model/popularity.yaml", "half_life_days: 31", "half_life_days: 30")
    ran_again = ran(dvc(house, "exp", "run", "-S", "conf/model/popularity.yaml:half_life_days=7"))
    assert {"compose", "train@popularity"} <= ran_again
    assert not {"prepare", "train@sasrec", "train@logistic"} & ran_again
    run = yaml.safe_load((house / "runs/demo_shop/next_item/temporal/popularity/config.yaml").read_text())
    assert run["model"]["half_life_days"] == 7


def test_the_notebook_reads_what_evaluate_left(house: Path):
    import nbformat
    from nbclient import NotebookClient

    os.environ["SHOPKEEPER_HOME"] = str(house)
    try:
        notebook = nbformat.read(ROOT / "notebooks/compare_models.ipynb", as_version=4)
        assert all(not cell.get("outputs") for cell in notebook.cells), (
            "the notebook in the repository has stale output"
        )
        NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    finally:
        del os.environ["SHOPKEEPER_HOME"]
    printed = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))
    assert "requests x 5 models" in printed  # evaluate adds recency, personal frequency and popularity of the last week
    assert "sasrec" in printed


def test_the_next_report_says_what_has_moved_and_may_be_of_fewer_models(house: Path):
    repro(house)
    report = house / "reports/demo_shop/temporal"
    before = json.loads((report / "decisions.json").read_text())["figures"]
    edit(house / "conf/segments.yaml", "at_risk: 1.5", "at_risk: 1.2")
    fewer = {name: task for name, task in PLAN["models"].items() if name != "sasrec"}
    (house / "conf/pipeline.yaml").write_text(yaml.safe_dump({**PLAN, "models": fewer, "training": {}}))
    assert repro(house) == {"compose", "segments", "evaluate", "export"}
    assert json.loads((report / "decisions.json").read_text())["since"]["figures"] == before
    assert "What has moved since the last report?" in (report / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("export", "said"),
    [("best", {"run": "best"}), ("popularity", {"run": "runs/demo_shop/next_item/temporal/popularity"})],
)
def test_what_is_exported_is_best_or_the_name_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: str, said: dict[str, str | None]
):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf/pipeline.yaml").write_text(yaml.safe_dump(PLAN | {"export": export}))
    monkeypatch.chdir(tmp_path)
    compose_stages(tmp_path / "composed")
    stage = yaml.safe_load((tmp_path / "composed/stage-export.yaml").read_text())
    assert {key: stage[key] for key in said} == said
    assert export == "best" or stage["model"]["name"] == export
    assert "exports/${dataset}-${export}" in (ROOT / "dvc.yaml").read_text()  # a word: DVC writes it into the name


def test_what_one_model_is_told_no_other_stage_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    told = {"models": {"sasrec": "next_item", "popularity": "next_item"}, "tune": ["sasrec"]}
    monkeypatch.chdir(tmp_path)

    def plan(**more: object) -> Path:
        (tmp_path / "conf/pipeline.yaml").write_text(yaml.safe_dump(PLAN | told | more))
        shutil.rmtree(tmp_path / "composed", ignore_errors=True)
        compose_stages(tmp_path / "composed")
        return tmp_path / "composed"

    before = {file.name: file.read_text() for file in plan().glob("*.yaml")}
    after = {file.name: file.read_text() for file in plan(training={"sasrec": ["model.lr=0.5"]}).glob("*.yaml")}
    assert {name for name in after if after[name] != before[name]} == {"train-sasrec.yaml"}
    assert yaml.safe_load(after["train-sasrec.yaml"])["model"]["lr"] == 0.5
    rich = {file.name: file.read_text() for file in plan(overrides=["features=rich"]).glob("*.yaml")}
    assert yaml.safe_load(rich["stage-prepare.yaml"])["features"]["name"] == "rich"  # its audit looks at them
    with pytest.raises(UserError, match=r"training: item_knn is none of models \(popularity, sasrec\)"):
        plan(training={"item_knn": ["model.neighbours=5"]})
