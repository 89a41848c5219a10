"""`evaluate` asks what the figures mean, writes it down, and leaves what other tools read as it was."""

from __future__ import annotations

import csv
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from omegaconf import open_dict

from shopkeeper.cli.main import main
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import metadata_of, summarise
from shopkeeper.files import write_json
from shopkeeper.hashing import sealed
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.pipeline.comparing.baselines import missing_baselines
from shopkeeper.pipeline.comparing.checks import _trained_without_order
from shopkeeper.pipeline.evaluate import evaluate, evaluate_runs
from shopkeeper.pipeline.runs import RunFolder, open_run, write_run
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import Evaluate, settings
from tiny import cycle_histories, days, tiny_prepared

Data = tuple[Prepared, Split]
KNN = {"neighbours": 10, "shrinkage": 1.0, "half_life_events": 0.5, "half_life_days": None, "self_similarity": None}
MODELS: dict[str, dict[str, Any]] = {
    "popularity": {"half_life_days": None, "relative_to": "cutoff", "event_weights": None},
    "item_knn": {**KNN, "event_weights": None},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    histories = cycle_histories(60, 12, 7)  # the next item follows from the last: order matters here
    return tiny_prepared(tmp_path_factory.mktemp("evaluate") / "tiny", histories, days(histories, 19_000))


def trained(
    data: Data,
    folder: Path,
    name: str,
    seed: int = 1,
    split_name: str = "leave_one_out",
    told: dict[str, str] | None = None,
    plan: dict[str, Any] | None = None,
) -> RunFolder:
    """A finished run, as `train` leaves it."""
    prepared, split = data
    of_model = yaml.safe_load((Path("conf/model") / f"{name}.yaml").read_text(encoding="utf-8")) | MODELS[name]
    config = {
        "model": of_model,
        "task": {"name": "next_item", "headline": "ndcg@10"},
        "dataset": {"name": "tiny", "filter_seen": False},
        "split": {"name": split_name},
        "trainer": {"plan": plan or {}},
        "seed": seed,
        "init_from": None,
    }
    model = make(of_model)
    model.fit(prepared, split, Fit(seed=seed, progress=False))
    table = evaluate_requests(model, split, "test", metadata={"model": name, "seed": seed, **(told or {})})
    about = {"dataset": "tiny", "split": split_name, "protocol": split.protocol, "task": "next_item", "model": name}
    metrics = {**about, "seed": seed, "filter_seen": False, "target_hash": split.target_hash()}
    metrics["test"] = summarise(table, resamples=50)
    facts = {"prepared": str(prepared.path), "dataset_fingerprint": prepared.fingerprint, "split": split.name}
    return write_run(folder, config, model, metrics, {"test": table}, facts)


@pytest.fixture(scope="module")
def runs(data: Data, tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    root = tmp_path_factory.mktemp("models") / "tiny" / "leave_one_out" / "next_item"
    return [trained(data, root / name, name) for name in MODELS]


def evaluated(
    runs: list[RunFolder], out: Path, models: Path | None = None, confidence: float = 0.95, **report: Any
) -> dict[str, Any]:
    """`sanity.json` of the recommenders; the whole report lies in `out`."""
    cfg = {
        "dataset": {"name": "tiny"},
        "split": {"name": "leave_one_out"},
        "paths": {"models": str(models or out.parent / "none")},
        "evaluation": {"confidence": confidence, "resamples": 50, "smallest_effect": 0.003},
        "report": {"customers": 2, "baseline": "popularity", "resamples": 50, **report},
        "tracking": {"name": "none"},
    }
    evaluate_runs(settings(cfg, Evaluate), runs, out)
    found: dict[str, Any] = json.loads((out / "sanity.json").read_text(encoding="utf-8"))["next_item"]
    return found


def test_order_is_worth_something_to_a_model_that_reads_it_and_nothing_to_popularity(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    found = evaluated(runs, tmp_path / "report", retrain=["item_knn"])
    assert found["shuffled"]["item_knn"]["winner"] == "as it was"
    assert found["shuffled"]["item_knn"]["difference"] > 0.05
    assert found["shuffled"]["popularity"]["difference"] == 0
    assert list(found["retrained"]) == ["item_knn"]
    assert found["retrained"]["item_knn"]["winner"] == "as it was"
    html = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Item-kNN: loses 0." in html
    assert "Popularity: no difference; it does not look at the order" in html


def test_the_files_that_dvc_and_the_notebook_read_are_there_beside_the_checks(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    out = tmp_path / "report"
    found = evaluated(runs, out, shuffle=False)
    assert found["shuffled"] == {}
    names = {"comparisons.json", "leaderboard.csv", "leaderboard.json", "leaderboard.txt", "report.html",
             "requests.parquet", "sanity.json", "manifest.json"}  # fmt: skip
    assert {p.name for p in out.iterdir()} == names
    board = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))["next_item"]
    assert list(board) == ["item_knn", "popularity"]
    comparisons = json.loads((out / "comparisons.json").read_text(encoding="utf-8"))["next_item"]
    assert [c["winner"] for c in comparisons] == ["item_knn"]
    assert set(found["checks"]) == set(board)
    assert found["coverage_curves"]["popularity"]["coverage"][-1] == pytest.approx(10 / 12)
    assert found["uses_instant"] == []
    assert found["like_the_best"] == ["item_knn"]


def test_the_other_split_is_set_beside_this_one_where_it_has_runs_and_otherwise_the_command_is_given(
    data: Data, runs: list[RunFolder], tmp_path: Path
) -> None:
    gap = evaluated(runs, tmp_path / "report", shuffle=False)["split_gap"]
    assert "python train.py dataset=tiny split=temporal model=popularity" in gap["not_run"]
    models = tmp_path / "models"
    trained(data, models / "tiny/temporal/next_item/item_knn", "item_knn", split_name="temporal")
    gap = evaluated(runs, tmp_path / "report", models, shuffle=False)["split_gap"]
    assert list(gap["models"]) == ["item_knn"]
    assert gap["models"]["item_knn"]["ratio"] == pytest.approx(1)
    again = trained(data, tmp_path / "again", "item_knn", seed=2)
    gap = evaluated([*runs, again], tmp_path / "report", models, shuffle=False)["split_gap"]
    assert list(gap["models"]) == ["item_knn"]  # with its first seed
    manifest = models / "tiny/temporal/next_item/item_knn/manifest.json"
    kept = manifest.read_text(encoding="utf-8")
    write_json(manifest, sealed({**json.loads(kept), "dataset_fingerprint": "another"}))
    gap = evaluated(runs, tmp_path / "report", models, shuffle=False)["split_gap"]
    assert "were trained on other data" in gap["not_run"]
    manifest.write_text(kept, encoding="utf-8")
    (models / "tiny/temporal/next_item/item_knn/metrics.json").write_text("{}", encoding="utf-8")
    gap = evaluated(runs, tmp_path / "report", models, shuffle=False)["split_gap"]
    assert "was changed or damaged" in gap["not_run"]


def test_several_seeds_are_put_together_and_other_settings_are_not(
    data: Data, runs: list[RunFolder], tmp_path: Path
) -> None:
    again = trained(data, tmp_path / "again", "item_knn", seed=2)
    seeds = evaluated([*runs, again], tmp_path / "report", shuffle=False)["seeds"]
    assert list(seeds) == ["item_knn"]
    assert seeds["item_knn"]["ahead_of"] == {}
    assert seeds["item_knn"]["seeds"] == ["1", "2"]
    assert seeds["item_knn"]["spread"] == 0  # nothing in it is drawn at random
    assert "Over seeds" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "with 2 seeds a 95 % interval is too narrow" in seeds["item_knn"]["too_few"]
    assert "item_knn over seeds 1, 2: mean ndcg@10" in (tmp_path / "report" / "leaderboard.txt").read_text("utf-8")
    assert list(json.loads((tmp_path / "report" / "leaderboard.json").read_text("utf-8"))["next_item"]) == [
        "item_knn#1", "item_knn#2", "popularity",
    ]  # fmt: skip
    again_by_model = evaluated([*runs, again], tmp_path / "report", shuffle=False, retrain=["item_knn"])
    assert list(again_by_model["retrained"]) == ["item_knn#1"]
    base = trained(data, tmp_path / "base", "popularity", seed=2, plan={"micro_batch": 64})  # that machine was smaller
    both = evaluated([*runs, again, base], tmp_path / "report", shuffle=False)["seeds"]
    assert both["item_knn"]["ahead_of"]["popularity"]["low"] > 0
    assert both["popularity"]["ahead_of"]["item_knn"]["high"] < 0
    other = RunFolder(again.path, {**again.config, "model": {**again.config["model"], "neighbours": 3}}, again.metrics,
                      again.manifest)  # fmt: skip
    assert evaluated([*runs, other], tmp_path / "report", shuffle=False)["seeds"] == {}


def test_a_model_of_two_processes_is_trained_again_on_shuffled_histories_not_on_those_on_disk(data: Data) -> None:
    settings = {"name": "sasrec", "target": "shopkeeper.recommenders.networks.sasrec.SASRec", "width": 4, "epochs": 1}
    config: dict[str, Any] = {"model": settings, "dataset": {"name": "tiny", "filter_seen": False}, "seed": 1,
                              "split": {"name": "leave_one_out"}, "task": {"name": "next_item"}}  # fmt: skip
    trainer = {"accelerator": "cpu", "threads": 1}

    def again(**told: Any) -> np.ndarray:
        run = RunFolder(Path("run"), {**config, "trainer": trainer | told}, {"model": "sasrec"}, {})
        vectors: np.ndarray = _trained_without_order(run, data[1]).item_vectors()
        return vectors

    assert np.array_equal(again(devices=2, plan={"processes": 2}), again(devices=1))


def test_a_model_that_started_from_one_which_knew_the_order_is_not_called_trained_without(data: Data) -> None:
    config = {"model": {"name": "sasrec"}, "init_from": "models/yesterday"}
    with pytest.raises(UserError, match="started from the weights of models/yesterday, which have seen the order"):
        _trained_without_order(RunFolder(Path("run"), config, {"model": "sasrec"}, {}), data[1])


def test_a_misspelt_model_to_train_again_is_named(runs: list[RunFolder], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run 'item_kn'. Did you mean 'item_knn'\?"):
        evaluated(runs, tmp_path / "report", retrain=["item_kn"])
    assert not (tmp_path / "report").exists()


def test_runs_of_other_data_are_not_compared_even_where_the_targets_are_the_same(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    other = replace(runs[1], manifest={**runs[1].manifest, "dataset_fingerprint": "another"})
    with pytest.raises(UserError, match="was trained on other data than"):
        evaluated([runs[0], other], tmp_path / "report")


def test_a_baseline_that_nobody_trained_is_trained_for_the_table(
    data: Data, runs: list[RunFolder], tmp_path: Path
) -> None:
    shipped = {n: yaml.safe_load(Path(f"conf/model/{n}.yaml").read_text("utf-8")) for n in ("popularity", "recency")}
    out = tmp_path / "report"
    found = evaluated([runs[1]], out, baselines=shipped)
    assert found["missing_baselines"] is None
    board = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))["next_item"]
    assert set(board) == {"item_knn", "popularity", "recency"}
    told = {r["model"]: r["path"] for r in json.loads((out / "manifest.json").read_text(encoding="utf-8"))["runs"]}
    recency = open_run(told["recency"])
    assert recency.path == out / "baselines" / "recency"
    own, other = (metadata_of(run.table()) for run in (recency, runs[1]))
    same = ("target_hash", "filter_seen", "k", "ties", "n_catalogue")
    assert {k: own[k] for k in same} == {k: other[k] for k in same}
    assert own["model"] == "recency"
    rows = pq.read_table(out / "requests.parquet").filter(pc.field("model") == "recency")
    hidden = recency.table()["user_id"].to_pylist()
    assert hidden == rows["user_id"].to_pylist()  # the same number for a customer everywhere in the report
    assert all(name.startswith("customer ") for name in hidden)
    shutil.rmtree(out)
    assert evaluated(runs, out, baselines={})["missing_baselines"].startswith("no recency baseline")


def test_a_shops_own_baseline_is_in_its_table_and_not_where_seen_items_are_left_out(data: Data, tmp_path: Path) -> None:
    own = yaml.safe_load(Path("conf/model/personal_frequency.yaml").read_text("utf-8"))
    told = {"dataset": {"name": "tiny"}, "split": {"name": "leave_one_out"}, "evaluation": {"resamples": 50}}
    cfg = settings({**told, "report": {"shop_baselines": {"personal_frequency": own}}}, Evaluate)
    shop = trained(data, tmp_path / "shop", "popularity")
    assert [run.metrics["model"] for run in missing_baselines(cfg, [shop], tmp_path)] == ["personal_frequency"]
    films = replace(shop, metrics={**shop.metrics, "filter_seen": True})
    assert missing_baselines(cfg, [films], tmp_path) == []


def test_other_intervals_than_those_of_training_are_made_again(tmp_path: Path) -> None:
    histories = np.random.default_rng(3).integers(1, 13, (60, 7)).tolist()
    told = tiny_prepared(tmp_path / "tiny", histories, days(histories, 19_000))
    runs = [trained(told, tmp_path / name, name) for name in MODELS]
    wide, narrow, bca = (
        evaluated_board(runs, tmp_path / "report", confidence, intervals=kind)["popularity"]["low"]
        for confidence, kind in ((0.99, "percentile"), (0.5, "percentile"), (0.5, "bca"))
    )
    assert wide < narrow
    assert bca != narrow
    assert "50 % intervals" in (tmp_path / "report" / "leaderboard.txt").read_text(encoding="utf-8")


def evaluated_board(runs: list[RunFolder], out: Path, confidence: float, **report: Any) -> dict[str, Any]:
    """`leaderboard.csv` by model; training is told to have used .95."""
    told = [replace(run, config={**run.config, "evaluation": {"confidence": 0.95, "resamples": 50}}) for run in runs]
    evaluated(told, out, confidence=confidence, shuffle=False, **report)
    with (out / "leaderboard.csv").open(newline="", encoding="utf-8") as f:
        return {row["model"]: {k: float(row[k]) for k in ("value", "low", "high")} for row in csv.DictReader(f)}


def test_runs_are_compared_from_the_shell_and_their_seeds_put_together(
    data: Data, runs: list[RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = trained(data, tmp_path / "again", "item_knn", seed=2)
    words = ["compare", *(str(run.path) for run in (*runs, again)), "--confidence", "0.9", "--test", "bootstrap"]
    main(words)
    said = capsys.readouterr().out
    assert "difference (90 %)" in said
    assert "item_knn#1 is better than popularity by" in said
    assert "item_knn over seeds 1, 2: mean ndcg@10" in said
    with pytest.raises(SystemExit):
        main([*words[:-3], "1.5"])


def test_runs_of_another_split_are_not_compared_from_the_shell(
    data: Data, runs: list[RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = trained(data, tmp_path / "other", "item_knn", told={"split": "temporal-0"})
    with pytest.raises(SystemExit):
        main(["compare", str(runs[0].path), str(other.path)])
    assert "cannot be compared: split is" in capsys.readouterr().err


def test_weights_of_another_version_are_one_line(data: Data, tmp_path: Path) -> None:
    run = trained(data, tmp_path / "old", "item_knn")

    class Newer:
        def load(self, folder: Path) -> None:
            raise KeyError("item_keys")

    changed = replace(run, config={**run.config, "model": {**run.config["model"], "name": "newer"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shopkeeper.models.make.make", lambda config: Newer())
        with pytest.raises(UserError, match=r"do not fit this version's model .*train again"):
            changed.model()


def test_no_customers_id_is_on_the_page_or_in_the_tables_beside_it_unless_asked_for(
    runs: list[RunFolder], data: Data, tmp_path: Path
) -> None:
    ids = set(data[0].users["user_id"].to_pylist())

    def shown(out: Path) -> tuple[set[str], set[str], str]:
        text = (out / "report.html").read_text(encoding="utf-8")
        table = pq.read_table(out / "requests.parquet")
        footer = text[text.index("<footer>") : text.index("</footer>")]
        return ids & set(re.findall(r"\bu\d+\b", text)), ids & set(table["user_id"].to_pylist()), footer

    evaluated(runs, tmp_path / "plain", customers=12)
    page, table, footer = shown(tmp_path / "plain")
    assert (page, table) == (set(), set())
    assert re.search("personal data.*12 customers.*under numbers instead of their ids", footer)
    whole = pq.read_table(tmp_path / "plain" / "requests.parquet")
    assert len(set(whole["user_id"].to_pylist())) == len(set(runs[0].table("test")["user_id"].to_pylist()))
    evaluated(runs, tmp_path / "chosen", customers=3, chosen=["u7"])
    page, table, footer = shown(tmp_path / "chosen")
    assert (page, table) == ({"u7"}, set())
    assert "1 of them under their ids" in footer
    evaluated(runs, tmp_path / "asked", customers=12, ids=True)
    page, table, footer = shown(tmp_path / "asked")
    assert len(page) == 12
    assert table == ids
    evaluated(runs, tmp_path / "nobody", customers=0)
    assert "No single customer is on this page" in shown(tmp_path / "nobody")[2]


def printed(page: Path) -> list[str]:
    """The commands on a page, as a reader copies them."""
    text = html.unescape(re.sub(r"<br>", "\n", page.read_text(encoding="utf-8")))
    return sorted(set(re.findall(r"<code>((?:python|shopkeeper) [^<]*)</code>", text)))


def test_commands_of_the_page_typed_as_printed_do_what_the_page_says_for_that_page(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    words = [f"runs=[{','.join(str(r.path) for r in runs)}]"]
    words += ["report.shuffle=false", "tracking=none", f"out={tmp_path / 'page'}", f"paths.models={tmp_path / 'm'}"]
    subprocess.run([sys.executable, "evaluate.py", *words], check=True, capture_output=True)
    page = tmp_path / "page" / "report.html"
    commands = printed(page)
    (again,) = [c for c in commands if "report.shuffle=true" in c]
    assert again in page.read_text(encoding="utf-8"), "what stands in the file is what is typed"
    assert "report.shuffle=false" not in again
    done = subprocess.run(again.replace("python ", f"{sys.executable} ", 1), shell=True, executable="/bin/bash",
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "page" / "sanity.json").read_text())["next_item"]["shuffled"]
    after = printed(page)
    assert again not in after
    others = set(commands + after) - {again}
    assert any("report.retrain=[item_knn]" in c for c in others), others
    for command in others:  # those cost a training: here it is seen that they are about this page's data and folders
        program, file, *rest = shlex.split(command)
        here = [
            w.replace("=tiny", "=demo_shop") for w in rest if not w.startswith("hydra.")
        ]  # no conf/dataset/tiny.yaml
        composed(file.removesuffix(".py"), here)
        assert (program, (Path(file).is_file())) == ("python", True)
        assert f"out={tmp_path / 'page'}" in rest or "hydra.run.dir=" in command
        assert "dataset=" in command or file == "evaluate.py"


def test_a_stage_without_runs_says_what_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    cfg = composed("evaluate", ["dataset=demo_shop", "tracking=none"])
    with open_dict(cfg):
        del cfg["task"]  # as in the pipeline's composed files
    with pytest.raises(UserError, match="no finished run below models/demo_shop/temporal; `dvc repro` makes one"):
        evaluate(cfg)
