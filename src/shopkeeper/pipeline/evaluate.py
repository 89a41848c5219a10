"""`evaluate`: finished runs of one dataset and split -> comparisons, leaderboard and the report.

requests.parquet      one row per request and model: the per-request tables, with slices
customers.parquet     the same for customer models, where there are any
leaderboard.json      task -> model -> metric -> value (DVC's metrics)
leaderboard.csv       the headline metric with its interval (DVC's plots)
comparisons.json      every paired difference on the headline metric, Holm-corrected per task
report.html           all of it, to be read
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig

from shopkeeper import tracking
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, write_json
from shopkeeper.pipeline import context, show
from shopkeeper.pipeline.runs import RunFolder, distinct_names, find_runs, open_run

log = logging.getLogger(__name__)
TABLE = {"next_item": "requests.parquet"}  # every other task: customers.parquet
SHOWN = ("recall@10", "hit@10", "mrr", "coverage@10", "auroc", "brier", "ece")  # in the terminal, beside the headline


def evaluate(config: DictConfig) -> None:
    """The verb: compare the runs of a split, print the leaderboard, write the report."""
    cfg = context.plain(config)
    place = Path(cfg["dataset"]["name"]) / cfg["split"]["name"]
    root = Path(cfg["paths"]["models"]) / place
    runs = [open_run(r) for r in cfg["runs"]] if cfg["runs"] else find_runs(root)
    if not runs:
        raise UserError(
            f"there is no finished run below {root}; `dvc repro` or `python train.py` makes them, or runs=[…]"
        )
    out = Path(cfg["out"]) if cfg["out"] else Path(cfg["paths"]["reports"]) / place
    evaluate_runs(cfg, runs, out)
    print((out / "leaderboard.txt").read_text(encoding="utf-8"))
    log.info("report: %s", context.relative(out / "report.html"))


def evaluate_runs(cfg: Mapping[str, Any], runs: Sequence[RunFolder], out: Path) -> Path:
    """Compare runs task by task and write the folder of the report."""
    from shopkeeper.evaluation.report import write_report

    by_task: dict[str, list[RunFolder]] = {}
    for run in runs:
        by_task.setdefault(run.task, []).append(run)
    sections = {task: _section(cfg, task, some) for task, some in sorted(by_task.items(), reverse=True)}
    with atomic_folder(out) as folder:
        for task, section in sections.items():
            pq.write_table(_together(section["tables"]), folder / TABLE.get(task, "customers.parquet"))
        write_json(folder / "leaderboard.json", {t: s["leaderboard"] for t, s in sections.items()})
        write_json(folder / "comparisons.json", {t: s["comparisons"] for t, s in sections.items()})
        _write_csv(folder / "leaderboard.csv", sections)
        (folder / "leaderboard.txt").write_text(_as_text(sections), encoding="utf-8")
        write_report(folder, sections, cfg["report"])
    if cfg["tracking"]["name"] != "none":
        for section in sections.values():
            _track(cfg, section, out)
    return out


def _track(cfg: Mapping[str, Any], section: Mapping[str, Any], out: Path) -> None:
    """Add the report, and figures that set it beside the others, to every run's page in MLflow."""
    from shopkeeper.evaluation.report.gather import board
    from shopkeeper.pipeline.figures import board_figures

    compared = board(section, {**cfg["report"], "resamples": 200})
    for place, name in enumerate(section["names"], start=1):
        figures = {f"figures/{file}": figure for file, figure in board_figures(compared, name).items()}
        run_id = section["manifests"][name].get("mlflow_run")
        tags = {"report": context.relative(out), "place": f"{place} of {len(section['names'])}"}
        tracking.log_to(cfg["tracking"], run_id, {"report": out / "report.html"}, tags, figures)


def _section(cfg: Mapping[str, Any], task: str, runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Everything about one task: tables by model, metrics, comparisons on the headline metric."""
    from shopkeeper.evaluation.compare import compare_family

    headline = str(runs[0].config["task"]["headline"])
    lower = runs[0].config["task"].get("direction") == "minimize"
    names = distinct_names(runs)
    prepared = context.prepared_of(runs[0].manifest)
    tables = {name: run.table("test") for name, run in zip(names, runs, strict=True)}
    split = None
    if task == "next_item":
        from shopkeeper.evaluation.slices import add_slices

        split = context.split_of(prepared, runs[0].manifest)
        tables = {name: add_slices(table, prepared, split, "test") for name, table in tables.items()}
    e = cfg["evaluation"]
    options = {k: e[k] for k in ("confidence", "resamples", "smallest_effect")}
    found = compare_family(tables, [headline], **options) if len(tables) > 1 else []
    metrics = {name: run.metrics for name, run in zip(names, runs, strict=True)}
    order = sorted(names, key=lambda n: metrics[n]["test"][headline]["value"], reverse=not lower)
    return {
        "task": task,
        "headline": headline,
        "lower_is_better": lower,
        "names": order,
        "runs": {name: run.path for name, run in zip(names, runs, strict=True)},
        "configs": {name: run.config for name, run in zip(names, runs, strict=True)},
        "manifests": {name: run.manifest for name, run in zip(names, runs, strict=True)},
        "metrics": {name: metrics[name] for name in order},
        "tables": tables,
        "comparisons": [c.as_dict() for c in found],
        "leaderboard": {n: {m: v["value"] for m, v in metrics[n]["test"].items()} for n in order},
        "prepared": prepared,
        "split": split,
    }


def _together(tables: Mapping[str, pa.Table]) -> pa.Table:
    """One table, one row per request and model."""
    parts = [t.add_column(0, "model", pa.array([name] * t.num_rows)) for name, t in tables.items()]
    return pa.concat_tables([p.replace_schema_metadata(None) for p in parts], promote_options="permissive")


def _write_csv(path: Path, sections: Mapping[str, Mapping[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(["task", "model", "metric", "value", "low", "high", "n"])
        for task, section in sections.items():
            for name in section["names"]:
                entry = section["metrics"][name]["test"][section["headline"]]
                rows.writerow([task, name, section["headline"], *(entry[k] for k in ("value", "low", "high", "n"))])


def _as_text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The leaderboard for the terminal."""
    parts = []
    for task, section in sections.items():
        metrics = section["metrics"]
        first = metrics[section["names"][0]]
        shown = [m for m in dict.fromkeys((section["headline"], *SHOWN)) if m in first["test"]][:4]
        rows = [[n, *(show.with_interval(metrics[n]["test"].get(m)) for m in shown)] for n in section["names"]]
        n = first["test"][section["headline"]]["n"]
        parts.append(
            f"{task}: {first['dataset']}, split {first['split']}, protocol {first['protocol']}, "
            f"filter_seen {str(first['filter_seen']).lower()}, {n:,} requests on test (95 % intervals)\n"
            + show.table(["model", *shown], rows)
        )
        best = next((n for n in section["names"] if not n.startswith("oracle")), section["names"][0])
        parts.append("\n".join(c["statement"] for c in section["comparisons"] if best in (c["a"], c["b"])))
    return "\n\n".join(parts) + "\n"
