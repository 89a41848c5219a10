"""The leaderboard: simple models and networks on five public sets, each searched with the same budget.

    python benchmarks/zoo.py --datasets ml_100k --trials 20 --hours 1     # a part; what is done already is kept
    python benchmarks/zoo.py --models ease item_knn --trials 20
    python benchmarks/zoo.py --models sasrec --trials 0                   # shipped settings alone
    python benchmarks/zoo.py --page                                       # docs/leaderboard.md from the last result

For each set and model: `python tune.py` with `--trials` and `--hours`, the shipped settings among them, on validation;
then `python train.py` with the shipped settings and with those that were found, for networks with every seed. Test is
asked once by each. Splits are the sets' own: by time for ml_100k, demo_shop and online_retail, leave-one-out where
there is order alone. Intervals are 95 %, over customers and seeds at once.

Writes `benchmarks/results/zoo.json` and `docs/leaderboard.md` after every cell. A cell is kept where it was searched
with as many trials or more and its model's shipped settings and space are still those; what was stopped goes on from
`outputs/zoo`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from _results import RESULTS, ROOT, at_least, not_had, row, write_result
from shopkeeper.evaluation.seeds import over_seeds
from shopkeeper.evaluation.table import read_table
from shopkeeper.files import sha256_json
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import plain

NAME, PAGE = "zoo", ROOT / "docs" / "leaderboard.md"
DATASETS = ("ml_100k", "ml_1m", "amazon_beauty", "online_retail", "demo_shop")
SIMPLE = ("recent_popularity", "personal_frequency", "item_knn", "ease", "vstan")  # chance has no part in them
NETWORKS = ("gru4rec", "bert4rec", "sasrec", "hstu")
OWN = ("sasrec_history", "two_stage")  # for shops, where people buy again
MODELS = (*SIMPLE, *NETWORKS, *OWN)
UNTIMED = ("ml_1m", "amazon_beauty")  # order alone: no window, no pause between sessions, no time to read
TIMED = {"hstu": ("model.time=true",)}
WITHOUT_TIMES = {
    "recent_popularity": ("model.window_days=null", "~tuning.space.window_days"),
    "personal_frequency": ("model.popularity_half_life_days=null", "~tuning.space.half_life_days",
                           "~tuning.space.popularity_half_life_days"),
    "item_knn": ("~tuning.space.half_life_days",),
    "vstan": ("model.half_life_days=null", "~tuning.space.half_life_days"),
}  # fmt: skip
FEWEST = 5  # trials, the shipped settings among them: fewer are no search
SHARE = 0.97  # of the tuned value that shipped settings reach, median over sets

Cell = dict[str, Any]  # one element of "cells" in the result


def words_of(dataset: str, model: str) -> tuple[list[str], list[str]]:
    """What `train` is told of a cell, and what `tune` is told beside."""
    words = (WITHOUT_TIMES if dataset in UNTIMED else TIMED).get(model, ())
    both = [f"dataset={dataset}", f"model={model}", *(w for w in words if not w.startswith("~")), "tracking=none"]
    return [*both, "progress=false"], [w for w in words if w.startswith("~")]


def asked(dataset: str) -> list[str]:
    """The models of a set's board."""
    return [m for m in MODELS if m not in OWN or dataset in ("online_retail", "demo_shop")]


def recipe(dataset: str, model: str) -> str:
    """A hash of the shipped settings of a cell and of what is searched."""
    train, tune = words_of(dataset, model)
    cfg = plain(composed("tune", [*train, *tune]))
    shipped = {k: v for k, v in cfg["model"].items() if k != "target"}  # a class may move
    return sha256_json({"model": shipped, "space": cfg["tuning"].get("space")})[:16]


