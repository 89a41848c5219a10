"""`evaluate`: finished runs of one dataset and split -> comparisons, leaderboard and the report.

Which files there are and what each holds is declared in `layout.py`.
"""

from __future__ import annotations

import logging
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig

from shopkeeper import tracking
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, read_json, sha256_tree, write_json
from shopkeeper.folders import Unlike, check_target
from shopkeeper.hashing import sealed
from shopkeeper.pipeline import context, show
from shopkeeper.pipeline.comparing.addresses import addresses
from shopkeeper.pipeline.comparing.baselines import copy_baseline, numbered
from shopkeeper.pipeline.comparing.choose import meant
from shopkeeper.pipeline.comparing.commands import export_best
from shopkeeper.pipeline.comparing.earlier import FILE, decided
from shopkeeper.pipeline.comparing.leaderboard import as_text, write_csv, write_metrics
from shopkeeper.pipeline.comparing.plotted import write_plots
from shopkeeper.pipeline.comparing.section import section_of
from shopkeeper.pipeline.forms import form_of
from shopkeeper.pipeline.runs import RunFolder, open_run, say_contradictions
from shopkeeper.pipeline.shell.terminal import columns, tinted
from shopkeeper.pipeline.told import Evaluate, but, settings
from shopkeeper.tasks.base import REQUESTS

log = logging.getLogger(__name__)
ADDED = "baselines"  # the folder of the runs that were made for the table


def evaluate(config: DictConfig) -> None:
    """The verb: compare the runs of a split, print the leaderboard, write the report."""
    cfg = settings(config, Evaluate)
    out, sections = _compared(cfg)
    print(tinted(as_text(sections, columns())))
    log.info("report: %s", context.relative(out / "report.html"))
    about = read_json(out / "manifest.json")
    gone = {one for section in sections.values() for one in section.get("gone", ())}
    for task, address in addresses(about, cfg.tracking.uri, gone).items():
        log.info("MLflow, %s: %s", task, address)
    log.info("next: %s", shlex.join(export_best(cfg, about["dataset"], about["split_name"])))


def evaluated(cfg: Evaluate) -> Path:
    """Compare the runs that a config names, else what was trained last of each model; gives the report's folder."""
    return _compared(cfg)[0]


def _compared(cfg: Evaluate) -> tuple[Path, dict[str, dict[str, Any]]]:
    named = context.named_targets()
    runs = [open_run(path, named) for path in meant(cfg, named)]
    say_contradictions(cfg.plain, runs)
    for manifest in {run.manifest["prepared"]: run.manifest for run in runs}.values():
        context.say_if_raw_changed(manifest, cfg.paths.raw)
    cfg = _named_by(cfg, runs)
    if cfg.placement is not None:
        runs = [run for run in runs if run.about.asks == REQUESTS]
        if not runs:
            raise UserError(f"placement={cfg.placement.name} is for recommenders, and none of the runs is one")
    name = cfg.split.name if cfg.placement is None else f"{cfg.split.name}-{cfg.placement.name}"
    out = cfg.out or (cfg.paths.reports / cfg.dataset.name / name)
    return _evaluated(cfg, runs, out)


def _named_by(cfg: Evaluate, runs: Sequence[RunFolder]) -> Evaluate:
    """The config with the dataset and split that the runs are of; a `UserError` where they are of several."""
    found = {}
    for group in ("dataset", "split"):
        names: dict[str, RunFolder] = {}
        for run in runs:
            if group == "dataset" or run.about.asks == REQUESTS:  # customer models have windows of their own, no split
                names.setdefault(str(run.metrics[group]), run)
        if len(names) > 1:
            (a, one), (b, other) = list(names.items())[:2]
            raise UserError(f"{one.path} is of {group}={a}, {other.path} of {group}={b}; evaluate them one by one")
        found[group] = {**cfg.plain[group], "name": str(_first(runs).metrics[group])}
    return but(cfg, **found)


def evaluate_runs(cfg: Evaluate, runs: Sequence[RunFolder], out: Path) -> Path:
    """Compare runs task by task and write the folder of the report; gives where it lies."""
    return _evaluated(cfg, runs, out)[0]