def measured(dataset: str, model: str, trials: int, hours: float, seeds: Sequence[int], outputs: Path,
             more: Sequence[str] = ()) -> Cell:  # fmt: skip
    """Search, then train with the shipped settings and with the best ones; why not, where a command refuses."""
    cell: Cell = {"dataset": dataset, "model": model, "trials": trials, "hours": hours, "why": "",
                  "recipe": recipe(dataset, model)}  # fmt: skip
    train, tune = words_of(dataset, model)
    seeds = seeds if model in NETWORKS or model in OWN else seeds[:1]
    own = f"{model}-{cell['recipe'][:8]}"  # trainings of other settings are none of this cell
    try:
        best: dict[str, Any] | None = None
        if trials and composed("tune", [*train, *tune])["tuning"]["space"]:
            name = f"zoo-{dataset}-{own}"
            _run("tune.py", *train, *tune, *more, f"paths.studies={outputs / 'studies'}", f"tuning.name={name}",
                 f"tuning.trials={trials}", f"tuning.hours={hours}", "tuning.shipped_first=true")  # fmt: skip
            found = json.loads((outputs / "studies" / name / "trials.json").read_text(encoding="utf-8"))
            complete = [t for t in found if t["state"] == "complete"]
            chosen = max(complete, key=lambda t: t["value"])
            best = None if chosen["number"] == 0 else chosen["params"]
            cell |= {"finished": len(complete), "tried": len(found), "settings": chosen["params"]}
        cell["shipped"] = _trained(outputs / dataset / own / "shipped", [*train, *more], seeds)
        words = [f"model.{k}={yaml.safe_dump(v).split()[0]}" for k, v in (best or {}).items()]
        if best and (tuned := _trained(outputs / dataset / own / "tuned", [*train, *more, *words], seeds)):
            cell["tuned"] = tuned
    except subprocess.CalledProcessError as e:
        cell["why"] = (e.stderr.strip().splitlines() or ["no message"])[-1].split(": ", 1)[-1][:200]
    return cell


def is_shipped(cell: Cell) -> bool:
    """Whether a cell is of the settings that are shipped; others leave the board with the next one that is measured."""
    return bool(cell.get("recipe") == recipe(cell["dataset"], cell["model"]))


def _trained(folder: Path, words: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """The figures over the seeds of one setting; runs that are there are taken."""
    runs = []
    for seed in seeds:
        run = folder / f"seed-{seed}"
        told = run / "words.json"
        if not (told.is_file() and json.loads(told.read_text(encoding="utf-8")) == list(words)):
            _run("train.py", *words, f"seed={seed}", f"hydra.run.dir={run}")
            told.write_text(json.dumps(list(words)), encoding="utf-8")
        runs.append(run)
    tables = [read_table(run / "test.parquet") for run in runs]
    validation = [json.loads((r / "metrics.json").read_text(encoding="utf-8"))["validation"]["ndcg@10"]["value"]
                  for r in runs]  # fmt: skip
    found = over_seeds(tables, "ndcg@10")
    return {"validation": validation, "ndcg@10": list(found.per_seed), "low": found.low, "high": found.high,
            "hit@10": list(over_seeds(tables, "hit@10").per_seed), "n": found.n_users}  # fmt: skip


def _run(script: str, *words: str) -> None:
    command = [sys.executable, script, *words]
    subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def of_best(cell: Cell) -> dict[str, Any]:
    """The figures of the settings that validation chose."""
    found: dict[str, Any] = cell.get("tuned") or cell["shipped"]
    return found


def share(cell: Cell) -> float | None:
    """Of the tuned validation figure, what shipped settings reach; None without a search, or with next to none."""
    if cell["why"] or "settings" not in cell or cell.get("finished", 0) < FEWEST:
        return None
    return statistics.mean(cell["shipped"]["validation"]) / statistics.mean(of_best(cell)["validation"])


def rows_and_claims(cells: Sequence[Cell]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every figure; per model the median over sets of what its defaults reach; how much of the board is there."""
    rows, claims = [], []
    for cell in cells:
        for settings in ("shipped", "tuned"):
            if settings in cell:
                figures = cell[settings]
                more = {k: figures[k] for k in ("low", "high", "n", "validation")}
                name = f"{cell['model']}, {settings}"
                rows.append(row(name, cell["dataset"], "ndcg@10 on test", "1", figures["ndcg@10"]) | more)
    for model in MODELS:
        shares = [s for c in cells if c["model"] == model and (s := share(c)) is not None]
        what = f"{model}, share of its tuned NDCG@10 that the shipped settings reach on validation, median over sets"
        if shares:
            claims.append(at_least("zoo", f"{what} ({len(shares)})", statistics.median(shares), SHARE))
        else:
            claims.append(not_had("zoo", what, SHARE, "not searched yet"))
    there = sum(not c["why"] for c in cells)
    board = sum(len(asked(d)) for d in DATASETS)
    claims.append(at_least("zoo", "cells of the leaderboard that were run", there, board))
    return rows, claims


def page(result: Mapping[str, Any]) -> str:
    """`docs/leaderboard.md`."""
    lines = [HEAD]
    for dataset in DATASETS:
        cells = [c for c in result["cells"] if c["dataset"] == dataset]
        if not cells:
            continue
        lines += [f"## {dataset}", "",
                  "| model | trials | validation | test NDCG@10 (95 %) | test HR@10 | seeds | shipped / tuned |",
                  "|---|---:|---:|---|---:|---:|---:|"]  # fmt: skip
        ran = sorted((c for c in cells if not c["why"]), key=lambda c: -statistics.mean(of_best(c)["validation"]))
        for cell in ran:
            best, of = of_best(cell), share(cell)
            mean = {k: statistics.mean(best[k]) for k in ("validation", "ndcg@10", "hit@10")}
            lines.append(
                f"| {cell['model']} | {cell.get('finished', 0)} | {mean['validation']:.4f} | {mean['ndcg@10']:.4f} "
                f"({best['low']:.4f} to {best['high']:.4f}) | {mean['hit@10']:.4f} | {len(best['ndcg@10'])} | "
                f"{'' if of is None else f'{of:.2f}'} |"
            )
        lines += [f"| {c['model']} | | | {c['why'].replace('|', '/')} | | | |" for c in cells if c["why"]]
        lines.append("")
    return "\n".join(lines)


HEAD = """# The leaderboard

Each model was searched with the same budget and chosen on validation; lines are in the order of that figure, so that
the first one is what one would have taken. Trials: those that ended within the budget, 0 where only the shipped
settings were trained, or nothing is to be set. Simple models have no seeds. Splits are the sets' own: by time for
ml_100k, online_retail and demo_shop, leave-one-out for ml_1m and amazon_beauty, which have order alone; popularity is
of all time there.

Written by `python benchmarks/zoo.py --page` from `benchmarks/results/zoo.json`.
"""


def _result(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def main(a: argparse.Namespace) -> None:
    """Measure what is missing; the result and its page are written after each cell."""
    file = a.folder / f"{NAME}.json"

    def cells() -> dict[tuple[str, str], Cell]:  # read anew each time: another process may measure others meanwhile
        return {(c["dataset"], c["model"]): c for c in _result(file).get("cells", []) if is_shipped(c)}

    outputs = ROOT / "outputs" / NAME if a.folder == RESULTS else a.folder / "runs"
    for dataset in a.datasets:
        for model in asked(dataset):
            old = cells().get((dataset, model))
            if model not in a.models or (old and not old["why"] and old["trials"] >= a.trials):
                continue
            one = measured(dataset, model, a.trials, a.hours, a.seeds, outputs, a.more)
            print(dataset, model, one.get("finished", 0), one["why"], flush=True)
            now = cells() | {(dataset, model): one}
            board = [now[d, m] for d in DATASETS for m in asked(d) if (d, m) in now]
            write_result(NAME, *rows_and_claims(board), note=a.note or _result(file).get("note"),
                         more={"cells": board}, folder=a.folder)  # fmt: skip
            if a.folder == RESULTS:
                PAGE.write_text(page(_result(file)), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--hours", type=float, default=1.0, help="of a search: it begins no trial later")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="of networks")
    parser.add_argument("--set", nargs="+", default=[], dest="more", help="further words of tune.py and train.py")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where the result is written")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    parser.add_argument("--page", action="store_true", help="write the page anew, run nothing")
    told = parser.parse_args()
    if told.page:
        PAGE.write_text(page(_result(RESULTS / f"{NAME}.json")), encoding="utf-8")
    else:
        main(told)