def _evaluated(cfg: Evaluate, runs: Sequence[RunFolder], out: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
    from shopkeeper.evaluation.report import write_report
    from shopkeeper.evaluation.report.gather import baseline_of, gather
    from shopkeeper.evaluation.report.moved import decisions
    from shopkeeper.pipeline.comparing.campaigned import campaigns_of

    runs = list({run.path.resolve(): run for run in runs}.values())  # one that is named twice counts once
    _one_file_per_task(runs)
    unlike = None if cfg.overwrite else _unlike(runs)
    out = check_target(out, "report", unlike)
    dataset, split = (str(_first(runs).metrics[key]) for key in ("dataset", "split"))
    earlier = decided(Path(cfg.report.since or out), dataset, split, needed=cfg.report.since is not None)
    by_task: dict[str, list[RunFolder]] = {}
    for run in runs:
        by_task.setdefault(run.task, []).append(run)
    with tempfile.TemporaryDirectory() as place:
        added: list[RunFolder] = []
        for some in by_task.values():
            more = form_of(some[0].about, some[0].told.dataset).added_runs(cfg, some, Path(place))
            some[:] = more if cfg.placement is not None else [*some, *more]  # a placement asks other requests
            added += more
        sections = {task: section_of(cfg, task, some) for task, some in sorted(by_task.items(), reverse=True)}
        there = {run.path: _moved(run, out).path for run in added}
        for section in sections.values():
            if (path := section["runs"].get(section["leader"])) is not None:
                section["leader"] = context.relative(there.get(path, path))
        with atomic_folder(out, "report", unlike) as folder:
            for run in added:
                copy_baseline(run, folder / ADDED / run.path.name, ids=cfg.report.ids)
            for section in sections.values():
                table = _together(section["tables"])
                table = table if cfg.report.ids else numbered(table)
                pq.write_table(table, folder / section["about"].rows)
            write_json(folder / "leaderboard.json", {t: s["leaderboard"] for t, s in sections.items()})
            write_json(folder / "comparisons.json", {t: s["comparisons"] for t, s in sections.items()})
            write_json(folder / "sanity.json", {t: s["sanity"] for t, s in sections.items()})
            write_csv(folder / "leaderboard.csv", sections)
            write_metrics(folder / "metrics.csv", sections)
            (folder / "leaderboard.txt").write_text(as_text(sections), encoding="utf-8")
            report = gather(sections, cfg.report, campaigns_of(cfg, sections), earlier)
            write_report(folder, report)
            write_plots(folder, sections, report.boards)
            write_json(folder / FILE, decisions(report))
            about = _manifest([*runs, *(_moved(run, out) for run in added)])
            about["baselines"] = {task: baseline_of(one, cfg.report) for task, one in sections.items()}
            write_json(folder / "manifest.json", sealed({**about, "files": sha256_tree(folder)}))
    if not cfg.tracking.off:
        pages = tracking.Pages(cfg.tracking)
        for board in report.boards:
            with show.only_shown("the runs' pages in MLflow"):
                _track(sections[board.task], board, out, pages)
            sections[board.task]["gone"] = set(pages.gone)  # whose pages nobody is sent to
    return out, sections


def _one_file_per_task(runs: Sequence[RunFolder]) -> None:
    """A `UserError` where two tasks would write their rows into one file."""
    tasks = {run.task: run.about for run in runs}
    for task in tasks.values():
        for other in tasks.values():
            if task.name < other.name and task.rows == other.rows:
                raise UserError(f"tasks {task.name} and {other.name} both name {task.rows} for their rows; rename one")


def _unlike(runs: Sequence[RunFolder]) -> Unlike:
    """What `folders.check_target` asks of a report that is in the way: is it of this dataset, and all in this one?"""
    dataset, split = (str(_first(runs).metrics[key]) for key in ("dataset", "split"))
    here = {(run.task, str(run.metrics["model"])) for run in runs}

    def unlike(manifest: Mapping[str, Any]) -> str | None:
        for key, own in (("dataset", dataset), ("split_name", split)):
            if (theirs := manifest.get(key)) not in (None, own):
                return f"{key.partition('_')[0]}={theirs}, not {own}"
        asked = [r for r in manifest.get("runs") or [] if Path(r["path"]).parent.name != ADDED]
        lost = dict.fromkeys(f"{r['model']}" for r in asked if (r["task"], r["model"]) not in here)
        return f"{', '.join(lost)}, which would not be in this one" if lost else None

    return unlike


def _track(section: Mapping[str, Any], board: Any, out: Path, pages: tracking.Pages) -> None:
    """Add the report, and figures that set it beside the others, to every run's page in MLflow."""
    from shopkeeper.pipeline.pictures.figures import board_figures

    for place, name in enumerate(section["names"], start=1):
        if pages.closed:
            return
        figures = {f"figures/{file}": figure for file, figure in board_figures(board, name).items()}
        run_id = section["manifests"][name].get("mlflow_run")
        tags = {
            "report": context.relative(out),
            "place": f"{place} of {len(section['names'])}",
            "best_on_validation": str(name == section["ahead"]).lower(),
        }
        pages.add(run_id, {"report": out / "report.html"}, tags, figures)
    # What led an earlier report, of runs that were trained anew since or are not in this one, leads no longer.
    manifests = [m for m in section["manifests"].values() if m.get("mlflow_run") and m.get("mlflow_experiment")]
    same = {key: str(manifests[0][key]) for key in ("dataset", "task", "split")} if manifests else {}
    pages.turn(
        {**same, "best_on_validation": "true"},
        {"best_on_validation": "false", "place": "of an earlier report"},
        list(dict.fromkeys(str(one["mlflow_experiment"]) for one in manifests)),
        {one["mlflow_run"] for one in manifests},
    )


def _moved(run: RunFolder, out: Path) -> RunFolder:
    """A baseline's run as it lies in the finished report."""
    return replace(run, path=out / ADDED / run.path.name)


def _together(tables: Mapping[str, pa.Table]) -> pa.Table:
    """One table, one row per request and model."""
    parts = [t.add_column(0, "model", pa.array([name] * t.num_rows)) for name, t in tables.items()]
    return pa.concat_tables([p.replace_schema_metadata(None) for p in parts], promote_options="permissive")


def _manifest(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Which runs the report is made of, on which data, and after which erasure list."""
    about = ("model", "task", "split", "target_hash", "commit", "mlflow_run", "mlflow_experiment")
    first = runs[0].manifest
    return {
        "format_version": 1,
        "kind": "report",
        "dataset": _first(runs).metrics["dataset"],
        "split_name": _first(runs).metrics["split"],
        "dataset_fingerprint": first["dataset_fingerprint"],
        "erasure_list": first.get("erasure_list"),
        "runs": [
            {"path": context.relative(run.path), **{k: run.manifest.get(k, run.metrics.get(k)) for k in about}}
            for run in runs
        ],
    }


def _first(runs: Sequence[RunFolder]) -> RunFolder:
    """The run that names the report: of a recommender where there is one, since customer models have no split."""
    return next((run for run in runs if run.about.asks == REQUESTS), runs[0])
